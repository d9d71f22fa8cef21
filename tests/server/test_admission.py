"""The webhook as a daemon serves it: nothing but what the chart made at the start, an API server that believes it at the end."""

import asyncio
import base64
import json
import socket
import ssl

import aiohttp

from canaryd.config.settings import Settings
from canaryd.core import names
from canaryd.core.kinds import ALL_KINDS, MUTATING_WEBHOOK_CONFIGURATION, SECRET
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.server import admission, webhook
from canaryd.telemetry.clock import SteadyClock
from canaryd.telemetry.prometheus import Telemetry
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.tasks import running

DAEMON = "system:serviceaccount:canaryd:canaryd"
NAMESPACE, NAME = "canaryd", "canaryd-webhook"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Noticed(Telemetry):
    """Says when there is a certificate to serve."""

    def __init__(self):
        super().__init__("1.2.3")
        self.serves = asyncio.Event()

    def certificate_ends(self, at):
        super().certificate_ends(at)
        self.serves.set()


def install(server):
    """What the chart makes; returns who reads whom API servers believe."""
    server.ensure_namespace(NAMESPACE)
    metadata = {"namespace": NAMESPACE, "name": NAME}
    server.store.create(SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
    hooks = [{"name": "services.keep.canaryd.io", "clientConfig": {"service": metadata}}]
    made = {
        "apiVersion": MUTATING_WEBHOOK_CONFIGURATION.api_version,
        "kind": MUTATING_WEBHOOK_CONFIGURATION.kind,
        "metadata": {"name": "canaryd"},
        "webhooks": hooks,
    }
    server.store.create(MUTATING_WEBHOOK_CONFIGURATION, made)

    def bundle():
        found = server.object(MUTATING_WEBHOOK_CONFIGURATION, "", "canaryd")
        return base64.b64decode(found["webhooks"][0]["clientConfig"]["caBundle"]).decode()

    return bundle


def review():
    marked = {"metadata": {"name": "app", "labels": {names.LABEL_APEX: "app"}}}
    return webhook.REVIEW | {
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Service"},
            "operation": "UPDATE",
            "userInfo": {"username": "gitops"},
            "object": marked | {"spec": {"selector": {"app": "app"}}},
            "oldObject": marked | {"spec": {"selector": {"app": "app-primary"}}},
        }
    }


async def test_what_the_chart_installed_is_filled_and_then_served():
    given = {"keep": "webhook", "username": DAEMON, "webhook": {"port": free_port(), "name": NAME}}
    settings = Settings.model_validate(
        {"scope": {"mode": "cluster"}, "server": {"host": "127.0.0.1"}, "admission": given}
    )
    # Real time: the standard library compares certificates with no other.
    clock, telemetry = SteadyClock(), Noticed()
    async with (
        FakeApiServer((*ALL_KINDS, MUTATING_WEBHOOK_CONFIGURATION), clock) as server,
        KubeClient(Connection(server=server.url), clock=clock) as client,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        bundle = install(server)
        serving = admission.serve(
            settings,
            client,
            namespace=NAMESPACE,
            guard=lambda: None,
            clock=clock,
            telemetry=telemetry,
        )
        async with serving as look_after, running(look_after()):
            await telemetry.serves.wait()
            asked = http.post(
                f"https://127.0.0.1:{settings.admission.webhook.port}{webhook.PATH}",
                data=json.dumps(review()).encode(),
                ssl=ssl.create_default_context(cadata=bundle()),
                server_hostname=f"{NAME}.{NAMESPACE}.svc",
            )
            async with asked as response:
                answer = await response.json()
    assert answer["response"].keys() == {"uid", "allowed", "patchType", "patch"}
    exposed = telemetry.expose().decode()
    assert 'canaryd_admission_reviews_total{outcome="kept"} 1.0' in exposed
    assert "canaryd_admission_certificate_end_seconds 0.0" not in exposed
