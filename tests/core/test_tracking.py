"""A change of what is tracked is no change of a revision; a change of what a config holds is."""

import pytest

from canaryd.core.tracking import Recorded, Tracking, identify, parse

ALL = Tracking(frozenset({"configmap", "secret"}))
MAPS = Tracking(frozenset({"configmap"}))
NOTHING = Tracking()
BUT_FLAGS = Tracking(frozenset({"configmap", "secret"}), frozenset({"configmap/flags"}))
FLAGS, KEYS = "configmap/flags", "secret/keys"
OLD = {FLAGS: ("1", "flags-1"), KEYS: ("2", "keys-1")}
EDITED = {FLAGS: ("9", "flags-2"), KEYS: ("2", "keys-1")}


def covered(rule, contents):
    return {key: value for key, value in contents.items() if rule.covers(key)}


def recorded(rule, contents=OLD, template="t"):
    found = identify(template, covered(rule, contents), rule, known=(), remembered={})
    return Recorded(found.name, found.rule)


def asked(rule, contents=OLD, *, known, remembered=OLD, template="t"):
    return identify(template, covered(rule, contents), rule, known=known, remembered=remembered)


@pytest.mark.parametrize("rule", [ALL, MAPS, NOTHING, BUT_FLAGS])
def test_a_rule_reads_back_as_it_was_recorded(rule):
    assert rule == parse(str(rule))


@pytest.mark.parametrize("text", ["", "configmap,volume", "configmap configmap/a", "x -a"])
def test_a_rule_that_is_not_understood_is_none(text):
    assert parse(text) is None


@pytest.mark.parametrize("then", [ALL, MAPS, NOTHING, BUT_FLAGS])
@pytest.mark.parametrize("now", [ALL, MAPS, NOTHING, BUT_FLAGS])
def test_another_rule_gives_the_same_pods_no_other_name(then, now):
    promoted = recorded(then)
    found = asked(now, known=[promoted], remembered=covered(then, OLD))
    assert (promoted.revision, promoted.rule) == (found.name, found.rule)
    assert covered(then, OLD) == dict(found.contents)


def test_a_config_that_is_not_tracked_any_more_counts_as_unchanged():
    promoted = recorded(ALL)
    assert promoted.revision == asked(BUT_FLAGS, EDITED, known=[promoted]).name


def test_a_config_that_is_tracked_on_both_sides_makes_another_revision_when_it_changes():
    promoted = recorded(MAPS)
    found = asked(ALL, EDITED, known=[promoted])
    assert (promoted.revision, str(ALL)) != (found.name, found.rule)
    assert EDITED == dict(found.contents)


def test_a_config_that_is_tracked_newly_counts_from_what_it_held_when_it_was_first_seen():
    promoted = recorded(BUT_FLAGS)
    unseen = covered(BUT_FLAGS, OLD)
    assert promoted.revision == asked(ALL, EDITED, known=[promoted], remembered=unseen).name
    assert promoted.revision != asked(ALL, EDITED, known=[promoted], remembered=OLD).name


def test_another_template_is_another_revision_whatever_is_tracked():
    promoted = recorded(ALL)
    found = asked(MAPS, known=[promoted], template="u")
    assert (str(MAPS), covered(MAPS, OLD)) == (found.rule, dict(found.contents))
    assert promoted.revision != found.name


def test_the_revision_recorded_last_is_recognised_first():
    promoted = recorded(BUT_FLAGS)
    failed = recorded(ALL, EDITED)
    found = asked(ALL, EDITED, known=[failed, promoted], remembered=EDITED)
    assert failed.revision == found.name


def test_a_record_without_a_rule_is_compared_under_the_rule_in_force():
    promoted = Recorded(recorded(ALL).revision, "")
    assert promoted.revision == asked(ALL, known=[promoted]).name
