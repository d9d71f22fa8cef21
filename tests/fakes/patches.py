"""A JSON Patch (RFC 6902) carried out as strictly as the API server does: no parent is made, nothing absent is removed."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any


def apply_patch(obj: Mapping[str, Any], operations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the object after every operation; only ``add`` and ``remove`` of members are known."""
    made = copy.deepcopy(dict(obj))
    for operation in operations:
        *parents, last = [
            part.replace("~1", "/").replace("~0", "~")
            for part in str(operation["path"]).split("/")[1:]
        ]
        place: Any = made
        for part in parents:
            place = place[part]
        match operation["op"]:
            case "add":
                place[last] = copy.deepcopy(operation["value"])
            case "remove":
                del place[last]
            case other:
                raise AssertionError(f"{other} is not known here")
    return made
