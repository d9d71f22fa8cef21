"""The errors of the local cluster, each one sentence a person can act on.

    ClusterError
    ├── PrerequisiteMissing   the machine lacks something; names it and the way out
    ├── BuildFailed           a program did not compile; carries the tail of the output
    ├── ProcessFailed         a program of the cluster ended or never got ready
    ├── WaitedTooLong         a condition did not come true in its time
    ├── CommandFailed         kubectl, ip, ctr or openssl said no; carries what it said
    └── NotSupported          a fault that only the local cluster can produce

They never wrap each other: the first cause is the message.
"""


class ClusterError(Exception):
    """Anything that keeps the cluster from being used."""


class PrerequisiteMissing(ClusterError):
    """The machine lacks something that cannot be installed from here."""


class BuildFailed(ClusterError):
    """A program did not compile."""


class ProcessFailed(ClusterError):
    """A program of the cluster ended, or did not get ready in its time."""


class WaitedTooLong(ClusterError):
    """A condition did not come true in its time."""


class CommandFailed(ClusterError):
    """A command line tool ended with an error."""


class NotSupported(ClusterError):
    """The cluster at hand cannot do this, a local one can."""
