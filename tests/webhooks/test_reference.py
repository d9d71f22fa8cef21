"""The reference page says what the code does, as far as a test can tell."""

import json
import re
from pathlib import Path

from canaryd.config.settings import Egress
from canaryd.core.model import HookType
from canaryd.webhooks.client import LONGEST_WAIT_S, MAX_BYTES, PASSING
from tests.webhooks.test_client import PAYLOAD

PAGE = (Path(__file__).parents[2] / "docs/reference/hooks.md").read_text(encoding="utf-8")


def section(title):
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(text):
    return re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)


def test_every_type_has_its_row():
    assert sorted(HookType) == sorted(rows(section("When each type is called")))


def test_the_example_has_the_fields_that_are_sent():
    example = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])

    assert PAYLOAD.keys() == example.keys()
    assert ["name", "namespace", "phase", "checksum", "metadata"] == list(example)[:5]


def test_the_limits_are_those_of_the_code():
    text = section("What counts as an answer")

    assert f"| {', '.join(map(str, sorted(PASSING)))} | passes |" in text
    assert f"more than {MAX_BYTES // 1024} KiB of answer" in text
    assert f"more than {LONGEST_WAIT_S:.0f} seconds" in text


def test_the_settings_that_open_more_exist():
    named = set(re.findall(r"`egress\.([a-z_]+)`", section("Where hooks may go")))

    assert Egress.model_fields.keys() == named
