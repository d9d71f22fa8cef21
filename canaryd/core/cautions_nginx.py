"""What main Ingresses of the ingress-nginx dialect do to a canary without a word: traps to tell of
before a run.

None of it keeps an app from being enrolled: these are settings that people have for good reasons,
under which a weight means something else than it says, or a check sees something else than users
do. What makes a canary impossible is refused by :func:`canaryd.core.routes_nginx.problem_of`; what
readers inherit faithfully (rewriting, regular expressions, protocols, limits) is not mentioned.

Facts of ingress-nginx 1.15 (``rootfs/etc/nginx/lua/balancer.lua``, ``internal/ingress/controller``)
and Traefik 3.7 (``pkg/provider/kubernetes/ingress-nginx``). Sentences end without a full stop and
must never quote more of an Ingress than the names and keys a person needs to find it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from canaryd.core.routes_nginx import CLASS_ANNOTATION, backend_paths, is_canary
from canaryd.core.views import ObjectView

PREFIX: Final = "nginx.ingress.kubernetes.io"
_TRUE: Final = frozenset({"1", "t", "T", "true", "True", "TRUE"})
"""What Go's ``strconv.ParseBool``, by which all of them read, takes for true."""
_FOLDED: Final = {"": "Prefix", "ImplementationSpecific": "Prefix"}
"""Path types that ingress-nginx takes for another."""


def cautions_of(
    main: ObjectView, service: str, others: Iterable[ObjectView], *, prefix: str = PREFIX
) -> tuple[str, ...]:
    """What to tell about a main Ingress that leads to ``service``, one sentence a trap.

    Args:
        main: an Ingress that carries the canary.
        service: the apex Service.
        others: Ingresses of the namespace that the app does not take: with ``canaryd.io/ingress``
            those that it does not name.
        prefix: of the annotations that the ingress controller reads.

    """
    says = _Says(main, service, prefix)
    of_annotations = (
        says.keeps_users(),
        says.keeps_users_for_nobody(),
        says.hashes(),
        says.asks_the_service(),
        says.passes_through(),
        says.falls_back(),
        says.answers_errors(),
    )
    neighbours = sorted(others, key=lambda other: other.id.name)
    of_neighbours = (_neighbour(main, other, service) for other in neighbours)
    return tuple(sentence for sentence in (*of_annotations, *of_neighbours) if sentence)


@dataclass(frozen=True, slots=True)
class _Says:
    """What the annotations of a main Ingress bring; each method is one trap, empty without it."""

    main: ObjectView
    service: str
    prefix: str

    def keeps_users(self) -> str:
        # The canary inherits the affinity, and both sides' cookies are asked before the weight is.
        if not self._is_sticky:
            return ""
        return (
            f"{self._name} keeps users where they are ({self._key('affinity')}: cookie): the canary"
            " gets fewer users than its weight until their cookies end, and in ingress-nginx its"
            " users stay with it also when the weight is 0 again, until its pods are gone; remove"
            f" the annotation, or end cookies soon by {self._key('session-cookie-max-age')}"
        )

    def keeps_users_for_nobody(self) -> str:
        # ingress-nginx reads it on the canary Ingress, where canaryd writes no key but its own.
        if not self._is_sticky or not self._text("affinity-canary-behavior"):
            return ""
        return (
            f"{self._key('affinity-canary-behavior')} of {self._name} has no effect: ingress-nginx"
            " reads it on the canary's Ingress, where canaryd does not write it, and Traefik"
            " nowhere"
        )

    def hashes(self) -> str:
        if self._is_sticky or not self._text("upstream-hash-by"):
            return ""
        return (
            f"{self._name} sends a client to the same pod by a hash"
            f" ({self._key('upstream-hash-by')}), but whether to the canary's pods is drawn anew"
            " for each request: during a run one client meets both versions"
        )

    def asks_the_service(self) -> str:
        if not self._is_on("service-upstream"):
            return ""
        return (
            f"{self._name} sends requests to the address of Service {self.service} and not to its"
            f" pods ({self._key('service-upstream')}): connections that are kept open lead to old"
            " pods after a promotion, and Traefik does not notice when the canary has no pods, so"
            " that its share fails instead of going to the primary; remove the annotation"
        )

    def passes_through(self) -> str:
        if not self._is_on("ssl-passthrough"):
            return ""
        return (
            f"{self._name} passes TLS through to the pods ({self._key('ssl-passthrough')}): what"
            " nobody reads on the way is not split, and its users stay with the primary at every"
            " weight; remove the annotation where the ingress controller heeds it"
        )

    def falls_back(self) -> str:
        if not (fallback := self._text("default-backend")):
            return ""
        return (
            f"when the canary has no pods, Traefik sends its share of {self._name} to Service"
            f" {fallback} ({self._key('default-backend')}) instead of to the primary, and counts"
            " what that answers as the canary's; remove the annotation"
        )

    def answers_errors(self) -> str:
        if not self._text("custom-http-errors"):
            return ""
        return (
            f"errors behind {self._name} are answered by another backend"
            f" ({self._key('custom-http-errors')}), and ingress-nginx counts the status which that"
            " one answers with: if it is not the one of the header X-Code, errors of the canary"
            " are not seen"
        )

    @property
    def _name(self) -> str:
        return f"Ingress {self.main.id.name}"

    @property
    def _is_sticky(self) -> bool:
        return self._text("affinity") == "cookie"

    def _is_on(self, key: str) -> bool:
        return self._text(key) in _TRUE

    def _text(self, key: str) -> str:
        return self.main.annotations.get(self._key(key), "").strip()

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}"


def _neighbour(main: ObjectView, other: ObjectView, service: str) -> str:
    """What an Ingress that the app does not take brings; empty when it has nothing to do with it.

    Readers attach a canary to the Service and port that its path leads to, and not to an Ingress:
    whatever else they read that leads there is split as well.
    """
    if other.id.key == main.id.key or other.is_ours or is_canary(other):
        return ""
    classes = {_class_of(main), _class_of(other)}
    is_apart = len(classes) > 1 and "" not in classes
    if not is_apart and (sentence := _rival(main, other, service)):
        return sentence
    ports = {path.port for path in backend_paths(other, service)}
    if not ports:
        return ""
    if is_apart or ports.isdisjoint(path.port for path in backend_paths(main, service)):
        what = "its users all stay with the primary, and fewer than the weight get the canary"
    elif len(classes) > 1:
        what = (
            "its users may get the canary too, or all stay with the primary, unseen by the checks"
        )
    else:
        what = "its users get the canary too, unseen by the checks"
    return (
        f"Ingress {other.id.name} leads to Service {service} as well and is not named in"
        f" canaryd.io/ingress: {what}; name it too"
    )


def _rival(main: ObjectView, other: ObjectView, service: str) -> str:
    """Another Ingress on a path of the main one: of those only one counts, the older in
    ingress-nginx, and the canary goes to whichever does.
    """
    wanted = {place for place, backend in _places(main) if backend == service}
    shared = sorted(
        (place, backend) for place, backend in _places(other) if place in wanted and backend
    )
    if not shared:
        return ""
    (host, path, _), backend = shared[0]
    where = f"{host or 'any host '}{path}"
    both = (
        f"Ingresses {main.id.name} and {other.id.name} both have {where}: only one of them counts"
    )
    if backend == service:
        what = "and requests are counted under its name alone, so that a run may see none"
    else:
        what = f"and the canary may go to users of Service {backend}"
    return f"{both} (in ingress-nginx the older), {what}; take the path away from one"


def _places(ingress: ObjectView) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Host, path and folded path type, and the Service behind; empty for what is no Service."""
    for rule in ingress.spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            kind = path.get("pathType") or ""
            place = (rule.get("host") or "", path.get("path") or "/", _FOLDED.get(kind, kind))
            yield place, _service_of(path)


def _service_of(path: Mapping[str, Any]) -> str:
    service = (path.get("backend") or {}).get("service") or {}
    return str(service.get("name") or "")


def _class_of(ingress: ObjectView) -> str:
    """The class as its reader takes it: the field goes before the old annotation."""
    return str(
        ingress.spec.get("ingressClassName") or ingress.annotations.get(CLASS_ANNOTATION) or ""
    )
