"""Pages that are written by hand say what the program does."""

import re

import pytest

from canaryd.cli import exits
from canaryd.cli.exits import Exit
from canaryd.cli.main import INTERRUPTED, READER_GONE
from canaryd.controller.inquiries import MAX_NOTICES
from canaryd.telemetry.prometheus import MAX_METRICS, MAX_WORDS, Telemetry
from tests.docs.pages import REFERENCE, page, table

# --- exit codes ---


def test_the_page_of_exit_codes_has_all_of_them():
    found = {
        int(code): name.strip("`")
        for code, name, _ in table(page("exit-codes.md"), ("code", "name", "meaning"))
    }
    by_signal = {INTERRUPTED: "", READER_GONE: ""}
    assert {int(code): code.name for code in Exit} | by_signal == found


def test_the_page_and_the_module_say_the_same_about_exit_codes():
    said = dict(re.findall(r"^(\d) +(\S.*)$", exits.__doc__, re.MULTILINE))
    told = {
        code: meaning
        for code, name, meaning in table(page("exit-codes.md"), ("code", "name", "meaning"))
        if name
    }
    assert said == told


# --- metrics ---


def exported():
    """Name, type, labels and help of everything in the registry, as the page spells them."""
    telemetry = Telemetry("1.2.3")
    telemetry.canary("shop", "podinfo", phase="Progressing", weight=20, failed_checks=0)
    telemetry.metric_values("shop", "podinfo", {"success-rate": 99.5})
    telemetry.run_ended("shop", "podinfo", "Succeeded")
    telemetry.reconciled("Idle", 0.1)
    telemetry.api_request("get", "services", 200, 0.1)
    telemetry.watch_restarted("services", "expired")
    telemetry.decode_failed("services")
    telemetry.reviewed("kept")
    for family in telemetry.registry.collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        kind = "gauge" if family.type == "info" else family.type
        yield family.name + suffix, kind, frozenset(labels), family.documentation


def test_the_page_of_metrics_has_every_metric_with_its_type_labels_and_meaning():
    documented = {
        (name.strip("`"), kind, frozenset(re.findall(r"`(\w+)`", labels)), meaning)
        for name, kind, labels, meaning in table(
            page("metrics.md"), ("metric", "type", "labels", "meaning")
        )
    }
    assert set(exported()) == documented


def test_the_limits_of_labels_are_those_that_hold():
    text = page("metrics.md")
    assert f"Beyond {MAX_WORDS} different words" in text
    assert f"Of one app at most {MAX_METRICS} checks" in text


def test_every_metric_of_an_alert_is_exported():
    alerts = page("metrics.md").partition("```yaml")[2]
    names = {name for name, *_ in exported()}
    assert set(re.findall(r"canaryd_\w+", alerts)) <= names


# --- hooks ---


def test_the_page_of_hooks_has_the_number_of_notifications_that_may_be_on_the_way():
    assert f"at most {MAX_NOTICES} of one app are on the way" in page("hooks.md")


# --- links ---


@pytest.mark.parametrize("name", sorted(path.name for path in REFERENCE.glob("*.md")))
def test_links_between_pages_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#:\s]+\.md)", page(name)):
        assert (REFERENCE / target).exists(), target
