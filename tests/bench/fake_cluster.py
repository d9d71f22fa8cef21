"""A fake API server and cluster in a process of its own, in real time: ``python -m tests.bench.fake_cluster FOLDER N ENROLLED``.

It prints the path of a kubeconfig. N Deployments with Service and Ingress exist, of which ENROLLED carry annotations.
Every line on its standard input is the number of one more app to enrol.
"""

import asyncio
import sys
from pathlib import Path

from canaryd.core.kinds import DEPLOYMENT
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster

NAMESPACE = "shop"
PLAN = {"canaryd.io/enabled": "true", "canaryd.io/scale-down-delay": "1s"}


def app(number, annotations):
    name = f"app-{number}"
    labels = {"app": name}
    meta = {"namespace": NAMESPACE, "name": name}
    env = [{"name": f"VARIABLE_{n}", "value": "value " * 8} for n in range(25)]
    container = {"name": "app", "image": "app:1", "env": env}
    path = {
        "path": "/",
        "pathType": "Prefix",
        "backend": {"service": {"name": name, "port": {"number": 80}}},
    }
    return (
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {**meta, "annotations": annotations},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": meta,
            "spec": {
                "ingressClassName": "nginx",
                "rules": [{"host": f"{name}.test", "http": {"paths": [path]}}],
            },
        },
    )


async def main(folder, total, enrolled):
    async with FakeApiServer(clock=VirtualClock()) as server, FakeCluster(server) as cluster:
        server.ensure_namespace(NAMESPACE)
        cluster.fate = lambda _pod: 0.1
        for number in range(total):
            for manifest in app(number, PLAN if number < enrolled else {}):
                server.put(manifest)
        print(server.kubeconfig(folder), flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            for number in range(int(line)):
                patch = {"metadata": {"annotations": PLAN}}
                server.patch(DEPLOYMENT, NAMESPACE, f"app-{number}", patch)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
