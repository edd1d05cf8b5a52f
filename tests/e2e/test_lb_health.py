"""Which backend gets the next request: methods, failures, rest, slow start; and which gets the next try."""

import contextlib
import socket
import threading
import time

import pytest

from fake import HangUp
from stack import request, wait_for

ALWAYS = {"Connection": "close"}


def ask(lb, target="/", method="GET", body=None):
    return request(lb.port, method, target, body, ALWAYS)


def answering(lb, requests, target="/"):
    counts = {}
    for _ in range(requests):
        response = ask(lb, target)
        assert response.status == 200, response
        counts[response.header("X-Backend")] = counts.get(response.header("X-Backend"), 0) + 1
    return counts


def failing(backend, status=500, headers=None):
    def answer(handler, seen):
        handler.reply(status, {"X-Backend": backend.name, **(headers or {})}, b"no\n")
    backend.answer = answer


def hanging_up(backend):
    def answer(handler, seen):
        raise HangUp
    backend.answer = answer


# ---- methods ----

@pytest.mark.parametrize("method", ["round_robin", "least_conn", "random", "ewma", "hash $request_uri"])
def test_each_method_uses_all_backends(lb, method):
    names = {lb.backend(weight=weight).name for weight in (1, 1, 2)}
    lb.start(extra=f"ceph_lb_method {method};")
    counts = {}
    for number in range(120):
        response = ask(lb, f"/{number}")
        assert response.status == 200
        counts[response.header("X-Backend")] = counts.get(response.header("X-Backend"), 0) + 1
    assert set(counts) == names


def test_a_key_stays_at_its_backend(lb):
    backends = [lb.backend() for _ in range(4)]
    lb.start(workers=2, extra="ceph_lb_method hash $arg_key;")
    first = {key: ask(lb, f"/?key={key}").header("X-Backend") for key in range(60)}
    assert len(set(first.values())) == 4
    lb.nginx.reload()
    assert {key: ask(lb, f"/?key={key}").header("X-Backend") for key in first} == first
    lb.remove(backends[0])
    after = {key: ask(lb, f"/?key={key}").header("X-Backend") for key in first}
    moved = {key for key in first if after[key] != first[key]}
    assert moved == {key for key in first if first[key] == backends[0].name}


def test_ewma_prefers_the_faster_one(lb):
    fast, slow = lb.backend(), lb.backend()

    def answer(handler, seen):
        time.sleep(0.05)  # That is what makes it slow.
        slow.plain_answer(handler, seen)
    slow.answer = answer
    lb.start(extra="ceph_lb_method ewma;")
    answering(lb, 10)
    counts = answering(lb, 60)
    assert counts[fast.name] > 40


def test_zones(lb):
    """The own one first, while it can; the variable tells of the zone that was used."""
    here, there, backup = lb.backend(zone="here"), lb.backend(zone="there"), lb.backend(zone="here", backup=1)
    lb.start(extra="ceph_lb_prefer_zone here;", parameters="fail_timeout=60s",
             server="add_header X-Zone $ceph_lb_zone always;")
    lb.nginx.expected.append("Connection refused")
    assert answering(lb, 10) == {here.name: 10}
    assert ask(lb).header("X-Zone") == "here"
    here.stop()
    assert answering(lb, 10) == {there.name: 10}
    assert ask(lb).header("X-Zone") == "there"
    there.stop()
    assert answering(lb, 10) == {backup.name: 10}


# ---- failures ----

def test_statuses_that_count_as_failures(lb):
    """The answer itself is passed on; afterwards the backend is avoided."""
    good, bad = lb.backend(), lb.backend()
    failing(bad, 500)
    lb.start(extra="ceph_lb_fail_on http_500 http_504;", parameters="fail_timeout=60s")
    statuses = [ask(lb).status for _ in range(40)]
    assert statuses.count(500) == 1 and statuses.count(200) == 39
    assert len(bad.seen) == 1
    assert len(good.seen) == 39


def test_without_it_a_500_is_an_answer(lb):
    lb.backend()
    bad = lb.backend()
    failing(bad, 500)
    lb.start(parameters="fail_timeout=60s")
    assert [ask(lb).status for _ in range(40)].count(500) == 20


def test_max_fails(lb):
    """That many failures are borne."""
    good, bad = lb.backend(), lb.backend()
    hanging_up(bad)
    lb.start(parameters="max_fails=3 fail_timeout=60s")
    lb.nginx.expected.append("prematurely closed")
    assert answering(lb, 40) == {good.name: 40}
    assert len(bad.seen) == 3


def test_no_max_fails(lb):
    good, bad = lb.backend(), lb.backend()
    hanging_up(bad)
    lb.start(parameters="max_fails=0")
    assert answering(lb, 40) == {good.name: 40}
    assert len(bad.seen) == 20


def test_one_request_at_a_time_tries_a_failed_one(lb):
    good, bad = lb.backend(), lb.backend()
    hanging_up(bad)
    lb.start(workers=2, parameters="fail_timeout=1s")
    assert answering(lb, 20) == {good.name: 20}
    assert len(bad.seen) == 1
    # It hangs now: whoever tries it waits, all others go elsewhere.
    release = threading.Event()

    def answer(handler, seen):
        release.wait(60)
        bad.plain_answer(handler, seen)
    bad.answer = answer
    waiting = []

    def try_it():
        thread = threading.Thread(target=lambda: waiting.append(ask(lb)), daemon=True)
        thread.start()
        thread.join(0.5)
        return len(bad.seen) == 2
    wait_for(try_it, 30, "a request that tries it")
    assert answering(lb, 10) == {good.name: 10}
    release.set()
    wait_for(lambda: any(one.header("X-Backend") == bad.name for one in waiting), 30, "its answer")
    assert answering(lb, 20) == {good.name: 10, bad.name: 10}


def test_all_have_failed(lb):
    """Somebody is tried rather than nobody, and the first that is well again is used."""
    backends = [lb.backend(), lb.backend()]
    for backend in backends:
        hanging_up(backend)
    lb.start(parameters="fail_timeout=60s")
    assert ask(lb).status == 502
    assert ask(lb).status == 502
    backends[1].answer = backends[1].plain_answer
    assert answering(lb, 10) == {backends[1].name: 10}


def test_rest(lb):
    """503 with Retry-After: it is left alone for so long, which is no failure."""
    good, tired = lb.backend(), lb.backend()
    failing(tired, 503, {"Retry-After": "2"})
    lb.start(location="proxy_next_upstream error timeout http_503;", parameters="fail_timeout=60s")
    begun = time.monotonic()
    assert answering(lb, 20) == {good.name: 20}
    assert len(tired.seen) == 1
    tired.answer = tired.plain_answer
    wait_for(lambda: tired.name in answering(lb, 2), 20, "the end of its rest")
    assert time.monotonic() - begun >= 1.5


def test_slow_start(lb):
    """One that is new gets few requests at first, then its share."""
    old = lb.backend()
    lb.start(parameters="slow_start=3s")
    answering(lb, 4)
    new = lb.backend()
    counts = answering(lb, 40)
    assert counts.get(new.name, 0) < 12, counts
    wait_for(lambda: answering(lb, 40).get(new.name, 0) >= 19, 30, "its share")
    assert old.seen


# ---- tries ----

def test_never_the_same_one_twice(lb):
    backends = [lb.backend() for _ in range(3)]
    for backend in backends:
        hanging_up(backend)
    lb.start(parameters="max_fails=0")
    assert ask(lb).status == 502
    assert [len(backend.seen) for backend in backends] == [1, 1, 1]


def test_one_that_has_left_is_not_tried(lb):
    """The second try goes by the newest list: who left is not in it, and who came is."""
    first, leaving = lb.backend(), lb.backend(backup=1)
    release = threading.Event()

    def answer(handler, seen):
        if seen.target != "/first":
            first.plain_answer(handler, seen)
            return
        release.wait(60)
        raise HangUp
    first.answer = answer
    lb.start(parameters="max_fails=0")
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(ask(lb, "/first")), daemon=True)
    waiting.start()
    wait_for(lambda: len(first.seen) == 1, 30, "the first try")
    lb.remove(leaving)
    new = lb.backend(backup=1)
    assert ask(lb, "/second").status == 200  # With it comes a new list.
    release.set()
    waiting.join(30)
    assert answers[0].status == 200 and answers[0].header("X-Backend") == new.name
    assert not leaving.seen


def test_all_have_been_replaced(lb):
    first = lb.backend()
    release = threading.Event()

    def answer(handler, seen):
        release.wait(60)
        raise HangUp
    first.answer = answer
    lb.start()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(ask(lb, "/first")), daemon=True)
    waiting.start()
    wait_for(lambda: len(first.seen) == 1, 30, "the first try")
    lb.remove(first)
    new = lb.backend()
    assert ask(lb, "/second").header("X-Backend") == new.name
    release.set()
    waiting.join(30)
    assert answers[0].status == 200 and answers[0].header("X-Backend") == new.name


def test_a_deadline_over_all_tries(lb):
    """Silent backends: without it, each would take its own time-out."""
    backends = [lb.backend() for _ in range(3)]
    release = threading.Event()
    for backend in backends:
        def answer(handler, seen, backend=backend):
            release.wait(60)
            backend.plain_answer(handler, seen)
        backend.answer = answer
    lb.start(extra="ceph_lb_timeout 1500ms;", location="proxy_read_timeout 1s;")
    begun = time.monotonic()
    answer = ask(lb)
    took = time.monotonic() - begun
    release.set()
    assert answer.status == 504
    assert 1.3 <= took < 10
    assert sum(len(backend.seen) for backend in backends) == 2


def test_an_answer_that_has_begun_has_no_deadline(lb):
    backend = lb.backend()

    def answer(handler, seen):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        handler.wfile.flush()
        time.sleep(1.5)  # Longer than the deadline.
        handler.wfile.write(b"cd")
    backend.answer = answer
    lb.start(extra="ceph_lb_timeout 500ms;")
    response = ask(lb)
    assert (response.status, response.body) == (200, b"abcd")


# ---- connections that are kept ----

def idle(backend):
    return len(backend._open)


@pytest.mark.parametrize("change", ["remove", "drain", "down"])
def test_idle_connections_to_one_that_left_are_closed(lb, change):
    staying, leaving = lb.backend(), lb.backend()
    lb.start(extra="keepalive 16;")
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(lb.client()) for _ in range(3)]
        for client in clients:
            for _ in range(2):
                assert client.get("/").status == 200
        assert idle(leaving) >= 1
        lb.remove(leaving) if change == "remove" else lb.set(leaving, f"state = '{change}'")
        kept = idle(staying)
        # The clients' own idle connections are not among those that are closed.
        for client in clients:
            assert client.get("/").status == 200
        wait_for(lambda: idle(leaving) == 0, 10, "its connections to end")
        assert idle(staying) >= kept


def test_a_client_that_waits_with_its_connection_keeps_it(lb):
    leaving = lb.backend()
    lb.backend()
    lb.start(extra="keepalive 16;")
    with socket.create_connection(("127.0.0.1", lb.port)) as waiting, lb.client() as client:
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert waiting.recv(4096)
        lb.remove(leaving)
        for _ in range(4):
            assert client.get("/").status == 200
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert waiting.recv(4096).startswith(b"HTTP/1.1 200")
