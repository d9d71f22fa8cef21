"""Runs load tests in child processes and turns their reports into answers.

A process of its own for each test: a generator in the daemon's loop would compete with the renewal
of the lease, and one that crashes or runs out of memory would take rollouts with it. It is started
without a shell, in a session of its own, with an environment that holds no credential, and is
killed with its whole process group when the question is withdrawn, when it takes too long, and when
it has reported. What it does about itself is in ``confinement``.

Nothing here trusts the caller's text: the target is an address and a port and nothing else, so no
name is resolved and no annotation can aim a test elsewhere. Whatever goes wrong becomes an
``Absent`` with a sentence; never a result, and never text that the child printed.
"""

import asyncio
import os
import re
import signal
import sys
from asyncio import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from math import inf
from typing import Any, Protocol
from urllib.parse import urlsplit

from canaryd.core import phrases, units
from canaryd.core.model import Absent, LoadTestAnswer, LoadTestSpec, Missing
from canaryd.core.units import UnitError, quote
from canaryd.loadtest.report import (
    LINE_BYTES,
    Order,
    ProtocolError,
    Report,
    answer_of,
    read_report,
    read_started,
    write_order,
)

COMMAND = (sys.executable, "-P", "-m", "canaryd.loadtest")
"""``-P``: never import from whatever folder the daemon was started in."""
START_S = 30.0
"""For the child to start: 0.3 s of processor time, which it may have to share with everybody."""
GRACE_S = 10.0
"""For the child to report after its last request must have ended."""
WAIT_S = 300.0
"""For another test to end when too many run. A test that found no place is asked again."""
_REAP_S = 5.0
_STDERR_TAIL_BYTES = 2000
_PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH",
    "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
)  # fmt: skip
"""Of the daemon's environment: what Python needs to find itself and its packages."""
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(?::[0-9]{1,5})?")


class Log(Protocol):
    """The part of a logger that is used here."""

    def info(self, event: str, **values: Any) -> None:
        """Log the end of a test."""
        ...

    def error(self, event: str, **values: Any) -> None:
        """Log a generator that failed."""
        ...


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why there is no report: a sentence for people, and how the child ended."""

    why: str
    stderr: str = ""


class ChildProcessRunner:
    """Implements ``canaryd.ports.load_test.LoadTester``.

    Args:
        max_rate: most requests per second that one test may ask for (``load_tests.max_rate``).
        max_concurrent: tests that run at once; others wait (``load_tests.max_concurrent``).
        log: told about the end of each test, with the counts that an answer has no place for.
        allow_loopback: let tests go to this machine; for our own tests.
        command: the generator, for tests with one that misbehaves.
        start_s, grace_s, wait_s: see ``START_S``, ``GRACE_S``, ``WAIT_S``.

    """

    def __init__(
        self,
        *,
        max_rate: float,
        max_concurrent: int,
        log: Log | None = None,
        allow_loopback: bool = False,
        command: Sequence[str] = COMMAND,
        start_s: float = START_S,
        grace_s: float = GRACE_S,
        wait_s: float = WAIT_S,
    ) -> None:
        self._max_rate = max_rate
        self._max_concurrent = max_concurrent
        self._log = log
        self._allow_loopback = allow_loopback
        self._command = tuple(command)
        self._start_s = start_s
        self._grace_s = grace_s
        self._wait_s = wait_s
        self._places = asyncio.Semaphore(max_concurrent)

    async def run(self, test: LoadTestSpec, *, base_url: str, host: str) -> LoadTestAnswer:
        """Run one test to its end; see the port for the rules."""
        if refusal := self._why_refused(test, base_url, host):
            return _absent(test, Missing.QUERY_REFUSED, refusal)
        order = Order(test=test, base_url=base_url, host=host)
        async with self._place() as has_place:
            if not has_place:
                return _absent(
                    test,
                    Missing.SOURCE_UNAVAILABLE,
                    f"{self._max_concurrent} load tests are running, which is what "
                    f"load_tests.max_concurrent allows, and none ended within {self._wait_s:g} s",
                )
            ended = await self._run_child(order)
        return self._conclude(order, ended)

    # --- may it run

    def _why_refused(self, test: LoadTestSpec, base_url: str, host: str) -> str:
        numbers = (test.rate, test.duration_s, test.timeout_s, test.concurrency)
        if not all(0 < number < inf for number in numbers):
            return "it has a rate, duration, time-out or concurrency that is no positive number"
        if test.rate > self._max_rate:
            return (
                f"it asks for {test.rate:g} requests per second, more than the "
                f"{self._max_rate:g} of load_tests.max_rate in canaryd's configuration; "
                f"write rate={self._max_rate:g} or less, or have the limit raised"
            )
        if test.method not in phrases.METHODS:
            return f"it has the method {quote(test.method)}, which is none that it may send"
        try:
            units.parse_path(test.path)
        except UnitError as error:
            return f"it has the path {quote(test.path)}, which {error.rule}"
        if not _HOST.fullmatch(host):
            return f"it cannot be sent with {quote(host)} as host"
        if not _is_target(base_url, allow_loopback=self._allow_loopback):
            return (
                f"it cannot be sent to {quote(base_url)}: a target is http://address:port "
                "with the address of a Service"
            )
        return ""

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[bool]:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._places.release()

    # --- one child

    async def _run_child(self, order: Order) -> Report | _Failure:
        try:
            process = await subprocess.create_subprocess_exec(
                *self._command,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                limit=LINE_BYTES,
                start_new_session=True,  # so that killing its group ends all there is of it
            )
        except OSError as error:
            return _Failure(f"the generator cannot be started: {error.strerror}")
        stdin, stdout, stderr = _pipes_of(process)
        async with asyncio.TaskGroup() as group:
            tail = group.create_task(_read_tail(stderr))
            try:
                ended = await self._converse(order, process, stdin, stdout)
            finally:
                await _end(process, stdin, stdout)
        return ended if isinstance(ended, Report) else _Failure(ended, tail.result())

    async def _converse(
        self,
        order: Order,
        process: subprocess.Process,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
    ) -> Report | str:
        """Give the order and take the report; a sentence when there is none."""
        test = order.test
        limit_s = self._start_s
        try:
            async with asyncio.timeout(limit_s):
                with suppress(ConnectionError):  # it is gone already; how, shows below
                    stdin.write(write_order(order))
                    await stdin.drain()
                if not (line := await _read_line(stdout)):
                    return _describe_end(await process.wait())
                read_started(line)
            limit_s = test.duration_s + test.timeout_s + self._grace_s
            async with asyncio.timeout(limit_s):
                if not (line := await _read_line(stdout)):
                    return _describe_end(await process.wait())
                return read_report(line, test)
        except TimeoutError:
            what = "start" if limit_s == self._start_s else "end"
            return f"the generator did not {what} within {limit_s:g} s and was killed"
        except ProtocolError as error:
            return f"the generator {error}"

    def _conclude(self, order: Order, ended: Report | _Failure) -> LoadTestAnswer:
        test = order.test
        if isinstance(ended, _Failure):
            self._tell_failure(order, ended)
            return _absent(test, Missing.SOURCE_UNAVAILABLE, ended.why)
        answer = answer_of(test, ended)
        if self._log is not None:
            self._log.info(
                "load test ended",
                test=test.name,
                host=order.host,
                outcomes={str(outcome): n for outcome, n in sorted(ended.outcomes.items())},
                asked_rate=test.rate,
                achieved_rate=round(answer.achieved_rate, 3),
                latency_ms=dict(ended.latency_ms),
                worst_lag_s=round(ended.worst_lag_s, 4),
                void=answer.absent.detail if answer.absent else "",
            )
        return answer

    def _tell_failure(self, order: Order, failure: _Failure) -> None:
        if self._log is not None:
            self._log.error(
                "load test failed",
                test=order.test.name,
                host=order.host,
                why=failure.why,
                stderr=failure.stderr,
            )


# --- targets --------------------------------------------------------------------------------------


def _is_target(base_url: str, *, allow_loopback: bool) -> bool:
    """Whether this is ``http://address:port``, letter for letter, of something that is no trap."""
    try:
        parts = urlsplit(base_url)
        address, port = ip_address(parts.hostname or ""), parts.port
    except ValueError:
        return False
    written = f"[{address}]" if address.version == 6 else str(address)
    if base_url != f"http://{written}:{port}" or not port:
        return False
    if address.is_loopback:
        return allow_loopback
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)


# --- processes ------------------------------------------------------------------------------------


def _pipes_of(
    process: subprocess.Process,
) -> tuple[asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("the process was started without pipes")
    return process.stdin, process.stdout, process.stderr


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:
        raise ProtocolError(f"wrote a line of more than {LINE_BYTES} bytes") from None


async def _read_tail(stream: asyncio.StreamReader) -> str:
    tail = b""
    while chunk := await stream.read(LINE_BYTES):
        tail = (tail + chunk)[-_STDERR_TAIL_BYTES:]
    return tail.decode("utf-8", "replace")


async def _end(
    process: subprocess.Process, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader
) -> None:
    """Kill what is left of the child, at once, and wait until nothing of it is left.

    The killing comes before the first ``await``: a second cancellation cannot prevent it.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    stdin.close()
    # A killed process can hang in the kernel. Leadership must not hang with it.
    with suppress(TimeoutError):
        async with asyncio.timeout(_REAP_S):
            # Unread output would hold up the notice of the end.
            while await stdout.read(LINE_BYTES):
                pass
            await process.wait()


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"the generator ended with exit code {code} and no report"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    cause = "; did it run out of memory?" if -code == signal.SIGKILL else ""
    return f"the generator was ended by {name}{cause}"


def _absent(test: LoadTestSpec, why: Missing, detail: str) -> LoadTestAnswer:
    return LoadTestAnswer(test=test.name, asked_rate=test.rate, absent=Absent(why, detail))
