"""What is taken of the official package, loaded without its other half.

``kubernetes/__init__.py`` imports the synchronous client with its websocket, dynamic and informer
parts before anything below ``kubernetes.aio`` is reached: 9 MiB resident and a third of a second
of every start, and nothing of it is used here. So the parent is registered as a bare package with
the same path, and the part that is wanted is imported from it.
Where somebody else imported the whole package before us, it is used as it is.
Nothing else in the program may import ``kubernetes``.
"""

import sys
from importlib.util import find_spec
from types import ModuleType


def _register_bare_parent() -> None:
    spec = find_spec("kubernetes")
    if "kubernetes" in sys.modules or spec is None:
        return
    parent = ModuleType("kubernetes")
    parent.__spec__ = spec
    parent.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["kubernetes"] = parent


_register_bare_parent()

from kubernetes.aio.client.api_client import ApiClient  # noqa: E402 - the parent comes first
from kubernetes.aio.client.configuration import Configuration  # noqa: E402 - same

__all__ = ["ApiClient", "Configuration"]
