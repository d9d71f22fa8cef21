"""A few requests to the API server with the standard library, for the start alone.

kubectl reads all of the API's description before its first request, which costs a second
and a half per call on a small machine; a start makes some ten requests.
Not for tests: those use the client of canaryd, or kubectl.
"""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.cluster.local.certificates import Pair
from tests.cluster.local.errors import CommandFailed


class Api:
    """Requests to one API server with a client certificate."""

    def __init__(self, host: str, port: int, ca: Path, pair: Pair) -> None:
        self._host = host
        self._port = port
        self._context = ssl.create_default_context(cafile=str(ca))
        self._context.load_cert_chain(pair.cert, pair.key)

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send one request; an answer above 399 is a CommandFailed with its text."""
        connection = http.client.HTTPSConnection(
            self._host, self._port, context=self._context, timeout=10
        )
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status > 399:
                raise CommandFailed(f"{method} {path} was answered {answer.status}: {text[:500]}")
        except http.client.HTTPException as error:
            raise CommandFailed(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        return json.loads(text) if text.startswith("{") else text

    def is_ready(self) -> bool:
        return bool(self.request("GET", "/readyz") == "ok")

    def is_node_ready(self, name: str) -> bool:
        node = self.request("GET", f"/api/v1/nodes/{name}")
        conditions = node.get("status", {}).get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def answers(url: str) -> bool:
    """Say whether a plain HTTP address answers with 200; refused is not yet."""
    # A proxy of the user's environment must not be asked for loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, http.client.HTTPException):
        return False
