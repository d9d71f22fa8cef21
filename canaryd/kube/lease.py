"""Leader election on a ``coordination.k8s.io`` Lease: of all replicas, one writes.

Own elector, because the packaged one cannot create a Lease and lets a leader work on when its
renewals fail (L1 to L7). Two rules make two leaders impossible:

- A leader is one until ``renew_s`` after it *sent* its last good renewal, by its own steady clock.
  At that moment its work is cancelled and awaited; :meth:`LeaderElector.guard` stops what is late.
- Everybody else waits until the record has not *changed* for the lease's duration, each by its own
  clock. Timestamps in the record are for people: no clock of another machine is believed.

``lease_s - renew_s`` is the margin for a write that had left when time ran out.
Every write of the Lease carries the version it is based on, so of two candidates one gets it.
The identity must be unique: a Lease in our name is taken back without waiting.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from canaryd.core.kinds import LEASE
from canaryd.kube.codecs import micro_time
from canaryd.ports.clock import Clock
from canaryd.ports.errors import Conflict, KubeError, NotFound, NotLeading, ServerError
from canaryd.ports.kube import KubeApi, Manifest

log = logging.getLogger(__name__)

RELEASE_S: Final = 1.0
"""Longest that giving up the Lease may hold up the end of the process."""
ATTEMPT_SHARE: Final = 0.5
"""One try may take this share of ``renew_s``: a dead connection leaves time for a second one."""
JITTER: Final = 0.25
"""Pauses are shorter than ``retry_s`` by up to this share, never longer."""
_COMPLAINTS: Final = 16


@dataclass(frozen=True, slots=True)
class _Record:
    """The Lease as it was last seen; without a version there is none.

    Equal records are the same renewal: a label somebody adds makes a new version, not a new one.
    """

    version: str = field(default="", compare=False)
    holder: str = ""
    duration_s: float = 0.0
    acquired: str = ""
    renewed: str = ""
    transitions: int = -1
    """How often the holder changed; the first one counts as none."""

    @classmethod
    def of(cls, lease: Manifest) -> Self:
        meta, spec = lease.get("metadata") or {}, lease.get("spec") or {}
        if not meta.get("resourceVersion"):
            raise ServerError("the answer is no Lease: it has no resourceVersion")
        return cls(
            version=str(meta["resourceVersion"]),
            holder=str(spec.get("holderIdentity") or ""),
            duration_s=float(spec.get("leaseDurationSeconds") or 0),
            acquired=str(spec.get("acquireTime") or ""),
            renewed=str(spec.get("renewTime") or ""),
            transitions=int(spec.get("leaseTransitions") or 0),
        )


class LeaderElector:
    """Implements ``canaryd.controller.manager.Elector``; one :meth:`run` at a time.

    Args:
        api: a client without a guard, since the Lease must be written to become leader.
        namespace: of the Lease.
        name: of the Lease.
        identity: written as holder; no other process may have it.
        clock: its :meth:`now` must run with the event loop's time.
        lease_s: how long others wait for a silent leader.
        renew_s: how long a leader goes on without a good renewal.
        retry_s: longest pause between two tries.
        on_change: told True when this process starts to lead, False when it has stopped.
        rand: for jitter, 0 to 1.

    Raises:
        ValueError: the times are not in order, or the identity is empty.

    """

    def __init__(  # noqa: PLR0913 - the numbers of an election, all by name
        self,
        api: KubeApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        lease_s: float = 15.0,
        renew_s: float = 10.0,
        retry_s: float = 2.0,
        on_change: Callable[[bool], None] | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < retry_s < renew_s < lease_s:
            raise ValueError(
                "leader election needs 0 < retry_s < renew_s < lease_s, "
                f"got {retry_s:g}, {renew_s:g}, {lease_s:g}"
            )
        if not identity:
            raise ValueError("leader election needs an identity: an empty one means released")
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._retry_s = retry_s
        self._on_change = on_change
        self._rand = rand
        self._leads_until = -math.inf
        self._seen = _Record()
        self._seen_at = -math.inf
        self._may_hold = False
        self._complaints: set[str] = set()

    def guard(self) -> None:
        """Pass while this process leads; called just before each write leaves.

        Raises:
            NotLeading: it does not hold the Lease, or could not renew it in time.

        """
        if self._clock.now() < self._leads_until:
            return
        held = not math.isinf(self._leads_until)
        why = "was not renewed in time" if held else "is not held by this process"
        raise NotLeading(f"not sent: the Lease {self._place} {why}")

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Campaign, lead, campaign again, until cancelled or until ``lead`` ends by itself.

        Whatever ``lead`` raises comes out of here, after the Lease was given up (L5).
        """
        try:
            while True:
                await self._campaign()
                if await self._reign(lead):
                    return
        finally:
            if self._may_hold:
                await self._release()

    # --- campaign and reign ---

    async def _campaign(self) -> None:
        """Return when this process leads."""
        while True:
            began = self._clock.now()
            try:
                until = await self._attempt(ATTEMPT_SHARE * self._renew_s)
            except NotLeading as error:
                log.debug("standing by: %s", error)
                until = None
            if until is not None:
                self._leads_until = until
                return
            await self._pause(began)

    async def _reign(self, lead: Callable[[], Awaitable[None]]) -> bool:
        """Lead until leadership is lost, and wait for the end of the work; whether it ended itself.

        A time limit that renewals push ahead, rather than a loop that stops a leader: when nothing
        happens any more, it is over (L2, L3).
        """
        log.info("leading: Lease %s, term %d", self._place, self._seen.transitions)
        self._tell(leads=True)
        failure: Exception | None = None
        has_ended = False
        try:
            async with asyncio.TaskGroup() as group:
                scope = asyncio.timeout_at(self._loop_time(self._leads_until))
                keeper = group.create_task(self._keep(scope), name="lease")
                try:
                    async with scope:
                        failure = await _failure_of(lead)
                        has_ended = True
                except TimeoutError:
                    log.debug("the work of the leader was cancelled and has ended")
                finally:
                    keeper.cancel()
        finally:
            self._leads_until = -math.inf
            self._tell(leads=False)
        if failure is not None:
            raise failure
        if scope.expired():
            log.warning("no longer leading: Lease %s; campaigning again", self._place)
        return has_ended and not scope.expired()

    async def _keep(self, scope: asyncio.Timeout) -> None:
        """Renew, and move the end of the leader's scope ahead with each success."""
        began = self._clock.now()
        while not scope.expired():
            await self._pause(began)
            began = self._clock.now()
            left_s = self._leads_until - began
            if left_s <= 0:
                return  # the scope ends at this moment by itself
            try:
                until = await self._attempt(min(left_s, ATTEMPT_SHARE * self._renew_s))
            except NotLeading as error:
                log.warning("leadership is lost: %s", error)
                until = -math.inf
            # A renewal that comes back after the end changes nothing: the work is ending already.
            if until is not None and not scope.expired():
                self._leads_until = until
                scope.reschedule(self._loop_time(until))

    async def _pause(self, began: float) -> None:
        """Sleep until the next try is due, or until another's Lease runs out if that is earlier."""
        now = self._clock.now()
        due = began + self._retry_s * (1.0 - JITTER * self._rand())
        runs_out = self._seen_at + self._term_s
        if now < runs_out < due and not self._is_ours:
            due = runs_out
        await self._clock.sleep(max(0.0, due - now))

    # --- one try ---

    async def _attempt(self, limit_s: float) -> float | None:
        """Write the Lease in our name; until when we lead, None when that is not known.

        Whatever goes wrong counts as not renewed, not as the end of anything (L2).

        Raises:
            NotLeading: somebody else holds it.

        """
        try:
            async with asyncio.timeout(limit_s):
                until = await self._claim()
        except NotLeading:
            raise
        except TimeoutError:
            self._complain("no answer in time")
        except KubeError as error:
            self._complain(str(error))  # of a 403: with the verb and the resource that are missing
        except Exception:
            log.exception("a defect in canaryd: the Lease %s is not written", self._place)
        else:
            self._stop_complaining()
            return until
        return None

    async def _claim(self) -> float:
        if not self._is_ours:
            await self._look()
        try:
            return await self._write()
        except (Conflict, NotFound):
            # Changed since, perhaps by a write of ours whose answer was lost; or deleted (L4).
            await self._look()
            return await self._write()

    async def _look(self) -> None:
        try:
            lease = await self._api.get(LEASE, self._namespace, self._name)
        except NotFound:
            # The holder goes on until its time is over, whoever deleted its Lease: so do we wait.
            self._see(replace(self._seen, version=""))
        else:
            self._see(_Record.of(lease))

    async def _write(self) -> float:
        """Create or patch; counted from the moment of sending, so that others wait longer."""
        seen, sent_at, stamp = self._seen, self._clock.now(), micro_time(self._clock.wall())
        if seen.holder and not self._is_ours and sent_at < self._seen_at + self._term_s:
            raise NotLeading(f"{seen.holder!r} holds the Lease {self._place}")
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._lease_s),  # an int32 (L7); never too short
            "acquireTime": seen.acquired if self._is_ours and seen.acquired else stamp,
            "renewTime": stamp,
            "leaseTransitions": seen.transitions + (not self._is_ours),
        }
        self._may_hold = True
        self._see(_Record.of(await self._send(spec)))
        return sent_at + self._renew_s

    async def _send(self, spec: dict[str, Any]) -> Manifest:
        if self._seen.version:
            patch = {"metadata": {"resourceVersion": self._seen.version}, "spec": spec}
            return await self._api.merge_patch(LEASE, self._namespace, self._name, patch)
        return await self._api.create(
            {
                "apiVersion": LEASE.api_version,
                "kind": LEASE.kind,
                "metadata": {"namespace": self._namespace, "name": self._name},
                "spec": spec,
            }
        )

    def _see(self, record: _Record) -> None:
        """Note a record, and since when it stands."""
        if record != self._seen:
            self._seen_at = self._clock.now()
        self._seen = record

    # --- the end ---

    async def _release(self) -> None:
        """Empty the Lease, so that the next one need not wait; best effort."""
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._give_up()
        except (KubeError, TimeoutError) as error:
            log.warning(
                "the Lease %s could not be given up, the next leader waits until it runs out: %s",
                self._place,
                str(error) or "no answer in time",
            )
        except Exception:
            # What this process really ends of must not be hidden.
            log.exception("a defect in canaryd: the Lease %s is not given up", self._place)
        self._may_hold = False

    async def _give_up(self) -> None:
        stamp = micro_time(self._clock.wall())
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": stamp}
        if self._is_ours and self._seen.version:
            try:
                self._see(_Record.of(await self._send(spec)))
            except (Conflict, NotFound):
                log.debug("the Lease %s changed under us; looking again", self._place)
            else:
                return
        await self._look()
        if self._is_ours and self._seen.version:
            self._see(_Record.of(await self._send(spec)))

    # --- small things ---

    @property
    def _is_ours(self) -> bool:
        return self._seen.holder == self._identity

    @property
    def _term_s(self) -> float:
        """What the present holder promised: to have stopped this long after its last renewal."""
        return self._seen.duration_s or self._lease_s

    @property
    def _place(self) -> str:
        return f"{self._namespace}/{self._name}"

    def _loop_time(self, instant: float) -> float:
        return asyncio.get_running_loop().time() + (instant - self._clock.now())

    def _tell(self, *, leads: bool) -> None:
        if self._on_change is not None:
            self._on_change(leads)

    def _complain(self, what: str) -> None:
        """Warn once per message; the next good write makes all of them news again."""
        level = logging.DEBUG if what in self._complaints else logging.WARNING
        if len(self._complaints) < _COMPLAINTS:
            self._complaints.add(what)
        log.log(level, "the Lease %s could not be written: %s", self._place, what)

    def _stop_complaining(self) -> None:
        if self._complaints:
            log.info("the Lease %s can be written again", self._place)
            self._complaints.clear()


async def _failure_of(lead: Callable[[], Awaitable[None]]) -> Exception | None:
    """Do the leader's work; what it raised is handed back, so that no TaskGroup wraps it."""
    try:
        await lead()
    except Exception as error:  # noqa: BLE001 - raised again by the caller
        return error
    return None
