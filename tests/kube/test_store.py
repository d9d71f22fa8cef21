"""The store: newer wins, what was deleted stays deleted, equal views wake nobody."""

from typing import Any

from canaryd.kube.store import Store


def obj(name: str, version: int, value: str = "", namespace: str = "shop") -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "resourceVersion": str(version)}
    return {"metadata": meta, "value": value}


def values(**indexers: Any) -> tuple[Store[str], list[tuple[str | None, str | None]]]:
    changes: list[tuple[str | None, str | None]] = []
    store: Store[str] = Store(
        lambda manifest: manifest["value"] or None,
        indexers=indexers,
        on_change=lambda old, new: changes.append((old, new)),
    )
    return store, changes


def test_a_change_is_told_with_the_old_and_the_new_view():
    store, changes = values()

    store.observe(obj("a", 1, "red"))
    store.observe(obj("a", 2, "blue"))
    store.forget(obj("a", 3))

    assert [(None, "red"), ("red", "blue"), ("blue", None)] == changes
    assert len(store) == 0


def test_a_change_that_leaves_the_view_equal_wakes_nobody():
    store, changes = values()

    store.observe(obj("a", 1, "red"))
    store.observe(obj("a", 2, "red"))

    assert [(None, "red")] == changes


def test_an_older_event_does_not_overwrite_the_answer_to_our_own_write():
    store, _ = values()

    store.observe(obj("a", 5, "written"))
    store.observe(obj("a", 4, "stale"))

    assert store.get("shop", "a") == "written"


def test_a_late_answer_does_not_bring_a_deleted_object_back():
    store, _ = values()
    store.observe(obj("a", 1, "red"))

    store.forget(obj("a", 3))
    store.observe(obj("a", 2, "blue"))

    assert store.get("shop", "a") is None


def test_a_namesake_made_after_a_deletion_is_taken():
    store, _ = values()
    store.forget(obj("a", 3))

    store.observe(obj("a", 4, "new"))

    assert store.get("shop", "a") == "new"


def test_a_full_account_removes_what_it_does_not_mention_but_not_what_is_newer():
    store, changes = values()
    store.observe(obj("gone", 1, "x"))
    store.observe(obj("seen", 2, "x"))
    store.observe(obj("made-by-us-meanwhile", 9, "x"))

    store.retain({("shop", "seen")}, None, version=5)

    assert store.get("shop", "gone") is None
    assert store.get("shop", "made-by-us-meanwhile") == "x"
    assert ("x", None) in changes


def test_a_full_account_of_one_namespace_says_nothing_about_another():
    store, _ = values()
    store.observe(obj("a", 1, "x", "shop"))
    store.observe(obj("a", 1, "x", "bank"))

    store.retain(set(), "shop", version=5)

    assert store.get("shop", "a") is None
    assert store.get("bank", "a") == "x"


def test_after_a_restore_of_etcd_lower_versions_are_believed():
    store, _ = values()
    store.observe(obj("a", 900, "future"))

    store.distrust(None)
    store.observe(obj("a", 40, "restored"))

    assert store.get("shop", "a") == "restored"


def test_an_object_that_is_of_no_interest_any_more_is_dropped():
    store, changes = values()
    store.observe(obj("a", 1, "red"))

    store.observe(obj("a", 2, ""))

    assert ("red", None) == changes[-1]


def test_an_index_follows_its_objects():
    store, _ = values(first=lambda value: [value[0]])
    store.observe(obj("a", 1, "red"))
    store.observe(obj("b", 1, "rose"))

    store.observe(obj("a", 2, "blue"))

    assert ["rose"] == list(store.by("first", "r"))
    assert ["blue"] == list(store.by("first", "b"))
    store.forget(obj("a", 3))
    assert [] == list(store.by("first", "b"))


# --- views that are made of earlier ones ---


def renewing() -> Store[str]:
    """A view is its value, after those of the earlier views that it was made of."""
    return Store(
        lambda manifest: manifest["value"] or None,
        renew=lambda manifest, earlier: f"{earlier}-{manifest['value']}",
    )


def test_a_view_can_be_made_of_the_one_that_is_held():
    store = renewing()

    store.observe(obj("a", 1, "red"))
    store.observe(obj("a", 2, "blue"))

    assert store.get("shop", "a") == "red-blue"


def test_no_view_is_made_of_one_that_is_distrusted():
    """After a restore of etcd the same generation may stand for something else."""
    store = renewing()
    store.observe(obj("a", 900, "future"))

    store.distrust(None)
    store.observe(obj("a", 40, "restored"))
    assert store.get("shop", "a") == "restored"

    store.observe(obj("a", 41, "next"))
    assert store.get("shop", "a") == "restored-next"


def test_a_namesake_is_not_made_of_what_was_deleted():
    store = renewing()
    store.observe(obj("a", 1, "red"))
    store.forget(obj("a", 2))

    store.observe(obj("a", 3, "blue"))

    assert store.get("shop", "a") == "blue"
