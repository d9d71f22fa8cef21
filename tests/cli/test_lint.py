"""``canaryd lint``: everything that is wrong with the annotations in files, and where."""

import errno
import json
import os
from textwrap import dedent

import pytest

from canaryd.cli.exits import Exit
from tests.core.plans import SAMPLES

GOOD = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
  namespace: shop
  annotations:
    canaryd.io/enabled: "true"
    canaryd.io/weights: "5,20,50"
    canaryd.io/metric.success-rate: ">= 99"
"""

BAD = """\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  annotations:
    defaults.canaryd.io/interval: 30
    defaults.canaryd.io/metric.declines: "<= 2"
    canaryd.io/interval: "30s"
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
  namespace: shop
  annotations:
    canaryd.io/enabled: true
    canaryd.io/intervall: "30s"
    canaryd.io/weights: "5,20,50"
    canaryd.io/weights: "5"
    canaryd.io/max-weight: "50"
spec:
  template:
    metadata:
      annotations:
        canaryd.io/enabled: true
        canaryd.io/weights: "1"
---
# Nothing of ours in here.
apiVersion: v1
kind: Service
metadata: {name: podinfo, annotations: {team: shop}}
---
kind: List
apiVersion: v1
items:
  - apiVersion: v1
    kind: Service
    metadata:
      name: podinfo
      annotations: {canaryd.io/enabled: "true", internal.canaryd.io/x: y}
"""

GOLDEN = """\
FILE:6: Namespace shop: defaults.canaryd.io/interval: "30" is a number, and annotations are text: \
quote it; write for example "30"
FILE:8: Namespace shop: canaryd.io/interval: does nothing on a Namespace; defaults are written \
defaults.canaryd.io/KEY
FILE:15: Deployment shop/podinfo: defaults.canaryd.io/metric.declines: needs a query: "declines" \
is none of success-rate, error-rate, latency-p50, latency-p90, latency-p95, latency-p99; \
write for example canaryd.io/metric.declines.query: "sum(rate(...))"
FILE:16: Deployment shop/podinfo: canaryd.io/enabled: "true" is a boolean, and annotations are \
text: quote it; write for example "true"
FILE:17: Deployment shop/podinfo: canaryd.io/intervall: is not a known key; did you mean \
"canaryd.io/interval"?
FILE:18: Deployment shop/podinfo: canaryd.io/weights: cannot stand beside max-weight; keep one \
or the other
FILE:19: Deployment shop/podinfo: canaryd.io/weights: stands here twice, first on line 18; \
remove one
FILE:25: Deployment shop/podinfo: canaryd.io/enabled: stands on the pod template; move it to \
metadata.annotations of the Deployment
FILE:26: Deployment shop/podinfo: canaryd.io/weights: stands on the pod template; move it to \
metadata.annotations of the Deployment
FILE:40: Service podinfo: canaryd.io/enabled: stands on a Service; canaryd reads it on \
Deployments of apps/v1 only
"""


@pytest.fixture
def lint(canaryd, tmp_path, monkeypatch):
    """Write files below the present directory, then lint some of them."""
    monkeypatch.chdir(tmp_path)

    def run(files, *arguments, **more):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return canaryd("lint", *(arguments or files), **more)

    return run


def deployment(annotations="", *, name="podinfo", rest=""):
    head = f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n"
    return f"{head}  annotations:\n{annotations}{rest}" if annotations else head + rest


def lines(outcome):
    return outcome.out.splitlines()


# --- what comes out ---


def test_files_without_problems_are_counted(lint):
    outcome = lint({"a.yaml": GOOD, "b.yaml": GOOD})
    assert (0, "2 annotated Deployments, no problems\n", "") == (
        outcome.code,
        outcome.out,
        outcome.err,
    )


def test_one_deployment_is_called_one(lint):
    assert "1 annotated Deployment, no problems\n" == lint({"a.yaml": GOOD}).out


def test_every_problem_of_a_file_comes_out_at_once_in_its_order(lint):
    outcome = lint({"shop.yaml": BAD})
    assert (Exit.INVALID, "") == (outcome.code, outcome.err)
    assert GOLDEN.replace("FILE", "shop.yaml") == outcome.out


def keys_of(sample):
    return "".join(f"    canaryd.io/{key}: {json.dumps(value)}\n" for key, value in sample.items())


@pytest.mark.parametrize("sample", SAMPLES, ids=["weights", "steps", "beside"])
def test_every_key_there_is_can_be_checked(lint, sample):
    assert (
        "1 annotated Deployment, no problems\n" == lint({"a.yaml": deployment(keys_of(sample))}).out
    )


def test_keys_that_do_not_go_together_are_told_on_their_lines(lint):
    keys = {
        "strategy": "ab",
        "provider": "smi",
        "match": "cookie canary",
        "weights": "5,20",
        "gate.qa": "each-weight",
        "schedule": "Mon 9:00-17:00",
        "alert.team": "info slack",
    }
    outcome = lint({"a.yaml": deployment(keys_of(keys))})
    told = {
        8: 'canaryd.io/match: "cookie canary" cannot be carried out by provider smi: ',
        9: 'canaryd.io/weights: "5,20" means nothing with strategy ab, only with canary; ',
        10: 'canaryd.io/gate.qa: "each-weight" stands at a weight, and strategy ab has none ',
        11: 'canaryd.io/schedule: "Mon 9:00-17:00" has the times "9:00-17:00", which are not ',
        12: "canaryd.io/alert.team: is not supported by this version: use an event hook",
    }
    assert Exit.INVALID == outcome.code
    assert len(told) == len(lines(outcome))
    for line, (number, text) in zip(lines(outcome), told.items(), strict=True):
        assert line.startswith(f"a.yaml:{number}: Deployment podinfo: {text}")


def test_files_keep_the_order_in_which_they_were_named(lint):
    slip = '    canaryd.io/x: ""\n'
    files = {"b.yaml": deployment(slip, name="b"), "a.yaml": deployment(slip, name="a")}
    assert ["b.yaml:6", "a.yaml:6"] == [line.partition(": ")[0] for line in lines(lint(files))]


def test_programs_get_everything_in_parts(lint):
    outcome = lint({"shop.yaml": BAD}, "-o", "json", "shop.yaml")
    report = json.loads(outcome.out)
    assert (Exit.INVALID, "") == (outcome.code, outcome.err)
    assert {"deployments", "problems", "unreadable"} == report.keys()
    assert (1, 10, []) == (report["deployments"], len(report["problems"]), report["unreadable"])
    assert {
        "file": "shop.yaml",
        "line": 17,
        "object": "Deployment shop/podinfo",
        "key": "canaryd.io/intervall",
        "value": "",
        "rule": "is not a known key",
        "example": '"canaryd.io/interval"',
        "reason": "UnknownKey",
        "message": 'canaryd.io/intervall: is not a known key; did you mean "canaryd.io/interval"?',
    } == report["problems"][4]


def test_programs_get_unreadable_files_in_parts(lint):
    outcome = lint({"a.yaml": "a: [\n"}, "-o", "json", "a.yaml", "none.yaml")
    assert (Exit.USAGE, "") == (outcome.code, outcome.err)
    assert {
        "deployments": 0,
        "problems": [],
        "unreadable": [
            {
                "file": "a.yaml",
                "line": 2,
                "message": "is not YAML: did not find expected node content",
            },
            {
                "file": "none.yaml",
                "line": None,
                "message": "cannot be read: No such file or directory",
            },
        ],
    } == json.loads(outcome.out)


# --- what is read ---


def test_a_file_that_cannot_be_read_does_not_hide_the_problems_of_others(lint):
    outcome = lint({"a.yaml": "a: [\n", "b.yaml": deployment('    canaryd.io/x: ""\n')})
    assert Exit.USAGE == outcome.code
    assert "canaryd: a.yaml:2: is not YAML: did not find expected node content\n" == outcome.err
    assert 1 == len(lines(outcome))
    assert outcome.out.startswith("b.yaml:6: Deployment podinfo: canaryd.io/x: is not a known key")


def test_a_file_that_cannot_be_read_is_never_no_problem(lint):
    outcome = lint({}, "none.yaml")
    assert (Exit.USAGE, "") == (outcome.code, outcome.out)
    assert "canaryd: none.yaml: cannot be read: No such file or directory\n" == outcome.err


def test_standard_input_is_a_file_called_dash(lint):
    outcome = lint({}, "-", stdin=deployment('    canaryd.io/x: ""\n').encode())
    assert Exit.INVALID == outcome.code
    assert outcome.out.startswith("-:6: Deployment podinfo: canaryd.io/x: ")


def test_without_standard_input_there_is_nothing_to_read(lint):
    outcome = lint({}, "-", stdin=None)
    assert (Exit.USAGE, "canaryd: -: cannot be read: there is no standard input\n") == (
        outcome.code,
        outcome.err,
    )


def test_a_file_that_is_named_twice_is_read_once(lint):
    assert "1 annotated Deployment, no problems\n" == lint({"a.yaml": GOOD}, "a.yaml", "a.yaml").out


def test_a_file_without_anything_in_it_has_no_problems(lint):
    assert "0 annotated Deployments, no problems\n" == lint({"a.yaml": ""}).out


def test_a_name_that_is_longer_than_names_can_be_is_no_crash(lint):
    outcome = lint({}, "x" * 5000)
    assert (Exit.USAGE, 1) == (outcome.code, outcome.err.count("\n"))
    assert outcome.err.endswith("cannot be read: File name too long\n")


# --- directories ---


def test_of_a_directory_every_yaml_file_is_read_in_order(lint):
    slip = '    canaryd.io/x: ""\n'
    files = {
        "d/z.yaml": deployment(slip),
        "d/a.yml": deployment(slip),
        "d/sub/b.yaml": deployment(slip),
        "d/notes.txt": deployment(slip),
        "d/.hidden.yaml": deployment(slip),
        "d/.git/c.yaml": deployment(slip),
    }
    outcome = lint(files, "d")
    found = [line.partition(":")[0] for line in lines(outcome)]
    assert ["d/a.yml", "d/z.yaml", "d/sub/b.yaml"] == found
    assert Exit.INVALID == outcome.code


def test_a_file_that_is_also_in_a_named_directory_is_read_once(lint):
    outcome = lint({"d/a.yaml": GOOD}, "d", "d/a.yaml")
    assert "1 annotated Deployment, no problems\n" == outcome.out


def test_of_a_directory_what_does_not_speak_of_us_is_passed_over(lint):
    files = {"d/a.yaml": GOOD, "d/template.yaml": "a: {{ .Values.a }}\n", "d/ci.yaml": "a: [\n"}
    outcome = lint(files, "d")
    assert (0, "1 annotated Deployment, no problems\n") == (outcome.code, outcome.out)


def test_of_a_directory_a_template_that_speaks_of_us_is_told(lint):
    files = {"d/a.yaml": 'x: {{ .x }}\nannotations: {canaryd.io/enabled: "true"}\n'}
    outcome = lint(files, "d")
    assert Exit.USAGE == outcome.code
    assert "it looks like a template: render it first" in outcome.err


def test_of_a_directory_a_file_too_large_to_look_through_is_not_passed_over(lint, monkeypatch):
    monkeypatch.setattr("canaryd.cli.lint.MAX_BYTES", 10)
    outcome = lint({"d/a.yaml": "# much text\na: [\n"}, "d")
    assert (Exit.USAGE, "") == (outcome.code, outcome.out)
    assert outcome.err.startswith("canaryd: d/a.yaml:3: is not YAML: ")


def test_a_directory_called_dash_is_not_standard_input(lint):
    outcome = lint({"-/a.yaml": GOOD}, "-", stdin=b"")
    assert "0 annotated Deployments, no problems\n" == outcome.out
    assert "1 annotated Deployment, no problems\n" == lint({}, "./-").out


@pytest.mark.parametrize("files", [{}, {"d/notes.txt": "x"}], ids=["empty", "other files"])
def test_a_directory_in_which_nothing_can_be_checked_is_not_without_problems(lint, tmp_path, files):
    (tmp_path / "d").mkdir()
    outcome = lint(files, "d")
    assert (Exit.USAGE, "") == (outcome.code, outcome.out)
    assert "canaryd: d: has no .yaml or .yml file in it; nothing was checked\n" == outcome.err


def test_a_file_of_a_directory_that_cannot_be_read_is_told(lint, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "gone.yaml").symlink_to("nowhere")
    outcome = lint({"d/a.yaml": GOOD}, "d")
    assert Exit.USAGE == outcome.code
    assert "canaryd: d/gone.yaml: cannot be read: No such file or directory\n" == outcome.err


def test_a_directory_nobody_may_look_into_is_told(lint, monkeypatch):
    look = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)
    outcome = lint({"d/a.yaml": GOOD, "d/closed/b.yaml": GOOD}, "d")
    assert Exit.USAGE == outcome.code
    assert "canaryd: d/closed: cannot be read: Permission denied\n" == outcome.err


def test_a_loop_of_links_is_not_followed(lint, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "loop").symlink_to(".")
    assert "1 annotated Deployment, no problems\n" == lint({"d/a.yaml": GOOD}, "d").out


# --- on ConfigMaps and Secrets ---


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_what_the_owner_of_a_config_says_is_no_problem(lint, kind):
    annotations = '{canaryd.io/track: "true", canaryd.io/copy: "false"}'
    text = f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: a, annotations: {annotations}}}\n"
    assert (0, "0 annotated Deployments, no problems\n") == (
        lint({"a.yaml": text}).code,
        lint({"a.yaml": text}).out,
    )


def test_what_is_wrong_on_a_config_is_told_with_its_place(lint):
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n"
        "    canaryd.io/copy: nope\n    canaryd.io/track: false\n    canaryd.io/interval: 5s\n"
    )
    outcome = lint({"a.yaml": text})
    assert Exit.INVALID == outcome.code
    copy, track, interval = outcome.out.splitlines()
    assert copy.startswith('a.yaml:6: ConfigMap a: canaryd.io/copy: "nope" is neither true nor')
    assert track.startswith("a.yaml:7: ConfigMap a: canaryd.io/track: ")
    assert "is a boolean, and annotations are text: quote it" in track
    assert interval.startswith("a.yaml:8: ConfigMap a: canaryd.io/interval: does nothing on a")


# --- what is looked at ---


@pytest.mark.parametrize(
    "text",
    [
        "just text\n",
        "- a\n- b\n",
        "a: 1\n",
        "apiVersion: v1\nkind: ConfigMap\ndata: {canaryd.io: x}\n",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n",
        "apiVersion: x/v1\nkind: Namespace\nmetadata: {annotations: {team: a}}\n",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: none\n",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {annotations: [a]}\n",
        "apiVersion: apps/v1\nkind: Deployment\nspec: {template: [1]}\n",
        "kind: List\nitems:\n",
        "kind: [a]\nmetadata: {annotations: {team: a}}\n",
        "kind: Service\nmetadata: {annotations: {internal.canaryd.io/x: a}}\n",
        "kind: Service\nmetadata: {annotations: {notcanaryd.io/x: a}}\n",
        (
            "apiVersion: canaryd.io/v1beta1\nkind: Canary\n"
            "metadata: {annotations: {action.canaryd.io/pause: a}}\n"
        ),
    ],
    ids=[
        "text",
        "a list",
        "a mapping",
        "a ConfigMap",
        "a Deployment without annotations",
        "a Namespace of another API",
        "metadata that is none",
        "annotations that are none",
        "a template that is none",
        "a List of nothing",
        "a kind that is none",
        "what we write ourselves",
        "a domain that only ends like ours",
        "a request on a Canary",
    ],
)
def test_what_is_none_of_ours_is_passed_over(lint, text):
    outcome = lint({"a.yaml": text})
    assert (0, "0 annotated Deployments, no problems\n", "") == (
        outcome.code,
        outcome.out,
        outcome.err,
    )


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("StatefulSet", "apps/v1"),
        ("Deployment", "extensions/v1beta1"),
        ("Deployment", "null"),
        ("Namespace", "example.com/v1"),
        ("Canary", "flagger.app/v1beta1"),
        ("Profile", "canaryd.io/v1beta1"),
    ],
)
def test_annotations_on_something_canaryd_does_not_read_are_told(lint, kind, version):
    text = f"apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: a\n  annotations:\n"
    [line] = lines(lint({"a.yaml": f'{text}    canaryd.io/enabled: "true"\n'}))
    rule = f"stands on a {kind}; canaryd reads it on Deployments of apps/v1 only"
    assert f"a.yaml:6: {kind} a: canaryd.io/enabled: {rule}" == line


def test_the_items_of_lists_in_lists_are_looked_at(lint):
    text = """\
        kind: List
        items:
          - kind: DeploymentList
            items:
              - apiVersion: apps/v1
                kind: Deployment
                metadata:
                  name: a
                  annotations:
                    canaryd.io/x: ""
    """
    [line] = lines(lint({"a.yaml": dedent(text)}))
    assert line.startswith("a.yaml:10: Deployment a: canaryd.io/x: is not a known key")


def test_what_has_items_and_is_no_list_is_looked_at_itself(lint):
    text = deployment('    canaryd.io/x: ""\n', rest="items: [{kind: Service}]\n")
    [line] = lines(lint({"a.yaml": text}))
    assert line.startswith("a.yaml:6: Deployment podinfo: canaryd.io/x: ")


@pytest.mark.parametrize("name", ["generateName: a-", "name: {a: 1}", "name:", "name: [a]"])
def test_an_object_without_a_name_is_told_of_all_the_same(lint, name):
    text = f"kind: Service\nmetadata:\n  {name}\n  annotations: {{canaryd.io/enabled: a}}\n"
    [line] = lines(lint({"a.yaml": text}))
    assert line.startswith("a.yaml:4: Service (no name): canaryd.io/enabled: stands on a Service")


def test_an_object_without_a_kind_is_told_of_all_the_same(lint):
    [line] = lines(lint({"a.yaml": "metadata: {name: a, annotations: {canaryd.io/enabled: a}}\n"}))
    assert "stands on a (no kind); canaryd reads it on Deployments" in line


def test_a_namespace_lends_its_defaults_across_files(lint):
    namespace = (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n"
        '    defaults.canaryd.io/metric.declines.query: "sum(x)"\n'
    )
    wants_query = GOOD + '    canaryd.io/metric.declines: "<= 2"\n'
    assert Exit.INVALID == lint({"a.yaml": wants_query}).code
    assert Exit.OK == lint({"a.yaml": wants_query, "b.yaml": namespace}).code


def test_half_a_check_in_a_namespace_is_a_sensible_default(lint):
    namespace = (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n"
        '    defaults.canaryd.io/metric.declines: "<= 2"\n'
    )
    with_query = GOOD + '    canaryd.io/metric.declines.query: "sum(x)"\n'
    assert Exit.OK == lint({"a.yaml": with_query, "b.yaml": namespace}).code


def test_what_is_wrong_with_a_namespace_is_told_once(lint):
    namespace = (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n"
        '    defaults.canaryd.io/interval: "soon"\n'
    )
    outcome = lint({"a.yaml": GOOD, "b.yaml": GOOD, "c.yaml": namespace})
    assert ["c.yaml:6"] == [line.partition(": ")[0] for line in lines(outcome)]


# --- where it is ---


def test_the_same_key_on_both_levels_is_located_on_the_right_one(lint):
    rest = 'spec:\n  template:\n    metadata:\n      annotations:\n        canaryd.io/enabled: "true"\n'
    [line] = lines(lint({"a.yaml": deployment('    canaryd.io/enabled: "true"\n', rest=rest)}))
    assert line.startswith("a.yaml:11: Deployment podinfo: canaryd.io/enabled: stands on the pod")


def test_the_same_key_on_both_levels_of_another_kind_is_located_twice(lint):
    rest = 'spec:\n  template:\n    metadata:\n      annotations:\n        canaryd.io/enabled: "true"\n'
    text = deployment('    canaryd.io/enabled: "true"\n', rest=rest)
    text = text.replace("kind: Deployment", "kind: StatefulSet")
    assert ["a.yaml:6", "a.yaml:11"] == [
        line.partition(": ")[0] for line in lines(lint({"a.yaml": text}))
    ]


def test_a_long_key_is_located_although_it_is_shown_shortened(lint):
    [line] = lines(lint({"a.yaml": deployment(f'    team: a\n    canaryd.io/{"x" * 200}: ""\n')}))
    assert line.startswith("a.yaml:7: ")
    assert "…: is not a known key" in line


def test_an_unquoted_key_of_the_template_has_to_move_and_not_to_be_quoted(lint):
    rest = (
        "spec:\n  template:\n    metadata:\n      annotations:\n        canaryd.io/enabled: true\n"
    )
    [line] = lines(lint({"a.yaml": deployment(rest=rest)}))
    assert line.startswith("a.yaml:9: ")
    assert "stands on the pod template; move it" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            (
                'metadata:\n  name: a\n  annotations: {canaryd.io/enabled: "true"}\n'
                "  annotations: {team: a}\n"
            ),
            "a.yaml:6: Deployment a: /metadata/annotations: stands here twice, first on line 5",
        ),
        (
            (
                'metadata:\n  name: a\n  annotations: {canaryd.io/enabled: "true"}\n'
                "metadata: {name: b}\n"
            ),
            "a.yaml:6: Deployment b: /metadata: stands here twice, first on line 3; remove one",
        ),
        (
            (
                "metadata: {name: a}\nspec:\n  template:\n    metadata:\n"
                '      annotations: {canaryd.io/enabled: "true"}\nspec: {replicas: 1}\n'
            ),
            "a.yaml:8: Deployment a: /spec: stands here twice, first on line 4; remove one",
        ),
    ],
    ids=["annotations", "metadata", "spec"],
)
def test_annotations_that_a_second_block_takes_away_are_not_lost_silently(lint, text, expected):
    outcome = lint({"a.yaml": f"apiVersion: apps/v1\nkind: Deployment\n{text}"})
    assert Exit.INVALID == outcome.code
    [line] = lines(outcome)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    "rest",
    ["spec: {replicas: 1, replicas: 2}\n", "spec: {replicas: 1}\nspec: {replicas: 2}\n"],
    ids=["a key", "a block"],
)
def test_doubles_of_others_are_none_of_our_business(lint, rest):
    text = deployment('    canaryd.io/enabled: "true"\n    team: a\n    team: b\n', rest=rest)
    assert Exit.OK == lint({"a.yaml": text}).code


@pytest.mark.parametrize(
    "second",
    [
        '{name: b, annotations: {canaryd.io/x: "", canaryd.io/x: ""}}',
        '{name: b, annotations: {canaryd.io/enabled: "true"}, annotations: {team: a}}',
    ],
    ids=["a key", "a block"],
)
def test_a_double_is_held_against_its_own_item_of_a_list(lint, second):
    first = '{name: a, annotations: {canaryd.io/enabled: "true"}}'
    items = "".join(
        f"  - {{apiVersion: apps/v1, kind: Deployment, metadata: {meta}}}\n"
        for meta in (first, second)
    )
    found = lines(lint({"a.yaml": f"kind: List\nitems:\n{items}"}))
    assert 1 == sum("stands here twice" in line for line in found)
    assert all(line.startswith("a.yaml:4: Deployment b: ") for line in found)


def test_annotations_behind_an_alias_are_checked_too(lint):
    text = (
        'x: &ours {canaryd.io/x: ""}\napiVersion: apps/v1\nkind: Deployment\n'
        "metadata:\n  name: a\n  annotations: *ours\n"
    )
    [line] = lines(lint({"a.yaml": text}))
    assert line.startswith("a.yaml:6: Deployment a: canaryd.io/x: is not a known key")


# --- hostile files ---


def test_nothing_of_a_file_can_move_the_cursor(lint):
    text = (
        'apiVersion: apps/v1\nkind: "Deploy\\e[2J"\nmetadata:\n  name: "a\\e[31m\\u202e\\nb"\n'
        '  namespace: "\\e[0m"\n  annotations: {"canaryd.io/\\e[1m": "\\e[1m"}\n'
    )
    outcome = lint({"a\x1b[1m.yaml": text})
    [line] = outcome.out[:-1].split("\n")
    assert line.isprintable()


def test_a_huge_name_is_shortened(lint):
    text = deployment('    canaryd.io/x: ""\n', name="x" * 100_000)
    assert len(lint({"a.yaml": text}).out) < 600


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 200_000, "a.yaml:1: is nested too deeply"),
        ("a: &a [*a]\n", "a.yaml:1: contains itself by an alias"),
        (b"\xff\xfea: 1", "a.yaml:1: is not UTF-8 text"),
        (b"\0" * 100, 'a.yaml:1: holds "\\x00", which YAML does not allow'),
        (
            deployment(f"    canaryd.io/interval: 0x{'f' * 5000}\n"),
            "a.yaml:6: has a number of 5002 characters",
        ),
    ],
    ids=["too deep", "a loop", "UTF-16", "zeros", "a number no one can print"],
)
def test_a_hostile_file_is_a_sentence(lint, text, expected):
    outcome = lint({"a.yaml": text})
    assert Exit.USAGE == outcome.code
    assert outcome.err.startswith(f"canaryd: {expected}")


def test_structures_for_values_are_refused_like_numbers(lint):
    outcome = lint({"a.yaml": deployment("    canaryd.io/interval: {a: [1]}\n    canaryd.io/x:\n")})
    assert 2 == len(lines(outcome))
    assert 'is a structure, and annotations are text: quote it; write for example "..."' in (
        outcome.out
    )
