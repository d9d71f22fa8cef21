"""Where the local cluster keeps things: three folders, all outside the tree.

The cache (`$CANARYD_CACHE`, else `~/.cache/canaryd`) holds built programs and survives.
A run's own folder is a fresh temporary one and goes with the run.
The lock and the record of a run lie where a restart of the machine empties them,
since the process numbers in the record mean nothing after it; there is one for the machine,
whatever the cache is, because the bridges' names are.
"""

import os
from pathlib import Path

HERE = Path(__file__).parent
GO_SOURCES = HERE / "go"
MACHINE_FOLDER = Path("/run/canaryd-cluster")


def cache_folder() -> Path:
    named = os.environ.get("CANARYD_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "canaryd"


def machine_folder() -> Path:
    """Return the folder of lock and record, for root alone to write."""
    MACHINE_FOLDER.mkdir(mode=0o700, exist_ok=True)
    return MACHINE_FOLDER
