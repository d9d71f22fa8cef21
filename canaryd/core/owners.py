"""What the owner of a ConfigMap or Secret says about it, on the object itself.

Several apps may use one config, and who owns the data need not own any of them: ``track`` and
``copy`` are decided in one place, whatever the Deployments say. A value that cannot be read counts
as not given: tracked and copied is the safe side. It is said, and so is every other key of ours
that stands there; nothing is ignored quietly.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from canaryd.core.lookup import Known, look_up
from canaryd.core.names import INTERNAL, PREFIX
from canaryd.core.problems import DEPLOYMENT, Problem, ProblemReason, problem_of
from canaryd.core.units import BLANKS, UnitError, parse_bool, quote
from canaryd.core.views import ConfigView
from canaryd.core.vocabulary import CONFIG_KEYS

MAX_SUGGESTED = 63
"""Characters of an unknown key that are compared with known ones."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What becomes of a config."""

    track: bool = True
    """It belongs to revisions: a change of it is one."""
    copy: bool = True
    """The primary gets copies of it; one that is not tracked has none in any case."""

    @property
    def is_copied(self) -> bool:
        return self.track and self.copy


_DEFAULT = Wish()


def wish_of(config: ConfigView | None) -> Wish:
    """Read a config's wish; a config that is not there wishes nothing."""
    if config is None or not config.annotations:
        return _DEFAULT
    return Wish(_flag(config.annotations, "track"), _flag(config.annotations, "copy"))


def config_problems(annotations: Mapping[str, str]) -> Iterator[Problem]:
    """Everything that is wrong with our keys on a ConfigMap or Secret, ``annotations`` being all
    it has.
    """
    for key, text in annotations.items():
        domain, slash, rest = key.partition("/")
        domain += slash
        if domain != PREFIX and (domain == INTERNAL or not domain.endswith(f".{PREFIX}")):
            continue
        known = CONFIG_KEYS.get(rest) if domain == PREFIX else None
        if known is None:
            yield _unknown(key, rest if domain == PREFIX else "")
        elif text.strip(BLANKS):
            try:
                known.parse(text.strip(BLANKS))
            except UnitError as error:
                yield problem_of(rest, text, error, DEPLOYMENT)


def _flag(annotations: Mapping[str, str], key: str) -> bool:
    try:
        return parse_bool(annotations.get(PREFIX + key, "true").strip(BLANKS) or "true")
    except UnitError:
        return True


def _unknown(key: str, rest: str) -> Problem:
    known = ", ".join(CONFIG_KEYS)
    if rest and isinstance(look_up(rest), Known):
        rule = f"does nothing on a ConfigMap or Secret, which may have {known}; it belongs on the"
        return Problem(key, "", f"{rule} Deployment", "", ProblemReason.MISPLACED)
    meant = difflib.get_close_matches(rest[:MAX_SUGGESTED].lower(), tuple(CONFIG_KEYS), n=1)
    example = quote(PREFIX + meant[0]) if meant else ""
    rule = f"is not a key of a ConfigMap or Secret, which may have {known}"
    return Problem(key, "", rule, example, ProblemReason.UNKNOWN_KEY)
