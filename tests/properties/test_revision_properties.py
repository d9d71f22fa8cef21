"""What makes a revision another one, and what does not; where a template names configs, and how they are renamed."""

import copy
import json

from hypothesis import given
from hypothesis import strategies as st

from canaryd.core.fingerprint import (
    canonical_json,
    content_fingerprint,
    copy_digest,
    revision_of,
    template_fingerprint,
)
from canaryd.core.names import INTERNAL, PREFIX
from canaryd.core.references import find_references, rename_references
from tests.fakes.apiserver.defaults import fill_pod_template
from tests.properties.strategies import config_names, json_values, templates, words

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
hexadecimal = st.text("0123456789abcdef", min_size=4, max_size=4)
contents = st.dictionaries(words, st.text(max_size=3), max_size=3)


def turned(value):
    """The same JSON with the keys of every object the other way round."""
    if isinstance(value, dict):
        return {key: turned(part) for key, part in reversed(value.items())}
    return [turned(part) for part in value] if isinstance(value, list) else value


def with_nulls(value):
    """The same JSON with a null in every object, as some clients write absent fields."""
    if isinstance(value, dict):
        return {"absent": None} | {key: with_nulls(part) for key, part in value.items()}
    return [with_nulls(part) for part in value] if isinstance(value, list) else value


# --- the fingerprint of a template ---


@given(templates)
def test_the_order_of_keys_makes_no_revision(template):
    assert template_fingerprint(template) == template_fingerprint(turned(template))


@given(templates)
def test_a_field_written_as_null_is_an_absent_one(template):
    changed = template | {"spec": with_nulls(template["spec"])}

    assert template_fingerprint(template) == template_fingerprint(changed)


@given(templates)
def test_a_template_read_back_from_the_server_as_it_was_read_before_makes_no_revision(template):
    fill_pod_template(template)
    again = json.loads(json.dumps(template))
    fill_pod_template(again)
    again["metadata"]["creationTimestamp"] = None

    assert template_fingerprint(template) == template_fingerprint(again)


@given(templates, words)
def test_annotations_of_our_own_make_no_revision(template, value):
    changed = copy.deepcopy(template)
    changed["metadata"]["annotations"] |= {PREFIX + "weights": value, INTERNAL + "any": value}

    assert template_fingerprint(template) == template_fingerprint(changed)


@given(templates)
def test_a_restart_makes_a_revision(template):
    changed = copy.deepcopy(template)
    changed["metadata"]["annotations"][RESTARTED_AT] = "2026-11-24T20:00:00Z"

    assert template_fingerprint(template) != template_fingerprint(changed)


@given(templates, json_values.filter(lambda value: value is not None))
def test_a_field_nobody_knows_yet_makes_a_revision(template, value):
    changed = copy.deepcopy(template)
    changed["spec"]["containers"][0]["fieldOfTheFuture"] = value

    assert template_fingerprint(template) != template_fingerprint(changed)


@given(json_values, json_values)
def test_two_values_have_one_spelling_only_if_they_are_the_same(one, other):
    same = turned(one) == turned(other)
    if canonical_json(one) == canonical_json(other):
        assert same or canonical_json(with_nulls(one)) == canonical_json(with_nulls(other))
    else:
        assert json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True)


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return [without_nulls(part) for part in value] if isinstance(value, list) else value


nulls_in_words = st.sampled_from(["null", "nullable", '"null"', "nul"])


@given(json_values, json_values, nulls_in_words)
def test_the_spelling_is_sorted_without_blanks_and_nulls_also_beside_words_that_look_like_one(
    one, other, word
):
    for value in (one, {word: one, "b": [other, word], "absent": None}, {"a": word, "c": one}):
        spelled = json.dumps(
            without_nulls(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        assert spelled.encode() == canonical_json(value)


def test_the_canonical_form_stands():
    """Another one would start every canary of every installation."""
    template = {
        "metadata": {"labels": {"app": "ä"}, "creationTimestamp": None},
        "spec": {"containers": [{"name": "null", "args": [], "tty": False, "probe": None}]},
    }
    assert "b72e2debf90b090d1ad9a69a34dc71c0" == template_fingerprint(template)


# --- the fingerprint of a config, and the name of a revision ---


@given(contents, contents, words)
def test_only_what_a_config_holds_counts(data, binary, note):
    config = {"kind": "Secret", "data": data, "binaryData": binary, "type": "Opaque"}
    noted = config | {"metadata": {"annotations": {"a": note}}, "immutable": True}

    assert content_fingerprint(config) == content_fingerprint(turned(noted))
    for part, other in (
        ("data", {**data, "new": ""}),
        ("binaryData", {**binary, "new": ""}),
        ("type", "x"),
        ("kind", "ConfigMap"),
    ):
        assert content_fingerprint(config) != content_fingerprint(config | {part: other})


@given(hexadecimal, st.dictionaries(config_names, hexadecimal, max_size=3), hexadecimal)
def test_the_name_of_a_revision_follows_template_and_configs_in_any_order(template, configs, other):
    name = revision_of(template, configs)

    assert name == revision_of(template, turned(configs))
    assert 10 == len(name)
    assert int(name, 16) >= 0
    for key, content in configs.items():
        assert (content == other) == (name == revision_of(template, configs | {key: other}))


@given(words, words, hexadecimal)
def test_two_apps_never_share_a_copy(one, other, content):
    same = copy_digest(one, "configmap", content) == copy_digest(other, "configmap", content)

    assert (one == other) == same
    assert copy_digest(one, "configmap", content) != copy_digest(one, "secret", content)


# --- references ---


def mentioned(value, found):
    """Every config that a template names, by a plain walk through all of it."""
    spots = {
        "configMapKeyRef": ("configmap", "name"),
        "configMapRef": ("configmap", "name"),
        "configMap": ("configmap", "name"),
        "secretKeyRef": ("secret", "name"),
        "secretRef": ("secret", "name"),
        "secret": ("secret", None),
    }
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if key in spots and isinstance(part, dict):
            kind, field = spots[key]
            found.append((kind, part[field or ("secretName" if "secretName" in part else "name")]))
        if isinstance(part, dict | list):
            mentioned(part, found)
    return found


@given(templates)
def test_every_config_that_a_template_names_is_found_once(template):
    found = [(reference.kind, reference.name) for reference in find_references(template)]

    assert sorted(set(mentioned(template["spec"], []))) == found


@given(templates)
def test_a_config_is_optional_only_if_every_mention_says_so(template):
    required = json.loads(json.dumps(template).replace('"optional": true', '"optional": false'))

    assert not any(reference.optional for reference in find_references(required))
    assert [r.key for r in find_references(required)] == [r.key for r in find_references(template)]


@given(templates)
def test_renaming_and_renaming_back_leaves_every_byte_as_it_was(template):
    before = json.dumps(template)
    there = {r.key: f"{r.name}-0123456789" for r in find_references(template)}
    renamed = rename_references(template, there)
    back = {f"{key}-0123456789": key.partition("/")[2] for key in there}

    assert {f"{key}-0123456789" for key in there} == {r.key for r in find_references(renamed)}
    assert before == json.dumps(rename_references(renamed, back))
    assert before == json.dumps(template)


@given(templates)
def test_renaming_touches_nothing_but_the_configs_that_are_to_be_renamed(template):
    references = find_references(template)
    there = {r.key: f"{r.name}-0123456789" for r in references[:1]}
    renamed = rename_references(template, there)

    kept = {r.key for r in references[1:]}
    assert kept <= {r.key for r in find_references(renamed)}
    assert template["spec"].get("imagePullSecrets") == renamed["spec"].get("imagePullSecrets")
    assert json.dumps(template) == json.dumps(renamed).replace("-0123456789", "")
