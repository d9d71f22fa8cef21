"""What a decision costs: one look at an app, by what it is doing, and the parts of every look.

Run it with ``python -m tests.bench.bench_core``. The core is pure, so nothing but it is measured.
"""

import sys

from canaryd.core.decide import decide
from canaryd.core.fingerprint import template_fingerprint
from canaryd.core.memory import load
from canaryd.core.status import StatusInput, render
from canaryd.core.views import deployment_view
from tests.bench.measuring import Row, cpu_per_call, deployment, finish, reference
from tests.core.world import enrolled

BUDGET_LOOK = 4.0
"""One decision, in units of ``json.loads`` of a Deployment: far below reading a single event."""
TIMES = 2_000


def at_weight(weight):
    world = enrolled()
    world.deploy("B")
    while world.weight != weight:
        world.settle(1)
    return world


def main():
    unit = reference()
    idle, analysing = enrolled(), at_weight(20)
    looks = {
        "decide, idle app": idle.snapshot(),
        "decide, app at weight 20": analysing.snapshot(),
    }
    rows = []

    def add(what, call, budget=None):
        cost = cpu_per_call(call, TIMES)
        rows.append(Row(what, cost / unit, "units", budget, f"{cost * 1e6:.0f} us"))

    for what, snap in looks.items():
        add(what, lambda snap=snap: decide(snap, 2000.0), BUDGET_LOOK)
    state, status = analysing.state, dict(analysing.status)
    raw = deployment(1)
    given = StatusInput(state, looks["decide, idle app"].spec, None, 1, "")
    add("state read", lambda: load(status), 2.0)
    add("status rendered", lambda: render(given, {}, 2000.0), 6.0)
    add("fingerprint of a template", lambda: template_fingerprint(raw["spec"]["template"]), 4.0)
    add("view of a Deployment", lambda: deployment_view(raw), 5.0)
    known = deployment_view(raw)
    add("view of one that is known", lambda: deployment_view(raw, known), 1.0)
    print(f"  one unit is {unit * 1e6:.0f} us: json.loads of one Deployment")
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
