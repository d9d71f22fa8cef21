"""What the tests of the settings share: load them from somewhere, and get values or sentences."""

from pathlib import Path

import yaml

from canaryd.config.load import ConfigError, load
from canaryd.config.settings import Settings

CLUSTER = {"scope": {"mode": "cluster"}}


def nested(path: str, value: object) -> dict:
    """The mapping in which ``value`` stands at a dotted path."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def laid_over(below: dict, above: dict) -> dict:
    """Two mappings merged, the second one winning."""
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        both = isinstance(value, dict) and isinstance(known, dict)
        merged[key] = laid_over(known, value) if both else value
    return merged


class Loader:
    """Loads settings from a file of the test's own folder; its path in messages is ``FILE``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"

    def load(self, text: str | None = None, environ=None, flags=None) -> Settings:
        if text is not None:
            self.path.write_text(text, encoding="utf-8")
        return load(self.path if text is not None else None, environ, flags)

    def problems(self, text: str | None = None, environ=None, flags=None) -> list[str]:
        """The sentences of everything that is wrong."""
        try:
            settings = self.load(text, environ, flags)
        except ConfigError as error:
            return [problem.message.replace(str(self.path), "FILE") for problem in error.problems]
        raise AssertionError(f"nothing is wrong with {settings}")

    def set(self, path: str, value: object) -> Settings:
        """Load a file that sets one thing."""
        return self.load(yaml.safe_dump(laid_over(CLUSTER, nested(path, value))))

    def refusals(self, path: str, value: object) -> list[str]:
        """What is wrong with a file that sets one thing, without the places."""
        text = yaml.safe_dump(laid_over(CLUSTER, nested(path, value)))
        return [message.partition(": ")[2] for message in self.problems(text)]


def at(settings: Settings, path: str) -> object:
    """The value at a dotted path."""
    value: object = settings
    for key in path.split("."):
        value = value[key] if hasattr(value, "keys") else getattr(value, key)
    return value
