"""What commands print, compared with the committed files: a change of words is seen in review.

``CANARYD_UPDATE_GOLDEN=1 pytest tests/cli`` writes them anew.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
IS_WRITING = bool(os.environ.get("CANARYD_UPDATE_GOLDEN"))
"""Read once: to the daemon's settings it is a variable that is misspelt, so tests take it away."""


def is_golden(name: str, text: str) -> bool:
    """Whether a text is the committed one; it shows both when it is not."""
    path = FOLDER / name
    if IS_WRITING:
        path.write_text(text, encoding="utf-8")
    committed = path.read_text(encoding="utf-8") if path.exists() else ""
    assert committed == text, name
    return True
