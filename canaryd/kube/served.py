"""Which of several versions of one kind this cluster serves.

For optional kinds alone, and asked of their group's own address, which costs one request and has no
cache file (D1): before the first watch, and again when the server does not know what was asked for.
Whoever writes such objects asks here which version to write, so that writer and watch speak the
same one. With a single choice there is nothing to ask.
"""

from canaryd.core.kinds import Kind
from canaryd.kube.client import KubeClient
from canaryd.ports.errors import NotFound


class ServedVersion:
    """The version in use; the best one until the cluster was asked.

    Args:
        client: whom to ask.
        choices: versions of one kind, best first.

    """

    def __init__(self, client: KubeClient, choices: tuple[Kind, ...]) -> None:
        self._client = client
        self.choices = choices
        self.kind = choices[0]

    async def choose(self) -> Kind:
        """Ask, and use the best version that is served.

        Raises:
            NotFound: none of them is, or the group is not there.
            KubeError: the server could not be asked.

        """
        if len(self.choices) > 1:
            served = await self._client.versions(self.kind.group)
            found = [kind for kind in self.choices if kind.version in served]
            if not found:
                listed = ", ".join(kind.version for kind in self.choices)
                there = ", ".join(served) or "none"
                raise NotFound(f"{self.kind.resource}: none of {listed} is served, but {there}")
            self.kind = found[0]
        return self.kind
