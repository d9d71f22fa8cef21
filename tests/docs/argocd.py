"""Argo CD's side of its scripts: the interpreter with the libraries it has there, and what becomes of what they return.

As of Argo CD 3: Lua 5.1 with ``base``, ``table``, ``package`` and two functions of ``os`` (``util/lua/lua.go``); an object goes
through JSON on its way out, where an empty map and an empty list are the same; what differs is a merge patch.
"""

from typing import Any

import yaml
from lupa.lua51 import LuaRuntime, lua_type

from canaryd.core.subset import merge_diff
from tests.docs.markdown import ROOT

CONFIG = ROOT / "deploy" / "argocd" / "argocd-cm.yaml"
SETTINGS: dict[str, str] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["data"]
ACTIONS = yaml.safe_load(SETTINGS["resource.customizations.actions.canaryd.io_Canary"])
WORDS = {"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"}

_BARE = """
local times = {time = os.time, date = os.date}
package.preload.os = function() return times end
getmetatable("").__index = nil
for _, name in ipairs({"string", "math", "io", "os", "debug", "coroutine", "python"}) do
  _G[name], package.loaded[name] = nil, nil
end
"""


def run(script: str, obj: dict[str, Any]) -> Any:
    """What a script returns for an object."""
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    lua.execute(_BARE)
    lua.globals().obj = _to_lua(lua, obj)
    return _from_lua(lua.execute(script))


def health(kind: str, obj: dict[str, Any]) -> tuple[str, str]:
    """Status and message for a kind, as in ``apps_Deployment``."""
    found = run(SETTINGS[f"resource.customizations.health.{kind}"], obj)
    assert found["status"] in WORDS
    return found["status"], found["message"]


def offered(canary: dict[str, Any]) -> set[str]:
    """Actions that can be pressed."""
    found = run(ACTIONS["discovery.lua"], canary)
    assert {d["name"] for d in ACTIONS["definitions"]} == set(found)
    return {name for name, action in found.items() if not action["disabled"]}


def patch_of(action: str, canary: dict[str, Any]) -> dict[str, Any]:
    """The merge patch that pressing an action comes to."""
    [script] = [d["action.lua"] for d in ACTIONS["definitions"] if d["name"] == action]
    returned = run(script, canary)
    return merge_diff(canary, _restored(returned, canary))


def _to_lua(lua: LuaRuntime, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({k: _to_lua(lua, v) for k, v in value.items() if v is not None})
    if isinstance(value, list | tuple):
        return lua.table_from([_to_lua(lua, v) for v in value])
    return str(value) if isinstance(value, str) else value


def _from_lua(value: Any) -> Any:
    """Through JSON: a table with keys 1 to n is a list, and so is an empty one."""
    if lua_type(value) != "table":
        return value
    items = dict(value.items())
    if set(items) == set(range(1, len(items) + 1)):
        return [_from_lua(items[i]) for i in range(1, len(items) + 1)]
    return {key: _from_lua(item) for key, item in items.items()}


def _restored(new: Any, old: Any) -> Any:
    """Empty lists that were maps are maps again, as Argo CD makes them (``cleanReturnedObj``)."""
    if new == [] and isinstance(old, dict):
        return old
    if isinstance(new, dict) and isinstance(old, dict):
        return {k: _restored(v, old[k]) if k in old else v for k, v in new.items()}
    if isinstance(new, list) and isinstance(old, list):
        return [_restored(n, o) for n, o in zip(new, old, strict=False)] + new[len(old) :]
    return new
