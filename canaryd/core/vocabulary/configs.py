"""Keys on ConfigMaps and Secrets: the owner of the data decides, for every app that uses it."""

from canaryd.core import rule as types
from canaryd.core.rule import Rule, Section

RULES: tuple[Rule, ...] = (
    Rule(
        key="track",
        type=types.BOOL,
        section=Section.CONFIGS,
        default="true",
        example="false",
        inherits=False,
        meaning=(
            "`false`: belongs to no revision of any app, as if every one of them named it in "
            "[`config-exclude`](#config-exclude). Never copied, never a reason for a run."
        ),
    ),
    Rule(
        key="copy",
        type=types.BOOL,
        section=Section.CONFIGS,
        default="true",
        example="false",
        inherits=False,
        meaning=(
            "`false`: a change of it is a revision, but it is not copied. The primary reads the "
            "same object as the canary and sees a change before it was analysed; roll-back and "
            "undo cannot bring the old content back."
        ),
    ),
)
