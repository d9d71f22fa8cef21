"""Whether a release is over, and how: also in the moment when nobody has seen it yet."""

from dataclasses import replace

import pytest

from canaryd.cli.exits import Exit
from canaryd.cli.outcome import ending, wanted_revision
from canaryd.core.phase import Phase
from tests.cli import apps

NOW = 1_767_614_400.0
PROMOTED = apps.revision(apps.template())
NEXT = apps.revision(apps.template("podinfo:2"))
FAILED = {"phase": Phase.FAILED, "failed": NEXT, "failed_tracking": apps.RULE}


def code(state, wanted="", *, was_running=False):
    end = ending(state, wanted, was_running=was_running)
    return None if end is None else end.code


# --- which revision is asked for ---


@pytest.mark.parametrize("image", ["podinfo:1", "podinfo:2"])
def test_the_template_of_a_deployment_names_its_revision(image):
    found = wanted_revision(apps.deployment(image), apps.idle(NOW, **FAILED))
    assert apps.revision(apps.template(image)) == found


def test_a_template_that_nobody_recorded_is_another_revision():
    found = wanted_revision(apps.deployment("podinfo:3"), apps.idle(NOW, **FAILED))
    assert found not in ("", PROMOTED, NEXT)


def test_configs_that_were_seen_belong_to_the_revision():
    uses = [{"name": "app", "image": "a", "envFrom": [{"configMapRef": {"name": "settings"}}]}]
    deployment = apps.deployment()
    deployment["spec"]["template"]["spec"]["containers"] = uses
    seen = {"configmap/settings": ("12", "c0ffee")}
    named = wanted_revision(deployment, apps.idle(NOW, tracked=seen))
    state = apps.idle(NOW, tracked=seen, promoted=named)
    assert named == wanted_revision(deployment, state)
    assert named != wanted_revision(deployment, replace(state, tracked={}))


@pytest.mark.parametrize(
    ("deployment", "rule"),
    [(None, apps.RULE), (apps.deployment(), ""), (apps.deployment(), "of a later version")],
    ids=["a Deployment that may not be read", "no rule", "an unknown rule"],
)
def test_what_cannot_be_told_is_not_guessed(deployment, rule):
    assert "" == wanted_revision(deployment, apps.idle(NOW, promoted_tracking=rule))


# --- how it ended ---


@pytest.mark.parametrize(
    ("state", "wanted", "expected"),
    [
        (None, "", None),
        (apps.running(NOW), "", None),
        (apps.running(NOW, held="latency-p99 612ms > 500ms"), "", Exit.FAILED),
        (apps.idle(NOW), "", Exit.OK),
        (apps.idle(NOW), PROMOTED, Exit.OK),
        (apps.idle(NOW), "8ab12c03d1", None),
        (apps.idle(NOW, phase=Phase.INITIALIZED), PROMOTED, Exit.OK),
        (apps.idle(NOW, phase=Phase.INITIALIZING), PROMOTED, None),
        (apps.idle(NOW, phase=Phase.TERMINATING), PROMOTED, None),
        (apps.idle(NOW, **FAILED), "", Exit.FAILED),
        (apps.idle(NOW, **FAILED), NEXT, Exit.FAILED),
        (apps.idle(NOW, **FAILED), PROMOTED, Exit.FAILED),
        (apps.idle(NOW, **FAILED), "8ab12c03d1", None),
        (apps.idle(NOW, failed=NEXT), NEXT, Exit.FAILED),
    ],
    ids=[
        "nothing known",
        "a run",
        "a run that is held",
        "promoted, as far as can be told",
        "promoted",
        "promoted, and another revision is asked for",
        "enrolled",
        "being enrolled",
        "being given back",
        "failed, as far as can be told",
        "failed",
        "failed and reverted",
        "failed, and another revision is asked for",
        "undone, and still asked for",
    ],
)
def test_a_release_is_over_when_what_is_asked_for_was_decided(state, wanted, expected):
    assert expected == code(state, wanted)


def test_whoever_saw_the_run_takes_its_end_for_the_end():
    undone = apps.idle(NOW, failed=NEXT)
    assert Exit.OK == code(undone, NEXT, was_running=True)


def test_the_end_is_told_in_the_words_of_the_daemon():
    end = ending(apps.idle(NOW), PROMOTED, was_running=False)
    assert f"revision {PROMOTED} promoted" == end.message


def test_a_revision_that_is_refused_says_what_to_do():
    end = ending(apps.idle(NOW, failed=NEXT), NEXT, was_running=False)
    assert f"revision {NEXT} is refused until it changes, or a retry is asked for" == end.message
