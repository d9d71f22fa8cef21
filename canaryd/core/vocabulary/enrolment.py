"""Keys about enrolment: whether canaryd has a Deployment, and how its new revisions are tried."""

from canaryd.core import rule as types
from canaryd.core.model import Feedback, Mode
from canaryd.core.program import Strategy
from canaryd.core.rule import Rule, Section

RULES: tuple[Rule, ...] = (
    Rule(
        key="enabled",
        type=types.BOOL,
        section=Section.ENROLMENT,
        default="false",
        example="true",
        inherits=False,
        meaning=(
            "`true` hands the Deployment to canaryd; `false`, or no key, hands traffic back "
            "first and then leaves. Never inherited."
        ),
    ),
    Rule(
        key="strategy",
        type=types.CHOICE,
        section=Section.ENROLMENT,
        default="canary",
        example="blue-green",
        choices=tuple(Strategy),
        meaning=(
            "How a new revision is tried: `canary` by rising weights or `steps`; `ab` by `match`, "
            "for `iterations`; `blue-green` beside the primary, for `iterations`, then all users "
            "at once; `direct` promotes what is ready without judging it."
        ),
    ),
    Rule(
        key="mode",
        type=types.CHOICE,
        section=Section.ENROLMENT,
        default="enforce",
        example="observe",
        choices=tuple(Mode),
        meaning="`observe` evaluates and reports, and never routes, copies or scales.",
    ),
    Rule(
        key="feedback",
        type=types.CHOICE,
        section=Section.ENROLMENT,
        default="conditions",
        example="none",
        choices=tuple(Feedback),
        meaning=(
            "What is said of a run on the Deployment itself: `conditions` puts `Reconciling` or "
            "`Stalled` into its status, where Flux, Helm and `kubectl wait` see them; `none` "
            "leaves its status alone."
        ),
    ),
    Rule(
        key="suspend",
        type=types.BOOL,
        section=Section.ENROLMENT,
        default="false",
        example="true",
        meaning="Freezes everything; a running analysis stays at its weight.",
    ),
    Rule(
        key="skip-analysis",
        type=types.SKIP,
        section=Section.ENROLMENT,
        default="false",
        example="8ab12",
        meaning=(
            "Promotes a new revision as soon as it is ready, without judging it: every one, or "
            "the one whose name begins so."
        ),
    ),
    Rule(
        key="retry",
        type=types.WORD,
        section=Section.ENROLMENT,
        example="2026-02-01a",
        meaning="A changed token analyses the last failed revision again.",
    ),
    Rule(
        key="history-limit",
        type=types.INT,
        section=Section.ENROLMENT,
        default="10",
        example="20",
        at_least="1",
        at_most="50",
        meaning="How many results, and revisions with their config copies, are kept.",
    ),
)
