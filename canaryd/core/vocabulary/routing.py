"""Keys about traffic: who carries it, to which Service, and which requests get to the canary."""

from canaryd.core import rule as types
from canaryd.core.model import Provider
from canaryd.core.rule import Rule, Section

RULES: tuple[Rule, ...] = (
    Rule(
        key="provider",
        type=types.CHOICE,
        section=Section.ROUTING,
        default="nginx",
        example="nginx",
        choices=tuple(Provider),
        meaning=(
            "Who carries the traffic split: `nginx` stands for canary Ingresses in the dialect "
            "that several controllers read, `smi` for a TrafficSplit, `gateway` for HTTPRoutes; "
            "`none` switches the Service and has no shares."
        ),
    ),
    Rule(
        key="service",
        type=types.LABEL,
        section=Section.ROUTING,
        default_note="the only Service that selects the pods",
        example="podinfo",
        max_length=55,
        meaning=(
            "The Service that users call. At most 55 characters, so that `-primary` fits behind "
            "it. Two candidates are refused, never guessed between."
        ),
    ),
    Rule(
        key="port",
        type=types.PORT,
        section=Section.ROUTING,
        default_note="the only port of the Service",
        example="http",
        meaning="The port of the Service that is split.",
    ),
    Rule(
        key="ingress",
        type=types.NAMES,
        section=Section.ROUTING,
        default_note="the Ingresses whose backend is the Service",
        example="podinfo,podinfo-internal",
        meaning="The Ingresses that get a canary beside them; for provider `nginx`.",
    ),
    Rule(
        key="ingress-class",
        type=types.NAME,
        section=Section.ROUTING,
        default_note="copied from the Ingress",
        example="nginx",
        meaning="Class of the generated canary Ingress; for provider `nginx`.",
    ),
    Rule(
        key="route",
        type=types.NAMES,
        section=Section.ROUTING,
        default_note="the HTTPRoutes that lead to the Service",
        example="podinfo",
        meaning="The HTTPRoutes whose weights are set; for provider `gateway`.",
    ),
    Rule(
        key="selector-label",
        type=types.LABEL_KEY,
        section=Section.ROUTING,
        default_note="the first of `app.kubernetes.io/name`, `app`, `name` in the selector",
        example="app",
        meaning="The label whose value gets `-primary` on the primary's pods.",
    ),
    Rule(
        key="match",
        type=types.MATCHES,
        section=Section.MATCHING,
        example="header x-canary=insider; cookie canary",
        meaning=(
            "The requests that get to the canary whatever the weight: each condition is one way to "
            "ask for it. With `steps`, between `match` and `unmatch`."
        ),
    ),
    Rule(
        key="mirror",
        type=types.PERCENT,
        section=Section.MATCHING,
        default="0",
        example="100",
        meaning=(
            "Requests that are mirrored to the canary, whose answers nobody gets, before it has "
            "users; for provider `gateway`. With `steps`, write `mirror N` there."
        ),
    ),
)
