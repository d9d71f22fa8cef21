"""The load generator's process: ``python -m canaryd.loadtest``, started by ``runner`` only.

Apart from ``child``, which does the work, so that the process is confined before it imports much:
imports are most of its start, and already they should give way to the daemon and end with it.
"""

import sys

from canaryd.loadtest.confinement import confine

if __name__ == "__main__":
    confine()
    from canaryd.loadtest.child import main

    sys.exit(main())
