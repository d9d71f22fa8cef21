"""Whether what is under way is over, and how it ended: for whoever waits for a release.

Pure. The trap is the moment after a change: the status still tells of the last run, because the
daemon has not seen the new template. So the template that the Deployment has now is compared with
the revisions that the status knows; one that it does not know is still to be released.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canaryd.cli.exits import Exit
from canaryd.core.fingerprint import template_fingerprint
from canaryd.core.phase import Phase
from canaryd.core.state import RolloutState
from canaryd.core.tracking import Recorded, identify, parse


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended: the exit code, and why in words."""

    code: Exit
    message: str


def ending(state: RolloutState | None, wanted: str, *, was_running: bool) -> Ending | None:
    """How the release of an app ended; None while it goes on.

    Args:
        state: the daemon's memory.
        wanted: the revision that the Deployment asks for, empty when it cannot be told.
        was_running: a run was seen before, so that its end is what is waited for.

    """
    if state is None:
        return None
    run = state.run
    if run is not None:
        return Ending(Exit.FAILED, state.message) if run.held else None
    match state.phase:
        case Phase.FAILED:
            is_new = wanted not in ("", state.failed, state.promoted)
            return None if is_new else Ending(Exit.FAILED, state.message)
        case Phase.SUCCEEDED | Phase.INITIALIZED:
            if was_running or wanted in ("", state.promoted):
                return Ending(Exit.OK, state.message)
            if wanted == state.failed:
                told = f"revision {wanted} is refused until it changes, or a retry is asked for"
                return Ending(Exit.FAILED, told)
            return None
        case _:
            return None


def wanted_revision(deployment: Mapping[str, Any] | None, state: RolloutState) -> str:
    """The revision that a Deployment asks for, by the configs that were seen last.

    Empty when it cannot be told: the Deployment may not be read, or the state is an old one.
    """
    run = state.run
    known = [
        Recorded(revision, rule)
        for revision, rule in (
            (run.revision if run else "", run.tracking if run else ""),
            (state.failed, state.failed_tracking),
            (state.promoted, state.promoted_tracking),
        )
        if revision and parse(rule) is not None
    ]
    if deployment is None or not known:
        return ""
    template = (deployment.get("spec") or {}).get("template") or {}
    rule = parse(known[0].rule)
    if rule is None:
        return ""
    looked = {key: seen for key, seen in state.tracked.items() if rule.covers(key)}
    found = identify(
        template_fingerprint(template), looked, rule, known=known, remembered=state.tracked
    )
    return found.name
