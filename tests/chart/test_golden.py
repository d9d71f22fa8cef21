"""Four whole renders, compared with the committed ones: a change of a template is seen in review.

`CANARYD_UPDATE_GOLDEN=1 pytest tests/chart/test_golden.py` writes them anew.
"""

import os
from pathlib import Path

import pytest

from tests.chart.chart import PROFILES, run, values_file

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.cluster
@pytest.mark.parametrize("profile", PROFILES)
def test_the_render_of_a_profile_is_the_committed_one(profile):
    rendered = run(*values_file(profile))
    assert isinstance(rendered, str), rendered.message
    path = GOLDEN / f"{profile}.yaml"
    if os.environ.get("CANARYD_UPDATE_GOLDEN"):
        path.write_text(rendered)
    assert path.read_text() == rendered
