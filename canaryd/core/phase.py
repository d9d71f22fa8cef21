"""Phases of an app and the transitions between them, each with the reason it exists.

::

                    ┌────────────── new revision ◄──────────────┐
                    ▼                                           │
    (none) ► Initializing ► Initialized ► Waiting ► Progressing ┤
                                             ▲        │   ▲     │
                                  confirm-rollout     │   └─────┘
                                                      ▼
                                 WaitingPromotion ► Promoting ► Finalising ► Succeeded
                                       │              │               └► Watching ┘
                                       └──► Failed ◄──┘
    any ► Terminating ► (gone)

The table is the second guard behind the chain of checks: a decision that moves along no arrow is
a defect, and
:func:`check_transition` says so.
"""

from enum import StrEnum


class Phase(StrEnum):
    """Display name of where an app stands; Flagger's spelling."""

    INITIALIZING = "Initializing"
    INITIALIZED = "Initialized"
    WAITING = "Waiting"
    PROGRESSING = "Progressing"
    WAITING_PROMOTION = "WaitingPromotion"
    PROMOTING = "Promoting"
    FINALISING = "Finalising"
    WATCHING = "Watching"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TERMINATING = "Terminating"


P = Phase

TRANSITIONS: dict[tuple[Phase, Phase], str] = {
    (P.INITIALIZING, P.INITIALIZED): "the primary serves and the target is idle",
    (P.INITIALIZED, P.WAITING): "a new revision waits for confirm-rollout",
    (P.INITIALIZED, P.PROGRESSING): "a new revision",
    (P.SUCCEEDED, P.WAITING): "a new revision waits for confirm-rollout",
    (P.SUCCEEDED, P.PROGRESSING): "a new revision",
    (P.FAILED, P.WAITING): "a new revision waits for confirm-rollout",
    (P.FAILED, P.PROGRESSING): "a new revision, or a retry of the failed one",
    (P.FAILED, P.SUCCEEDED): "the failed revision was reverted to the promoted one",
    (P.WAITING, P.PROGRESSING): "confirm-rollout passed",
    (P.WAITING, P.SUCCEEDED): "reverted before anything started",
    (P.WAITING, P.INITIALIZED): "reverted before anything started, nothing was promoted yet",
    (P.PROGRESSING, P.WAITING): "a newer revision waits for confirm-rollout",
    (P.PROGRESSING, P.WAITING_PROMOTION): "all steps passed, confirm-promotion has not",
    (P.PROGRESSING, P.PROMOTING): "all steps passed",
    (P.PROGRESSING, P.FAILED): "the analysis failed, or a deadline passed",
    (P.PROGRESSING, P.SUCCEEDED): "reverted to the promoted revision",
    (P.PROGRESSING, P.INITIALIZED): "reverted to the promoted revision, nothing was promoted yet",
    (P.WAITING_PROMOTION, P.PROMOTING): "confirm-promotion passed",
    (P.WAITING_PROMOTION, P.PROGRESSING): "a newer revision, or the canary was lost",
    (P.WAITING_PROMOTION, P.WAITING): "a newer revision waits for confirm-rollout",
    (P.WAITING_PROMOTION, P.FAILED): "the analysis failed while waiting",
    (P.WAITING_PROMOTION, P.SUCCEEDED): "reverted to the promoted revision",
    (P.WAITING_PROMOTION, P.INITIALIZED): "reverted to the promoted revision",
    (P.PROMOTING, P.FINALISING): "the primary runs the new revision and takes all traffic",
    (P.PROMOTING, P.PROGRESSING): "a newer revision before the primary was touched for good",
    (P.PROMOTING, P.WAITING): "a newer revision waits for confirm-rollout",
    (P.PROMOTING, P.FAILED): "the primary did not roll out",
    (P.FINALISING, P.SUCCEEDED): "drained",
    (P.FINALISING, P.WATCHING): "drained; watch-after-promotion",
    (P.WATCHING, P.SUCCEEDED): "the watch is over, or a newer revision waits",
    (P.WATCHING, P.PROMOTING): "the watched revision is undone",
    (P.INITIALIZED, P.PROMOTING): "undo",
    (P.SUCCEEDED, P.PROMOTING): "undo",
    (P.FAILED, P.PROMOTING): "undo",
    (P.WAITING, P.FAILED): "aborted, or max-duration passed",
}


def check_transition(old: Phase | None, new: Phase) -> str:
    """The reason the transition exists, or an empty string when it does not."""
    if old is None or old == new:
        return "stays"
    if new in (P.TERMINATING, P.INITIALIZING):
        return (
            "leaving is possible from everywhere, and enrolment starts over when the primary was"
            " lost"
        )
    return TRANSITIONS.get((old, new), "")


IDLE_PHASES = frozenset({P.INITIALIZED, P.SUCCEEDED, P.FAILED})
RUN_PHASES = frozenset({P.WAITING, P.PROGRESSING, P.WAITING_PROMOTION, P.PROMOTING, P.FINALISING})
"""A run is under way, and users may be on more than one revision."""
