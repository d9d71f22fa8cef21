"""The programs that are built from source, at which version, and the cache they land in.

Each program has a wrapper module under `go/`, whose go.mod and go.sum pin every byte of its
sources; the cache folder's name carries a hash of them, so a changed pin is a new build
and an unchanged one is found again in milliseconds.
A build happens in a temporary folder and is moved into place in one step: what has a
name in the cache is complete. A lock per program keeps two runs from building twice.
go.mod files are never changed by a build (`-mod=readonly`).
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.local.errors import BuildFailed
from tests.cluster.local.locking import FileLock
from tests.cluster.local.places import GO_SOURCES, cache_folder
from tests.cluster.local.toolchain import find_go

Say = Callable[[str], None]
SOURCE_NAMES = ("*.go", "go.mod", "go.sum")


@dataclass(frozen=True)
class Binary:
    """One program: the package to compile, and how it learns its own version.

    `module` names the requirement in go.mod that carries the version; without one the
    program is our own. `stamps` are linker variables, with `{version}` and `{minor}` filled in.
    """

    name: str
    package: str
    about: str
    module: str = ""
    version_name: str = ""
    stamps: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def sources(self) -> Path:
        return GO_SOURCES / self.name

    @property
    def version(self) -> str:
        if self.version_name:
            return self.version_name
        if not self.module:
            return "v1"
        text = (self.sources / "go.mod").read_text(encoding="utf-8")
        found = re.search(rf"^\s*(?:require )?{re.escape(self.module)} (v\S+)", text, re.MULTILINE)
        if found is None:
            raise BuildFailed(f"{self.sources / 'go.mod'} does not require {self.module}")
        return found[1]

    def fingerprint(self) -> str:
        """Hash everything the result depends on, but for the compiler."""
        digest = hashlib.sha256(repr((self.package, self.stamps, self.aliases)).encode())
        paths = {path for pattern in SOURCE_NAMES for path in self.sources.rglob(pattern)}
        for path in sorted(paths):
            digest.update(str(path.relative_to(self.sources)).encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
        return digest.hexdigest()[:12]

    def folder(self, cache: Path) -> Path:
        return cache / "bin" / f"{self.name}-{self.version}-{self.fingerprint()}"

    def linker_flags(self) -> str:
        minor = self.version.split(".")[1] if self.version.count(".") > 1 else ""
        filled = [stamp.format(version=self.version, minor=minor) for stamp in self.stamps]
        return " ".join(["-s", "-w", *(f"-X {stamp}" for stamp in filled)])


# Without its version the API server calls itself v0.0.0, and clients misbehave.
_KUBERNETES_STAMPS = tuple(
    f"{package}.{variable}"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for variable in ("gitVersion={version}", "gitMajor=1", "gitMinor={minor}")
)

BINARIES: dict[str, Binary] = {
    one.name: one
    for one in (
        Binary(
            name="pause",
            package=".",
            about="a few seconds",
        ),
        Binary(
            name="etcd",
            package=".",
            about="about a minute",
            module="go.etcd.io/etcd/server/v3",
        ),
        Binary(
            name="podinfo",
            package="github.com/stefanprodan/podinfo/cmd/podinfo",
            about="about a minute",
            module="github.com/stefanprodan/podinfo",
            # Its 6.x tags have no `v`, so the module's version does not tell.
            version_name="v6.9.2",
        ),
        Binary(
            name="kubernetes",
            package=".",
            about="about 5 minutes",
            module="k8s.io/kubernetes",
            stamps=_KUBERNETES_STAMPS,
            aliases=(
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            ),
        ),
        Binary(
            name="traefik",
            package="github.com/traefik/traefik/v3/cmd/traefik",
            about="about 6 minutes",
            module="github.com/traefik/traefik/v3",
            stamps=("github.com/traefik/traefik/v3/pkg/version.Version={version}",),
        ),
        Binary(
            name="linkerd-destination",
            package=".",
            about="about 2 minutes",
            module="github.com/linkerd/linkerd2",
        ),
        Binary(
            name="helm",
            package="helm.sh/helm/v3/cmd/helm",
            about="about 2 minutes",
            module="helm.sh/helm/v3",
            stamps=(
                "helm.sh/helm/v3/internal/version.version={version}",
                # The Kubernetes that `helm template` assumes; 1.20 if it is not told.
                "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
                "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34",
            ),
        ),
    )
}


def find_program(name: str, say: Say | None = None) -> Path:
    """Return the path of a program, and build it first if the cache lacks it.

    kube-apiserver and etcd are taken from `$KUBEBUILDER_ASSETS` where that holds them.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and name in ("kube-apiserver", "etcd", "kubectl"):
        given = Path(assets) / name
        if given.is_file():
            return given
    for binary in BINARIES.values():
        if name == binary.name or name in binary.aliases:
            return build(binary, say or print_line) / name
    raise BuildFailed(f"no program is called {name}; these are: {', '.join(BINARIES)}")


def build_all(names: Iterable[str], say: Say) -> None:
    for name in names or BINARIES:
        if name not in BINARIES:
            raise BuildFailed(f"no program is called {name}; these are: {', '.join(BINARIES)}")
        say(f"{name}: {build(BINARIES[name], say)}")


def build(binary: Binary, say: Say) -> Path:
    """Return the folder with the program; compile it only if it is not in the cache."""
    cache = cache_folder()
    folder = binary.folder(cache)
    if folder.is_dir():
        return folder
    lock = FileLock(cache / "bin" / f".{binary.name}.lock", f"builds {binary.name}", say)
    with lock:
        if folder.is_dir():
            return folder
        go = find_go(cache, say)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{binary.name}-", dir=cache / "bin"))
        try:
            _compile(binary, go, unfinished, say)
            for alias in binary.aliases:
                (unfinished / alias).symlink_to(binary.name)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def compile_command(binary: Binary, go: Path, target: Path) -> list[str]:
    return [
        str(go),
        "build",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",
        f"-ldflags={binary.linker_flags()}",
        f"-o={target / binary.name}",
        binary.package,
    ]


def _compile(binary: Binary, go: Path, target: Path, say: Say) -> None:
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            compile_command(binary, go, target),
            cwd=binary.sources,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _watch(child, binary, say)
        finally:
            if child.poll() is None:
                # The group is the child's own session: the compilers it started end with it.
                os.killpg(child.pid, signal.SIGKILL)
                child.wait(timeout=15)
        if child.returncode != 0:
            output.seek(0)
            tail = output.read().decode(errors="replace").splitlines()[-20:]
            raise BuildFailed(f"{binary.name} {binary.version} does not build:\n" + "\n".join(tail))


def _watch(child: "subprocess.Popen[bytes]", binary: Binary, say: Say) -> None:
    """Tell how long it has been: every second on a terminal, every half minute elsewhere."""
    title = f"building {binary.name} {binary.version} from source, {binary.about} the first time"
    is_terminal = sys.stderr.isatty() and say is print_line
    begun = time.monotonic()
    pause_s = 1.0 if is_terminal else 30.0
    if not is_terminal:
        say(f"{title} ...")
    while True:
        try:
            child.wait(timeout=pause_s)
            break
        except subprocess.TimeoutExpired:
            elapsed = format_seconds(time.monotonic() - begun)
            if is_terminal:
                sys.stderr.write(f"\r{title} ... {elapsed} ")
                sys.stderr.flush()
            else:
                say(f"{title} ... {elapsed}")
    if is_terminal:
        sys.stderr.write("\r\033[K")
    if child.returncode == 0:
        say(f"built {binary.name} {binary.version} in {format_seconds(time.monotonic() - begun)}")


def format_seconds(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def print_line(text: str) -> None:
    """Tell a person at the terminal; standard output stays for results."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
