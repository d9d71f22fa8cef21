"""The owner of a config decides what becomes of it; what cannot be read is said and changes nothing."""

import pytest

from canaryd.core.owners import Wish, config_problems, wish_of
from canaryd.core.views import config_view


def problems(annotations):
    return [problem.message for problem in config_problems(annotations)]


@pytest.mark.parametrize(
    ("annotations", "wish"),
    [
        ({}, Wish()),
        ({"canaryd.io/track": "false"}, Wish(track=False)),
        ({"canaryd.io/copy": " false "}, Wish(copy=False)),
        ({"canaryd.io/track": "true", "canaryd.io/copy": ""}, Wish()),
        ({"canaryd.io/track": "no", "canaryd.io/copy": "False"}, Wish()),
        ({"example.com/track": "false"}, Wish()),
    ],
)
def test_a_config_is_tracked_and_copied_unless_its_owner_says_otherwise(annotations, wish):
    view = config_view({"metadata": {"namespace": "a", "name": "c", "annotations": annotations}})
    assert wish == wish_of(view)


def test_a_config_that_is_not_there_wishes_nothing():
    assert Wish() == wish_of(None)


def test_what_is_not_tracked_is_not_copied():
    assert not Wish(track=False).is_copied
    assert not Wish(copy=False).is_copied
    assert Wish().is_copied


def test_good_values_and_what_others_wrote_are_no_problem():
    annotations = {
        "canaryd.io/track": "false",
        "canaryd.io/copy": " true",
        "internal.canaryd.io/source": "ConfigMap/x",
        "notcanaryd.io/track": "x",
        "example.com/copy": "maybe",
        "plain": "x",
    }
    assert [] == problems(annotations)


def test_a_value_that_cannot_be_read_is_named_with_what_to_write():
    [message] = problems({"canaryd.io/copy": "no"})
    advice = 'write for example "true" or "false"'
    assert f'canaryd.io/copy: "no" is neither true nor false; {advice}' == message


def test_a_misspelled_key_is_told_what_was_meant():
    [message] = problems({"canaryd.io/tracked": "false"})
    assert 'did you mean "canaryd.io/track"?' in message
    assert "is not a key of a ConfigMap or Secret, which may have track, copy" in message


def test_a_key_of_a_deployment_is_sent_there():
    [message] = problems({"canaryd.io/config-exclude": "configmap/x"})
    assert message.endswith("it belongs on the Deployment")


def test_a_prefix_of_ours_that_no_config_has_is_named():
    [message] = problems({"defaults.canaryd.io/track": "false"})
    assert message.startswith("defaults.canaryd.io/track: is not a key")
