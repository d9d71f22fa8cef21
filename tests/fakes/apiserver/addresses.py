"""URLs of the API server, and the media types by which a client asks for metadata only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from canaryd.core.kinds import Kind


@dataclass(frozen=True, slots=True)
class Address:
    """What a resource URL names; ``name`` is empty for a collection."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class AddressBook:
    """Resolves paths to kinds."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.kinds: tuple[Kind, ...] = ()
        self.serve(tuple(kinds))

    def serve(self, kinds: tuple[Kind, ...]) -> None:
        """Know these kinds and no others from now on."""
        self.kinds = kinds
        self._by_plural = {(k.group, k.version, k.plural): k for k in kinds}

    def resolve(self, path: str) -> Address | None:
        """The address of a resource path, None for anything else."""
        group, version, rest = split_path(path)
        if len(rest) >= 3 and rest[0] == "namespaces":
            kind = self._by_plural.get((group, version, rest[2]))
            if kind is not None and kind.namespaced:
                return self._address(kind, rest[1], rest[3:])
        if rest:
            kind = self._by_plural.get((group, version, rest[0]))
            # Without a namespace only whole collections of a namespaced kind can be read.
            if kind is not None and (len(rest) == 1 or not kind.namespaced):
                return self._address(kind, "", rest[1:])
        return None

    def _address(self, kind: Kind, namespace: str, rest: Sequence[str]) -> Address | None:
        if len(rest) > 2:
            return None
        name, subresource = (*rest, "", "")[:2]
        return Address(kind, namespace, name, subresource)

    def groups(self) -> dict[str, list[str]]:
        """Versions by group, the core group under the empty name."""
        found: dict[str, list[str]] = {}
        for kind in self.kinds:
            versions = found.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        return found


def split_path(path: str) -> tuple[str, str, list[str]]:
    """(group, version, rest) of ``/api/v1/…`` or ``/apis/<group>/<version>/…``."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest]:
            return "", version, rest
        case ["apis", group, version, *rest]:
            return group, version, rest
        case _:
            return "", "", []


def wants_metadata(accept: str, *, collection: bool) -> bool | None:
    """Whether the Accept header asks for PartialObjectMetadata; None when nothing in it can be served."""
    wanted = "PartialObjectMetadataList" if collection else "PartialObjectMetadata"
    for entry in accept.split(",") if accept else ["*/*"]:
        media, *parameters = [part.strip() for part in entry.split(";")]
        if media not in {"application/json", "application/*", "*/*"}:
            continue
        options = dict(p.split("=", 1) for p in parameters if "=" in p)
        if "as" not in options:
            return False
        if (
            options["as"] == wanted
            and options.get("g") == "meta.k8s.io"
            and options.get("v") == "v1"
        ):
            return True
    return None
