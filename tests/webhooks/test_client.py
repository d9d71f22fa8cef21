import asyncio
import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core.model import HookSpec, HookType
from canaryd.ports.http import HttpResponse, HttpTrouble, Trouble
from canaryd.webhooks.client import LONGEST_WAIT_S, MAX_BYTES, WebhookClient, address_of
from tests.egress.support import NAMESPACE, FakeDns, an_egress, answers, raw_server
from tests.fakes.clock import VirtualClock

pytestmark = pytest.mark.looptime

PAYLOAD = {
    "name": "podinfo",
    "namespace": "shop",
    "phase": "Progressing",
    "checksum": "5c4f-3",
    "runId": "5c4f-3",
    "revision": "5c4f",
    "weight": 20,
    "step": 1,
    "type": "rollout",
    "idempotencyKey": "5c4f-3/7/hook/smoke",
    "metadata": {"suite": "smoke", "note": "Grüße\n{}"},
}
REFUSED = HttpTrouble(Trouble.REFUSED, "x is not allowed")
NOBODY = HttpTrouble(Trouble.CONNECT, "x: connection refused")
LATE = HttpTrouble(Trouble.TIMEOUT, "x: no answer within 10 s")
LARGE = HttpTrouble(Trouble.TOO_LARGE, "x: the answer is larger than 262144 bytes")


@dataclass
class CountingClock(VirtualClock):
    """Keeps what it was asked to wait."""

    slept: list = field(default_factory=list)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await super().sleep(seconds)


@dataclass
class FakeHttp:
    """Gives these answers one after the other, the last for ever; keeps what it was sent and when."""

    answers: list
    takes_s: float = 0.0
    calls: list = field(default_factory=list)
    at: list = field(default_factory=list)

    async def request(self, method, url, **what):
        self.calls.append((method, url, what))
        self.at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, HttpResponse) else HttpResponse(answer, b"the body")

    @property
    def waits(self):
        return [later - earlier for earlier, later in zip(self.at, self.at[1:], strict=False)]


def a_hook(**changes):
    what = {"name": "smoke", "type": HookType.ROLLOUT, "url": "svc://qa-runner:8080/smoke"}
    return HookSpec(**(what | changes))


async def call(http, *, payload=PAYLOAD, **changes):
    client = WebhookClient(lambda _namespace: http, clock=VirtualClock())
    return await client.call(a_hook(**changes), payload, namespace="shop")


# --- what is sent


async def test_the_payload_is_posted_as_json_with_a_key_to_tell_repeats_by():
    http = FakeHttp([200])
    await call(http, timeout_s=7)
    ((method, url, what),) = http.calls

    assert ("POST", "http://qa-runner.shop.svc:8080/smoke") == (method, url)
    assert PAYLOAD == json.loads(what["body"])
    assert {
        "Content-Type": "application/json",
        "Accept": "*/*",
        "Idempotency-Key": "5c4f-3/7/hook/smoke",
    } == what["headers"]
    assert (7, MAX_BYTES) == (what["timeout_s"], what["max_bytes"])


async def test_a_payload_without_a_key_is_sent_without_the_header():
    http = FakeHttp([200])
    await call(http, payload={"name": "podinfo"})

    assert "Idempotency-Key" not in http.calls[0][2]["headers"]


async def test_every_attempt_carries_the_same_key_and_body():
    http = FakeHttp([503, 503, 200])
    await call(http, retries=2)
    sent = [(what["headers"]["Idempotency-Key"], what["body"]) for _, _, what in http.calls]

    assert 3 == len(sent)
    assert 1 == len(set(sent))


async def test_the_client_of_the_namespace_is_asked():
    asked = []
    http = FakeHttp([200])

    def http_for(namespace):
        asked.append(namespace)
        return http

    client = WebhookClient(http_for, clock=VirtualClock())
    await client.call(a_hook(), PAYLOAD, namespace="bank")

    assert ["bank"] == asked
    assert "http://qa-runner.bank.svc:8080/smoke" == http.calls[0][1]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("svc://qa", "http://qa.shop.svc"),
        ("svc://qa/", "http://qa.shop.svc/"),
        ("svc://qa:8080", "http://qa.shop.svc:8080"),
        ("svc://qa:8080/a/b?c=svc://d", "http://qa.shop.svc:8080/a/b?c=svc://d"),
        ("svc://qa?c", "http://qa.shop.svc?c"),
        ("https://hooks.example.com/a", "https://hooks.example.com/a"),
        ("http://qa/svc://x", "http://qa/svc://x"),
        ("svc://", "svc://"),
    ],
)
def test_a_service_of_the_namespace_has_a_short_address(url, address):
    assert address == address_of(url, "shop")


# --- what passes


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_these_statuses_pass(status):
    answer = await call(FakeHttp([status]))

    assert (True, status, "", 1) == (answer.passed, answer.status, answer.detail, answer.attempts)


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (101, ""),
        (203, "only 200, 201, 202 and 204 pass"),
        (205, "only 200, 201, 202 and 204 pass"),
        (206, "only 200, 201, 202 and 204 pass"),
        (299, "only 200, 201, 202 and 204 pass"),
        (301, "a redirect, which is not followed"),
        (302, "a redirect, which is not followed"),
        (304, "a redirect, which is not followed"),
        (308, "a redirect, which is not followed"),
        (400, ""),
        (401, ""),
        (403, ""),
        (404, ""),
        (408, ""),
        (409, ""),
        (422, ""),
        (501, ""),
    ],
)
async def test_these_statuses_fail_at_once_whatever_the_retries(status, detail):
    http = FakeHttp([status, 200])
    answer = await call(http, retries=3)

    assert (False, status, detail, 1) == (
        answer.passed,
        answer.status,
        answer.detail,
        answer.attempts,
    )
    assert 1 == len(http.calls)


@pytest.mark.parametrize("trouble", [REFUSED, LARGE])
async def test_what_our_own_rules_refuse_is_not_tried_again(trouble):
    http = FakeHttp([trouble, 200])
    answer = await call(http, retries=3)

    assert (False, 0, str(trouble), 1) == (
        answer.passed,
        answer.status,
        answer.detail,
        answer.attempts,
    )


# --- trying again


@pytest.mark.parametrize("first", [429, 500, 502, 503, 504, 599, NOBODY, LATE])
async def test_what_may_be_over_soon_is_tried_again(first):
    http = FakeHttp([first, first, 204])
    answer = await call(http, retries=2)

    assert (True, 204, "3 attempts", 3) == (
        answer.passed,
        answer.status,
        answer.detail,
        answer.attempts,
    )


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_retries_are_the_attempts_after_the_first(retries):
    http = FakeHttp([503])
    answer = await call(http, retries=retries)

    assert (False, 503, retries + 1, retries + 1) == (
        answer.passed,
        answer.status,
        answer.attempts,
        len(http.calls),
    )


async def test_the_last_attempt_is_the_one_that_is_told():
    answer = await call(FakeHttp([503, NOBODY]), retries=1)

    assert (0, "x: connection refused; 2 attempts") == (answer.status, answer.detail)


async def test_waits_grow_and_stay_below_half_a_minute():
    http = FakeHttp([503])
    await call(http, retries=8)

    leasts = (1, 2, 4, 8, 16, 30, 30, 30)
    outside = [
        (least, wait)
        for wait, least in zip(http.waits, leasts, strict=True)
        if not least - 0.01 <= wait <= min(least + 1, LONGEST_WAIT_S) + 0.01
    ]
    assert [] == outside


async def test_the_clock_of_the_process_is_what_waits():
    http, clock = FakeHttp([503, 503, 200]), CountingClock()
    client = WebhookClient(lambda _namespace: http, clock=clock)
    await client.call(a_hook(retries=2), PAYLOAD, namespace="shop")

    assert 2 == len(clock.slept)


async def test_waits_differ_so_that_callers_do_not_come_back_all_at_once():
    calls = [FakeHttp([503, 200]) for _ in range(8)]
    await asyncio.gather(*(call(http, retries=1) for http in calls))

    assert 1 < len({http.waits[0] for http in calls})


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_asks_for_a_pause_gets_it(status):
    http = FakeHttp([HttpResponse(status, b"", "20"), 200])
    answer = await call(http, retries=1)

    assert answer.passed
    assert pytest.approx(20, abs=0.1) == http.waits[0]


@pytest.mark.parametrize("text", ["31", "86400", "9" * 400])
async def test_a_receiver_that_asks_for_a_long_pause_is_not_asked_again(text):
    http = FakeHttp([HttpResponse(429, b"", text), 200])
    answer = await call(http, retries=3)

    assert (False, "asks for a longer wait than 30 s", 1) == (
        answer.passed,
        answer.detail,
        answer.attempts,
    )


@pytest.mark.parametrize("text", ["", "0", "-5", "1.5", "soon", "²", "Wed, 21 Oct 2026 07:28:00 GMT"])  # fmt: skip
async def test_a_pause_that_is_no_number_of_seconds_is_the_usual_one(text):
    http = FakeHttp([HttpResponse(429, b"", text), 200])
    answer = await call(http, retries=1)

    assert answer.passed
    assert 1 <= http.waits[0] <= 2.01


async def test_the_whole_call_takes_no_longer_than_its_parts():
    http = FakeHttp([LATE], takes_s=10)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await call(http, retries=10, timeout_s=10)

    assert loop.time() - started <= 11 * 10 + 10 * LONGEST_WAIT_S


@pytest.mark.parametrize("after_s", [1, 10.5])
async def test_a_cancelled_call_ends_at_once_and_is_no_answer(after_s):
    http = FakeHttp([503], takes_s=10)
    task = asyncio.create_task(call(http, retries=5))
    await asyncio.sleep(after_s)
    task.cancel()
    await asyncio.wait([task], timeout=0.1)

    assert task.cancelled()
    assert 1 == len(http.calls)


async def test_a_defect_of_ours_is_not_taken_for_an_answer():
    with pytest.raises(ZeroDivisionError):
        await call(FakeHttp([ZeroDivisionError(), 200]), retries=3)


@pytest.mark.slow
@given(st.dictionaries(st.text(st.characters(exclude_categories=())), st.text()))
def test_any_text_can_be_sent(metadata):
    http = FakeHttp([200])
    asyncio.run(call(http, payload={"metadata": metadata}))

    assert metadata == json.loads(http.calls[0][2]["body"])["metadata"]


# --- with the module that goes out


async def test_nothing_of_an_answer_is_told():
    token = "CANARY-TOKEN-4711"
    status = f"500 {token}"
    said = answers(status, token.encode(), X_Token=token, Location=f"http://{token}/")
    async with raw_server(said) as server, an_egress() as egress:
        client = WebhookClient(egress.for_namespace, clock=VirtualClock())
        url = f"http://hooks.test:{server.port}/?key={token}"
        answer = await client.call(a_hook(url=url, retries=1), PAYLOAD, namespace=NAMESPACE)

    assert (False, 500, 2) == (answer.passed, answer.status, answer.attempts)
    assert token not in repr(answer)


async def test_a_key_that_cannot_be_a_header_is_refused_and_sends_nothing():
    async with raw_server(answers()) as server, an_egress() as egress:
        client = WebhookClient(egress.for_namespace, clock=VirtualClock())
        hook = a_hook(url=f"http://hooks.test:{server.port}/")
        payload = {"idempotencyKey": "a\r\nX-Evil: 1"}
        answer = await client.call(hook, payload, namespace=NAMESPACE)

    assert (False, 0) == (answer.passed, server.connections)
    assert "header 'Idempotency-Key' has characters none may have" in answer.detail


async def test_a_receiver_that_sends_its_whole_log_passes_all_the_same():
    async with raw_server(answers(body=b"x" * 200_000)) as server, an_egress() as egress:
        client = WebhookClient(egress.for_namespace, clock=VirtualClock())
        hook = a_hook(url=f"http://hooks.test:{server.port}/")
        answer = await client.call(hook, PAYLOAD, namespace=NAMESPACE)

    assert answer.passed


async def test_a_hook_of_another_namespace_is_refused_before_anything_is_sent():
    dns = FakeDns()
    async with an_egress(dns) as egress:
        client = WebhookClient(egress.for_namespace, clock=VirtualClock())
        hook = a_hook(url="http://vault.bank.svc:8200/", retries=5)
        answer = await client.call(hook, PAYLOAD, namespace=NAMESPACE)

    assert (False, 0, 1, []) == (answer.passed, answer.status, answer.attempts, dns.asked)
    assert "neither a Service of namespace shop nor in egress.allowed_hosts" in answer.detail
