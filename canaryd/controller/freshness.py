"""What we wrote ourselves, so that nothing is decided on a view older than that."""

from dataclasses import dataclass, field

from canaryd.core.views import Key, ObjectView

OVERDUE_WAITS = 10
"""Looks at a cache behind our own write until the API server is asked: seconds, about as many."""


class StaleCache(Exception):  # noqa: N818 - a state of the world, not a fault
    """The cache has not caught up with our own last write yet."""


@dataclass(slots=True)
class _Write:
    """The newest write of ours to one target."""

    version: int
    waits: int = 0
    """Looks that found the cache behind it."""


@dataclass(slots=True)
class Freshness:
    """Which resourceVersions of targets we wrote and which Canaries we deleted, so that nothing is
    decided on an older view.
    """

    _written: dict[Key, _Write] = field(default_factory=dict)
    _deleted: dict[Key, str] = field(default_factory=dict)

    def wrote(self, key: Key, resource_version: str) -> None:
        """A write to the target came back with this resourceVersion."""
        version = int(resource_version) if resource_version.isdigit() else 0
        known = self._written.get(key)
        if version and (known is None or known.version < version):
            self._written[key] = _Write(version)

    def check(self, key: Key, resource_version: str) -> None:
        """Raise :class:`StaleCache` when what was seen is older than what we wrote."""
        write = self._written.get(key)
        if write is None:
            return
        if int(resource_version or 0) < write.version:
            write.waits += 1
            waited_for = f"waiting for resourceVersion {write.version}"
            raise StaleCache(f"Deployment {key[0]}/{key[1]}: {waited_for}")
        del self._written[key]

    def deleted(self, key: Key, uid: str) -> None:
        """The Canary of this uid was deleted: the app has left."""
        self._deleted[key] = uid

    def check_canary(self, key: Key, canary: ObjectView | None) -> None:
        """Raise :class:`StaleCache` while the cache still holds a Canary that we deleted:
        an app must not leave twice.
        """
        uid = self._deleted.get(key)
        is_held = canary is not None and canary.id.uid == uid and not canary.id.deleting
        if is_held:
            raise StaleCache(f"Canary {key[0]}/{key[1]}: waiting until it is gone")
        self._deleted.pop(key, None)

    def is_overdue(self, key: Key) -> bool:
        """Whether so many looks waited that the API server itself should be asked."""
        write = self._written.get(key)
        return write is not None and write.waits >= OVERDUE_WAITS

    def forget(self, key: Key) -> None:
        self._written.pop(key, None)
        self._deleted.pop(key, None)
