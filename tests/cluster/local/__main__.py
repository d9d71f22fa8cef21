"""Command line of the local cluster: build its programs, run it, clean up after a crash.

    python -m tests.cluster.local build [name ...]
    python -m tests.cluster.local up
    python -m tests.cluster.local clean

Results go to standard output, progress to standard error; an error is one sentence.
"""

import argparse
import os
import signal
import sys

from tests.cluster.local.binaries import BINARIES, build_all, print_line
from tests.cluster.local.cluster import LocalCluster, clean
from tests.cluster.local.errors import ClusterError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.local", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build programs into the cache")
    build.add_argument("name", nargs="*", help=f"of {', '.join(BINARIES)}; all by default")
    commands.add_parser("up", help="start a cluster and keep it until Ctrl-C")
    commands.add_parser("clean", help="remove what a crashed run has left")
    asked = parser.parse_args()
    try:
        if asked.command == "build":
            build_all(asked.name, print_line)
        elif asked.command == "clean":
            clean(print_line)
        else:
            _up()
    except ClusterError as error:
        print_line(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _up() -> None:
    # What asks for a cluster by name wants a local one, whatever KUBECONFIG says.
    with LocalCluster() as cluster:
        steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in cluster.seconds.items())
        print_line(f"ready ({steps}); Ctrl-C stops it")
        lines = {
            "KUBECONFIG": cluster.kubeconfig,
            "CANARYD_INGRESS_URL": cluster.ingress_url,
            "CANARYD_PROMETHEUS_URL": cluster.prometheus_url,
            "AUDIT_LOG": cluster.audit_log,
            "KUBECTL": cluster.kubectl_path,
            "PID": os.getpid(),
        }
        for name, value in lines.items():
            sys.stdout.write(f"{name}={value}\n")
        sys.stdout.flush()
        while True:
            signal.pause()


if __name__ == "__main__":
    sys.exit(main())
