"""The daemon's own metrics: what is exported, that labels stay bounded, and that nothing is left."""

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from canaryd.telemetry.prometheus import MAX_METRICS, MAX_WORDS, Telemetry

APP = {"namespace": "shop", "name": "podinfo"}


@pytest.fixture
def telemetry():
    return Telemetry("1.2.3")


def value(telemetry, series, /, **labels):
    return telemetry.registry.get_sample_value(series, labels)


def samples(telemetry, name):
    """Every series of a name, by its labels."""
    families = text_string_to_metric_families(telemetry.expose().decode())
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def tell_of_the_app(telemetry, **changes):
    standing = {"phase": "Progressing", "weight": 20, "failed_checks": 1} | changes
    telemetry.canary("shop", "podinfo", **standing)


# --- the process ---


def test_it_says_what_is_running(telemetry):
    assert 1 == value(telemetry, "canaryd_info", version="1.2.3")


def test_the_process_is_exported_where_it_is_one():
    assert "process_resident_memory_bytes" not in Telemetry("1").expose().decode()
    assert "process_resident_memory_bytes" in Telemetry("1", is_process=True).expose().decode()


def test_two_of_them_do_not_share_anything(telemetry):
    telemetry.reconciled("Idle", 0.1)
    assert value(Telemetry("1"), "canaryd_reconcile_total", result="Idle") is None


def test_no_series_says_only_when_it_was_made(telemetry):
    telemetry.reconciled("Idle", 0.1)
    assert "_created" not in telemetry.expose().decode()


# --- the loop ---


def test_looks_are_counted_by_result_and_timed(telemetry):
    telemetry.reconciled("Idle", 0.004)
    telemetry.reconciled("Idle", 0.2)
    telemetry.reconciled("Promoted", 0.2)
    assert 2 == value(telemetry, "canaryd_reconcile_total", result="Idle")
    assert 1 == value(telemetry, "canaryd_reconcile_total", result="Promoted")
    assert 1 == value(telemetry, "canaryd_reconcile_seconds_bucket", le="0.005")
    assert 3 == value(telemetry, "canaryd_reconcile_seconds_count")


def test_the_queue_is_asked_at_each_scrape(telemetry):
    queue = [3, 1.5]
    telemetry.watch_queue(lambda: queue[0], lambda: queue[1])
    assert (3, 1.5) == (
        value(telemetry, "canaryd_queue_depth"),
        value(telemetry, "canaryd_queue_age_seconds"),
    )
    queue[0] = 4
    assert 4 == value(telemetry, "canaryd_queue_depth")


def test_a_queue_that_cannot_be_asked_hides_nothing_else(telemetry):
    telemetry.watch_queue(lambda: {}["gone"], lambda: 1.5)
    text = telemetry.expose().decode()
    assert "canaryd_queue_depth NaN\n" in text
    assert "canaryd_queue_age_seconds 1.5\n" in text


@pytest.mark.parametrize("lag", [-1.0, 0.0])
def test_a_timer_that_came_early_was_not_late(telemetry, lag):
    telemetry.lagged(lag)
    assert 1 == value(telemetry, "canaryd_loop_lag_seconds_bucket", le="0.001")
    assert 0 == value(telemetry, "canaryd_loop_lag_seconds_sum")


# --- the API server ---


def test_requests_are_counted_by_verb_resource_and_code(telemetry):
    telemetry.api_request("get", "deployments.apps", 200, 0.02)
    telemetry.api_request("get", "deployments.apps", 0, 4.0)
    labels = {"verb": "get", "resource": "deployments.apps"}
    assert 1 == value(telemetry, "canaryd_api_requests_total", code="200", **labels)
    assert 1 == value(telemetry, "canaryd_api_requests_total", code="0", **labels)
    assert 2 == value(telemetry, "canaryd_api_request_seconds_count", verb="get")


def test_a_request_that_was_not_timed_is_only_counted(telemetry):
    telemetry.api_request("watch", "services", 200, None)
    assert value(telemetry, "canaryd_api_request_seconds_count", verb="watch") is None


@pytest.mark.parametrize("code", [-1, 1, 99, 600, 99999])
def test_a_code_that_is_none_is_no_answer(telemetry, code):
    telemetry.api_request("get", "services", code, None)
    labels = {"verb": "get", "resource": "services", "code": "0"}
    assert 1 == value(telemetry, "canaryd_api_requests_total", **labels)


def test_troubles_with_watches_and_events_are_counted(telemetry):
    telemetry.watch_restarted("services", "expired")
    telemetry.decode_failed("services")
    telemetry.event_dropped()
    telemetry.event_dropped(3)
    labels = {"resource": "services", "reason": "expired"}
    assert 1 == value(telemetry, "canaryd_watch_restarts_total", **labels)
    assert 1 == value(telemetry, "canaryd_decode_errors_total", resource="services")
    assert 4 == value(telemetry, "canaryd_events_dropped_total")


def test_notifications_that_were_dropped_are_counted(telemetry):
    assert 0 == value(telemetry, "canaryd_notifications_dropped_total")
    telemetry.notification_dropped()
    assert 1 == value(telemetry, "canaryd_notifications_dropped_total")


def test_what_the_webhook_says_is_counted_and_the_end_of_its_certificate_shown(telemetry):
    assert 0 == value(telemetry, "canaryd_admission_certificate_end_seconds")
    telemetry.certificate_ends(1_800_000_000.0)
    telemetry.reviewed("kept")
    telemetry.reviewed("passed")
    telemetry.reviewed("passed")
    assert 1_800_000_000 == value(telemetry, "canaryd_admission_certificate_end_seconds")
    assert 1 == value(telemetry, "canaryd_admission_reviews_total", outcome="kept")
    assert 2 == value(telemetry, "canaryd_admission_reviews_total", outcome="passed")


# --- labels stay bounded ---


def test_a_label_takes_so_many_words_and_no_more(telemetry):
    for number in range(MAX_WORDS + 50):
        telemetry.reconciled(f"Reason{number}", 0.1)
    found = samples(telemetry, "canaryd_reconcile_total")
    assert MAX_WORDS + 1 == len(found)
    assert 50 == found[("result", "other"),]


def test_words_that_were_seen_are_kept_when_no_more_are_taken(telemetry):
    for number in range(MAX_WORDS + 50):
        telemetry.decode_failed(f"resource{number}")
    telemetry.decode_failed("resource0")
    assert 2 == value(telemetry, "canaryd_decode_errors_total", resource="resource0")


@pytest.mark.parametrize(
    "word", ["", "x" * 81, "a\nb", "\x1b[31m", "\ud800", "\N{RIGHT-TO-LEFT OVERRIDE}"]
)
def test_what_is_no_word_is_other(telemetry, word):
    telemetry.reconciled(word, 0.1)
    assert 1 == value(telemetry, "canaryd_reconcile_total", result="other")
    assert b"other" in telemetry.expose()


def test_the_words_of_one_label_do_not_use_up_those_of_another(telemetry):
    for number in range(MAX_WORDS):
        telemetry.watch_restarted("services", f"reason{number}")
    telemetry.reconciled("Idle", 0.1)
    assert 1 == value(telemetry, "canaryd_reconcile_total", result="Idle")


# --- apps ---


def test_an_app_is_told_of_with_its_namespace_and_name(telemetry):
    tell_of_the_app(telemetry)
    telemetry.metric_values("shop", "podinfo", {"success-rate": 99.5})
    telemetry.run_ended("shop", "podinfo", "promoted")
    assert 20 == value(telemetry, "canaryd_canary_weight", **APP)
    assert 1 == value(telemetry, "canaryd_canary_phase", **APP, phase="Progressing")
    assert 1 == value(telemetry, "canaryd_canary_failed_checks", **APP)
    assert 99.5 == value(telemetry, "canaryd_metric_value", **APP, metric="success-rate")
    assert 1 == value(telemetry, "canaryd_runs_total", **APP, result="promoted")


def test_an_app_is_in_one_phase_at_a_time(telemetry):
    tell_of_the_app(telemetry, phase="Progressing")
    tell_of_the_app(telemetry, phase="Succeeded")
    assert [1] == list(samples(telemetry, "canaryd_canary_phase").values())
    assert 1 == value(telemetry, "canaryd_canary_phase", **APP, phase="Succeeded")


def test_a_check_that_is_gone_leaves_no_value(telemetry):
    telemetry.metric_values("shop", "podinfo", {"a": 1.0, "b": 2.0})
    telemetry.metric_values("shop", "podinfo", {"b": 3.0})
    expected = {(("metric", "b"), ("name", "podinfo"), ("namespace", "shop")): 3.0}
    assert expected == samples(telemetry, "canaryd_metric_value")


def test_of_many_checks_of_one_app_the_first_are_exported(telemetry):
    telemetry.metric_values("shop", "podinfo", {f"m{n:03d}": n for n in range(MAX_METRICS + 9)})
    found = samples(telemetry, "canaryd_metric_value")
    assert MAX_METRICS == len(found)
    assert MAX_METRICS - 1 == max(found.values())


def test_values_that_are_no_numbers_are_exported_as_what_they_are(telemetry):
    telemetry.metric_values("shop", "podinfo", {"a": float("nan"), "b": float("-inf")})
    found = samples(telemetry, "canaryd_metric_value")
    shown = {dict(labels)["metric"]: str(number) for labels, number in found.items()}
    assert {"a": "nan", "b": "-inf"} == shown


def test_results_of_runs_are_bounded_for_each_app(telemetry):
    for number in range(MAX_WORDS + 5):
        telemetry.run_ended("shop", "podinfo", f"result{number}")
    assert 5 == value(telemetry, "canaryd_runs_total", **APP, result="other")


def test_results_that_were_seen_are_counted_on_when_no_more_are_taken(telemetry):
    for _ in range(2):
        for number in range(MAX_WORDS):
            telemetry.run_ended("shop", "podinfo", f"result{number}")
    assert 2 == value(telemetry, "canaryd_runs_total", **APP, result="result0")


def test_an_app_that_is_gone_leaves_no_series(telemetry):
    before = telemetry.expose()
    tell_of_the_app(telemetry)
    telemetry.metric_values("shop", "podinfo", {"success-rate": 99.5})
    telemetry.run_ended("shop", "podinfo", "promoted")
    telemetry.forget("shop", "podinfo")
    assert before == telemetry.expose()


def test_to_forget_an_app_is_to_forget_no_other(telemetry):
    tell_of_the_app(telemetry)
    telemetry.canary("shop", "other", phase="Succeeded", weight=0, failed_checks=0)
    telemetry.forget("shop", "podinfo")
    telemetry.forget("shop", "never-known")
    assert ["other"] == [dict(key)["name"] for key in samples(telemetry, "canaryd_canary_weight")]


def test_who_loses_leadership_knows_nothing_of_the_apps(telemetry):
    telemetry.leading(is_leader=True)
    tell_of_the_app(telemetry)
    assert 1 == value(telemetry, "canaryd_leader")
    telemetry.leading(is_leader=False)
    assert 0 == value(telemetry, "canaryd_leader")
    assert {} == samples(telemetry, "canaryd_canary_weight")


def test_who_leads_again_begins_with_nothing(telemetry):
    tell_of_the_app(telemetry)
    telemetry.leading(is_leader=False)
    telemetry.leading(is_leader=True)
    assert {} == samples(telemetry, "canaryd_canary_weight")


def test_names_of_tenants_cannot_break_the_page(telemetry):
    telemetry.metric_values("shop", "podinfo", {'a"} 1\nevil{b="c\\': 1.0})
    found = samples(telemetry, "canaryd_metric_value")
    [labels] = found
    assert 'a"} 1\nevil{b="c\\' == dict(labels)["metric"]


# --- scraping ---


def test_what_is_exported_is_what_prometheus_reads(telemetry):
    tell_of_the_app(telemetry)
    telemetry.reconciled("Idle", 0.1)
    telemetry.api_request("get", "services", 200, 0.1)
    families = list(text_string_to_metric_families(telemetry.expose().decode()))
    assert "canaryd_reconcile" in {family.name for family in families}
    assert all(family.documentation and family.type != "unknown" for family in families)


def test_every_name_is_ours(telemetry):
    families = text_string_to_metric_families(telemetry.expose().decode())
    assert [] == [family.name for family in families if not family.name.startswith("canaryd_")]


def test_a_scrape_never_sees_half_of_a_change(telemetry):
    done = threading.Event()

    def change():
        number = 0
        while not done.is_set():
            number += 1
            telemetry.canary(
                "shop", "podinfo", phase=f"P{number}", weight=number, failed_checks=number
            )
            telemetry.canary("shop", f"app{number % 7}", phase="P", weight=0, failed_checks=0)
            telemetry.forget("shop", f"app{(number + 3) % 7}")

    writer = threading.Thread(target=change)
    writer.start()
    try:
        for _ in range(20):
            text = telemetry.expose().decode()
            found = {
                sample.name: sample
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.labels.get("name") == "podinfo"
            }
            if found:
                weight = int(found["canaryd_canary_weight"].value)
                assert weight == found["canaryd_canary_failed_checks"].value
                assert f"P{weight}" == found["canaryd_canary_phase"].labels["phase"]
    finally:
        done.set()
        writer.join()
