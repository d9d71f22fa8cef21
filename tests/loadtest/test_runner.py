import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf

import pytest

from canaryd.core.model import LoadTestSpec, Missing
from canaryd.core.quantiles import bracket
from canaryd.loadtest.runner import COMMAND, ChildProcessRunner
from tests.loadtest.processes import children_of, exists, generators, gone, read
from tests.loadtest.targets import Target, nobody, serving

HOST = "app.shop"
NOWHERE = "http://10.96.0.1:80"
REPORTING = (
    'import sys; sys.stdin.readline(); print(\'{"protocol": 2, "kind": "started"}\', flush=True)'
)


@dataclass
class Log:
    lines: list = field(default_factory=list)

    def info(self, event, **values):
        self.lines.append((event, values))

    def error(self, event, **values):
        self.lines.append((event, values))


def a_test(**changes):
    defaults = {"name": "get", "method": "GET", "path": "/", "rate": 40.0, "duration_s": 0.5}
    return LoadTestSpec(**(defaults | changes))


def a_runner(**changes):
    return ChildProcessRunner(
        **({"max_rate": 500, "max_concurrent": 4, "allow_loopback": True} | changes)
    )


async def run(url, *, runner=None, **changes):
    return await (runner or a_runner()).run(a_test(**changes), base_url=url, host=HOST)


def a_child(code, **changes):
    """A runner whose generator is this program."""
    settings = {"start_s": 20.0, "grace_s": 0.2, "log": Log()} | changes
    return a_runner(command=(sys.executable, "-c", code), **settings)


@asynccontextmanager
async def running(url, **changes):
    """A test under way, with the id of its process, once the first request is there."""
    runner = changes.pop("runner", None) or a_runner()
    test = a_test(**({"duration_s": 60.0} | changes))
    before = children_of(os.getpid())
    task = asyncio.create_task(runner.run(test, base_url=url, host=HOST))
    async with asyncio.timeout(20):
        while not (pids := children_of(os.getpid()) - before):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    try:
        yield task, pids.pop()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def counted(answer):
    """What was sent and failed. A busy machine may void a test, and that alone is no defect."""
    assert answer.absent is None or "CPU is short" in answer.absent.detail
    return answer.sent, answer.failed


async def until(claim):
    async with asyncio.timeout(20):
        while not claim():  # noqa: ASYNC110 - looks at other processes
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert set() == generators()


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_target_that_answers_passes_and_is_measured():
    async with serving(Target(delay_s=0.02)) as target:
        answer = await run(target.url)
    assert (20, 0) == counted(answer)
    assert 40.0 == answer.asked_rate
    assert 20.0 < answer.achieved_rate <= 40.0
    assert ["p50", "p90", "p95", "p99", "max"] == list(answer.latency_ms)
    assert 20 <= answer.latency_ms["p50"]
    found = bracket(answer.latencies, 50)
    assert 20 == answer.latencies.count
    assert 0.02 < found.high_s < 1.02 * answer.latency_ms["p50"] / 1000
    assert {HOST} == {headers["Host"] for _, _, headers, _ in target.requests}


@pytest.mark.slow
async def test_a_target_that_fails_half_of_the_time_fails_half_of_the_requests():
    async def fail_half(number):
        target.status = 500 if number % 2 else 200

    async with serving(Target(before=fail_half)) as target:
        answer = await run(target.url, concurrency=1)
    assert (20, 10) == counted(answer)


@pytest.mark.slow
async def test_a_target_that_hangs_fails_every_request():
    async with serving(Target(delay_s=60)) as target:
        answer = await run(target.url, timeout_s=0.3)
    assert (20, 20) == counted(answer)
    assert answer.latency_ms["p50"] >= 300
    # How long they would have taken, nobody knows.
    found = bracket(answer.latencies, 1)
    assert 0.29 < found.low_s < 0.3
    assert inf == found.high_s


@pytest.mark.slow
async def test_a_target_that_is_not_there_fails_every_request():
    async with nobody() as url:
        answer = await run(url)
    assert (20, 20) == counted(answer)
    assert {} == answer.latency_ms
    assert 0 == answer.latencies.count


@pytest.mark.slow
async def test_a_pause_of_the_target_shows_although_requests_after_it_are_fast():
    awake = asyncio.Event()
    awake.set()

    async def pause_once(number):
        if number == 10:
            awake.clear()
            asyncio.get_running_loop().call_later(0.3, awake.set)
        await awake.wait()

    async with serving(Target(before=pause_once)) as target:
        answer = await run(target.url, concurrency=1, rate=50, duration_s=1.0)
    assert (50, 0) == counted(answer)
    # Fifteen of fifty were due in the pause; a client that waited would have seen one.
    assert answer.latency_ms["p99"] > 250
    assert answer.latency_ms["p90"] > 150
    assert answer.latency_ms["p50"] < answer.latency_ms["p90"]


@pytest.mark.slow
async def test_a_generator_that_is_stopped_for_a_while_voids_its_test():
    async with (
        serving() as target,
        running(target.url, duration_s=1.0, rate=50) as (task, pid),
    ):
        await until(lambda: target.requests)
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(0.3)
        os.kill(pid, signal.SIGCONT)
        answer = await task
    assert Missing.SOURCE_UNAVAILABLE == answer.absent.why
    assert "CPU is short on the daemon's node" in answer.absent.detail


@pytest.mark.slow
async def test_the_log_has_what_an_answer_has_no_place_for():
    log = Log()
    async with serving(Target(status=503)) as target:
        await run(target.url, runner=a_runner(log=log))
    ((event, values),) = log.lines
    assert "load test ended" == event
    assert ("get", HOST, {"5xx": 20}) == (values["test"], values["host"], values["outcomes"])


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rate": 500.5}, "more than the 500 of load_tests.max_rate"),
        ({"rate": 0}, "no positive number"),
        ({"rate": float("nan")}, "no positive number"),
        ({"duration_s": float("inf")}, "no positive number"),
        ({"concurrency": 0}, "no positive number"),
        ({"timeout_s": -1}, "no positive number"),
        ({"method": "CONNECT"}, 'the method "CONNECT"'),
        ({"method": "GET / HTTP/1.1\r\nX: y\r\n\r\n"}, "the method"),
        ({"path": "http://elsewhere/"}, 'the path "http://elsewhere/"'),
        ({"path": ""}, "the path"),
        ({"path": "//elsewhere/"}, "the path"),
        ({"path": "/ HTTP/1.1\r\nX: y"}, "the path"),
        ({"path": "/\x1b[31m"}, r"\x1b"),
    ],
)
async def test_a_test_that_may_not_run_is_refused(changes, expected):
    answer = await run(NOWHERE, **changes)
    assert (Missing.QUERY_REFUSED, 0) == (answer.absent.why, answer.sent)
    assert answer.absent.detail.startswith("it ")
    assert expected in answer.absent.detail


@pytest.mark.parametrize(
    "url",
    [
        "",
        "10.96.0.1:80",
        "http://10.96.0.1",
        "http://10.96.0.1:0",
        "http://10.96.0.1:99999",
        "http://10.96.0.1:80/",
        "http://10.96.0.1:80/path",
        "http://10.96.0.1:80?query",
        "http://10.96.0.1:80#fragment",
        "http://user@10.96.0.1:80",
        "http://10.96.0.1:080",
        "HTTP://10.96.0.1:80",
        "https://10.96.0.1:443",
        "ftp://10.96.0.1:80",
        "file:///etc/passwd",
        "http://app-canary.shop:80",
        "http://localhost:80",
        "http://169.254.169.254:80",
        "http://[fe80::1]:80",
        "http://224.0.0.1:80",
        "http://0.0.0.0:80",
        "http://127.0.0.1:80",
        "http://[::1]:80",
        "http://fd00::1:80",
        "http://010.96.0.1:80",
        "http://10.96.0.1:80\r\n",
    ],
)
async def test_only_the_address_of_a_service_is_a_target(url):
    answer = await run(url, runner=a_runner(allow_loopback=False))
    assert Missing.QUERY_REFUSED == answer.absent.why
    assert "a target is http://address:port" in answer.absent.detail


@pytest.mark.parametrize("host", ["", "a b", "a\r\nX: y", "user@host", "a/b", "a:b"])
async def test_a_host_that_is_none_is_refused(host):
    answer = await a_runner().run(a_test(), base_url=NOWHERE, host=host)
    assert "as host" in answer.absent.detail


async def test_addresses_of_both_families_are_targets():
    for url in (NOWHERE, "http://[fd00::1]:8080"):
        answer = await run(url, runner=a_child("", allow_loopback=False))
        assert "the generator ended with exit code 0 and no report" == answer.absent.detail


# --- generators that misbehave ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", "ended with exit code 0 and no report"),
        ("raise ValueError('hunter2')", "ended with exit code 1 and no report"),
        ("import os; os.abort()", "was ended by SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL; did it run out of memory?"),
        ("import os; os.kill(os.getpid(), 40)", "was ended by signal 40"),
        ("print('hello')", "sent something else than a line of JSON, its started"),
        ("print('x' * 100_000)", "wrote a line of more than 65536 bytes"),
        ("import sys; sys.stdout.write('x' * 10_000_000)", "wrote a line of more than"),
        ("import sys; sys.stderr.write('x' * 10_000_000)", "ended with exit code 0 and no report"),
        (f"{REPORTING}; raise ValueError('hunter2')", "ended with exit code 1 and no report"),
        (f"{REPORTING}; print('{{}}')", "sent something else than an object of JSON, its report"),
        (f"{REPORTING}; print('x' * 100_000)", "wrote a line of more than 65536 bytes"),
    ],
    ids=[
        "ends at once",
        "crashes",
        "aborts",
        "is killed",
        "has a signal without a name",
        "talks",
        "talks without a stop",
        "talks for ten megabytes",
        "complains for ten megabytes",
        "crashes in the middle",
        "reports nothing",
        "reports too much",
    ],
)
async def test_a_generator_that_misbehaves_is_a_void_test(code, expected):
    before = children_of(os.getpid())
    answer = await run(NOWHERE, runner=a_child(code))
    assert Missing.SOURCE_UNAVAILABLE == answer.absent.why
    assert f"the generator {expected}" in answer.absent.detail
    assert "hunter2" not in answer.absent.detail
    assert set() == children_of(os.getpid()) - before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "start_s", "expected"),
    [
        ("import time; time.sleep(60)", 0.2, "did not start within 0.2 s"),
        ("import os, time; os.close(1); time.sleep(60)", 0.5, "did not start within 0.5 s"),
        (f"{REPORTING}; import time; time.sleep(60)", 20.0, "did not end within 0.8 s"),
    ],
    ids=["never starts", "closes its output and stays", "never ends"],
)
async def test_a_generator_that_hangs_is_killed(code, start_s, expected):
    before = children_of(os.getpid())
    answer = await run(NOWHERE, runner=a_child(code, start_s=start_s), timeout_s=0.1)
    assert Missing.SOURCE_UNAVAILABLE == answer.absent.why
    assert f"the generator {expected} and was killed" == answer.absent.detail
    assert set() == children_of(os.getpid()) - before


async def test_what_a_generator_complains_about_is_logged_to_a_limit():
    runner = a_child("import sys; sys.stderr.write('x' * 100_000 + 'the end')")
    await run(NOWHERE, runner=runner)
    ((event, values),) = runner._log.lines
    assert "load test failed" == event
    assert 2000 == len(values["stderr"])
    assert values["stderr"].endswith("the end")


async def test_a_generator_that_cannot_be_started_is_a_void_test():
    answer = await run(NOWHERE, runner=a_runner(command=("/nowhere/python",)))
    assert "the generator cannot be started: No such file or directory" == answer.absent.detail


async def test_the_environment_of_a_generator_holds_no_credential(monkeypatch):
    for name in ("KUBECONFIG", "TOKEN", "http_proxy", "PYTHONSTARTUP", "PYTHONINSPECT"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    runner = a_child("import os, sys; sys.exit(' '.join(sorted(os.environ)))")
    await run(NOWHERE, runner=runner)
    names = set(runner._log.lines[0][1]["stderr"].split())
    assert {"PATH", "PYTHONPATH"} <= names
    assert set() == names & {"KUBECONFIG", "TOKEN", "http_proxy", "PYTHONSTARTUP", "PYTHONINSPECT"}
    # Python itself sets LC_CTYPE where the environment has no locale.
    allowed = {"PATH", "PYTHONPATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH"}
    assert names <= allowed | {"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"}


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_cancelled_test_leaves_no_process():
    async with serving() as target, running(target.url) as (task, pid):
        await until(lambda: target.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not exists(pid)
        seen = len(target.requests)
        await asyncio.sleep(0.1)
        assert seen == len(target.requests)


@pytest.mark.slow
async def test_a_test_can_be_cancelled_at_any_moment_of_its_start():
    for delay_s in (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.03, 0.1):
        task = asyncio.create_task(run(NOWHERE, duration_s=60.0))
        await asyncio.sleep(delay_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: set() == children_of(os.getpid()))


@pytest.mark.slow
async def test_a_test_that_is_cancelled_twice_leaves_no_process():
    async with serving() as target, running(target.url) as (task, pid):
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: not exists(pid))


@pytest.mark.slow
async def test_what_a_generator_has_started_ends_with_it():
    code = (
        f"{REPORTING}; import subprocess, sys; "
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )
    async with running(NOWHERE, runner=a_child(code)) as (task, pid):
        await until(lambda: children_of(pid))
        (grandchild,) = children_of(pid)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not exists(pid)
        assert await gone(grandchild)


@pytest.mark.slow
async def test_a_generator_gives_way_to_the_daemon_and_has_a_group_of_its_own():
    async with serving() as target, running(target.url) as (_, pid):
        await until(lambda: target.requests)
        assert os.getpriority(os.PRIO_PROCESS, pid) >= 10
        assert "1000" == read(pid, "oom_score_adj").strip()
        assert (pid, pid) == (os.getpgid(pid), os.getsid(pid))
        assert "Max data size             201326592" in read(pid, "limits")
        assert "-P" in COMMAND


PARENT = """
import asyncio, sys
from canaryd.core.model import LoadTestSpec
from canaryd.loadtest.runner import ChildProcessRunner
test = LoadTestSpec(name="get", method="GET", path="/", rate=50.0, duration_s=60.0)
runner = ChildProcessRunner(max_rate=500, max_concurrent=1, allow_loopback=True)
asyncio.run(runner.run(test, base_url=sys.argv[1], host="app.shop"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
async def test_a_generator_ends_when_the_daemon_is_killed(is_stopped):
    async with serving() as target:
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, target.url)
        try:
            await until(lambda: target.requests)
            (child,) = children_of(parent.pid)
            if is_stopped:  # then it cannot notice that its input has ended; the kernel must end it
                os.kill(child, signal.SIGSTOP)
        finally:
            parent.kill()
            await parent.wait()
        assert await gone(child)


# --- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_tests_beyond_the_limit_wait_for_their_turn():
    async with serving() as target:
        runner = a_runner(max_concurrent=1)
        most = 0

        async def watch():
            nonlocal most
            while True:
                most = max(most, len(generators()))
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(
            *(run(target.url, runner=runner, duration_s=0.1) for _ in range(3))
        )
        watching.cancel()
    assert [(4, 0)] * 3 == [counted(answer) for answer in answers]
    assert 1 == most


@pytest.mark.slow
async def test_a_test_that_finds_no_place_is_void_and_says_which_limit_it_was():
    async with serving() as target:
        runner = a_runner(max_concurrent=1, wait_s=0.1)
        async with running(target.url, runner=runner):
            answer = await run(target.url, runner=runner)
    assert Missing.SOURCE_UNAVAILABLE == answer.absent.why
    assert "load_tests.max_concurrent" in answer.absent.detail


@pytest.mark.slow
async def test_a_waiting_test_that_is_cancelled_keeps_no_place():
    async with serving() as target:
        runner = a_runner(max_concurrent=1)
        async with running(target.url, runner=runner) as (task, _):
            waiting = asyncio.create_task(run(target.url, runner=runner))
            await asyncio.sleep(0.05)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (4, 0) == counted(await run(target.url, runner=runner, duration_s=0.1))
