"""What an Ingress says that makes a canary other than it looks, told in words before a run."""

from typing import Any

import pytest

from canaryd.core.cautions_nginx import cautions_of
from canaryd.core.names import ownership_labels
from canaryd.core.views import ObjectView, object_view

PREFIX = "nginx.ingress.kubernetes.io"


def an_ingress(
    name: str = "web",
    *,
    service: str = "app",
    host: str = "app.test",
    path: str = "/",
    path_type: str = "Prefix",
    port: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    ingress_class: str = "nginx",
    **annotations: str,
) -> ObjectView:
    backend = {"service": {"name": service, "port": port or {"number": 80}}}
    paths = [{"path": path, "pathType": path_type, "backend": backend}]
    spec: dict[str, Any] = {"rules": [{"host": host, "http": {"paths": paths}}]}
    if ingress_class:
        spec["ingressClassName"] = ingress_class
    meta = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "labels": labels or {}}
    keys = {f"{PREFIX}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return object_view({"metadata": meta | {"annotations": keys}, "spec": spec})


def told(main: ObjectView | None = None, *others: ObjectView, **annotations: str) -> list[str]:
    main = main or an_ingress(**annotations)
    return list(cautions_of(main, "app", others))


def only(sentences: list[str]) -> str:
    [sentence] = sentences
    return sentence


# --- annotations of the main Ingress ---


def test_an_ingress_that_says_nothing_of_the_kind_brings_no_caution():
    assert [] == told()


@pytest.mark.parametrize(
    "annotations",
    [
        {"rewrite_target": "/$1", "use_regex": "true"},
        {"backend_protocol": "GRPC", "proxy_read_timeout": "60", "load_balance": "ewma"},
        {"auth_url": "http://auth", "limit_rps": "10", "server_alias": "b.test"},
        {"affinity": "", "upstream_hash_by": "", "custom_http_errors": ""},
        {"service_upstream": "false", "ssl_passthrough": "no"},
        {"session_cookie_name": "c", "affinity_canary_behavior": "legacy"},
    ],
    ids=["rewriting", "how pods are asked", "who may ask", "empty", "switched off", "for a cookie"],
)
def test_annotations_that_the_canary_inherits_or_that_say_nothing_bring_none(annotations):
    assert [] == told(**annotations)


def test_a_cookie_keeps_users_where_they_are_whatever_the_weight():
    sentence = only(told(affinity="cookie"))

    assert sentence.startswith(
        f"Ingress web keeps users where they are ({PREFIX}/affinity: cookie)"
    )
    assert "fewer users than its weight" in sentence
    assert "also when the weight is 0 again" in sentence
    assert f"{PREFIX}/session-cookie-max-age" in sentence


@pytest.mark.parametrize("behavior", ["legacy", "sticky"])
def test_what_a_main_ingress_says_of_canaries_with_a_cookie_is_read_by_nobody(behavior):
    _, sentence = told(affinity="cookie", affinity_canary_behavior=behavior)

    assert f"{PREFIX}/affinity-canary-behavior of Ingress web has no effect" in sentence


def test_a_hash_does_not_keep_a_client_with_one_version():
    sentence = only(told(upstream_hash_by="$remote_addr"))

    assert f"({PREFIX}/upstream-hash-by)" in sentence
    assert "one client meets both versions" in sentence


def test_a_cookie_is_stronger_than_a_hash_so_that_only_the_cookie_is_told_of():
    assert "affinity" in only(told(affinity="cookie", upstream_hash_by="$remote_addr"))


@pytest.mark.parametrize("text", ["true", "True", "1"])
def test_requests_to_the_address_of_a_service_do_not_follow_its_pods(text):
    sentence = only(told(service_upstream=text))

    assert "the address of Service app" in sentence
    assert "when the canary has no pods" in sentence


def test_what_is_passed_through_is_not_split():
    sentence = only(told(ssl_passthrough="true"))

    assert "stay with the primary at every weight" in sentence


def test_a_default_backend_gets_the_share_of_a_canary_without_pods():
    sentence = only(told(default_backend="sorry"))

    assert f"to Service sorry ({PREFIX}/default-backend)" in sentence
    assert "Traefik" in sentence


def test_error_pages_can_hide_errors_of_the_canary():
    sentence = only(told(custom_http_errors="500,503"))

    assert f"({PREFIX}/custom-http-errors)" in sentence
    assert "X-Code" in sentence


def test_the_same_words_under_a_prefix_that_the_controller_does_not_read_mean_nothing():
    main = an_ingress()
    elsewhere = object_view(
        {
            "metadata": {
                "namespace": "shop",
                "name": "web",
                "annotations": {"ingress.example.io/affinity": "cookie"},
            },
            "spec": main.spec,
        }
    )
    assert () == cautions_of(elsewhere, "app", ())
    [sentence] = cautions_of(elsewhere, "app", (), prefix="ingress.example.io")
    assert "(ingress.example.io/affinity: cookie)" in sentence


# --- other Ingresses ---


def test_another_ingress_to_the_same_service_and_port_gets_the_canary_unasked():
    sentence = only(told(an_ingress(), an_ingress("api", host="api.test")))

    assert sentence.startswith("Ingress api leads to Service app as well")
    assert "its users get the canary too, unseen by the checks" in sentence
    assert "canaryd.io/ingress" in sentence


@pytest.mark.parametrize(
    "different",
    [{"ingress_class": "internal"}, {"port": {"name": "http"}}],
    ids=["another class", "the port by its name"],
)
def test_another_ingress_that_is_read_apart_keeps_its_users_with_the_primary(different):
    sentence = only(told(an_ingress(), an_ingress("api", host="api.test", **different)))

    assert sentence.startswith("Ingress api leads to Service app as well")
    assert "its users all stay with the primary" in sentence


def test_of_an_ingress_that_names_no_class_it_is_not_known_who_reads_it_and_both_are_told():
    sentence = only(told(an_ingress(), an_ingress("api", host="api.test", ingress_class="")))

    assert "its users may get the canary too, or all stay with the primary" in sentence


def test_of_two_ingresses_on_one_path_only_one_gets_its_requests():
    sentence = only(told(an_ingress(), an_ingress("twin")))

    assert "Ingresses web and twin both have app.test/" in sentence
    assert "only one of them counts" in sentence


def test_an_ingress_on_the_same_path_that_leads_elsewhere_may_give_the_canary_to_strangers():
    sentence = only(told(an_ingress(), an_ingress("old", service="legacy")))

    assert "Ingresses web and old both have app.test/" in sentence
    assert "users of Service legacy" in sentence


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("Prefix", "ImplementationSpecific", True),
        ("", "Prefix", True),
        ("Prefix", "Exact", False),
    ],
)
def test_paths_meet_as_ingress_nginx_has_them_meet(one, other, meet):
    found = told(an_ingress(path_type=one), an_ingress("old", service="legacy", path_type=other))
    assert meet == bool(found)


def test_an_ingress_of_another_class_on_the_same_path_is_no_rival():
    assert [] == told(an_ingress(), an_ingress("old", service="legacy", ingress_class="internal"))


def test_the_class_may_be_named_by_the_old_annotation():
    named = an_ingress("api", host="api.test", ingress_class="")
    legacy = object_view(
        {
            "metadata": {
                "namespace": "shop",
                "name": "api",
                "annotations": {"kubernetes.io/ingress.class": "nginx"},
            },
            "spec": named.spec,
        }
    )
    assert "get the canary too" in only(told(an_ingress(), legacy))


@pytest.mark.parametrize(
    "other",
    [
        an_ingress("else", service="other", host="other.test"),
        an_ingress("web"),
        an_ingress("web-canary", service="app-canary", labels=ownership_labels("app")),
        an_ingress("preview", service="preview", canary="true"),
    ],
    ids=["of another app", "itself", "ours", "a canary of somebody else"],
)
def test_an_ingress_that_has_nothing_to_do_with_it_brings_none(other):
    assert [] == told(an_ingress(), other)


def test_a_path_without_a_service_and_a_rule_without_paths_are_passed_over():
    odd = object_view(
        {
            "metadata": {"namespace": "shop", "name": "odd"},
            "spec": {
                "ingressClassName": "nginx",
                "rules": [
                    {"host": "app.test"},
                    {
                        "host": "app.test",
                        "http": {
                            "paths": [
                                {"path": "/files", "backend": {"resource": {"name": "bucket"}}}
                            ]
                        },
                    },
                ],
            },
        }
    )
    assert [] == told(an_ingress(), odd)


def test_every_trap_is_told_of_and_the_order_does_not_depend_on_that_of_the_others():
    main = an_ingress(affinity="cookie", service_upstream="true")
    others = [an_ingress("b", host="b.test"), an_ingress("a", host="a.test")]

    sentences = told(main, *others)
    assert 4 == len(sentences)
    assert sentences == told(main, *reversed(others))
    assert all(not sentence.endswith(".") and "\n" not in sentence for sentence in sentences)
    assert all(len(sentence) < 500 for sentence in sentences)
