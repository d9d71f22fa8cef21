"""What an idle daemon costs the API server: watches and the lease, whatever the number of apps."""

import time

import pytest

from tests.cluster.app import App
from tests.cluster.audit import AuditLog
from tests.cluster.daemon import Daemon
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("undisturbed")]

WATCHED_S = 20
MANY = 50
BATCH = 10


def test_an_idle_daemon_asks_nothing_with_one_app_and_with_fifty(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    if not cluster.is_local:
        pytest.skip("the audit log of a cluster of your own is not ours to read")
    first = App(cluster, namespace, name="app-0", replicas=1)
    first.deploy()
    first.enrol()
    first.until_phase("Initialized", 60)
    _assert_quiet(cluster, daemon, "1 app")

    for start in range(1, MANY, BATCH):
        apps = [
            App(cluster, namespace, name=f"app-{n}", replicas=1)
            for n in range(start, min(start + BATCH, MANY))
        ]
        for app in apps:
            app.deploy()
            app.enrol()
        for app in apps:
            app.until_phase("Initialized", 120)
    record("resident memory, 50 apps", f"{daemon.rss_mib():.1f} MiB", "-")
    _assert_quiet(cluster, daemon, "50 apps")


def _assert_quiet(cluster: Cluster, daemon: Daemon, what: str) -> None:
    time.sleep(6)
    audit = AuditLog(cluster.audit_log, daemon.user)
    time.sleep(WATCHED_S)
    requests = audit.counted()
    record(f"API requests while idle for {WATCHED_S} s, {what}", str(len(requests)), "0")
    assert [] == requests, audit.table()
