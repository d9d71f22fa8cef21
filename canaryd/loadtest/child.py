"""What the load generator's process does: read one order, send the load, write the report.

Orders come on standard input, which must then stay open; ``started`` and the report go to standard
output, in the lines of ``report``. Nothing else may be printed there.
"""

import asyncio
import gc
import logging
import sys

from canaryd.loadtest.confinement import watch_parent
from canaryd.loadtest.engine_aiohttp import AiohttpEngine
from canaryd.loadtest.report import (
    ORDER_BYTES,
    ProtocolError,
    read_order,
    write_report,
    write_started,
)

EXIT_NO_ORDER = 2


def main() -> int:
    """Run one load test; return the exit code."""
    # Libraries warn about what a target does: it may do so at every request, and nobody reads it.
    logging.disable(logging.CRITICAL)
    try:
        order = read_order(sys.stdin.buffer.readline(ORDER_BYTES))
    except ProtocolError as error:
        sys.stderr.write(
            f"canaryd.loadtest is started by canaryd itself; who started this {error}\n"
        )
        return EXIT_NO_ORDER
    asyncio.run(_generate(AiohttpEngine(order)))
    return 0


async def _generate(engine: AiohttpEngine) -> None:
    watch_parent()
    # What exists now stays to the end: collections need not look at it, and pauses stay short.
    gc.freeze()
    _say(write_started())
    _say(write_report(await engine.run()))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
