"""The configs of an app between its revisions: copies the primary needs, configs newly tracked.

A copy is made again only with the content it had: the primary must never start on another one.
"""

from dataclasses import replace

from canaryd.core import names
from canaryd.core.decision import CopyConfig, Decision, Emit, SaveState
from canaryd.core.fingerprint import copy_digest
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import acts, state_of, target_of, waits
from canaryd.core.snapshot import Snapshot


def copies_lost(snap: Snapshot, now: float) -> Decision | None:
    """A copy that the primary's pods need and somebody deleted is made again while the config it
    was made of still says the same.
    """
    found = [_source_of(snap, key) for key in snap.primary_lacks]
    live = {key: content for key, (_, content) in snap.revision.seen.items()}
    again = [source for source in found if source is not None and live.get(source[0]) == source[1]]
    if not again:
        return None
    message = f"a copy of {', '.join(key for key, _ in again)} was deleted; making it again"
    return acts(
        Reason.COPY_LOST,
        message,
        *(CopyConfig(key, content) for key, content in again),
        Emit(Reason.COPY_LOST, message, "Warning"),
    )


def copies_unrecoverable(snap: Snapshot, now: float) -> Decision | None:
    """A copy whose content is nowhere any more is said, loudly: pods that run go on, new ones
    cannot start.
    """
    lost = snap.primary_lacks
    if not lost or snap.revision.name is None:
        return None
    used = {reference.key for reference in target_of(snap).references}
    shared = [key for key in lost if key in used]
    if shared:
        message = (
            f"{', '.join(shared)}, which the primary shares with Deployment {snap.key[1]}, does not"
            " exist. Pods that run go on, new ones of the primary cannot start. Create it again"
        )
    else:
        message = (
            f"{', '.join(lost)}, which the primary's pods need, was deleted and cannot be made"
            " again: the config it was a copy of says something else now. Pods that run go on, new"
            " ones of the primary cannot start. Put the old content back, or release a new revision"
        )
    return waits(snap, Reason.COPY_LOST, message, after=None, tell="Warning")


def _source_of(snap: Snapshot, lost: str) -> tuple[str, str] | None:
    """The config (``kind/name``) a copy was made of, and the content it had; None if unknown."""
    kind, _, name = lost.partition("/")
    recorded = [*state_of(snap).tracked.items(), *snap.revision.seen.items()]
    for key, (_, content) in recorded:
        source_kind, _, source = key.partition("/")
        digest = copy_digest(snap.key[1], kind, content)
        if source_kind == kind and names.config_copy_name(source, digest) == name:
            return key, content
    return None


def newly_tracked(snap: Snapshot, now: float) -> Decision | None:
    """What a config holds that settings track from now on is remembered: a change of it counts."""
    state = state_of(snap)
    unseen = sorted(set(snap.revision.beside) - set(state.tracked))
    if snap.revision.name is None or not unseen:
        return None
    saved = replace(state, tracked={**state.tracked, **snap.revision.beside})
    message = f"tracking {', '.join(unseen)} from the next revision on"
    return acts(Reason.IDLE, message, SaveState(saved))
