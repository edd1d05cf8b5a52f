"""The status page of the load balancer: what it says in each of its formats, and that it is so."""

import os
import re
import shutil
import subprocess
import threading

import pytest

from stack import Client, wait_for
from status_page import StatusPage

NONE = "\N{EN DASH}"


@pytest.fixture
def page(free_port):
    return StatusPage(free_port())


def start(lb, page, http="", **places):
    lb.start(http=page.server + http, **places)
    wait_for(lambda: page.upstream()["list"]["age_seconds"] is not None, 20, "the first list")


def metric(page, name, **labels):
    """Of the upstream, or of one of its backends."""
    return page.metrics().get(f"ceph_lb_upstream_{name}", upstream="backends", **labels)


class Held:
    """Requests that a backend works on until they are let go."""

    def __init__(self, lb, backend, count=1):
        self._go = threading.Event()
        plain = backend.answer

        def wait(handler, seen):
            self._go.wait(60)
            plain(handler, seen)
        backend.answer = wait
        self._backend, self._plain = backend, plain
        before = len(backend.seen)
        self._threads = [threading.Thread(target=lb.get, args=("/held",)) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        wait_for(lambda: len(backend.seen) == before + count, 20, "the backend to have the requests")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._go.set()
        for thread in self._threads:
            thread.join(60)
        self._backend.answer = self._plain


# --- what there is -----------------------------------------------------------------------------------

def test_all_that_is_said(lb, page):
    one = lb.backend(weight=5, zone="a", max_conns=7)
    other = lb.backend(backup=1)
    start(lb, page, parameters="max_fails=3 fail_timeout=4s slow_start=2500ms",
          extra="ceph_lb_stale 90s; ceph_lb_zone shared 256k; ceph_lb_method hash $request_uri; "
                "ceph_lb_prefer_zone a;")
    said = page.json()
    assert set(said) == {"generated", "worker_pid", "nginx_version", "module_version", "upstreams"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", said["generated"])
    assert [said["worker_pid"]] == lb.nginx.workers()
    assert re.fullmatch(r"1\.\d+\.\d+", said["nginx_version"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", said["module_version"])

    upstream, = said["upstreams"]
    lists, counters, backends = (upstream.pop(name) for name in ("list", "counters", "backends"))
    assert upstream == {
        "name": "backends", "registry": lb.url, "method": "hash", "key": "$request_uri",
        "zone": "shared", "degraded": False, "prefer_zone": "a", "max_fails": 3,
        "fail_timeout_seconds": 4.0, "slow_start_seconds": 2.5, "stale_seconds": 90.0}
    assert lists.pop("age_seconds") >= 0
    assert lists == {"state": "fresh", "usable": 2, "total": 2, "trouble": None}
    assert counters["query_ms_total"] == counters["query_ms_mean"] == counters["query_ms_max"] > 0
    assert {name: value for name, value in counters.items() if not name.startswith("query")} == {
        "flights": 1, "passengers": 0, "requests_per_flight": 0.0, "errors": 0, "stale": 0, "without": 0,
        "changes": 0, "unavailable": 0}
    known = {"condition": "ready", "state": "up", "retry_seconds": None, "warmth_percent": 100,
             "connections": 0, "requests": 0, "failures": 0, "last_failure_seconds": None, "latency_ms": None}
    assert {row.pop("address"): row for row in backends} == {
        one.name: {**known, "zone": "a", "weight": 5, "backup": False, "max_conns": 7},
        other.name: {**known, "zone": None, "weight": 1, "backup": True, "max_conns": 0}}


def test_prometheus_says_the_same(lb, page):
    one = lb.backend(weight=5, zone="a", max_conns=7, backup=1)
    start(lb, page, parameters="max_fails=3 fail_timeout=4s slow_start=2500ms",
          extra="ceph_lb_stale 90s; ceph_lb_zone shared 256k; ceph_lb_prefer_zone a;")
    metrics = page.metrics()
    assert metrics.labels("ceph_lb_info")["nginx"].startswith("1.")
    assert [metrics.get("ceph_lb_worker_pid")] == lb.nginx.workers()
    assert metrics.get("ceph_lb_generated_timestamp_seconds") > 1.7e9
    assert metrics.labels("ceph_lb_upstream_info") == {
        "upstream": "backends", "registry": lb.url, "method": "round_robin", "key": "", "zone": "shared",
        "prefer_zone": "a"}
    assert metrics.labels("ceph_lb_upstream_backend_info") == {
        "upstream": "backends", "backend": one.name, "state": "up", "zone": "a"}
    assert metrics.labels("ceph_lb_upstream_backend_condition")["condition"] == "ready"
    states = {state: metrics.get("ceph_lb_upstream_list_state", state=state)
              for state in ("fresh", "stale", "none")}
    assert states == {"fresh": 1, "stale": 0, "none": 0}
    of_upstream = {name: metrics.get(f"ceph_lb_upstream_{name}", upstream="backends") for name in (
        "degraded", "max_fails", "fail_timeout_seconds", "slow_start_seconds", "stale_limit_seconds",
        "backends", "backends_usable", "trouble", "trouble_seconds", "flights_total", "passengers_total",
        "errors_total", "stale_total", "without_total", "changes_total", "unavailable_total")}
    assert list(of_upstream.values()) == [0, 3, 4, 2.5, 90, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert metrics.get("ceph_lb_upstream_query_seconds_total") \
        == metrics.get("ceph_lb_upstream_query_seconds_max") > 0
    assert metrics.get("ceph_lb_upstream_list_age_seconds") >= 0
    of_backend = {name: metrics.get(f"ceph_lb_upstream_backend_{name}", backend=one.name) for name in (
        "weight", "backup", "max_conns", "warmth_ratio", "connections", "requests_total", "failures_total",
        "retry_seconds", "last_failure_seconds", "latency_seconds")}
    assert list(of_backend.values()) == [5, 1, 7, 1, 0, 0, 0, None, None, None]
    # The backends have metrics of their own; no name means two things.
    assert not [name for name in metrics.types if name.startswith("ceph_lb_backend_")]
    assert page.metrics("/?format=prometheus").types == metrics.types


def test_the_page_says_the_same(lb, page):
    one = lb.backend(weight=5, zone="a", max_conns=7, backup=1)
    start(lb, page, parameters="max_fails=3 fail_timeout=4s slow_start=2500ms",
          extra="ceph_lb_stale 90s; ceph_lb_zone shared 256k; ceph_lb_method hash $uri; ceph_lb_prefer_zone a;")
    html = page.html()
    assert ("meta", {"http-equiv": "refresh", "content": "2"}) in html.attributes
    assert "prefers-color-scheme:dark" in html.text and 'name="viewport"' in html.text
    assert html.headings == ["backends"] and f"<code>{lb.url}</code>" in html.text
    assert [look for look, _ in html.notes] == ["good"]
    facts, = html.facts
    assert facts["State"] == "fresh" and re.fullmatch(r"\d\.\d s", facts["Age"])
    assert re.fullmatch(r"\d+\.\d\d", facts["Mean time, ms"])
    expected = {
        "Backends in it": "1", "May get requests": "1", "Are ready": "1", "Changes": "0",
        "That brought a list": "1", "Requests per query": "0.000", "Errors": "0", "With a fresh list": "0",
        "With the last list": "0", "Without a list": "0", "Without a backend to try": "0",
        "Method": "hash $uri", "Preferred zone": "a", "max_fails": "3", "fail_timeout": "4.0 s",
        "slow_start": "2.5 s", "Last list serves": "90 s", "Shared memory": "shared"}
    assert {name: facts[name] for name in expected} == expected
    assert html.rows() == {one.name: {
        "Backend": one.name, "Condition": "ready", "Connections": "0", "Requests": "0", "Failures": "0",
        "Last failure": NONE, "Latency, ms": NONE, "Weight": "5", "Most connections": "7",
        "State": "up, backup", "Zone": "a"}}
    worker, = lb.nginx.workers()
    assert f"Worker {worker}," in html.text
    assert re.search(r"ceph-lb \d+\.\d+\.\d+, nginx 1\.\d+\.\d+<", html.text)


def test_several_upstreams(lb, page):
    """Each with its own; one without the module is not shown."""
    backend = lb.backend()
    start(lb, page, http=lb.upstream().replace("backends", "second")
          + f"upstream plain {{ server {backend.name}; }}"
          f"server {{ listen 127.0.0.1:{lb.free_port()}; location / {{ proxy_pass http://plain; }} }}")
    assert [upstream["name"] for upstream in page.json()["upstreams"]] == ["backends", "second"]
    wait_for(lambda: page.upstream("second")["list"]["total"] == 1, 20, "its list")
    assert page.upstream("second")["zone"] == "ceph_lb_second"
    assert page.html().headings == ["backends", "second"]
    assert lb.answering(3) == {backend.name: 3}
    assert page.upstream("backends")["counters"]["passengers"] == 3
    assert page.upstream("second")["counters"]["passengers"] == 0
    assert page.metrics().get("ceph_lb_upstream_backend_requests_total", upstream="second") == 0


def test_no_upstream(lb, page):
    lb.nginx.write(page.server)
    lb.nginx.start()
    assert page.json()["upstreams"] == []
    (look, text), = page.html().notes
    assert look == "idle" and "no upstream" in text
    assert page.metrics().get("ceph_lb_info", version=page.json()["module_version"]) == 1


def test_no_password_is_shown(lb, page):
    lb.backend()
    start(lb, page)
    password = open(lb.password_file, encoding="ascii").read().strip()
    assert len(password) > 5
    for target in ("/", "/?format=json", "/metrics"):
        assert password not in page.get(target).text


# --- what changes --------------------------------------------------------------------------------------

def test_requests_count(lb, page):
    one, other = lb.backend(), lb.backend()
    start(lb, page)
    assert sum(lb.answering(10).values()) == 10
    assert {row["address"]: row["requests"] for row in page.upstream()["backends"]} \
        == {one.name: 5, other.name: 5}
    counters = page.upstream()["counters"]
    assert (counters["passengers"], counters["flights"]) == (10, 11)
    assert counters["requests_per_flight"] == 0.909
    assert counters["query_ms_total"] > counters["query_ms_max"] >= counters["query_ms_mean"] > 0
    assert page.backend(one)["latency_ms"] > 0
    assert metric(page, "backend_requests_total", backend=one.name) == 5
    assert metric(page, "backend_latency_seconds", backend=one.name) > 0
    assert metric(page, "passengers_total") == 10
    html = page.html()
    assert html.rows()[other.name]["Requests"] == "5"
    assert re.fullmatch(r"\d+\.\d\d", html.rows()[other.name]["Latency, ms"])
    assert html.facts[0]["With a fresh list"] == "10" and html.facts[0]["Requests per query"] == "0.909"


def test_connections_and_a_full_backend(lb, page):
    backend = lb.backend(max_conns=2)
    start(lb, page)
    with Held(lb, backend):
        assert page.backend(backend)["connections"] == 1
        assert page.backend(backend)["condition"] == "ready"
        assert metric(page, "backend_connections", backend=backend.name) == 1
        assert page.html().rows()[backend.name]["Connections"] == "1"
    wait_for(lambda: page.backend(backend)["connections"] == 0, 20, "the end of the request")
    lb.set(backend, "max_conns = 1")
    with Held(lb, backend):
        assert page.backend(backend)["condition"] == "full"
        assert page.html().rows()[backend.name]["Condition"] == "full"
        assert metric(page, "backend_condition", backend=backend.name, condition="full") == 1


def test_no_backend_to_try(lb, page):
    backend = lb.backend(max_conns=1)
    start(lb, page)
    with Held(lb, backend):
        assert lb.get().status == 502
    assert page.upstream()["counters"]["unavailable"] == 1
    assert metric(page, "unavailable_total") == 1
    assert page.html().facts[0]["Without a backend to try"] == "1"


def test_a_failing_backend_and_its_return(lb, page):
    failing, good = lb.backend(), lb.backend()
    start(lb, page, parameters="fail_timeout=5s")
    lb.answering(2)
    failing.stop()
    assert set(lb.answering(4)) == {good.name}
    row = page.backend(failing)
    assert row["condition"] == "failed" and row["failures"] == 1
    assert 0 < row["retry_seconds"] <= 5 and 0 <= row["last_failure_seconds"] < 5
    assert page.backend(good)["condition"] == "ready"
    html = page.html()
    shown = html.rows()[failing.name]
    assert re.fullmatch(r"failed [1-5] s until a trial", shown["Condition"])
    assert shown["Failures"] == "1" and re.fullmatch(r"\d\.\d s ago", shown["Last failure"])
    assert "1 ready, 1 failed" in html.text
    assert metric(page, "backend_condition", backend=failing.name, condition="failed") == 1
    assert metric(page, "backend_condition", backend=failing.name, condition="ready") is None
    assert 0 < metric(page, "backend_retry_seconds", backend=failing.name) <= 5
    assert metric(page, "backend_failures_total", backend=failing.name) == 1
    wait_for(lambda: page.backend(failing)["retry_seconds"] == 0, 20, "the time of a trial")
    assert page.html().rows()[failing.name]["Condition"] == "failed to be tried now"
    failing.start()
    wait_for(lambda: failing.name in lb.answering(2), 20, "the trial")
    row = page.backend(failing)
    assert row["condition"] == "ready" and row["retry_seconds"] is None
    assert row["failures"] == 1 and row["last_failure_seconds"] > 5
    assert page.html().rows()[failing.name]["Condition"] == "ready"


def test_a_backend_that_starts_slowly(lb, page):
    failing = lb.backend()
    lb.backend()
    start(lb, page, parameters="fail_timeout=1s slow_start=1000s")
    failing.stop()
    lb.answering(2)
    failing.start()
    wait_for(lambda: failing.name in lb.answering(2), 20, "the trial")
    row = page.backend(failing)
    assert row["condition"] == "starting" and row["warmth_percent"] < 10
    assert page.html().rows()[failing.name]["Condition"] == f"starting with {row['warmth_percent']} %"
    assert metric(page, "backend_warmth_ratio", backend=failing.name) < 0.1


def test_a_backend_that_asks_to_be_left_alone(lb, page):
    resting = lb.backend()
    lb.backend()
    start(lb, page, location="proxy_next_upstream error timeout http_503;")
    resting.answer = lambda handler, seen: handler.reply(503, {"Retry-After": "30"}, b"")
    lb.answering(2)
    row = page.backend(resting)
    assert row["condition"] == "resting" and 20 < row["retry_seconds"] <= 30 and row["failures"] == 0
    assert re.fullmatch(r"resting for [23]\d s", page.html().rows()[resting.name]["Condition"])


def test_every_backend_has_failed(lb, page):
    backend = lb.backend()
    start(lb, page)
    backend.stop()
    assert lb.get().status == 502
    (look, text), = page.html().notes
    assert look == "bad" and "every backend has failed" in text


@pytest.mark.parametrize("assignment, condition, state", [
    ("state = 'drain'", "drain", "drain"), ("state = 'down'", "down", "down"), ("weight = 0", "drain", "up")])
def test_a_backend_is_taken_out_and_put_back(lb, page, assignment, condition, state):
    leaving, staying = lb.backend(), lb.backend(row=False)
    start(lb, page)
    with Held(lb, leaving):
        lb.add(staying)
        lb.set(leaving, assignment)
        assert set(lb.answering(3)) == {staying.name}
        row = page.backend(leaving)
        # The row is still there, and shows that the backend is still at work.
        assert (row["condition"], row["state"], row["connections"]) == (condition, state, 1)
    lists = page.upstream()["list"]
    assert (lists["usable"], lists["total"]) == (1, 2)
    shown = page.html().rows()[leaving.name]
    assert (shown["Condition"], shown["State"]) == (condition, state)
    assert metric(page, "backend_condition", backend=leaving.name, condition=condition) == 1
    assert metric(page, "backends_usable") == 1
    lb.set(leaving, "state = 'up', weight = 3")
    assert leaving.name in lb.answering(4)
    assert page.backend(leaving)["condition"] == "ready" and page.backend(leaving)["weight"] == 3
    assert metric(page, "backend_weight", backend=leaving.name) == 3
    assert page.upstream()["counters"]["changes"] == 2
    assert metric(page, "changes_total") == 2 and page.html().facts[0]["Changes"] == "2"


def test_a_removed_row(lb, page):
    leaving, staying = lb.backend(), lb.backend()
    start(lb, page)
    lb.remove(leaving)
    lb.answering(1)
    assert [row["address"] for row in page.upstream()["backends"]] == [staying.name]
    assert list(page.html().rows()) == [staying.name]
    assert metric(page, "backend_weight", backend=leaving.name) is None


# --- trouble -------------------------------------------------------------------------------------------

def test_the_last_list_serves(lb, page):
    backend = lb.backend()
    start(lb, page)
    lb.registry.ctl("mysql", "kill")
    wait_for(lambda: page.upstream()["list"]["state"] == "stale", 20, "the loss to be known")
    for _ in range(3):
        assert lb.get().header("X-Stale") == "1"
    upstream = page.upstream()
    assert upstream["counters"]["stale"] == 3 and upstream["counters"]["errors"] > 0
    assert upstream["list"]["trouble"]["registry"] == "is unreachable"
    assert "connect" in upstream["list"]["trouble"]["error"].lower()
    assert 0 <= upstream["list"]["trouble"]["seconds"] < 60
    assert page.backend(backend)["requests"] == 3
    html = page.html()
    (look, text), = html.notes
    assert look == "warn"
    assert re.match(r"backends: the registry is unreachable: .* It has been so for \d+(\.\d)? s\. Requests get "
                    r"the last list, which is \d+(\.\d)? s old, for \d+(\.\d)? s more\.$", text), text
    assert html.facts[0]["State"] == "serving last list" and html.facts[0]["With the last list"] == "3"
    assert metric(page, "list_state", state="stale") == 1 and metric(page, "list_state", state="fresh") == 0
    assert metric(page, "trouble") == 1 and metric(page, "stale_total") == 3
    lb.registry.ctl("mysql", "start")
    lb.wait_fresh()
    assert page.upstream()["list"]["state"] == "fresh" and page.upstream()["list"]["trouble"] is None
    assert [look for look, _ in page.html().notes] == ["good"]
    assert metric(page, "trouble") == 0 and metric(page, "trouble_seconds") == 0


def test_the_last_list_may_not_serve(lb, page):
    lb.backend()
    start(lb, page, extra="ceph_lb_stale off;")
    lb.registry.ctl("mysql", "kill")
    wait_for(lambda: page.upstream()["list"]["state"] == "none", 20, "the loss to be known")
    assert lb.get().status == 503
    assert page.upstream()["counters"]["without"] == 1
    html = page.html()
    (look, text), = html.notes
    assert look == "bad" and "the registry is unreachable" in text and "answered with 503" in text
    assert html.facts[0]["State"] == "none" and html.facts[0]["Last list serves"] == "off"
    assert html.facts[0]["Without a list"] == "1"
    assert metric(page, "list_state", state="none") == 1 and metric(page, "without_total") == 1


def test_there_never_was_a_list(lb, page):
    lb.start(http=page.server, url=f"mysql://lb@127.0.0.1:{lb.free_port()}/nowhere")
    wait_for(lambda: page.upstream()["list"]["trouble"], 20, "the trouble to be known")
    upstream = page.upstream()
    assert upstream["list"]["state"] == "none" and upstream["list"]["age_seconds"] is None
    assert upstream["backends"] == [] and upstream["counters"]["query_ms_mean"] is None
    assert metric(page, "list_age_seconds") is None
    html = page.html()
    assert [look for look, _ in html.notes] == ["bad"] and html.tables == [[]]
    assert html.facts[0]["Age"] == NONE and html.facts[0]["Mean time, ms"] == NONE


def test_the_query_is_refused(lb, page):
    lb.backend()
    start(lb, page)
    lb.sql("RENAME TABLE addresses TO elsewhere")
    assert lb.get().header("X-Stale") == "1"
    trouble = page.upstream()["list"]["trouble"]
    assert trouble["registry"] == "gives no list" and "addresses' doesn't exist" in trouble["error"]
    (_, text), = page.html().notes
    assert f"the registry gives no list: {trouble['error']}" in text


@pytest.mark.parametrize("rows, said", [(0, "the list is empty"), (1, "no backend in the list may get requests")])
def test_nobody_for_the_requests(lb, page, rows, said):
    for _ in range(rows):
        lb.backend(state="down")
    start(lb, page)
    assert lb.get().status == 503
    lists = page.upstream()["list"]
    assert (lists["state"], lists["usable"], lists["total"]) == ("fresh", 0, rows)
    (look, text), = page.html().notes
    assert look == "bad" and said in text and "503" in text


# --- what others have written ----------------------------------------------------------------------------

@pytest.mark.parametrize("zone", [
    '<b>"x"\\</b>', "</td><script>alert('1')</script>", "&amp;&lt;", '",\\"', "{}}", "z\u00fcrich \U0001f419", "%s%n"])
def test_a_zone_is_shown_as_it_is(lb, page, zone):
    backend = lb.backend()
    lb.sql("ALTER TABLE addresses MODIFY zone VARCHAR(64) CHARACTER SET utf8mb4 NULL INVISIBLE;"
           f"UPDATE addresses SET zone = CONVERT(x'{zone.encode().hex()}' USING utf8mb4)")
    start(lb, page)
    assert page.backend(backend)["zone"] == zone
    assert page.metrics().labels("ceph_lb_upstream_backend_info")["zone"] == zone
    assert page.html().rows()[backend.name]["Zone"] == zone


@pytest.mark.parametrize("octets, shown", [
    (b"a\xffb", "a\ufffdb"), (b"\xed\xa0\x80", "\ufffd" * 3), (b"a\nb\tc", "a\ufffdb\ufffdc"),
    (b"\x1b[31m", "\ufffd[31m"), (b"cut \xe2\x82", "cut \ufffd\ufffd")])
def test_what_is_no_text_is_replaced(lb, page, octets, shown):
    """The column is binary here: any query may be configured."""
    backend = lb.backend()
    start(lb, page, parameters=f"\"query=SELECT address, port, x'{octets.hex()}' AS zone FROM addresses\"")
    assert page.backend(backend)["zone"] == shown
    assert page.metrics().labels("ceph_lb_upstream_backend_info")["zone"] == shown
    assert page.html().rows()[backend.name]["Zone"] == shown


def test_names_of_the_configuration_are_escaped(lb, page):
    backend = lb.backend()
    key = "'$arg_a<i>\"\\\\&'"
    start(lb, page, extra=f"ceph_lb_method hash {key}; ceph_lb_prefer_zone '<z>'; ceph_lb_zone '<\"&' 256k;")
    upstream = page.upstream()
    assert upstream["key"] == '$arg_a<i>"\\&'
    assert upstream["prefer_zone"] == "<z>" and upstream["zone"] == '<"&'
    assert page.metrics().labels("ceph_lb_upstream_info")["key"] == upstream["key"]
    html = page.html()
    assert html.facts[0]["Method"] == f"hash {upstream['key']}"
    assert html.facts[0]["Shared memory"] == upstream["zone"]
    assert list(html.rows()) == [backend.name]


def test_ipv6_in_each_format(lb, page):
    backend = lb.backend(address="::1")
    start(lb, page)
    assert lb.answering(1) == {backend.name: 1} and backend.name.startswith("[::1]:")
    assert page.backend(backend)["requests"] == 1
    assert page.html().rows()[backend.name]["Requests"] == "1"
    assert metric(page, "backend_requests_total", backend=backend.name) == 1


# --- size ----------------------------------------------------------------------------------------------

def many(lb, count):
    values = ",".join(f"('127.{1 + n // 60000}.{n // 250 % 240}.{1 + n % 250}', {1 + n % 65000}, 'zone-{n}', 'down')"
                      for n in range(count))
    lb.sql(f"INSERT INTO addresses (address, port, zone, state) VALUES {values}")


def test_a_thousand_rows(lb, page):
    backend = lb.backend()
    many(lb, 999)
    start(lb, page)
    lb.answering(1)
    upstream = page.upstream()
    assert not upstream["degraded"]
    zones = {f"zone-{n}" for n in range(999)}
    assert {row["zone"] for row in upstream["backends"]} == zones | {None}
    assert page.backend(backend)["requests"] == 1
    html = page.html()
    assert len(html.rows()) == 1000 and {row["Zone"] for row in html.rows().values()} == zones | {NONE}
    metrics = page.metrics()
    assert len([1 for name, _ in metrics.samples if name == "ceph_lb_upstream_backend_requests_total"]) == 1000
    # The length that HEAD gives is that of the whole page, to within the digits that change.
    head = Client(page.port).request("HEAD", "/")
    assert abs(int(head.header("Content-Length")) - len(html.text.encode())) < 100


def test_more_rows_than_the_shared_memory_has_room_for(lb, page):
    backend = lb.backend(max_conns=1)
    many(lb, 9999)
    start(lb, page, extra="ceph_lb_zone small 32k;")
    assert lb.answering(3) == {backend.name: 3}
    upstream = page.upstream()
    assert upstream["degraded"] and upstream["zone"] == "small" and upstream["list"]["total"] == 10000
    assert page.backend(backend)["requests"] == 3
    assert metric(page, "degraded") == 1
    html = page.html()
    (look, text), = html.notes
    assert look == "warn" and "ceph_lb_zone" in text
    assert len(html.rows()) == 10000 and html.rows()[backend.name]["Requests"] == "3"
    # Counters of the upstream are in the shared memory all the same.
    with Held(lb, backend):
        assert lb.get().status == 502
    assert page.upstream()["counters"]["unavailable"] == 1


# --- workers and reloads -------------------------------------------------------------------------------

def test_two_workers_say_the_same(lb, page):
    lb.backend(), lb.backend()
    start(lb, page, workers=2)
    assert sum(lb.answering(20).values()) == 20
    said = list(page.of_each_worker(2).values())
    first, second = (worker["upstreams"][0] for worker in said)
    assert first["counters"] == second["counters"]
    assert first["counters"]["passengers"] == 20
    assert [row["requests"] for row in first["backends"]] == [row["requests"] for row in second["backends"]]
    assert sum(row["requests"] for row in first["backends"]) == 20
    assert sorted(worker["worker_pid"] for worker in said) == sorted(lb.nginx.workers())


def test_a_reload_forgets_nothing(lb, page):
    one, other = lb.backend(), lb.backend()
    start(lb, page)
    one.stop()
    lb.answering(6)
    before = page.upstream()
    old, = lb.nginx.workers()
    lb.nginx.reload()
    wait_for(lambda: page.json()["worker_pid"] != old and page.upstream()["list"]["total"] == 2, 20,
             "the new worker's list")
    after = page.upstream()
    assert after["counters"]["passengers"] == before["counters"]["passengers"] == 6
    assert after["counters"]["flights"] > before["counters"]["flights"]
    assert page.backend(one)["condition"] == "failed" and page.backend(one)["failures"] == 1
    assert page.backend(other)["requests"] == 6
    one.start()
    assert lb.get().status == 200


# --- HTTP ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("target, accept, kind", [
    ("/", None, "text/html"), ("/", "*/*", "text/html"), ("/", "application/json", "application/json"),
    ("/", "text/html, application/json;q=0.9", "text/html"),
    ("/", "text/html;q=0.8, application/json;q=0.9", "application/json"),
    ("/?format=html", "application/json", "text/html"), ("/?format=json", "text/html", "application/json"),
    ("/?a=b&format=json&c", None, "application/json"), ("/?format=prometheus", None, "text/plain"),
    ("/metrics", "application/json", "text/plain"), ("/?", None, "text/html"), ("/?formats=json", None, "text/html")])
def test_formats(lb, page, target, accept, kind):
    start(lb, page)
    response = page.get(target, **({"Accept": accept} if accept else {}))
    assert response.status == 200 and response.header("Content-Type").split(";")[0] == kind
    assert response.header("Cache-Control") == "no-store"
    assert response.header("X-Content-Type-Options") == "nosniff"
    assert int(response.header("Content-Length")) == len(response.body)


def test_several_accept_fields_are_one(lb, page):
    start(lb, page)
    with Client(page.port) as client:
        client.connection.putrequest("GET", "/")
        client.connection.putheader("Accept", "text/html;q=0.1")
        client.connection.putheader("accept", "application/json;q=0.2")
        client.connection.endheaders()
        assert client.connection.getresponse().getheader("Content-Type") == "application/json"


@pytest.mark.parametrize("value", ["xml", "", "JSON5", "%3Cb%3E", "x" * 1000])
def test_an_unknown_format(lb, page, value):
    start(lb, page)
    response = page.get(f"/?format={value}")
    assert response.status == 400 and response.header("Content-Type") == "text/plain; charset=utf-8"
    assert f'no format "{value[:64]}"' in response.text and "prometheus" in response.text
    assert len(response.body) < 200 and response.header("Cache-Control") == "no-store"


@pytest.mark.parametrize("target", ["/", "/?format=json", "/metrics", "/?format=xml"])
def test_head(lb, page, target):
    start(lb, page)
    with Client(page.port) as client:
        head, get = client.request("HEAD", target), client.get(target)
    assert head.status == get.status and head.body == b""
    assert abs(int(head.header("Content-Length")) - len(get.body)) < 20
    for name in ("Content-Type", "Cache-Control"):
        assert head.header(name) == get.header(name) is not None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(lb, page, method):
    """The body is read over, and the connection goes on."""
    start(lb, page)
    with Client(page.port) as client:
        refused = client.request(method, "/", b"x" * 10000)
        assert refused.status == 405 and refused.header("Allow") == "GET, HEAD"
        assert client.get("/").status == 200


def test_a_body_is_read_over(lb, page):
    start(lb, page)
    with Client(page.port) as client:
        assert client.request("GET", "/?format=json", b"x" * 10000).status == 200
        assert client.request("GET", "/?format=json", b"y" * 10).status == 200


def test_it_asks_nobody(lb, page):
    """To look at it changes nothing of what it shows."""
    lb.backend()
    start(lb, page)
    before = page.upstream()["counters"]
    for target in ("/", "/?format=json", "/metrics") * 5:
        assert page.get(target).status == 200
    assert page.upstream()["counters"] == before


@pytest.mark.parametrize("conf, said", [
    ("server { listen 127.0.0.1:PORT; location / { ceph_lb_status on; } }", "invalid number of arguments"),
    ("server { listen 127.0.0.1:PORT; ceph_lb_status; }", "not allowed here"),
    ("ceph_lb_status;", "not allowed here")])
def test_mistakes_in_the_configuration(lb, conf, said):
    lb.nginx.expected.append(r"\[emerg\]")
    lb.nginx.write(conf.replace("PORT", str(lb.port)))
    status, output = lb.nginx.check()
    assert status != 0 and said in output and '"ceph_lb_status"' in output


# --- a browser -----------------------------------------------------------------------------------------

@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_has_nothing_to_complain_about(lb, page, work_dir):
    backend = lb.backend(zone="a")
    start(lb, page)
    result = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={work_dir}/chromium", "--enable-logging=stderr", "--dump-dom",
         f"http://127.0.0.1:{page.port}/"],
        capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, "HOME": str(work_dir)})
    assert backend.name in result.stdout and "No trouble is known" in result.stdout
    assert not [line for line in result.stderr.splitlines() if ":CONSOLE" in line]
