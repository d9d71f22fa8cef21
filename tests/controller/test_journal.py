"""What a look leaves behind in log and metrics: a run that ended is told and counted once, however full the history is."""

import pytest

from canaryd.controller.journal import ReconcileJournal
from canaryd.core.annotations import Resolution
from canaryd.core.decision import Decision, SaveState
from canaryd.core.model import CanarySpec
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import HISTORY_CAP, HistoryEntry, RolloutState
from canaryd.core.views import deployment_view
from canaryd.telemetry.prometheus import Telemetry
from tests.controller.parts import KEY, deployment


class Lines(list):
    """A logger that keeps what it was told."""

    def _keep(self, event, **values):
        self.append((event, values))

    debug = info = warning = _keep


def entry(number):
    return HistoryEntry(
        revision=f"rev-{number}",
        result="Succeeded",
        reason="Promoted",
        started_at=float(number),
        finished_at=number + 1.0,
        decision_id=f"rev-{number}-{number}",
    )


def state(*numbers):
    return RolloutState(
        phase=Phase.SUCCEEDED, promoted="p", history=tuple(entry(n) for n in numbers)
    )


def snapshot(recorded):
    return Snapshot(
        key=KEY,
        target=deployment_view(deployment("app")),
        resolution=Resolution(enabled=True, spec=CanarySpec(), values={}, problems=()),
        spec=CanarySpec(),
        state=recorded,
    )


class Journal:
    def __init__(self):
        self.lines, self.telemetry = Lines(), Telemetry("1.2.3")
        self.journal = ReconcileJournal(self.lines, self.telemetry)

    def look(self, before, after):
        decision = Decision(reason=Reason.PROMOTED, message="promoted", actions=(SaveState(after),))
        self.journal.looked(snapshot(before), KEY, decision, 0.01)
        return self.lines[-1][1]

    def counted(self):
        text = self.telemetry.expose().decode()
        return [line for line in text.splitlines() if 'result="Succeeded"' in line]


@pytest.mark.parametrize("full", [0, 1, HISTORY_CAP])
def test_a_run_that_ended_is_told_and_counted_however_many_ended_before(full):
    journal = Journal()
    before = state(*range(full))
    line = journal.look(before, state(*range(full + 1)[-HISTORY_CAP:]))

    assert f"rev-{full}-{full}" == line["decision_id"]
    assert ["1.0"] == [told.rpartition(" ")[2] for told in journal.counted()]


def test_a_look_that_ends_no_run_counts_none():
    journal = Journal()
    line = journal.look(state(1, 2), state(1, 2))

    assert "decision_id" not in line
    assert [] == journal.counted()
