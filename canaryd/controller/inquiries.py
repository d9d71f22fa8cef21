"""Asking the world without holding a worker: metrics, hooks and load tests run beside the
reconcile loop.

A question is asked once: its id names run, evaluation and check.
Answers wake the app and stay until the next evaluation asks anew.
Everything under way ends with the run it belongs to, load tests included (case X23).
An asker that raises is a defect of ours; it becomes an answer without a value,
so that the run holds instead of hanging.

What is only told is bounded per app: a receiver that hangs costs places of its own app alone, and
no app ever waits for one.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, assert_never

from canaryd.core.decision import Question
from canaryd.core.model import (
    Absent,
    Answer,
    HookAnswer,
    HookSpec,
    LoadTestAnswer,
    LoadTestSpec,
    MetricAnswer,
    MetricCheck,
    Missing,
    TrafficIdentity,
)
from canaryd.core.views import Key
from canaryd.ports.load_test import LoadTester
from canaryd.ports.metric_provider import MetricProvider
from canaryd.ports.webhook import HookCaller

MAX_NOTICES: Final = 32
"""Notifications of one app that are on the way at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What questions of one app need to be asked: who it is, how its metrics are named,
    where its canary is.
    """

    key: Key
    identity: TrafficIdentity
    hook_payload: Mapping[str, Any]
    load_url: str
    """``http://address:port`` of the canary Service; empty while it has no address."""
    load_host: str


class Log(Protocol):
    """The part of a logger that is used here."""

    def error(self, event: str, **values: Any) -> None:
        """Log a defect."""
        ...


_Notices = dict[asyncio.Task[None], tuple[str, str]]
"""Notifications on the way, oldest first: name of the hook, and the occasion."""


@dataclass(slots=True)
class _Desk:
    """Questions and answers of one app."""

    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)


class Inquiries:
    """Runs questions in the background and keeps their answers.

    Args:
        metrics: every named metric source, behind one port.
        hooks: calls webhooks.
        load_tester: runs load tests; None when switched off.
        wake: called with the key when an answer came in.
        log: where defects go.
        on_dropped: told of each notification that had to make room for a newer one.

    """

    def __init__(
        self,
        metrics: MetricProvider,
        hooks: HookCaller,
        load_tester: LoadTester | None,
        wake: Callable[[Key], None],
        log: Log,
        *,
        on_dropped: Callable[[], None] = lambda: None,
    ) -> None:
        self._metrics = metrics
        self._hooks = hooks
        self._load_tester = load_tester
        self._wake = wake
        self._log = log
        self._on_dropped = on_dropped
        self._desks: dict[Key, _Desk] = {}
        self._notices: dict[Key, _Notices] = {}
        self._group: asyncio.TaskGroup | None = None

    def open(self, group: asyncio.TaskGroup) -> None:
        """Run questions as children of this group from now on."""
        self._group = group

    def close(self) -> None:
        """Cancel everything under way: leadership is over."""
        for key in list(self._desks):
            self.stop(key)
        # Those on the way are the group's to end; they count no more.
        self._notices.clear()
        self._group = None

    def answers(self, key: Key) -> Mapping[str, Answer]:
        """Answers to the present evaluation's questions, as far as they came in."""
        desk = self._desks.get(key)
        return dict(desk.answers) if desk else {}

    def ask(self, context: Context, questions: tuple[Question, ...]) -> None:
        """Start asking what is neither answered nor under way;
        answers of earlier evaluations are dropped.
        """
        if self._group is None:
            raise RuntimeError("questions can only be asked while leading")
        desk = self._desks.setdefault(context.key, _Desk())
        prefixes = {_evaluation(q.id) for q in questions}
        for old in [a for a in desk.answers if _evaluation(a) not in prefixes]:
            del desk.answers[old]
        for question in questions:
            if question.id not in desk.answers and question.id not in desk.tasks:
                desk.tasks[question.id] = self._group.create_task(
                    self._answer(desk, context, question), name=f"ask {question.id}"
                )

    def stop(self, key: Key) -> None:
        """End everything of this app."""
        desk = self._desks.pop(key, None)
        for task in desk.tasks.values() if desk else ():
            task.cancel()

    def notify(
        self, key: Key, payload: Mapping[str, Any], hooks: tuple[HookSpec, ...], occasion: str
    ) -> None:
        """Call hooks whose answer decides nothing.

        When too many of the app are on the way already, those that have waited longest are dropped:
        they are the likeliest to hang, and a receiver is better told what is than what was. Hooks
        of one occasion never drop each other, however many there are.
        """
        if self._group is None or not hooks:
            return
        under_way = self._notices.setdefault(key, {})
        for hook in hooks:
            self._make_room(under_way, max(MAX_NOTICES, len(hooks)) - 1)
            task = self._group.create_task(
                self._tell(key, payload, hook, occasion), name=f"notify {occasion} {hook.name}"
            )
            under_way[task] = (hook.name, occasion)
            # By the task and not in it: one that is dropped before it began never runs.
            task.add_done_callback(partial(self._told, key, under_way))

    def _make_room(self, under_way: _Notices, places: int) -> None:
        while len(under_way) > places:
            task, (hook, occasion) = next(iter(under_way.items()))
            del under_way[task]
            if task.done():
                continue
            task.cancel()
            self._on_dropped()
            self._log.error(
                "notification dropped: too many of the app are on the way; do its receivers hang?",
                hook=hook,
                occasion=occasion,
            )

    def _told(self, key: Key, under_way: _Notices, task: asyncio.Task[None]) -> None:
        under_way.pop(task, None)
        if not under_way and self._notices.get(key) is under_way:
            del self._notices[key]

    # --- one question -----------------------------------------------------------------------------

    async def _answer(self, desk: _Desk, context: Context, question: Question) -> None:
        try:
            answer = await self._pose(context, question)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect in an adapter must not end the daemon
            self._log.error(
                "asking failed", question=question.id, error=f"{type(error).__name__}: {error}"
            )
            answer = _unanswered(question, f"{type(error).__name__}: {error}")
        desk.tasks.pop(question.id, None)
        if self._desks.get(context.key) is desk:
            desk.answers[question.id] = answer
            self._wake(context.key)

    async def _pose(self, context: Context, question: Question) -> Answer:
        match question.what:
            case MetricCheck() as check:
                return await self._metrics.ask(
                    check, context.identity, since=question.since, side=question.side
                )
            case HookSpec() as hook:
                payload = {**context.hook_payload, "type": str(hook.type)}
                payload["idempotencyKey"] = "/".join((*context.key, question.id))
                payload["metadata"] = dict(hook.payload)
                return await self._hooks.call(hook, payload, namespace=context.key[0])
            case LoadTestSpec() as test:
                if self._load_tester is None:
                    return _unanswered(question, "load tests are switched off in this installation")
                if not context.load_url:
                    return _unanswered(question, "the canary Service has no address")
                return await self._load_tester.run(
                    test, base_url=context.load_url, host=context.load_host
                )
            case _:
                assert_never(question.what)

    async def _tell(
        self, key: Key, payload: Mapping[str, Any], hook: HookSpec, occasion: str
    ) -> None:
        told = {
            **payload,
            "type": str(hook.type),
            "idempotencyKey": "/".join((*key, occasion, hook.name)),
            "metadata": dict(hook.payload),
        }
        try:
            answer = await self._hooks.call(hook, told, namespace=key[0])
        except Exception as error:  # noqa: BLE001 - a defect in an adapter must not end the daemon
            answer = HookAnswer(
                hook=hook.name, passed=False, detail=f"{type(error).__name__}: {error}"
            )
        if not answer.passed:
            self._log.error(
                "hook failed",
                hook=hook.name,
                occasion=occasion,
                status=answer.status,
                why=answer.detail,
            )


def _evaluation(question_id: str) -> str:
    """Run and evaluation of a question id ``run/evaluation/kind/name``."""
    return "/".join(question_id.split("/")[:2])


def _unanswered(question: Question, why: str) -> Answer:
    absent = Absent(Missing.SOURCE_UNAVAILABLE, why)
    match question.what:
        case MetricCheck(name=name):
            return MetricAnswer(check=name, absent=absent)
        case HookSpec(name=name):
            return HookAnswer(hook=name, passed=False, detail=why)
        case LoadTestSpec(name=name):
            return LoadTestAnswer(test=name, absent=absent)
        case _:
            assert_never(question.what)
