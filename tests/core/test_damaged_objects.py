"""Projections of raw objects: what a schema lets stand in an object must not take the look at it down."""

import pytest

from canaryd.core.views import canary_view, object_view

META = {"namespace": "shop", "name": "app", "uid": "u", "generation": 3}
NO_MAPS = [None, "words", 7, ["a", "b"], [], True]


@pytest.mark.parametrize("spec", NO_MAPS, ids=repr)
@pytest.mark.parametrize("view", [object_view, canary_view])
def test_a_spec_that_is_no_mapping_counts_as_an_empty_one(view, spec):
    seen = view({"metadata": META, "spec": spec})
    assert ({}, {}, 3) == (seen.spec, seen.status, seen.generation)


@pytest.mark.parametrize("status", NO_MAPS, ids=repr)
def test_a_status_that_is_no_mapping_counts_as_an_empty_one(status):
    seen = canary_view({"metadata": META, "spec": {"provider": "nginx"}, "status": status})
    assert ({"provider": "nginx"}, {}) == (seen.spec, seen.status)


def test_a_canary_is_seen_with_its_status_and_other_objects_without():
    raw = {"metadata": META, "spec": {"a": 1}, "status": {"b": 2}}
    assert ({"b": 2}, {}) == (canary_view(raw).status, object_view(raw).status)
