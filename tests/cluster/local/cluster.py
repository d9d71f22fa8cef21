"""The local cluster: starts every program in the order it needs, and stops them all.

Programs that do not need each other start together, since the clock of a warm start is
what a person waits for: certificates, then etcd and containerd, then the API server while
the images are imported, then everything that talks to the API server at once.
A stop is the same code as the clean-up after a crash (`cleanup.py`), so it is proven by
each run. The machine's lock is held from the start to the end of the stop.
"""

import atexit
import concurrent.futures
import contextlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster.local import (
    cleanup,
    commands,
    configuration,
    images,
    interrupts,
    network,
    prerequisites,
    programs,
)
from tests.cluster.local.api import Api, answers
from tests.cluster.local.binaries import find_program, print_line
from tests.cluster.local.certificates import Pair
from tests.cluster.local.client import TOKEN_SECONDS, Cluster
from tests.cluster.local.crds import GATEWAY_API, find_crds, is_established
from tests.cluster.local.errors import ClusterError, CommandFailed, PrerequisiteMissing
from tests.cluster.local.locking import FileLock
from tests.cluster.local.places import cache_folder, machine_folder
from tests.cluster.local.processes import Children, ProcessRecord, start_time
from tests.cluster.local.record import RecordFile, RunRecord

PODINFO_TAGS = ("podinfo:6.9.2", "podinfo:good-1", "podinfo:good-2", "podinfo:bad")
LOCK_REASON = "runs a local cluster on this machine"
BUILT = ("pause", "etcd", "podinfo", "kube-apiserver", "kubelet", "kubectl", "traefik")


def clean(say: Callable[[str], None] = print_line) -> None:
    """Remove what a crashed run has left on the machine; waits while one is running."""
    machine = machine_folder()
    with FileLock(machine / "lock", LOCK_REASON, say):
        records = RecordFile(machine / "record.json")
        if not _remove_crashed_run(records, say):
            say("no run has left anything")


def _remove_crashed_run(records: RecordFile, say: Callable[[str], None]) -> bool:
    crashed = records.load()
    if crashed is None:
        return False
    say(f"removing what a crashed run left (process {crashed.owner.pid})")
    cleanup.remove_leftovers(crashed, network.Network(), say)
    records.remove()
    return True


class LocalCluster(Cluster):
    """A real cluster of one node on this machine; a context manager.

    Beside what every Cluster has: api_url, ca_file, admin (the administrator's certificate
    and key), audit_log, traefik_metrics_url and folder, where each program's log lies.
    """

    is_local = True

    def __init__(self, say: Callable[[str], None] = print_line) -> None:
        self._say = say
        self._network = network.Network()
        self._lock: FileLock | None = None
        self._records: RecordFile | None = None
        self._record: RunRecord | None = None
        self._exits = interrupts.OrderlyExit()
        self._owner = 0
        self.seconds: dict[str, float] = {}
        self.folder: Path
        self.api_url: str
        self.ca_file: Path
        self.admin: Pair
        self.audit_log: Path
        self.traefik_metrics_url: str

    @property
    def kubectl_path(self) -> Path:
        return find_program("kubectl", self._say)

    @property
    def helm_path(self) -> Path:
        return find_program("helm", self._say)

    def start(self) -> None:
        """Start everything and return when pods can run; on any failure all is undone."""
        if self._lock is not None:
            raise ClusterError("this cluster has been started already")
        prerequisites.check(self._say)
        self._programs = {name: find_program(name, self._say) for name in BUILT}
        machine = machine_folder()
        lock = FileLock(machine / "lock", LOCK_REASON, self._say)
        lock.acquire()
        self._lock = lock
        self._owner = os.getpid()
        self._records = RecordFile(machine / "record.json")
        atexit.register(self.stop)
        try:
            self._exits.install()
            _remove_crashed_run(self._records, self._say)
            with self._measured("total"):
                self._start_all()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything and leave nothing; an interrupt meanwhile is answered with a line."""
        if self._lock is None or self._owner != os.getpid():
            # Not started, or in a fork that has inherited this object and its exit handler.
            return
        with interrupts.uninterrupted(self._say):
            try:
                if self._record is not None and self._records is not None:
                    self._keep_logs()
                    cleanup.remove_leftovers(self._record, self._network, self._say)
                    self._children.reap()
                    self._records.remove()
                    self._record = None
            finally:
                self._lock.release()
                self._lock = None
                atexit.unregister(self.stop)
        self._exits.remove()

    def restart_apiserver(self) -> None:
        """Stop the API server, start it again and wait until it is ready."""
        # Its own orderly end waits up to a minute for watches that nobody will close.
        self._children.stop("kube-apiserver", grace_s=2)
        self._start_api_server()

    def pause_process(self, name: str) -> None:
        self._children.pause(name)

    def resume_process(self, name: str) -> None:
        self._children.resume(name)

    def stop_process(self, name: str, *, grace_s: float = 5) -> None:
        """End one program for good, as a fault; the rest of the cluster goes on."""
        self._children.stop(name, grace_s)

    def process_names(self) -> list[str]:
        return self._children.names()

    def process_id(self, name: str) -> int:
        """Return a program's number, to read its memory or its processor time."""
        return self._children.record(name).pid

    # -- the start, in its order -------------------------------------------------------------

    def _start_all(self) -> None:
        with self._measured("prepare"):
            self._prepare()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            try:
                self._start_programs(pool)
            except BaseException:
                # The threads of the pool are waited for, and shall not wait in their turn.
                self._children.give_up()
                raise

    def _start_programs(self, pool: concurrent.futures.Executor) -> None:
        containers = pool.submit(self._start_containers)
        monitoring = pool.submit(self._start_prometheus)
        with self._measured("control plane"):
            self._start_etcd()
            self._start_api_server()
            self._start_controllers()
        with self._measured("traefik"):
            self._start_traefik()
        containers.result()
        with self._measured("node"):
            self._start_node()
        monitoring.result()

    def _prepare(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=cleanup.FOLDER_PREFIX))
        self._children = Children(self.folder, self._remember)
        self.audit_log = self.folder / "audit.log"
        owner = ProcessRecord("owner", os.getpid(), start_time(os.getpid()) or 0)
        self._record = RunRecord(
            str(self.folder),
            owner,
            settings=cleanup.read_settings(),
            absent=cleanup.absent_folders(),
        )
        self._save_record()
        layout = self._layout = programs.Layout(self.folder, programs.Ports.choose(), self._network)
        if len(str(layout.container_socket)) > 90:
            raise PrerequisiteMissing(f"TMPDIR is too long for sockets: {self.folder.parent}")
        cleanup.make_folder_in_memory(self.folder)
        network.set_up(self._network)
        cleanup.make_cgroups()
        self._certificates = programs.Certificates.make(self.folder / "certificates")
        self.api_url = layout.api_url
        self.ca_file = self._certificates.authority.cert
        self.admin = self._certificates.admin
        self.kubeconfig = layout.kubeconfig("admin")
        self.ingress_url = f"http://{programs.LOOPBACK}:{layout.ports.ingress}"
        self.prometheus_url = f"http://{programs.LOOPBACK}:{layout.ports.prometheus}"
        self.traefik_metrics_url = f"http://{programs.LOOPBACK}:{layout.ports.traefik}/metrics"
        self._api = Api(programs.LOOPBACK, layout.ports.api, self.ca_file, self.admin)
        self._write_files()

    def _write_files(self) -> None:
        layout, certificates = self._layout, self._certificates
        for name, pair in {
            "admin": certificates.admin,
            "controller-manager": certificates.controller_manager,
            "scheduler": certificates.scheduler,
            "kubelet": certificates.kubelet,
            "proxy": certificates.proxy,
        }.items():
            text = configuration.kubeconfig(
                layout.api_url,
                ca=self.ca_file.read_bytes(),
                cert=pair.cert.read_bytes(),
                key=pair.key.read_bytes(),
                namespace="default",
            )
            self._write(layout.kubeconfig(name), text)
        cni_folder = prerequisites.find_cni_folder()
        if cni_folder is None:
            raise PrerequisiteMissing(f"the CNI plugins are missing; {prerequisites.WAY_OUT}")
        containers = layout.container_folder
        cni = self.folder / "cni"
        metrics = f"{programs.LOOPBACK}:{layout.ports.traefik}"
        kubelet = configuration.kubelet(
            self.folder,
            self.ca_file,
            self._network.node_address,
            layout.ports.kubelet,
            layout.container_socket,
        )
        for path, text in {
            self.folder / "audit-policy.json": configuration.audit_policy(),
            self.folder / "prometheus.yaml": configuration.prometheus(metrics),
            self.folder / "kubelet.json": kubelet,
            cni / "conf" / "canaryd.conflist": self._network.cni_configuration(str(cni / "leases")),
            containers / "config.toml": configuration.containerd(
                containers, cni_folder, cni / "conf"
            ),
        }.items():
            self._write(path, text)

    def _start_etcd(self) -> None:
        self._children.start("etcd", programs.etcd(self._programs["etcd"], self._layout))
        health = f"http://{programs.LOOPBACK}:{self._layout.ports.etcd}/health"
        self._children.wait_until("etcd", "it was healthy", lambda: answers(health))

    def _start_api_server(self) -> None:
        command = programs.api_server(
            self._programs["kube-apiserver"], self._layout, self._certificates
        )
        self._children.start("kube-apiserver", command)
        self._children.wait_until("kube-apiserver", "it was ready", self._is_api_ready)

    def _is_api_ready(self) -> bool:
        try:
            return self._api.is_ready()
        except CommandFailed:
            return False

    def _start_controllers(self) -> None:
        folder = self._programs["kubelet"].parent
        layout, certificates = self._layout, self._certificates
        self._children.start(
            "kube-controller-manager",
            programs.controller_manager(folder / "kube-controller-manager", layout, certificates),
        )
        self._children.start(
            "kube-scheduler", programs.scheduler(folder / "kube-scheduler", layout)
        )
        self._children.start("kube-proxy", programs.kube_proxy(folder / "kube-proxy", layout))

    def _start_traefik(self) -> None:
        namespace, account = programs.SYSTEM_NAMESPACE, programs.TRAEFIK_ACCOUNT
        commands.wait_for(
            f"the namespace {namespace}",
            lambda: self._api.request("GET", f"/api/v1/namespaces/{namespace}"),
        )
        for path, one in configuration.traefik_objects(namespace, account):
            self._api.request("POST", path, one)
        self._install_gateway()
        token = self._api.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
            configuration.token_request(TOKEN_SECONDS),
        )
        self._write(self.folder / "traefik.token", token["status"]["token"])
        command = programs.traefik(self._programs["traefik"], self._layout, self._certificates)
        self._children.start("traefik", command)
        ping = f"http://{programs.LOOPBACK}:{self._layout.ports.traefik}/ping"
        self._children.wait_until("traefik", "it answered", lambda: answers(ping))

    def _install_gateway(self) -> None:
        """Gateway API and a Gateway of Traefik's, before Traefik looks for them."""
        definitions = find_crds(GATEWAY_API, self._say)
        root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for one in definitions:
            self._api.request("POST", root, one)
        for one in definitions:
            name = one["metadata"]["name"]
            commands.wait_for(
                f"the kind {name}",
                lambda name=name: is_established(self._api.request("GET", f"{root}/{name}")),
            )
        namespace, port = programs.SYSTEM_NAMESPACE, self._layout.ports.ingress
        for path, one in configuration.gateway_objects(namespace, programs.GATEWAY, port):
            # A kind that was established a moment ago may not be served yet.
            commands.wait_for(
                f"the {one['kind']}",
                lambda path=path, one=one: self._api.request("POST", path, one),
            )

    def _start_prometheus(self) -> None:
        program = shutil.which("prometheus", path=prerequisites.search_path()) or "prometheus"
        self._children.start("prometheus", programs.prometheus(Path(program), self._layout))
        ready = f"{self.prometheus_url}/-/ready"
        self._children.wait_until("prometheus", "it was ready", lambda: answers(ready))

    def _start_containers(self) -> None:
        with self._measured("images"):
            program = shutil.which("containerd", path=prerequisites.search_path()) or "containerd"
            command = programs.containerd(Path(program), self._layout)
            env = {"PATH": prerequisites.search_path(), **configuration.NO_REGISTRY}
            self._children.start("containerd", command, env)
            socket = self._layout.container_socket
            self._children.wait_until(
                "containerd",
                "it answered",
                lambda: commands.succeeds(["ctr", "-a", str(socket), "version"]),
            )
            self._import_image("pause", [configuration.SANDBOX_IMAGE])
            self._import_image("podinfo", list(PODINFO_TAGS))

    def _import_image(self, name: str, tags: list[str]) -> None:
        archive = self.folder / f"{name}.tar"
        images.write_archive(archive, self._programs[name], tags, platform.machine())
        commands.run(images.import_command(archive, self._layout.container_socket))
        archive.unlink()

    def _start_node(self) -> None:
        path = {"PATH": prerequisites.search_path()}
        command = programs.kubelet(self._programs["kubelet"], self._layout)
        self._children.start("kubelet", command, path)
        self._children.wait_until("kubelet", "its node was ready", self._is_node_ready)
        health = f"http://{programs.LOOPBACK}:{self._layout.ports.proxy_health}/healthz"
        self._children.wait_until("kube-proxy", "it was healthy", lambda: answers(health))
        # Pods are refused in a namespace until the controller manager has made this account.
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        commands.wait_for("the default account", lambda: self._api.request("GET", account))

    def _is_node_ready(self) -> bool:
        try:
            return self._api.is_node_ready(programs.NODE)
        except CommandFailed:
            return False

    # -- the record, the logs and the clock --------------------------------------------------

    def _remember(self, child: ProcessRecord) -> None:
        if self._record is not None:
            self._record.processes.append(child)
            self._save_record()

    def _save_record(self) -> None:
        if self._records is not None and self._record is not None:
            self._records.save(self._record)

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")

    def _keep_logs(self) -> None:
        """Copy the programs' logs to the cache, where the next run replaces them."""
        kept = cache_folder() / "last-run"
        with contextlib.suppress(OSError):
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            for log in self.folder.glob("*.log"):
                if log != self.audit_log:
                    shutil.copy(log, kept)

    @contextlib.contextmanager
    def _measured(self, step: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.seconds[step] = round(time.monotonic() - begun, 2)
