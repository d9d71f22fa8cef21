"""Keys about what is copied, and about a run that failed or a revision that fails later."""

from canaryd.core import rule as types
from canaryd.core.model import OnFailure
from canaryd.core.rule import Rule, Section

RULES: tuple[Rule, ...] = (
    Rule(
        key="config-tracking",
        type=types.CHOICE,
        section=Section.FAILURE,
        default="enabled",
        example="disabled",
        choices=("enabled", "disabled"),
        meaning=(
            "Whether ConfigMaps and Secrets that containers read belong to the revision and are "
            "copied for the primary. Pull secrets and credentials of volume drivers never are."
        ),
    ),
    Rule(
        key="config-exclude",
        type=types.CONFIG_REFERENCES,
        section=Section.FAILURE,
        example=types.CONFIG_REFERENCES.example,
        meaning="Configs that are shared: never copied, never a reason for a run.",
    ),
    Rule(
        key="autoscaler",
        type=types.NAME,
        section=Section.FAILURE,
        default="auto",
        example="podinfo",
        meaning=(
            "The HorizontalPodAutoscaler or ScaledObject (KEDA) to copy for the primary: `auto` "
            "finds it, `none` leaves autoscalers alone, a name chooses one."
        ),
    ),
    Rule(
        key="on-failure",
        type=types.CHOICE,
        section=Section.FAILURE,
        default="rollback",
        example="hold",
        choices=tuple(OnFailure),
        meaning=(
            "What a failed run does: `rollback` ends it; `hold` takes the users off and keeps the "
            "pods, `notify` changes nothing, and both wait for a person."
        ),
    ),
    Rule(
        key="keep-failed",
        type=types.DURATION,
        section=Section.FAILURE,
        default="0s",
        example="30m",
        at_most="168h",
        meaning="How long the pods of a failed revision stay, at weight 0, to be looked into.",
    ),
    Rule(
        key="watch-after-promotion",
        type=types.DURATION,
        section=Section.FAILURE,
        default="0s",
        example="15m",
        at_most="168h",
        meaning=(
            "How long a promoted revision is judged on by its metrics, at least one interval; when "
            "it fails, the revision before it is restored."
        ),
    ),
)
