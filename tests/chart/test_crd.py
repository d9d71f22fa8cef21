"""The CustomResourceDefinition: bounded, structural, with the columns people read, and it keeps what the daemon writes."""

import re
from dataclasses import replace

import pytest

from canaryd.controller.configuration import canary_spec
from canaryd.core.annotations import resolve_deployment
from canaryd.core.kinds import CANARY
from canaryd.core.memory import load
from canaryd.core.model import CanarySpec
from canaryd.core.phase import Phase
from canaryd.core.state import (
    CommandRecord,
    HistoryEntry,
    HookRecord,
    RolloutState,
    RunState,
    VerdictRecord,
)
from canaryd.core.status import StatusInput
from canaryd.core.status import render as render_status
from canaryd.core.views import deployment_view
from tests.chart.chart import CLUSTER, render

pytestmark = pytest.mark.cluster
NOW = 1_700_000_000.0


def crd(*flags: str) -> dict:
    return render(*CLUSTER, *flags).one("CustomResourceDefinition")


def version() -> dict:
    [only] = crd()["spec"]["versions"]
    return only


def schema() -> dict:
    return version()["schema"]["openAPIV3Schema"]


def nodes(node: dict, path: str = ""):
    """Every schema below, those of apiVersion, kind and metadata aside: they are the API server's."""
    yield path, node
    for name, below in node.get("properties", {}).items():
        if path or name not in {"apiVersion", "kind", "metadata"}:
            yield from nodes(below, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from nodes(node["additionalProperties"], f"{path}.*")


def columns(priority: int) -> list[tuple[str, str]]:
    return [
        (c["name"], c["type"])
        for c in version()["additionalPrinterColumns"]
        if c.get("priority", 0) == priority
    ]


def complaints(schema: dict, value, path: str = "") -> list[str]:
    """What an API server would refuse, or silently drop, of a value."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    match schema["type"], value:
        case "object", dict():
            found = [
                f"{path}.{k} is required" for k in schema.get("required", ()) if k not in value
            ]
            below = schema.get("additionalProperties")
            for key, part in value.items():
                known = schema.get("properties", {}).get(key, below)
                where = f"{path}.{key}"
                found += complaints(known, part, where) if known else [f"{where} would be dropped"]
            return found + (
                [f"{path} is too large"] if len(value) > schema.get("maxProperties", 1e9) else []
            )
        case "array", list():
            found = [f"{path} is too long"] if len(value) > schema["maxItems"] else []
            keys = schema.get("x-kubernetes-list-map-keys", ())
            marks = [tuple(item.get(key) for key in keys) for item in value] if keys else []
            found += [f"{path} has {m} twice" for m in set(marks) if marks.count(m) > 1]
            return found + [
                c
                for i, item in enumerate(value)
                for c in complaints(schema["items"], item, f"{path}[{i}]")
            ]
        case "string", str():
            allowed = (
                schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 64)
                and value in schema.get("enum", [value])
                and re.search(schema.get("pattern", ""), value)
            )
            return [] if allowed else [f"{path} may not be {value!r}"]
        case "integer", int() if not isinstance(value, bool):
            fits = schema["minimum"] <= value <= schema.get("maximum", 2**63 - 1)
            return [] if fits else [f"{path} may not be {value}"]
    return [f"{path} is no {schema['type']}: {value!r}"]


def test_its_names_are_those_the_daemon_uses():
    spec = crd()["spec"]
    assert (CANARY.group, CANARY.kind, CANARY.plural) == (
        spec["group"],
        spec["names"]["kind"],
        spec["names"]["plural"],
    )
    assert CANARY.version == version()["name"]
    assert CANARY.resource == crd()["metadata"]["name"]


def test_it_is_found_by_a_short_name_that_no_other_project_uses():
    names = crd()["spec"]["names"]
    assert (["cnry"], ["all", "canaryd"]) == (names["shortNames"], names["categories"])


def test_the_columns_say_how_a_release_goes():
    assert [
        ("Status", "string"),
        ("Weight", "integer"),
        ("Step", "string"),
        ("Ready", "string"),
        ("Reason", "string"),
        ("Age", "date"),
    ] == columns(0)
    assert [
        ("Revision", "string"),
        ("Failures", "integer"),
        ("Provider", "string"),
        ("Interval", "string"),
        ("Updated", "date"),
        ("Message", "string"),
    ] == columns(1)


def test_every_column_shows_a_field_of_the_schema_in_its_type():
    for column in version()["additionalPrinterColumns"]:
        path = column["jsonPath"].removeprefix(".")
        if path == "metadata.creationTimestamp":
            continue
        node = schema()
        for part in re.sub(r"\[\?\(@\.type==\"\w+\"\)\]", ".*", path).split("."):
            node = node["items"] if part == "*" else node["properties"][part]
        wanted = {"date": ("string", "date-time"), "integer": ("integer", "int32")}.get(
            column["type"], ("string", None)
        )
        assert wanted == (node["type"], node.get("format"))


def test_status_is_a_subresource():
    assert {"status": {}} == version()["subresources"]


def test_every_node_has_a_type():
    assert [] == [path for path, node in nodes(schema()) if "type" not in node]


def test_every_string_has_a_bound():
    unbound = [
        path
        for path, node in nodes(schema())
        if node["type"] == "string"
        and not ({"maxLength", "enum"} & node.keys() or node.get("format") == "date-time")
    ]
    assert [] == unbound


def test_every_list_has_a_bound_and_says_how_it_merges():
    for path, node in nodes(schema()):
        if node["type"] == "array":
            assert (path, True) == (path, "maxItems" in node)
            assert node["x-kubernetes-list-type"] in {"map", "atomic"}
            keys = node.get("x-kubernetes-list-map-keys", [])
            assert set(keys) <= set(node["items"].get("required", []))


def test_every_map_has_a_bound():
    for path, node in nodes(schema()):
        if "additionalProperties" in node:
            assert (path, True) == (path, "maxProperties" in node)


def test_every_number_is_an_integer_with_a_format_and_not_negative():
    numbers = [node for _, node in nodes(schema()) if node["type"] in {"integer", "number"}]
    assert numbers
    for node in numbers:
        assert ("integer", 0) == (node["type"], node["minimum"])
        assert node["format"] in {"int32", "int64"}


def test_unknown_fields_are_kept_in_the_daemons_own_memory_only():
    kept = [p for p, n in nodes(schema()) if "x-kubernetes-preserve-unknown-fields" in n]
    assert [".status.machine"] == kept


def test_it_outlives_the_release_unless_told_otherwise():
    assert {"helm.sh/resource-policy": "keep"} == crd()["metadata"]["annotations"]
    assert "annotations" not in crd("--set", "crds.keep=false")["metadata"]


def test_it_can_be_left_to_somebody_else():
    objects = render(*CLUSTER, "--set", "crds.install=false")
    assert "CustomResourceDefinition" not in objects.kinds()


class TestWhatTheDaemonWrites:
    full = RolloutState(
        phase=Phase.PROGRESSING,
        target_uid="uid",
        promoted="aaaaa",
        failed="bbbbb",
        runs=3,
        run=RunState(
            id="run-3",
            revision="ccccc",
            started_at=NOW - 60,
            step=1,
            weight=20,
            step_started_at=NOW - 10,
            failures=2,
            failures_by_metric={"latency-p99": 2},
        ),
        settled_at=NOW - 60,
        tracked={"configmap/app": ("12", "f" * 32)},
        verdicts=(
            VerdictRecord(
                name="latency-p99",
                verdict="Failed",
                value="612",
                unit="ms",
                threshold="<= 500ms",
                samples=412,
                reason="MetricFailed",
                message="612 ms is more than 500 ms",
                at=NOW,
            ),
        ),
        hooks=(HookRecord(name="smoke", type="pre-rollout", state="Passed", code=200, at=NOW),),
        history=tuple(
            HistoryEntry(
                revision=f"rev-{i}",
                result="Succeeded",
                reason="Promoted",
                started_at=NOW,
                finished_at=NOW,
                decision_id=f"d-{i}",
            )
            for i in range(50)
        ),
        commands=(
            CommandRecord(
                verb="approve",
                nonce="4f9c21ab",
                by="system:serviceaccount:" + "n" * 253,
                subject="ccccc-3@1",
                argument="qa",
                reason="r" * 300,
                outcome="CommandRefused",
                refusal="w" * 2000,
                at=NOW,
            ),
        ),
        reason="Analyzing",
        message="weight 20%",
    )

    def written(self, state: RolloutState) -> dict:
        given = StatusInput(
            state=state,
            spec=CanarySpec(history_limit=50),
            target=None,
            generation=2,
            config_hash="0" * 64,
        )
        return render_status(given, {}, NOW)

    def test_is_read_back_as_it_was(self):
        [asked] = self.full.commands
        known = replace(self.full, commands=(replace(asked, by="alice", refusal="no such gate"),))
        assert known == load(self.written(known))

    @pytest.mark.parametrize("phase", Phase)
    def test_is_kept_whole_in_every_phase(self, phase):
        wanted = schema()["properties"]["status"]
        assert [] == complaints(wanted, self.written(replace(self.full, phase=phase)))

    def test_is_kept_whole_on_the_first_visit(self):
        wanted = schema()["properties"]["status"]
        assert [] == complaints(wanted, self.written(RolloutState(phase=Phase.INITIALIZING)))

    def test_is_kept_whole_with_texts_that_are_too_long(self):
        [check] = self.full.verdicts
        said = replace(check, value="1" * 400, threshold="< 1" + " " * 400, message="z" * 4000)
        long = replace(
            self.full, message="x" * 100_000, config_error="y" * 100_000, verdicts=(said,)
        )
        assert [] == complaints(schema()["properties"]["status"], self.written(long))

    def test_is_kept_whole_with_every_annotation_resolved(self):
        target = deployment_view(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {
                    "name": "app",
                    "namespace": "shop",
                    "uid": "u",
                    "generation": 1,
                    "annotations": {"canaryd.io/enabled": "true"},
                },
                "spec": {"selector": {"matchLabels": {"app": "app"}}, "template": {}},
            }
        )
        resolution = resolve_deployment(
            controller={"interval": "30s"},
            namespace={"defaults.canaryd.io/weights": "5,50"},
            deployment={"canaryd.io/enabled": "true", "canaryd.io/metric.success-rate": ">= 99"},
            template={},
        )
        spec = canary_spec(resolution, target)
        assert {"30s", "5,50", ">= 99"} <= {entry["value"] for entry in spec["values"].values()}
        assert [] == complaints(schema()["properties"]["spec"], spec)

    def test_a_field_that_the_schema_lacks_would_be_noticed(self):
        status = self.written(self.full) | {"surprise": 1, "weight": {"canary": 101}}
        assert [".weight.canary may not be 101", ".surprise would be dropped"] == complaints(
            schema()["properties"]["status"], status
        )
