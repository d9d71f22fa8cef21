"""The Deployment controller of the fake cluster.

The arithmetic of rolling updates, the revisions, the conditions and the deadline are those of Kubernetes 1.34;
each call does one sync, as the real one does, and is called again by the changes it made.
"""

from collections.abc import Sequence

from canaryd.core.kinds import DEPLOYMENT, REPLICA_SET
from tests.fakes.apiserver.ownership import clone
from tests.fakes.apiserver.store import Change, Key, Manifest, Store, Write, key_of
from tests.fakes.clock import parse_timestamp, timestamp
from tests.fakes.controllers import KeyLoop, controller_uid
from tests.fakes.replicasets import ReplicaSetController
from tests.fakes.rollout import (
    AVAILABLE,
    DESIRED,
    HASH,
    HISTORY,
    MAXIMUM,
    NEW_RS_AVAILABLE,
    PROGRESSING,
    REVISION,
    TIMED_OUT,
    Sets,
    a_condition,
    copied_annotations,
    counted,
    find_condition,
    has_deadline,
    has_progressed,
    is_complete,
    is_saturated,
    max_surge,
    max_unavailable,
    revision_of,
    share_of,
    template_hash,
    template_of,
    wanted,
)

SPEC = Write(manager="kube-controller-manager")
STATUS = Write(manager="kube-controller-manager", subresource="status")


class DeploymentController:
    """Rolls ReplicaSets towards the template of their Deployment."""

    def __init__(self, store: Store, sets: ReplicaSetController, delay_s: float) -> None:
        self.loop = KeyLoop(self._reconcile, delay_s)
        self._store = store
        self._sets = sets
        store.subscribe(self._notice)

    def _notice(self, change: Change) -> None:
        if change.kind == DEPLOYMENT:
            self.loop.enqueue(change.key)
        elif change.kind == REPLICA_SET:
            owner = self._store.by_uid(controller_uid(change.new))
            if owner is not None:
                self.loop.enqueue(key_of(owner[1]))

    def _reconcile(self, key: Key) -> None:
        deployment = self._store.get(DEPLOYMENT, key)
        if deployment is None or "deletionTimestamp" in deployment["metadata"]:
            return
        self._note_pause(deployment)
        deployment = self._store.get(DEPLOYMENT, key) or deployment
        sets = self._sets_of(deployment)
        if self._is_taken(deployment, sets):
            self.loop.enqueue(key, 0.1)
            return
        if deployment["spec"].get("paused") or self._was_scaled(deployment, sets):
            sets = self._adopt_revision(deployment, sets)
            self._scale(self._fresh(deployment), sets)
            self._clean(deployment, sets)
            self._write_status(deployment, estimate=False)
            return
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            acted = self._recreate(deployment, sets)
        else:
            sets = self._ensure_new(deployment, sets)
            acted = self._roll(deployment, sets)
        if not acted and is_complete(deployment, deployment.get("status") or {}):
            self._clean(deployment, sets)
        self._write_status(deployment, estimate=True)

    # --- ReplicaSets --------------------------------------------------------------------------

    def _fresh(self, deployment: Manifest) -> Manifest:
        return self._store.get(DEPLOYMENT, key_of(deployment)) or deployment

    def _sets_of(self, deployment: Manifest) -> Sets:
        meta = deployment["metadata"]
        owned = [
            rs
            for rs in self._store.items(REPLICA_SET, meta["namespace"])
            if controller_uid(rs) == meta["uid"]
        ]
        owned.sort(key=lambda rs: (revision_of(rs), rs["metadata"]["name"]))
        new = next((rs for rs in owned if template_of(rs) == deployment["spec"]["template"]), None)
        return Sets(new, tuple(rs for rs in owned if rs is not new))

    def _is_taken(self, deployment: Manifest, sets: Sets) -> bool:
        """Whether a deleted namesake's ReplicaSet still has the name: wait for the garbage collector.

        The real controller takes another hash instead (``collisionCount``).
        """
        meta = deployment["metadata"]
        name = f"{meta['name']}-{template_hash(deployment['spec']['template'])}"
        key = (meta["namespace"], name)
        return sets.new is None and self._store.get(REPLICA_SET, key) is not None

    def _adopt_revision(self, deployment: Manifest, sets: Sets) -> Sets:
        """Give the present template's ReplicaSet the newest revision, and the Deployment the same."""
        if sets.new is None:
            return sets
        revision = max((revision_of(rs) for rs in sets.old), default=0) + 1
        before = sets.new["metadata"].get("annotations") or {}
        present = revision_of(sets.new)
        annotations = dict(before) | copied_annotations(deployment)
        if present < revision:
            annotations[REVISION] = str(revision)
            if present:
                past = before.get(HISTORY)
                annotations[HISTORY] = f"{past},{present}" if past else str(present)
        settle = deployment["spec"].get("minReadySeconds", 0)
        if annotations == before and sets.new["spec"].get("minReadySeconds", 0) == settle:
            self._record_revision(deployment, annotations[REVISION])
            return sets

        def propose(live: Manifest) -> Manifest:
            live["metadata"]["annotations"] = annotations
            if settle or "minReadySeconds" in live["spec"]:
                live["spec"]["minReadySeconds"] = settle
            return live

        new = self._store.update(REPLICA_SET, key_of(sets.new), propose, SPEC)
        self._record_revision(deployment, annotations[REVISION])
        return Sets(new, sets.old)

    def _ensure_new(self, deployment: Manifest, sets: Sets) -> Sets:
        if sets.new is not None:
            return self._adopt_revision(deployment, sets)
        revision = max((revision_of(rs) for rs in sets.old), default=0) + 1
        new = self._store.create(REPLICA_SET, self._manifest(deployment, sets, revision), SPEC)
        self._record_revision(deployment, str(revision))
        if has_deadline(deployment):
            message = f'Created new replica set "{new["metadata"]["name"]}"'
            self._set_condition(
                deployment, a_condition(PROGRESSING, "True", "NewReplicaSetCreated", message)
            )
        return Sets(new, sets.old)

    def _manifest(self, deployment: Manifest, sets: Sets, revision: int) -> Manifest:
        meta, spec = deployment["metadata"], deployment["spec"]
        digest = template_hash(spec["template"])
        template = clone(spec["template"])
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels[HASH] = digest
        selector = clone(spec["selector"])
        selector.setdefault("matchLabels", {})[HASH] = digest
        replicas = self._new_replicas(deployment, sets.old, 0)
        limit = spec["replicas"] + max_surge(deployment)
        annotations = copied_annotations(deployment) | {
            REVISION: str(revision),
            DESIRED: str(spec["replicas"]),
            MAXIMUM: str(limit),
        }
        made: Manifest = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "namespace": meta["namespace"],
                "name": f"{meta['name']}-{digest}",
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "name": meta["name"],
                        "uid": meta["uid"],
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        }
        if spec.get("minReadySeconds"):
            made["spec"]["minReadySeconds"] = spec["minReadySeconds"]
        return made

    def _record_revision(self, deployment: Manifest, revision: str) -> None:
        """Write the revision annotation the way the real controller does: with a status update."""
        live = self._fresh(deployment)
        if (live["metadata"].get("annotations") or {}).get(REVISION) == revision:
            return

        def propose(obj: Manifest) -> Manifest:
            obj["metadata"].setdefault("annotations", {})[REVISION] = revision
            return obj

        self._store.update(DEPLOYMENT, key_of(live), propose, STATUS)

    def _clean(self, deployment: Manifest, sets: Sets) -> None:
        """Keep ``revisionHistoryLimit`` old ReplicaSets; only empty ones ever go."""
        surplus = len(sets.old) - deployment["spec"]["revisionHistoryLimit"]
        for rs in sets.old[: max(surplus, 0)]:
            status = rs.get("status") or {}
            if not status.get("replicas") and not rs["spec"]["replicas"]:
                self._store.delete(REPLICA_SET, key_of(rs))

    # --- moving replicas ----------------------------------------------------------------------

    def _resize(self, deployment: Manifest, rs: Manifest, replicas: int) -> bool:
        """Scale one ReplicaSet; whether its size changed."""
        size, spec = rs["spec"]["replicas"], deployment["spec"]
        marks = {
            DESIRED: str(spec["replicas"]),
            MAXIMUM: str(spec["replicas"] + max_surge(deployment)),
        }
        present = rs["metadata"].get("annotations") or {}
        if size == replicas and marks.items() <= present.items():
            return False

        def propose(live: Manifest) -> Manifest:
            live["spec"]["replicas"] = replicas
            live["metadata"].setdefault("annotations", {}).update(marks)
            return live

        self._store.update(REPLICA_SET, key_of(rs), propose, SPEC)
        return bool(size != replicas)

    def _new_replicas(self, deployment: Manifest, old: Sequence[Manifest], size: int) -> int:
        """How big the new ReplicaSet may be now."""
        replicas = int(deployment["spec"]["replicas"])
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            return 0 if wanted(old) else replicas
        room = replicas + max_surge(deployment) - (wanted(old) + size)
        if room <= 0:
            return size
        return size + min(room, replicas - size)

    def _roll(self, deployment: Manifest, sets: Sets) -> bool:
        new = sets.new
        assert new is not None
        replicas, size = deployment["spec"]["replicas"], new["spec"]["replicas"]
        if size != replicas:
            goal = replicas if size > replicas else self._new_replicas(deployment, sets.old, size)
            if goal != size and self._resize(deployment, new, goal):
                return True
        return self._shrink_old(deployment, sets, new)

    def _shrink_old(self, deployment: Manifest, sets: Sets, new: Manifest) -> bool:
        """Scale old ReplicaSets down, unready pods first, as far as availability allows."""
        old = sorted(
            (rs for rs in sets.old if rs["spec"]["replicas"]),
            key=lambda rs: (rs["metadata"]["creationTimestamp"], rs["metadata"]["name"]),
        )
        if not old:
            return False
        floor = deployment["spec"]["replicas"] - max_unavailable(deployment)
        new_unavailable = new["spec"]["replicas"] - counted([new], "availableReplicas")
        budget = wanted(sets.all) - floor - new_unavailable
        if budget <= 0:
            return False
        sizes = {rs["metadata"]["uid"]: rs["spec"]["replicas"] for rs in old}
        for rs in old:
            unhealthy = rs["spec"]["replicas"] - counted([rs], "availableReplicas")
            drop = min(budget, unhealthy)
            if drop > 0:
                sizes[rs["metadata"]["uid"]] -= drop
                budget -= drop
        spare = counted(sets.all, "availableReplicas") - floor
        for rs in old:
            drop = min(spare, sizes[rs["metadata"]["uid"]])
            if drop > 0:
                sizes[rs["metadata"]["uid"]] -= drop
                spare -= drop
        resized = [self._resize(deployment, rs, sizes[rs["metadata"]["uid"]]) for rs in old]
        return any(resized)

    def _recreate(self, deployment: Manifest, sets: Sets) -> bool:
        active = [rs for rs in sets.old if rs["spec"]["replicas"]]
        if active:
            for rs in active:
                self._resize(deployment, rs, 0)
            return True
        if any(self._sets.pods_of(rs) for rs in sets.old):
            # Pods of the old version still terminate: two versions never run at once.
            self.loop.enqueue(key_of(deployment), 0.2)
            return True
        new = self._ensure_new(deployment, sets).new
        assert new is not None
        return self._resize(deployment, new, deployment["spec"]["replicas"])

    def _was_scaled(self, deployment: Manifest, sets: Sets) -> bool:
        """Whether ``replicas`` changed since the active ReplicaSets were last written."""
        for rs in sets.all:
            desired = (rs["metadata"].get("annotations") or {}).get(DESIRED)
            differs = desired is not None and int(desired) != deployment["spec"]["replicas"]
            if rs["spec"]["replicas"] and differs:
                return True
        return False

    def _scale(self, deployment: Manifest, sets: Sets) -> None:
        """Scale in proportion while a roll-out runs, else just the one ReplicaSet there is."""
        active = [rs for rs in sets.all if rs["spec"]["replicas"]]
        replicas = deployment["spec"]["replicas"]
        if len(active) <= 1:
            latest = active[0] if active else sets.new or (sets.old[-1] if sets.old else None)
            if latest is not None and latest["spec"]["replicas"] != replicas:
                self._resize(deployment, latest, replicas)
            return
        if sets.new is not None and is_saturated(deployment, sets.new):
            for rs in active:
                if rs is not sets.new:
                    self._resize(deployment, rs, 0)
            return
        if deployment["spec"]["strategy"]["type"] != "RollingUpdate":
            return
        limit = replicas + max_surge(deployment) if replicas else 0
        to_add = limit - wanted(active)
        # The biggest first; of equals the newest when growing, the oldest when shrinking.
        active.sort(
            key=lambda rs: (
                -rs["spec"]["replicas"],
                -revision_of(rs) if to_add > 0 else revision_of(rs),
            )
        )
        sizes, added = [], 0
        for rs in active:
            share = share_of(deployment, rs, to_add, added)
            added += share
            sizes.append(rs["spec"]["replicas"] + share)
        sizes[0] = max(sizes[0] + to_add - added, 0)
        for rs, size in zip(active, sizes, strict=True):
            self._resize(deployment, rs, size)

    # --- status -------------------------------------------------------------------------------

    def _note_pause(self, deployment: Manifest) -> None:
        present = find_condition(deployment.get("status") or {}, PROGRESSING)
        if not has_deadline(deployment) or (present and present["reason"] == TIMED_OUT):
            return
        was = bool(present) and present["reason"] == "DeploymentPaused" if present else False
        paused = bool(deployment["spec"].get("paused"))
        if paused and not was:
            condition = a_condition(
                PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused"
            )
            self._set_condition(deployment, condition)
        elif was and not paused:
            condition = a_condition(
                PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed"
            )
            self._set_condition(deployment, condition)

    def _set_condition(self, deployment: Manifest, condition: Manifest) -> None:
        def propose(live: Manifest) -> Manifest:
            status = live.setdefault("status", {})
            status["conditions"] = self._with(status.get("conditions") or [], condition)
            return live

        self._store.update(DEPLOYMENT, key_of(deployment), propose, STATUS)

    def _with(
        self, conditions: list[Manifest], condition: Manifest, *, touch: bool = False
    ) -> list[Manifest]:
        """Conditions with one replaced; its times move only when status or reason do, or by ``touch``."""
        now = timestamp(self._store.clock.now())
        before = next((c for c in conditions if c["type"] == condition["type"]), None)
        same = before is not None and before["status"] == condition["status"]
        if before is not None and same and before["reason"] == condition["reason"] and not touch:
            return conditions
        moved = before["lastTransitionTime"] if before is not None and same else now
        made = condition | {"lastUpdateTime": now, "lastTransitionTime": moved}
        return [c for c in conditions if c["type"] != condition["type"]] + [made]

    def _write_status(self, deployment: Manifest, *, estimate: bool) -> None:
        deployment = self._fresh(deployment)
        sets = self._sets_of(deployment)
        before = deployment.get("status") or {}
        status = self._status_of(deployment, sets)
        if estimate:
            self._estimate(deployment, sets, before, status)
        if status != before:
            key = key_of(deployment)
            self._store.update(DEPLOYMENT, key, lambda o: o | {"status": status}, STATUS)
        self._watch_deadline(deployment, status)

    def _status_of(self, deployment: Manifest, sets: Sets) -> Manifest:
        available = counted(sets.all, "availableReplicas")
        new = [sets.new] if sets.new is not None else []
        numbers = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": counted(sets.all, "replicas"),
            "updatedReplicas": counted(new, "replicas"),
            "readyReplicas": counted(sets.all, "readyReplicas"),
            "availableReplicas": available,
            "unavailableReplicas": max(wanted(sets.all) - available, 0),
        }
        before = deployment.get("status") or {}
        conditions = list(before.get("conditions") or ())
        if available >= deployment["spec"]["replicas"] - max_unavailable(deployment):
            message = "Deployment has minimum availability."
            condition = a_condition(AVAILABLE, "True", "MinimumReplicasAvailable", message)
        else:
            message = "Deployment does not have minimum availability."
            condition = a_condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message)
        status: Manifest = {k: v for k, v in numbers.items() if v}
        status["conditions"] = self._with(conditions, condition)
        return status

    def _estimate(
        self, deployment: Manifest, sets: Sets, before: Manifest, status: Manifest
    ) -> None:
        """Set the Progressing condition: complete, moving, or out of time."""
        conditions = status["conditions"]
        if not has_deadline(deployment):
            status["conditions"] = [c for c in conditions if c["type"] != PROGRESSING]
            return
        present = find_condition(status, PROGRESSING)
        done = present is not None and present["reason"] == NEW_RS_AVAILABLE
        if done and status.get("replicas", 0) == status.get("updatedReplicas", 0):
            return
        subject = f'ReplicaSet "{sets.new["metadata"]["name"]}"' if sets.new else "Deployment"
        if is_complete(deployment, status):
            message = f"{subject} has successfully progressed."
            condition = a_condition(PROGRESSING, "True", NEW_RS_AVAILABLE, message)
            status["conditions"] = self._with(conditions, condition)
        elif has_progressed(before, status):
            message = f"{subject} is progressing."
            condition = a_condition(PROGRESSING, "True", "ReplicaSetUpdated", message)
            status["conditions"] = self._with(conditions, condition, touch=True)
        elif self._is_late(deployment, present):
            message = f"{subject} has timed out progressing."
            condition = a_condition(PROGRESSING, "False", TIMED_OUT, message)
            status["conditions"] = self._with(conditions, condition)

    def _is_late(self, deployment: Manifest, condition: Manifest | None) -> bool:
        if condition is None or condition["reason"] == NEW_RS_AVAILABLE:
            return False
        if condition["reason"] == TIMED_OUT:
            return True
        limit = deployment["spec"]["progressDeadlineSeconds"]
        return parse_timestamp(condition["lastUpdateTime"]) + limit < self._store.clock.now()

    def _watch_deadline(self, deployment: Manifest, status: Manifest) -> None:
        """Come back when the deadline may have passed: nothing else would wake the controller."""
        condition = find_condition(status, PROGRESSING)
        if condition is None or not has_deadline(deployment) or deployment["spec"].get("paused"):
            return
        if is_complete(deployment, status) or condition["reason"] in {TIMED_OUT, NEW_RS_AVAILABLE}:
            return
        ends = parse_timestamp(condition["lastUpdateTime"])
        ends += deployment["spec"]["progressDeadlineSeconds"]
        self.loop.enqueue(key_of(deployment), max(ends - self._store.clock.now(), 0.0) + 1.0)
