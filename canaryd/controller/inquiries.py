"""Asking the world without holding a worker: metrics, hooks and load tests run beside the
reconcile loop.

A question is asked once: its id names run, evaluation and check.
Answers wake the app and stay until the next evaluation asks anew.
Everything under way ends with the run it belongs to, load tests included (case X23).
An asker that raises is a defect of ours; it becomes an answer without a value,
so that the run holds instead of hanging.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, assert_never

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

    """

    def __init__(
        self,
        metrics: MetricProvider,
        hooks: HookCaller,
        load_tester: LoadTester | None,
        wake: Callable[[Key], None],
        log: Log,
    ) -> None:
        self._metrics = metrics
        self._hooks = hooks
        self._load_tester = load_tester
        self._wake = wake
        self._log = log
        self._desks: dict[Key, _Desk] = {}
        self._group: asyncio.TaskGroup | None = None

    def open(self, group: asyncio.TaskGroup) -> None:
        """Run questions as children of this group from now on."""
        self._group = group

    def close(self) -> None:
        """Cancel everything under way: leadership is over."""
        for key in list(self._desks):
            self.stop(key)
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
        """Call hooks whose answer decides nothing."""
        if self._group is None:
            return
        for hook in hooks:
            self._group.create_task(
                self._tell(key, payload, hook, occasion), name=f"notify {occasion} {hook.name}"
            )

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
                return await self._metrics.ask(check, context.identity, since=question.since)
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
