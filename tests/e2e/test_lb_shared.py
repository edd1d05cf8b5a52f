"""What is known of a backend is common to all workers, and outlives lists, reloads and workers."""

import os
import re
import signal
import threading

import pytest

from load import Load
from stack import raw, request, wait_for


def many(lb, requests, target="/", **options):
    """One connection a request: so that the workers share them. Which backend answered, and how often."""
    counts = {}
    for _ in range(requests):
        response = request(lb.port, "GET", target, headers={"Connection": "close"}, **options)
        assert response.status == 200, response
        name = response.header("X-Backend")
        counts[name] = counts.get(name, 0) + 1
    return counts


def spread(lb, requests, workers):
    """The same, with clients at the same time, until every worker has had some."""
    with Load(lb.port, lambda n: ("GET", "/", None, {"Connection": "close"}), threads=8) as load:
        wait_for(lambda: load.count() >= requests, 60, "load")
    assert not load.failed(), load.failed()[:5]
    used = [worker for worker in lb.nginx.workers() if processor_time(worker) > 0]
    assert len(used) >= workers
    counts = {}
    for record in load.records:
        counts[record.backend] = counts.get(record.backend, 0) + 1
    return counts


def processor_time(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def hold(backend, release):
    """The backend answers /slow only when it is told to."""
    def answer(handler, seen):
        if seen.target.startswith("/slow"):
            release.wait(60)
        backend.plain_answer(handler, seen)
    backend.answer = answer


@pytest.fixture
def slow_requests(lb):
    """A function that starts a request to /slow in the background; all have ended after the test."""
    release, threads, answers = threading.Event(), [], []

    def start():
        thread = threading.Thread(
            target=lambda: answers.append(request(lb.port, "GET", "/slow", headers={"Connection": "close"})), daemon=True)
        thread.start()
        threads.append(thread)
    start.release, start.answers = release, answers
    yield start
    release.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_turns_are_taken_by_all_workers_together(lb):
    """Round robin over both: each backend gets its third to within one turn a worker."""
    backends = [lb.backend() for _ in range(3)]
    lb.start(workers=2)
    counts = many(lb, 300)
    assert set(counts) == {backend.name for backend in backends}
    assert max(counts.values()) - min(counts.values()) <= 2, counts


def test_a_failure_that_one_worker_sees_is_known_to_the_other(lb):
    good, bad = lb.backend(), lb.backend()
    lb.start(workers=2, parameters="fail_timeout=60s")
    lb.nginx.expected.append("Connection refused")
    bad.stop()
    # One request at most meets it in both workers together: then it is avoided.
    assert many(lb, 60) == {good.name: 60}
    log = lb.nginx.log()
    assert log.count("Connection refused") == 1


def test_max_conns_holds_for_all_workers(lb, slow_requests):
    limited, other = lb.backend(max_conns=2), lb.backend(backup=1)
    hold(limited, slow_requests.release)
    hold(other, slow_requests.release)
    lb.start(workers=2)
    for _ in range(8):
        slow_requests()
    wait_for(lambda: len(limited.seen) + len(other.seen) == 8, 30, "all requests to be at a backend")
    assert (len(limited.seen), len(other.seen)) == (2, 6)


def test_least_conn_counts_the_connections_of_all_workers(lb, slow_requests):
    backends = [lb.backend(), lb.backend()]
    for backend in backends:
        hold(backend, slow_requests.release)
    lb.start(workers=2, extra="ceph_lb_method least_conn;")
    for number in range(8):
        slow_requests()
        wait_for(lambda wanted=number + 1: sum(len(backend.seen) for backend in backends) == wanted, 30,
                 "the request to be at a backend")
    assert [len(backend.seen) for backend in backends] == [4, 4]


def test_what_a_killed_worker_had_under_way_is_not_counted_for_ever(lb, slow_requests):
    """max_conns would keep the backend out of use."""
    limited = lb.backend(max_conns=3)
    hold(limited, slow_requests.release)
    lb.start(workers=1)
    lb.nginx.expected.append(r"exited on signal 9")
    for _ in range(3):
        threading.Thread(target=lambda: raw(lb.port, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"), daemon=True).start()
    wait_for(lambda: len(limited.seen) == 3, 30, "three requests at the backend")
    assert lb.get().status == 502
    worker, = lb.nginx.workers()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: set(lb.nginx.workers()) - {worker}, 20, "a new worker")
    slow_requests.release.set()
    assert many(lb, 3) == {limited.name: 3}


def test_a_reload_keeps_what_is_known(lb):
    good, bad = lb.backend(), lb.backend()
    lb.start(parameters="fail_timeout=60s", workers=2)
    lb.nginx.expected.append("Connection refused")
    bad.stop()
    assert many(lb, 20) == {good.name: 20}
    lb.nginx.reload()
    assert many(lb, 40) == {good.name: 40}
    assert lb.nginx.log().count("Connection refused") == 1


def test_a_changed_list_keeps_what_is_known(lb):
    good, bad = lb.backend(), lb.backend()
    lb.start(parameters="fail_timeout=60s")
    lb.nginx.expected.append("Connection refused")
    bad.stop()
    assert many(lb, 10) == {good.name: 10}
    new = lb.backend()
    assert set(many(lb, 20)) == {good.name, new.name}
    lb.remove(good)
    assert many(lb, 10) == {new.name: 10}
    assert lb.nginx.log().count("Connection refused") == 1


def test_a_zone_that_is_too_small_for_the_table(lb):
    """It works all the same; one log line a worker says what is lacking."""
    first = lb.backend()
    values = ", ".join(f"('127.0.1.{n}', 1, 'drain')" for n in range(1, 200))
    lb.start(workers=2, extra="ceph_lb_zone small 32k;")
    assert many(lb, 20) == {first.name: 20}
    lb.sql(f"INSERT INTO addresses (address, port, state) VALUES {values}")
    second = lb.backend()
    assert set(spread(lb, 200, 1)) == {first.name, second.name}
    lines = re.findall(r'\[warn\].*zone "small" has no room for so many backends', lb.nginx.log())
    assert 1 <= len(lines) <= 2


@pytest.mark.parametrize("zone, message", [
    ("ceph_lb_zone z 1k;", 'zone "z" is smaller than 32k'),
    ("ceph_lb_zone z many;", 'the size "many" of zone "z" is invalid'),
    ("ceph_lb_zone z 64k; ceph_lb_zone y 64k;", '"ceph_lb_zone" directive is duplicate'),
    ("ceph_lb_zone z;", 'invalid number of arguments in "ceph_lb_zone" directive'),
    ("ceph_lb_method fastest;", 'method "fastest" is not one of round_robin, least_conn, random, ewma, hash'),
    ("ceph_lb_method hash;", '"ceph_lb_method" directive takes a key with "hash", and only then'),
    ("ceph_lb_method random two;", '"ceph_lb_method" directive takes a key with "hash", and only then'),
    ("ceph_lb_method hash $no_such_variable;", 'unknown "no_such_variable" variable'),
    ("ceph_lb_method ewma; ceph_lb_method ewma;", '"ceph_lb_method" directive is duplicate'),
    ("ceph_lb_fail_on http_200;", '"http_200" is not a status from http_400 to http_599'),
    ("ceph_lb_fail_on 500;", '"500" is not a status from http_400 to http_599'),
    ("ceph_lb_fail_on http_500; ceph_lb_fail_on http_502;", '"ceph_lb_fail_on" directive is duplicate'),
    ("ceph_lb_timeout 0;", '"ceph_lb_timeout" directive is not a time above zero'),
    ("ceph_lb_timeout soon;", '"ceph_lb_timeout" directive is not a time above zero'),
    ("ceph_lb_prefer_zone '';", '"ceph_lb_prefer_zone" directive takes a name of 1 to 64 bytes'),
])
def test_directives_that_are_wrong(lb, zone, message):
    lb.nginx.write(lb.conf(extra=zone))
    lb.nginx.expected.append("emerg")
    status, said = lb.nginx.check()
    assert status != 0 and message in said


@pytest.mark.parametrize("parameter, message", [
    ("max_fails=-1", "max_fails=-1 is not a number from 0 to 1000000"),
    ("max_fails=many", "max_fails=many is not a number"),
    ("fail_timeout=0", "fail_timeout=0 is not a time above zero"),
    ("slow_start=x", "slow_start=x is not a time above zero"),
])
def test_parameters_that_are_wrong(lb, parameter, message):
    lb.nginx.write(lb.conf(parameters=parameter))
    lb.nginx.expected.append("emerg")
    status, said = lb.nginx.check()
    assert status != 0 and message in said


@pytest.mark.parametrize("directive", ["ceph_lb_zone z 64k", "ceph_lb_method ewma", "ceph_lb_prefer_zone a",
                                       "ceph_lb_fail_on http_500", "ceph_lb_timeout 5s"])
def test_directives_without_ceph_lb(lb, directive):
    lb.nginx.write(f"upstream plain {{ server 127.0.0.1:1; {directive}; }}"
                   f"server {{ listen 127.0.0.1:{lb.port}; location / {{ proxy_pass http://plain; }} }}")
    lb.nginx.expected.append("emerg")
    status, said = lb.nginx.check()
    assert status != 0 and f'"{directive.split()[0]}" stands without "ceph_lb" in upstream "plain"' in said


def test_two_upstreams_do_not_share_a_zone(lb):
    other = lb.upstream(extra="ceph_lb_zone z 64k;").replace("upstream backends", "upstream others")
    lb.nginx.write(lb.conf(extra="ceph_lb_zone z 64k;", http=other))
    lb.nginx.expected.append("emerg")
    status, said = lb.nginx.check()
    assert status != 0 and 'zone "z" belongs to another upstream' in said
