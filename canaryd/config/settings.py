"""The settings of one process: every key there is, its limits and its default.

pydantic stands at this edge and nowhere else; the rest of the program reads attributes. Everything
is frozen and unknown keys are refused everywhere, because a misspelt setting that is ignored is
found out during an outage. There are no credentials in here: they are read from where Kubernetes
puts them.

``load`` fills the model from file, environment and flags, and puts what pydantic says into words.
The text below each field is its entry in ``docs/reference/settings.md``.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from canaryd.core import units
from canaryd.core.annotations import describe_non_string, resolve
from canaryd.core.problems import CONTROLLER, ProblemReason
from canaryd.core.units import quote

V = TypeVar("V")

CUSTOM: Final = "canaryd"
"""Type of the errors that are worded here; ``load`` passes their words on as they are."""

_HOST_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:\*\.)?{_HOST_LABEL}(?:\.{_HOST_LABEL})*")
# Of a source also what Kubernetes would not take, but a resolver does: metrics may live elsewhere.
_SOURCE_HOST = re.compile(r"[A-Za-z0-9_](?:[-A-Za-z0-9_.]*[A-Za-z0-9_])?")
_SUBDOMAIN = rf"^(?:{units.SUBDOMAIN})$"


def refuse(rule: str, *key: str | int) -> PydanticCustomError:
    """Make the error for a value that breaks ``rule``; ``key`` goes below the validated value."""
    return refuse_all([(rule, key)])


def refuse_all(problems: Iterable[tuple[str, tuple[str | int, ...]]]) -> PydanticCustomError:
    """Make one error of several rules, each with its key below the validated value."""
    return PydanticCustomError(CUSTOM, "refused", {"problems": tuple(problems)})


class Section(BaseModel):
    """A part of the settings: nothing unknown, nothing changed later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


# --- kinds of values ---


def _no_bool(value: Any) -> Any:
    # YAML reads `yes` as True, and pydantic True as 1.
    if isinstance(value, bool):
        raise refuse("is not a number")
    return value


def _as_text(value: Any) -> Any:
    if value is None:  # `key:` with nothing behind it
        return ""
    return value


def _printable(text: str) -> str:
    if not text.isprintable():
        raise refuse("has a character that cannot be printed")
    return text


def _label(text: str) -> str:
    if not re.fullmatch(units.LABEL, text):
        raise refuse('is not the name of a namespace, such as "shop"')
    return text


def _label_or_empty(text: str) -> str:
    return _label(text) if text else ""


def _host(text: str) -> str:
    if _is_address(text):
        return str(ipaddress.ip_address(text))
    if len(text) > 253 or not _HOST.fullmatch(text):
        raise refuse('is not a host name; write "hooks.example.com" or "*.example.com"')
    return text.lower()


def _listen_host(text: str) -> str:
    """Refuse here what would only be found out when the port is opened."""
    if not text or _is_address(text):
        return text
    if text == "*":
        raise refuse("is no address; leave it empty for every interface")
    if text.startswith("[") and _is_address(text[1:-1]):
        raise refuse(f'has brackets; write "{text[1:-1]}"')
    if "*" in text or not _HOST.fullmatch(text):
        raise refuse('is neither an address nor a host name, such as "127.0.0.1", "::1" or ""')
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        wider = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise refuse('is not a network in CIDR notation, such as "10.20.0.0/16"') from None
    raise refuse(f'has bits beyond its length; write "{wider}"')


def _source_url(text: str) -> str:
    rule = 'is not an http or https URL, such as "http://prometheus.monitoring:9090"'
    try:
        parts = urlsplit(text)
        host, port_is_valid = parts.hostname or "", parts.port != 0
    except ValueError:
        host, port_is_valid = "", False
    # Before the rest: a password with a slash in it makes a URL that means something else.
    if "@" in text:
        raise refuse("carries credentials, which would end in logs; leave out what is before the @")
    if "?" in text or "#" in text or any(c <= " " or not c.isprintable() for c in text):
        raise refuse("has more than a host and a path; leave out blanks, `?` and `#`")
    is_host = _SOURCE_HOST.fullmatch(host) or _is_address(host)
    if not text.lower().startswith(("http://", "https://")) or not is_host or not port_is_valid:
        raise refuse(rule)
    return text.rstrip("/")


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(seen := set(values)) < len(values):
        again = [index for index, value in enumerate(values) if _is_again(value, seen)]
        raise refuse_all((f"is there twice: {quote(values[index])}", (index,)) for index in again)
    return values


def _is_again(value: str, first: set[str]) -> bool:
    """Whether a value has been seen; ``first`` has those that have not."""
    if value in first:
        first.remove(value)
        return False
    return True


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


def _freeze(values: Mapping[str, V]) -> Mapping[str, V]:
    return MappingProxyType(dict(values))


Text = Annotated[str, BeforeValidator(_as_text), AfterValidator(_printable), Field(max_length=4096)]
Count = Annotated[int, BeforeValidator(_no_bool)]
Seconds = Annotated[float, BeforeValidator(_no_bool)]
Namespace = Annotated[str, AfterValidator(_label)]
Frozen = (AfterValidator(_freeze), PlainSerializer(dict))


def _defaults(values: Any) -> Any:
    """Refuse what no Deployment could use: the same rules as for annotations."""
    if not isinstance(values, Mapping):
        return values
    found: list[tuple[str, tuple[str | int, ...]]] = []
    texts: dict[str, str] = {}
    for key, value in values.items():
        if problem := describe_non_string(str(key), value):
            found.append((f"{problem.rule}; write {problem.example}", (str(key),)))
        else:
            texts[str(key)] = value
    for problem in resolve([(CONTROLLER, texts)]).problems:
        # A detail of a check that only Deployments have is a sensible default.
        if problem.reason is not ProblemReason.MISSING_VALUE:
            words = problem.message.removeprefix(f"{problem.where}: ")
            found.append((words.removeprefix(f"{quote(problem.value)} "), (problem.key,)))
    if found:
        raise refuse_all(found)
    return values


# --- sections ---


class Scope(Section):
    """Which namespaces are watched. A choice without a default: the rights differ."""

    mode: Literal["cluster", "namespaces"]
    """`cluster` watches all namespaces, `namespaces` those that are listed."""
    namespaces: Annotated[tuple[Namespace, ...], AfterValidator(_unique)] = ()
    """Names, if `mode` is `namespaces`; else empty."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.mode == "namespaces" and not self.namespaces:
            raise refuse('is empty; name a namespace, or set scope.mode to "cluster"', "namespaces")
        if self.mode == "cluster" and self.namespaces:
            raise refuse('has names; set scope.mode to "namespaces" or remove them', "namespaces")
        return self


class LeaderElection(Section):
    """The Lease by which one of several replicas leads.

    `retry_s` has to be less than `renew_s`, and that less than `lease_s`:
    a leader must have stopped before the Lease that others wait for runs out.
    """

    enabled: bool = True
    """`false` for a single replica without a Lease; two of those would fight over every app."""
    namespace: Annotated[Text, AfterValidator(_label_or_empty)] = ""
    """Where the Lease lies; empty for the namespace canaryd itself runs in."""
    name: Annotated[str, Field(pattern=_SUBDOMAIN, max_length=253)] = "canaryd"
    """Name of the Lease: one for each installation."""
    lease_s: Annotated[Seconds, Field(ge=2, le=300)] = 15.0
    """After this many seconds without renewal others may lead."""
    renew_s: Annotated[Seconds, Field(ge=1, le=299)] = 10.0
    """A leader that could not renew for this many seconds stops."""
    retry_s: Annotated[Seconds, Field(ge=0.1, le=298)] = 2.0
    """Seconds between two tries to renew or to acquire."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        pairs = (("renew_s", "lease_s"), ("retry_s", "renew_s"))
        found = [
            (self._disorder(less, more), (less,))
            for less, more in pairs
            if getattr(self, less) >= getattr(self, more)
        ]
        if found:
            raise refuse_all(found)
        return self

    def _disorder(self, less: str, more: str) -> str:
        rule = f"is not less than {more} ({getattr(self, more):g})"
        if less in self.model_fields_set:
            return rule
        return f"has the default {getattr(self, less):g}, which {rule}"


class Nginx(Section):
    """Traffic by the canary annotations of an Ingress, in the dialect of who reads them."""

    enabled: bool = True
    """Whether apps may use this provider."""
    annotation_prefix: Annotated[str, Field(pattern=_SUBDOMAIN, max_length=253)] = (
        "nginx.ingress.kubernetes.io"
    )
    """Prefix of the annotations, if the controller was started with another than its own."""
    dialect: Literal["ingress-nginx", "traefik", "higress"] = "ingress-nginx"
    """Who reads the annotations, and whose metrics count requests."""
    propagation_s: Annotated[Seconds, Field(ge=0, le=300)] = 3.0
    """Seconds until a written weight is in force at every replica of the controller."""


class Smi(Section):
    """Traffic by SMI TrafficSplits, for Linkerd with its SMI extension and for private readers."""

    enabled: bool = False
    """Whether apps may use this provider."""
    version: Literal["auto", "v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"] = "auto"
    """Version of the kind. `auto` asks the cluster, and takes v1alpha2, v1alpha4, v1alpha3 or
    v1alpha1, whichever it has first."""
    dialect: Literal["linkerd"] = "linkerd"
    """Whose metrics count requests."""
    propagation_s: Annotated[Seconds, Field(ge=0, le=300)] = 3.0
    """Seconds until a written weight is in force at every proxy of the mesh."""


class Gateway(Section):
    """Traffic by the backends of HTTPRoutes (Gateway API), of gateways and of meshes (GAMMA)."""

    enabled: bool = False
    """Whether apps may use this provider."""
    dialect: Literal[
        "traefik",
        "kgateway",
        "contour",
        "istio",
        "istio-ambient",
        "linkerd",
        "envoy-gateway",
        "nginx-gateway-fabric",
        "other",
    ] = "other"
    """Who reads the routes, and whose metrics count requests. The last three have no metrics that
    tell canary and primary apart: their apps need queries of their own (`metric.<name>.query`)."""
    propagation_s: Annotated[Seconds, Field(ge=0, le=300)] = 3.0
    """Seconds until written weights are in force at every replica of the data plane."""


class NoRouter(Section):
    """Traffic by the selector of the Service alone: all or nothing, for blue/green."""

    enabled: bool = True
    """Whether apps may use this provider. It needs no right that canaryd has not anyway."""
    propagation_s: Annotated[Seconds, Field(ge=0, le=300)] = 3.0
    """Seconds until whoever follows the Service goes to its new endpoints."""


class Providers(Section):
    """Who may carry traffic."""

    nginx: Nginx = Nginx()
    smi: Smi = Smi()
    gateway: Gateway = Gateway()
    none: NoRouter = NoRouter()


class Keda(Section):
    """ScaledObjects: paused between runs, copied for the primary."""

    enabled: bool = False
    """Whether they are looked after. Without it an app that one scales is refused."""


class Autoscalers(Section):
    """What scales apps besides HorizontalPodAutoscalers, which are always looked after."""

    keda: Keda = Keda()


class MetricSource(Section):
    """A named source of metrics; annotations use its name, never a URL.

    A name is a label of Kubernetes: a-z, 0-9 and dashes. The one called `default` is used by checks
    that name none.
    """

    type: Literal["prometheus"] = "prometheus"
    """What it is: anything that speaks the HTTP API of Prometheus."""
    url: Annotated[str, AfterValidator(_source_url), Field(max_length=2048)]
    """Where it is, without `/api/v1`. No credentials, no `?`, no `#`."""
    timeout_s: Annotated[Seconds, Field(ge=0.1, le=300)] = 10.0
    """Seconds one query may take; after that the check is inconclusive."""


class Secrets(Section):
    """Whether Secrets are read and copied like ConfigMaps, or never touched."""

    access: Literal["none", "all"] = "none"
    """`all` needs the rights that the chart grants with `secrets.access=all`."""


class Egress(Section):
    """Where hooks and load tests may go besides Services of the app's own namespace."""

    allowed_hosts: Annotated[
        tuple[Annotated[str, AfterValidator(_host)], ...], AfterValidator(_unique)
    ] = ()
    """Host names and addresses; `*.example.com` stands for every name below it."""
    allow_private_networks: Annotated[
        tuple[Annotated[str, AfterValidator(_network)], ...], AfterValidator(_unique)
    ] = ()
    """Networks in CIDR notation that hosts may resolve to although they are private."""


class LoadTests(Section):
    """Limits of embedded load tests."""

    enabled: bool = True
    """Whether apps may have load tests."""
    max_rate: Annotated[Count, Field(ge=1, le=100_000)] = 500
    """Requests a second of one load test, at most."""
    max_concurrent: Annotated[Count, Field(ge=1, le=100)] = 4
    """Load tests that run at the same time; further ones wait."""


class Log(Section):
    """What is logged, and for whom; see [logs](logs.md)."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written."""
    format: Literal["json", "text"] = "json"
    """`json` for programs, `text` for people."""


class Server(Section):
    """Where probes and [metrics](metrics.md) are served."""

    host: Annotated[Text, AfterValidator(_listen_host), Field(max_length=253)] = ""
    """Address or host name to listen on; empty is every interface, IPv4 and IPv6."""
    port: Annotated[Count, Field(ge=0, le=65535)] = 8080
    """Port to listen on; 0 lets the system choose one."""


class AdmissionWebhook(Section):
    """The webhook that the daemon serves, if `admission.keep` is `webhook`."""

    port: Annotated[Count, Field(ge=0, le=65535)] = 9443
    """Port to listen on, at `server.host`; 0 lets the system choose one."""
    name: Annotated[str, Field(pattern=_SUBDOMAIN, max_length=253)] = "canaryd-webhook"
    """Service by which the API server finds it, and Secret with its certificate, both in the
    namespace canaryd itself runs in."""
    configuration: Annotated[str, Field(pattern=_SUBDOMAIN, max_length=253)] = "canaryd"
    """MutatingWebhookConfiguration that is told which certificates are good."""


class Admission(Section):
    """What the chart installed beside the daemon."""

    keep: Literal["policy", "webhook", "off"] = "off"
    """What keeps selectors and replicas against other writers: the policies of the chart, a webhook
    that this process serves, or nothing."""
    commands: bool = False
    """Whether the policy is installed that holds commands to the verbs of RBAC and to the name of
    who gives them."""
    username: Text = ""
    """Name under which the API server knows canaryd; the webhook lets its writes pass."""
    webhook: AdmissionWebhook = AdmissionWebhook()

    @model_validator(mode="after")
    def _knows_itself(self) -> Self:
        if self.keep == "webhook" and not self.username:
            raise refuse(
                'is empty; "webhook" needs it, or canaryd\'s own writes are kept off', "username"
            )
        return self


def _source_name(text: str) -> str:
    if not re.fullmatch(units.LABEL, text):
        raise refuse('is not a name for a source, such as "default"')
    return text


class Settings(Section):
    """Everything one process is told."""

    scope: Scope
    leader_election: LeaderElection = LeaderElection()
    providers: Providers = Providers()
    autoscalers: Autoscalers = Autoscalers()
    metric_sources: Annotated[
        Mapping[Annotated[str, AfterValidator(_source_name)], MetricSource], *Frozen
    ] = Field(default_factory=_nothing)
    secrets: Secrets = Secrets()
    defaults: Annotated[Mapping[str, str], BeforeValidator(_defaults), *Frozen] = Field(
        default_factory=_nothing
    )
    """[Annotations](annotations.md) that hold for every app that does not say otherwise,
    keys without prefix, values as text."""
    egress: Egress = Egress()
    load_tests: LoadTests = LoadTests()
    log: Log = Log()
    server: Server = Server()
    max_runs: Annotated[Count, Field(ge=0, le=10000)] = 0
    """How many runs may be under way at once; more wait, who waits longest comes first. 0 for any
    number."""
    workers: Annotated[Count, Field(ge=1, le=256)] = 16
    """Apps that are looked at at the same time."""
    resync_s: Annotated[Seconds, Field(ge=10, le=86_400)] = 600.0
    """Seconds after which every app is looked at although nothing happened."""
    admission: Admission = Admission()
    kubeconfig: Text = ""
    """File to connect with; empty for `$KUBECONFIG`, then the pod's own account, then `~/.kube`."""
    context: Text = ""
    """Context of the kubeconfig; empty for its current one."""
    identity: Annotated[Text, Field(max_length=253)] = ""
    """Name in the Lease and in Events; empty for the host's name and a random part."""
    dry_run: bool = False
    """Decide and tell, change nothing, and do not take part in the election."""
    once: bool = False
    """Look at every app once, then end."""
