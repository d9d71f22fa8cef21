"""The generators of the chart are scripts, not a package; this imports one."""

import importlib.util
import sys
from types import ModuleType

from tests.chart.chart import ROOT


def load_script(name: str) -> ModuleType:
    path = ROOT / "deploy" / "helm" / f"{name}.py"
    found = importlib.util.spec_from_file_location(f"chart_{name}", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    # Dataclasses look their module up by name.
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module
