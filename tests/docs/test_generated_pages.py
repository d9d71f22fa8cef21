"""Pages and files that are made by a script are what the script would make now."""

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from canaryd.config.load import load

ROOT = Path(__file__).resolve().parents[2]
GENERATORS = (
    "docs/generate_annotations.py",
    "docs/generate_cli.py",
    "docs/generate_settings.py",
    "deploy/helm/generate_schema.py",
    "deploy/helm/generate_rbac_table.py",
    "deploy/argocd/generate_config.py",
)


def script(path):
    """Import a script, which is no module of a package."""
    name = f"generator_{Path(path).stem}"
    found = importlib.util.spec_from_file_location(name, ROOT / path)
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses look their module up by name
    found.loader.exec_module(module)
    return module


def run(module, monkeypatch, *arguments):
    """Run a script's main, which takes its arguments or looks them up itself."""
    monkeypatch.setattr(sys, "argv", [module.__file__, *arguments])
    if module.main.__code__.co_argcount:
        return module.main(list(arguments))
    return module.main()


@pytest.mark.parametrize("path", GENERATORS)
def test_what_is_generated_is_current(path, monkeypatch, capsys):
    assert (0, "") == (run(script(path), monkeypatch, "--check"), capsys.readouterr().err)


def test_every_generator_of_the_tree_is_checked():
    found = {
        str(path.relative_to(ROOT))
        for folder in ("docs", "deploy")
        for path in (ROOT / folder).rglob("generate_*.py")
    }
    assert set(GENERATORS) == found


# --- the page of the settings ---


@pytest.fixture
def generator(tmp_path, monkeypatch):
    """The generator of the settings' page, with a page of its own."""
    module = script("docs/generate_settings.py")
    monkeypatch.setattr(module, "PAGE", tmp_path / "reference" / "settings.md")
    return module


def test_it_writes_what_it_then_finds_current(generator, monkeypatch, capsys):
    assert 0 == run(generator, monkeypatch)
    assert 0 == run(generator, monkeypatch, "--check")
    assert "" == capsys.readouterr().err


def test_a_page_that_is_not_current_is_shown_with_what_is_different(generator, monkeypatch, capsys):
    run(generator, monkeypatch)
    page = generator.PAGE.read_text()
    generator.PAGE.write_text(page.replace("# Settings", "# Set things", 1))
    assert 1 == run(generator, monkeypatch, "--check")
    shown = capsys.readouterr().err
    assert "-# Set things\n+# Settings\n" in shown
    assert "# Set things" in generator.PAGE.read_text()


def test_a_page_that_is_missing_is_not_current(generator, monkeypatch):
    assert 1 == run(generator, monkeypatch, "--check")


def rows(page):
    """Every row of every table, by the chapter and the key."""
    chapter, found = "", {}
    for line in page.splitlines():
        if line.startswith("## "):
            chapter = line.removeprefix("## ").strip("`")
        elif line.startswith("| `"):
            key, kind, default, meaning = (cell.strip() for cell in line[1:-1].split(" | "))
            found[chapter, key.strip("`")] = (kind, default, meaning)
    return found


def test_every_setting_has_a_row_with_a_meaning(generator):
    found = rows(generator.render())
    assert [] == [key for key, (_, _, meaning) in found.items() if not meaning.endswith(".")]


def test_the_rows_say_what_the_model_says(generator):
    found = rows(generator.render())
    assert ("whole number from 1 to 256", "`16`") == found["At the top level", "workers"][:2]
    assert ("number from 0.1 to 298", "`2`") == found["leader_election", "retry_s"][:2]
    assert ("`cluster`, `namespaces`", "none, it is required") == found["scope", "mode"][:2]
    assert ("`true`, `false`", "`false`") == found["admission", "commands"][:2]
    assert ("`policy`, `webhook`, `off`", "`off`") == found["admission", "keep"][:2]
    assert ("list", "empty") == found["egress", "allowed_hosts"][:2]
    assert ("text, at most 253 characters", "empty") == found["server", "host"][:2]
    assert ("metric_sources.NAME", "url") in found


def test_the_example_of_the_page_can_be_used(generator, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(generator.EXAMPLE)
    settings = load(path)
    assert "traefik" == settings.providers.nginx.dialect
    assert dict(settings.defaults) == yaml.safe_load(generator.EXAMPLE)["defaults"]
