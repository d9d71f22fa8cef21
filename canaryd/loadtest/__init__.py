"""The embedded load test: traffic of our own for the canary, so that a quiet app can be judged.

In the daemon, ``runner`` starts one child process for each test and turns its report into an
answer. In the child, ``__main__`` reads the order and ``engine_aiohttp`` sends on the schedule of
``pacer``. ``report`` is what the two say to each other. The child imports nothing of the daemon
but ``core``: it has to start fast, and a crash of it must stay its own.

Why a process, why open loop, and what it costs: ``docs/design/20261124-load-engine.md``.
"""
