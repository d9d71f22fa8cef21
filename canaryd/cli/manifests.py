"""What ``lint`` and ``config`` read from files: the objects in them and what is wrong with them.

Works without a cluster, on what people keep in git: several documents a file, Lists, objects that
are none of ours. Namespaces in the same files lend their defaults to the Deployments in them, as
they would in the cluster.

Names and kinds in messages are made printable: files come from others too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from canaryd.config.yaml_source import Document, Duplicate
from canaryd.config.yaml_source import Path_ as YamlPath
from canaryd.core import names
from canaryd.core.annotations import (
    Resolution,
    describe_non_string,
    namespace_defaults,
    resolve,
    resolve_deployment,
    template_problems,
)
from canaryd.core.owners import config_problems
from canaryd.core.problems import DEFAULTS_PREFIX, DEPLOYMENT, NAMESPACE, Problem, ProblemReason
from canaryd.core.units import quote

_ANNOTATIONS: Final = ("metadata", "annotations")
_TEMPLATE: Final = ("spec", "template", *_ANNOTATIONS)
_ABOVE: Final = {
    path[:length] for path in (_ANNOTATIONS, _TEMPLATE) for length in range(1, len(path) + 1)
}
"""Where annotations stand, and everything around them."""


@dataclass(frozen=True, slots=True)
class Located:
    """A problem with the place to correct."""

    file: str
    line: int
    subject: str
    problem: Problem

    @property
    def message(self) -> str:
        """The line for people."""
        file = quote(self.file, 1024)[1:-1]
        return f"{file}:{self.line}: {self.subject}: {self.problem.message}"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        problem = self.problem
        return {
            "file": self.file,
            "line": self.line,
            "object": self.subject,
            "key": problem.where,
            "value": problem.value,
            "rule": problem.rule,
            "example": problem.example,
            "reason": str(problem.reason),
            "message": problem.message,
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a file."""

    file: str
    document: Document
    path: YamlPath
    value: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return _scalar(self.value.get("kind"))

    @property
    def is_deployment(self) -> bool:
        """A Deployment canaryd would see."""
        return self.kind == "Deployment" and self.value.get("apiVersion") == "apps/v1"

    @property
    def is_canary(self) -> bool:
        """What canaryd writes itself, and people annotate with requests."""
        return self.kind == "Canary" and _scalar(self.value.get("apiVersion")).startswith(
            names.PREFIX
        )

    @property
    def is_config(self) -> bool:
        return self.kind in ("ConfigMap", "Secret") and self.value.get("apiVersion") == "v1"

    @property
    def is_namespace(self) -> bool:
        return self.kind == "Namespace" and self.value.get("apiVersion") == "v1"

    @property
    def name(self) -> str:
        return _scalar(_below(self.value, "metadata").get("name")) or "(no name)"

    @property
    def namespace(self) -> str:
        return _scalar(_below(self.value, "metadata").get("namespace"))

    @property
    def subject(self) -> str:
        """How messages call it."""
        prefix = f"{self.namespace}/" if self.namespace else ""
        return quote(f"{self.kind} {prefix}{self.name}", 300)[1:-1]

    def annotations(self, path: tuple[str, ...] = _ANNOTATIONS) -> dict[str, Any]:
        """The annotations, values as YAML read them."""
        return {str(key): value for key, value in _below(self.value, *path).items()}

    def has_ours(self) -> bool:
        """Whether any annotation of it is ours, or was before another block took its place."""
        keys = [*self.annotations(), *self.annotations(_TEMPLATE)]
        return any(map(_is_ours, keys)) or any(self._replaced())

    def locate(self, problem: Problem, path: tuple[str, ...] = _ANNOTATIONS) -> Located:
        """Find the line of the annotations at ``path`` that a problem is about."""
        prefixes = ("", names.PREFIX, DEFAULTS_PREFIX)
        keys = (problem.where, *(prefix + problem.key for prefix in prefixes))
        for key in keys:
            if (whole := (*self.path, *path, key)) in self.document.lines:
                return self._at(whole, problem)
        return self._at((*self.path, *path), problem)

    def _at(self, path: YamlPath, problem: Problem) -> Located:
        return Located(self.file, self.document.line(path), self.subject, problem)

    def duplicates(self) -> Iterator[Located]:
        """Keys of ours that stand twice, or blocks with some: only the last of them would count."""
        for double in self.document.duplicates:
            key = str(double.path[-1])
            if double.path[: len(self.path)] == self.path and _is_ours(key):
                yield self._double(key, double)
        for double in self._replaced():
            yield self._double("/" + "/".join(map(str, double.path[len(self.path) :])), double)

    def _double(self, key: str, double: Duplicate) -> Located:
        rule = f"stands here twice, first on line {double.first_line}; remove one"
        problem = Problem(key, "", rule, "", ProblemReason.CONFLICTING)
        return Located(self.file, double.line, self.subject, problem)

    def _replaced(self) -> Iterator[Duplicate]:
        """Blocks that stand twice with annotations of ours in one of them."""
        start = len(self.path)
        blocks = [
            double
            for double in self.document.duplicates
            if double.path[:start] == self.path and double.path[start:] in _ABOVE
        ]
        if not blocks:
            return
        ours = [path for path in self.document.lines if path and _is_ours(str(path[-1]))]
        for double in blocks:
            if any(path[: len(double.path)] == double.path for path in ours):
                yield double


@dataclass(frozen=True, slots=True)
class Checked:
    """A Deployment with its plan and problems."""

    manifest: Manifest
    resolution: Resolution
    problems: tuple[Located, ...]


def find_manifests(file: str, documents: Sequence[Document]) -> Iterator[Manifest]:
    """Yield every object of a file; the items of Lists too."""
    for document in documents:
        yield from _unpack(file, document, (), document.value)


def check(
    manifests: Sequence[Manifest], default_namespace: str = ""
) -> tuple[list[Checked], list[Located]]:
    """Check every annotation of ours: the Deployments, and what is wrong with anything else.

    Args:
        manifests: of all files together.
        default_namespace: where objects go that name no namespace; empty if that is not known.

    """
    elsewhere: list[Located] = []
    inherited: dict[str, dict[str, str]] = {}
    for manifest in manifests:
        if manifest.is_namespace:
            texts, problems = _texts(manifest)
            inherited[manifest.name] = texts
            elsewhere += [*manifest.duplicates(), *problems, *_namespace_problems(manifest, texts)]
        elif manifest.is_config and manifest.has_ours():
            texts, problems = _texts(manifest)
            elsewhere += [*manifest.duplicates(), *problems]
            elsewhere += [manifest.locate(problem) for problem in config_problems(texts)]
        elif not (manifest.is_deployment or manifest.is_canary) and manifest.has_ours():
            elsewhere += [*manifest.duplicates(), *_misplaced(manifest)]
    told = {located.problem for located in elsewhere}
    checked = [
        _check_deployment(
            manifest, inherited.get(manifest.namespace or default_namespace, {}), told
        )
        for manifest in manifests
        if manifest.is_deployment and manifest.has_ours()
    ]
    return checked, elsewhere


def _check_deployment(
    manifest: Manifest, namespace: Mapping[str, str], told: set[Problem]
) -> Checked:
    deployment, problems = _texts(manifest)
    # Whatever their values are: they have to go from there.
    template = dict.fromkeys(manifest.annotations(_TEMPLATE), "")
    misplaced = set(template_problems(template))
    resolution = resolve_deployment(
        controller={}, namespace=namespace, deployment=deployment, template=template
    )
    # What is wrong with the Namespace was said of the Namespace.
    own = [
        manifest.locate(p, _TEMPLATE if p in misplaced else _ANNOTATIONS)
        for p in resolution.problems
        if p not in told
    ]
    return Checked(manifest, resolution, (*manifest.duplicates(), *problems, *own))


def _namespace_problems(manifest: Manifest, texts: Mapping[str, str]) -> Iterator[Located]:
    defaults, problems = namespace_defaults(texts)
    for problem in resolve([(NAMESPACE, defaults)], problems=problems).problems:
        # A detail of a check that only Deployments have is a sensible default.
        if problem.reason is not ProblemReason.MISSING_VALUE:
            yield manifest.locate(problem)


def _misplaced(manifest: Manifest) -> Iterator[Located]:
    kind = quote(manifest.kind or "(no kind)", 100)[1:-1]
    rule = f"stands on a {kind}; canaryd reads it on Deployments of apps/v1 only"
    for path in (_ANNOTATIONS, _TEMPLATE):
        for key in manifest.annotations(path):
            if _is_ours(key):
                problem = Problem(key, "", rule, "", ProblemReason.MISPLACED)
                yield manifest.locate(problem, path)


def _texts(manifest: Manifest) -> tuple[dict[str, str], list[Located]]:
    """Return the annotations that are text, and advice on those of ours that are not."""
    texts: dict[str, str] = {}
    problems: list[Located] = []
    for key, value in manifest.annotations().items():
        problem = describe_non_string(key, value)
        if problem is None:
            texts[key] = value
        elif _is_ours(key):
            origin = NAMESPACE if key.startswith(DEFAULTS_PREFIX) else DEPLOYMENT
            name = key.removeprefix(DEFAULTS_PREFIX).removeprefix(names.PREFIX)
            named = Problem(
                name, problem.value, problem.rule, problem.example, problem.reason, origin
            )
            problems.append(manifest.locate(named))
    return texts, problems


def _unpack(file: str, document: Document, path: YamlPath, value: Any) -> Iterator[Manifest]:
    if not isinstance(value, dict):
        return
    items = value.get("items")
    if _scalar(value.get("kind")).endswith("List") and isinstance(items, list):
        for index, item in enumerate(items):
            yield from _unpack(file, document, (*path, "items", index), item)
    else:
        yield Manifest(file, document, path, value)


def _scalar(value: Any) -> str:
    """Text of what has to be a word; empty for what is none."""
    return "" if value is None or isinstance(value, dict | list | set) else str(value)


def _below(value: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for key in path:
        found = value.get(key)
        value = found if isinstance(found, dict) else {}
    return value


def _is_ours(key: str) -> bool:
    domain, slash, _ = key.partition("/")
    domain += slash
    if domain == names.INTERNAL:
        return False
    return domain == names.PREFIX or domain.endswith(f".{names.PREFIX}")
