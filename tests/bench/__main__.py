"""``make bench``: every benchmark of this folder, one after the other, each in a process of its own.

Each prints ratios against a reference measured in the same run, since this machine is not yours;
it exits with another status than 0 when a budget is broken, and so does this.
"""

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> int:
    broken = []
    began = time.perf_counter()
    for path in sorted(FOLDER.glob("bench_*.py")):
        print(f"\n== {path.stem}", flush=True)
        module = f"tests.bench.{path.stem}"
        done = subprocess.run([sys.executable, "-m", module], check=False, timeout=600)
        if done.returncode:
            broken.append(path.stem)
    took = f"in {time.perf_counter() - began:.0f} s"
    verdict = f"beyond their budget: {', '.join(broken)}" if broken else "all within their budgets"
    print(f"\n{verdict}, {took}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
