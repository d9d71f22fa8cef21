"""Calls hooks: one POST of JSON, tried again where that can help, told in a few words.

The rules are Flagger's where receivers depend on them: the payload's field names, and that a status
up to 202 passes. 204 passes as well, which Flagger's documents say and its code does not. Every
other status fails, 3xx too: a redirect is an address that nobody allowed. The same rule holds for
all eight types; what a pass or a failure means for the run is decided in ``core.rollout.analysis``.

The body of an answer is never looked at, and nothing of it is ever told: it would carry whatever
the receiver can see into status, Events and logs.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_result,
    stop_after_attempt,
    wait_exponential_jitter,
)

from canaryd.core.model import HookAnswer, HookSpec
from canaryd.ports.clock import Clock
from canaryd.ports.http import HttpClient, HttpResponse, HttpTrouble, Trouble

PASSING = frozenset({200, 201, 202, 204})
LONGEST_WAIT_S = 30.0
"""The longest wait between attempts; who asks for more is not asked again."""
MAX_BYTES = 256 * 1024
"""How much of an answer is taken, to be thrown away: test runners send their whole log."""

_SERVICE_URL = re.compile(r"svc://(?P<name>[^:/?]+)(?P<rest>.*)")
_BACKOFF = wait_exponential_jitter(initial=1.0, max=LONGEST_WAIT_S, jitter=1.0)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one attempt; ``retry_after_s`` is what the receiver asked for."""

    status: int = 0
    words: str = ""
    can_retry: bool = False
    retry_after_s: float = 0.0


class WebhookClient:
    """Implements ``canaryd.ports.webhook.HookCaller``.

    Args:
        http_for: the client for the hooks of a namespace.
        clock: waits between attempts.

    """

    def __init__(self, http_for: Callable[[str], HttpClient], *, clock: Clock) -> None:
        self._http_for = http_for
        self._clock = clock

    async def call(
        self, hook: HookSpec, payload: Mapping[str, Any], *, namespace: str
    ) -> HookAnswer:
        """POST ``payload`` as JSON; try up to ``hook.retries`` times more where that can help.

        Takes at most ``(retries + 1) * timeout_s`` and 30 s for each wait between.
        """
        headers = {"Content-Type": "application/json", "Accept": "*/*"}
        if key := payload.get("idempotencyKey"):
            headers["Idempotency-Key"] = str(key)
        send = partial(
            self._http_for(namespace).request,
            "POST",
            address_of(hook.url, namespace),
            headers=headers,
            body=json.dumps(payload).encode(),
            timeout_s=hook.timeout_s,
            max_bytes=MAX_BYTES,
        )
        attempts = AsyncRetrying(
            sleep=self._clock.sleep,
            wait=_wait,
            stop=stop_after_attempt(hook.retries + 1),
            retry=retry_if_result(_can_retry),
            retry_error_callback=_outcome_of,
        )
        outcome: _Outcome = await attempts(_attempt, send)
        made = int(attempts.statistics["attempt_number"])
        return HookAnswer(
            hook=hook.name,
            passed=outcome.status in PASSING,
            status=outcome.status,
            detail=_detail(outcome, made),
            attempts=made,
        )


def address_of(url: str, namespace: str) -> str:
    """Return the http address behind ``svc://name[:port]/path``; other URLs are what they are."""
    if found := _SERVICE_URL.fullmatch(url):
        return f"http://{found['name']}.{namespace}.svc{found['rest']}"
    return url


async def _attempt(send: Callable[[], Awaitable[HttpResponse]]) -> _Outcome:
    try:
        return _from_response(await send())
    except HttpTrouble as trouble:
        return _from_trouble(trouble)


def _from_trouble(trouble: HttpTrouble) -> _Outcome:
    # What our own rules refuse, and what is too large, would be the same the next time.
    again = trouble.kind in (Trouble.CONNECT, Trouble.TIMEOUT)
    return _Outcome(words=str(trouble), can_retry=again)


def _from_response(response: HttpResponse) -> _Outcome:
    status = response.status
    if status in PASSING:
        return _Outcome(status)
    if 200 <= status < 300:
        return _Outcome(status, "only 200, 201, 202 and 204 pass")
    if 300 <= status < 400:
        return _Outcome(status, "a redirect, which is not followed")
    # Of 5xx only 501 is no matter of time, as in Flagger.
    if status != 429 and (status < 500 or status == 501):
        return _Outcome(status)
    asked = _retry_after_s(response)
    if asked > LONGEST_WAIT_S:
        return _Outcome(status, "asks for a longer wait than 30 s")
    return _Outcome(status, can_retry=True, retry_after_s=asked)


def _retry_after_s(response: HttpResponse) -> float:
    """Read Retry-After in seconds; a date, which only a common clock could tell, is not heard."""
    text = response.retry_after.strip()
    return float(text[:9]) if text.isascii() and text.isdigit() else 0.0


def _can_retry(outcome: _Outcome) -> bool:
    return outcome.can_retry


def _wait(state: RetryCallState) -> float:
    return max(_BACKOFF(state), _outcome_of(state).retry_after_s)


def _outcome_of(state: RetryCallState) -> _Outcome:
    assert state.outcome is not None  # noqa: S101 - tenacity sets it before it asks
    outcome: _Outcome = state.outcome.result()
    return outcome


def _detail(outcome: _Outcome, attempts: int) -> str:
    tries = f"{attempts} attempts" if attempts > 1 else ""
    return "; ".join(words for words in (outcome.words, tries) if words)
