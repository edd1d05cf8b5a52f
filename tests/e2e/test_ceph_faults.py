"""Ceph goes away, comes back, loses a daemon, is full: what clients see of it."""

import contextlib
import itertools
import json
import shutil
import threading
import time

import pytest

from backend import Backend, backend
from files import KIB, MIB, Files, Wire, at_once, content, digest, encode, head_of, is_problem, objects_of_pool, target_of
from load import Load
from stack import Client, is_ready, request, wait_for

OP_TIMEOUT = 2


def is_unavailable(answer):
    assert is_problem(answer, 503, "unavailable")
    assert answer.header("Retry-After").isdigit()
    return True


def health(stack):
    return json.loads(stack.command("ceph", "-s", "-f", "json"))["health"]


# --- Ceph does not answer ---------------------------------------------------------------------------

@contextlib.contextmanager
def paused(stack):
    """All reads and writes of clients wait in the cluster."""
    stack.command("ceph", "osd", "set", "pause")
    try:
        yield
    finally:
        stack.command("ceph", "osd", "unset", "pause")


def test_operations_that_ceph_does_not_answer(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port, "--op-timeout", OP_TIMEOUT) as one, Files(port) as user:
        name, new = user.name("there"), user.name("new")
        user.put(name, b"content")
        user.remember(new)
        user.put(user.name("large"), content(8 * MIB))
        with paused(stack):
            wait_for(lambda: not is_ready(port), what="the backend to notice")
            answers = at_once([
                lambda: request(port, "GET", target_of(name)),
                lambda: request(port, "GET", target_of(user.name("nothing"))),
                lambda: request(port, "PUT", target_of(name), b"x"),
                lambda: request(port, "PUT", target_of(new), b"x" * MIB),
                lambda: request(port, "PUT", target_of(new), b"x", {"If-None-Match": "*"}),
                lambda: request(port, "PUT", target_of(name), b"x", {"If-Match": '"x"'}),
                lambda: request(port, "POST", "/objects?name=" + encode(new, keep=b""), b"x"),
                lambda: request(port, "DELETE", target_of(user.name("nothing"))),
                lambda: request(port, "DELETE", target_of(name), headers={"If-Match": '"x"'}),
                lambda: request(port, "GET", "/objects"),
                lambda: request(port, "GET", "/healthz?ready"),
            ])
            assert all(is_unavailable(answer) for answer in answers)
            assert request(port, "HEAD", target_of(name)).status == 503
            text = request(port, "GET", target_of(name), headers={"Accept": "text/plain"})
            assert text.status == 503 and text.header("Content-Type").startswith("text/plain")
            # What needs no OSD goes on.
            assert request(port, "GET", "/healthz").status == 200
            assert request(port, "GET", "/metrics").status == 200
            told = request(port, "GET", "/status")
            assert told.status == 200
            assert "OSDMAP_FLAGS" in [check["name"] for check in json.loads(told.body)["health"]["checks"]]
        one.alive()
        wait_for(lambda: is_ready(port), what="the backend to be ready again")
        # A write whose answer was 503 may have been carried out or not, but whole.
        assert user.get(name).body in (b"content", b"x")
        assert user.put(name, b"as before").status in (200, 201)
        user.check(name, b"as before")
        user.check(user.name("large"), content(8 * MIB))
        assert user.names()


def test_requests_that_wait_get_through_when_ceph_comes_back_in_time(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port, "--op-timeout", 60) as one, Files(port) as user:
        names = [user.name(str(number)) for number in range(20)]
        for name in names[:10]:
            user.put(name, name.encode())
        user.remember(*names)
        answers = {name: [] for name in names}
        all_wait = threading.Event()

        def ask(name):
            method, body = ("GET", None) if name in names[:10] else ("PUT", name.encode())
            with Client(port, timeout=90) as client:
                # The pause takes a moment to be known to the backend.
                while not all_wait.is_set():
                    answers[name].append(client.request(method, target_of(name), body).status)
        threads = [threading.Thread(target=ask, args=(name,)) for name in names]
        with paused(stack):
            for thread in threads:
                thread.start()
            try:
                active = "ceph_lb_backend_requests_active 21\n"
                seen = []

                def nothing_moves():
                    """All wait, and none of them was answered since the time before."""
                    seen.append(sum(map(len, answers.values())))
                    return active in request(port, "GET", "/metrics").text and seen[-2:-1] == seen[-1:]
                wait_for(nothing_moves, what="all to wait", interval=0.3)
            finally:
                all_wait.set()
        for thread in threads:
            thread.join()
        for name in names:
            assert set(answers[name]) <= {200, 201} and answers[name], name
            user.check(name, name.encode())
        one.alive()


def test_a_download_that_ceph_interrupts_breaks_off(stack, tmp_path, free_port):
    """The status has been sent; the client must see that it does not have all."""
    port = free_port()
    body = content(32 * MIB)
    with backend(stack, tmp_path, port, "--op-timeout", OP_TIMEOUT), Files(port) as user:
        user.put(user.name("large"), body)
        with Wire(port, receive_buffer=8 * KIB, timeout=60) as wire:
            wire.send(head_of("GET", target_of(user.name("large"))))
            assert wire.head()[0] == 200
            with paused(stack):
                got = b""
                with pytest.raises(ConnectionError):
                    while True:
                        got += wire.take(64 * KIB)
            assert 0 < len(got) < len(body)
            assert got == body[:len(got)]
        user.check(user.name("large"), body)


# --- Ceph is not there yet --------------------------------------------------------------------------

def is_waiting(one, port):
    """A backend that has never seen Ceph: it listens, says so, and refuses what needs Ceph."""
    assert request(port, "GET", "/healthz").status == 200
    assert request(port, "GET", "/metrics").status == 200
    assert is_unavailable(request(port, "GET", "/healthz?ready"))
    assert is_unavailable(request(port, "GET", "/objects/x"))
    assert is_unavailable(request(port, "PUT", "/objects/x", b"x"))
    assert is_unavailable(request(port, "DELETE", "/objects/x"))
    assert is_unavailable(request(port, "GET", "/objects"))
    assert is_unavailable(request(port, "GET", "/status"))
    assert "ceph_lb_backend_ceph_connected 0\n" in request(port, "GET", "/metrics").text
    one.alive()


def test_a_start_without_configuration(stack, tmp_path, free_port):
    """It waits for the file too: nothing has to be started again."""
    port, conf = free_port(), tmp_path / "ceph.conf"
    one = Backend(stack, tmp_path, port, ceph_conf=conf)
    try:
        one.start_listening()
        one.wait_log("waiting for Ceph .* configuration file: No such file")
        is_waiting(one, port)
        shutil.copy(stack.env["CEPH_CONF"], conf)
        wait_for(lambda: is_ready(port), 30, "the backend to be ready")
        one.wait_log("connected to Ceph cluster")
        with Files(port) as user:
            user.put(user.name("x"), b"content")
            user.check(user.name("x"), b"content")
    finally:
        one.close()


@pytest.mark.parametrize("options, what", [
    (["--pool", "no-such-pool"], "pool: No such file"),
    (["--ceph-name", "client.nobody"], "as client.nobody"),
])
def test_a_start_with_a_mistake_says_which(stack, tmp_path, free_port, options, what):
    port = free_port()
    one = Backend(stack, tmp_path, port, *options, "--op-timeout", OP_TIMEOUT)
    try:
        one.start_listening()
        one.wait_log(f"waiting for Ceph .*{what}")
        is_waiting(one, port)
        # Once, and not every second.
        assert one.log.count("waiting for Ceph") == 1
        one.signal()
        assert one.wait() == 0
    finally:
        one.close()


def test_a_start_while_no_monitor_answers(stack, tmp_path, free_port):
    """It listens and waits; who was connected already goes on with the OSDs."""
    port = free_port()
    one = Backend(stack, tmp_path, port, "--op-timeout", OP_TIMEOUT)
    with Files(stack.port) as user:
        user.put(user.name("x"), b"content")
        for mon in "abc":
            stack.ctl("mon", mon, "pause")
        try:
            one.start_listening()
            one.wait_log("waiting for Ceph .* connection to the monitors")
            is_waiting(one, port)
            user.check(user.name("x"), b"content")
            assert user.put(user.name("x"), b"content 2").status == 200
        finally:
            for mon in "abc":
                stack.ctl("mon", mon, "continue")
        try:
            wait_for(lambda: is_ready(port), 60, "the backend to be ready")
            with Files(port) as other:
                assert other.get(user.name("x")).body == b"content 2"
                assert other.client.get("/status").status == 200
        finally:
            one.close()


# --- a daemon dies ----------------------------------------------------------------------------------

class Written:
    """A load of PUT, GET, DELETE and /status in which every answer can be judged."""

    def __init__(self, user, threads):
        self.user = user
        self.lock = threading.Lock()
        self.number = 0
        self.threads = threads

    def make(self, n):
        with self.lock:
            self.number += 1
            number = self.number
        # Each file is written once, read from then on, and some are removed by nobody.
        kind = number % 10
        if kind < 4:
            name = self.user.name(f"{number:06}")
            self.user.remember(name)
            return "PUT", target_of(name), self.body(number), {}
        if kind < 9:
            back = number - 4 - self.threads * 2 - n % 40
            back -= max(0, back % 10 - 3)
            return "GET", target_of(self.user.name(f"{max(back, 0):06}")), None, {}
        return "GET", "/status", None, {}

    @staticmethod
    def body(number):
        return content(number * 7919 % 30_000, seed=number)

    def wrong(self, records):
        """The answers that no user should get."""
        found = []
        for record in records:
            method, target = record.label.split(" ")
            good = record.error is None and record.status in (200, 201)
            if method == "GET" and target != "/status":
                if record.error is None and record.status == 404:
                    good = True  # Judged by what was acknowledged, see missing().
                elif good:
                    good = digest(record.body) == digest(self.body(int(target[-6:])))
            if not good:
                found.append(record)
        return found

    def missing(self, records):
        """Files whose upload was acknowledged and which are not there, or not whole."""
        acknowledged = [int(record.label[-6:]) for record in records
                        if record.label.startswith("PUT") and record.status in (200, 201)]
        assert len(acknowledged) > 10
        found = []
        for number in acknowledged:
            answer = self.user.get(self.user.name(f"{number:06}"))
            if answer.status != 200 or digest(answer.body) != digest(self.body(number)):
                found.append((number, answer))
        return found


def load_of(stack, user, threads=4):
    written = Written(user, threads)
    return written, Load(stack.port, written.make, threads=threads, pause=0.01)


def some_more(load, count=100, seconds=60):
    """Waits until the load has had so many further answers."""
    until = load.count() + count
    wait_for(lambda: load.count() >= until, seconds, f"{count} further requests")


def test_a_monitor_dies_under_load(stack):
    """Nobody notices, neither when it dies nor when it comes back; /status tells of it."""
    def monitors():
        told = json.loads(request(stack.port, "GET", "/status").body)
        return {each["name"]: each["in_quorum"] for each in told["monitors"]}, told

    leader = json.loads(stack.command("ceph", "quorum_status", "-f", "json"))["quorum_leader_name"]
    with Files(stack.port) as user:
        written, load = load_of(stack, user)
        with load:
            some_more(load)
            stack.ctl("mon", leader, "kill")
            wait_for(lambda: monitors()[0] == {name: name != leader for name in "abc"}, 60, "the monitor to be missed", 0.1)
            wait_for(lambda: "MON_DOWN" in [check["name"] for check in monitors()[1]["health"]["checks"]], 60,
                     "the cluster to say so", 0.1)
            assert monitors()[1]["quorum_leader"] not in ("", leader)
            some_more(load, 200)
            stack.ctl("mon", leader, "start")
            wait_for(lambda: all(monitors()[0].values()), 60, "the monitor to be back", 0.1)
            some_more(load)
        assert not written.wrong(load.records)
        assert not written.missing(load.records)


def test_an_osd_dies_under_load(stack):
    """What was acknowledged is there, nothing is ever wrong, and nobody is left waiting."""
    with Files(stack.port) as user:
        written, load = load_of(stack, user)
        with load:
            some_more(load)
            killed = time.monotonic()
            stack.ctl("osd", 1, "kill")
            wait_for(lambda: json.loads(stack.command("ceph", "-s", "-f", "json"))["osdmap"]["num_up_osds"] == 2, 60,
                     "the OSD to be marked down")
            some_more(load, 200)
            told = json.loads(request(stack.port, "GET", "/status").body)
            assert (told["osds"]["total"], told["osds"]["up"]) == (3, 2)
            assert told["health"]["status"] == "HEALTH_WARN"
            assert "OSD_DOWN" in [check["name"] for check in told["health"]["checks"]]
            stack.ctl("osd", 1, "start")
            some_more(load, 200)
        assert not written.wrong(load.records)
        assert not written.missing(load.records)
        assert any(record.sent > killed for record in load.records)
        stack.wait_healthy()
        # And with all copies restored, from whichever OSD they come.
        assert not written.missing(load.records)


def test_an_osd_that_stops_answering_is_left_out(stack):
    """Stopped, not dead: its connections stay. The others find out, and then all goes on."""
    with Files(stack.port) as user:
        written, load = load_of(stack, user)
        with load:
            some_more(load)
            stack.ctl("osd", 2, "pause")
            try:
                wait_for(lambda: json.loads(stack.command("ceph", "-s", "-f", "json"))["osdmap"]["num_up_osds"] == 2, 90,
                         "the OSD to be marked down")
                some_more(load, 200)
            finally:
                stack.ctl("osd", 2, "continue")
            some_more(load, 100)
        # It takes the heartbeats' grace to find out. Requests may fail then, in the agreed way, but never wrongly.
        for record in written.wrong(load.records):
            assert record.error is None and record.status in (503, 504), record
        assert not written.missing(load.records)


# --- full -------------------------------------------------------------------------------------------

def test_a_full_pool(stack):
    """Nothing can be stored, everything read, and deleting makes room again."""
    pool = stack.env["CEPH_POOL"]
    with Files(stack.port) as user:
        old = user.name("old")
        user.put(old, b"content")
        names = [user.name(f"filler {number}") for number in range(4)]
        for name in names:
            user.put(name, bytes(10_000))

        def full():
            # Two files too many; five are going to be deleted. Garbage of other tests may still be going meanwhile.
            most = objects_of_pool(stack) - 2
            stack.command("ceph", "osd", "pool", "set-quota", pool, "max_objects", str(most))
            return "POOL_FULL" in health(stack)["checks"]
        try:
            wait_for(full, 60, "the pool to be full", interval=0.5)
            user.remember(user.name("new"))
            # Each OSD hears of it a little later, and refuses what takes more room: so other files each time, on all OSDs.
            numbers = itertools.count()

            def refused():
                tried = [user.name(f"extra {next(numbers)}") for _ in range(20)]
                stored = [name for name in tried if user.put(name, b"x").status != 507]
                names.extend(stored)
                return not stored
            wait_for(refused, 30, "507")
            for size in (0, 10, 100_000, 3 * MIB):
                answer = user.put(user.name("new"), bytes(size))
                assert is_problem(answer, 507, "full")
            assert is_problem(user.put(old, b"replaced"), 507, "full")
            user.check(old, b"content")
            assert user.names()
            told = json.loads(user.client.get("/status").body)
            assert "POOL_FULL" in [check["name"] for check in told["health"]["checks"]]
            for name in names:
                assert user.delete(name).status == 204
                assert user.get(name).status == 404
            assert user.delete(old, {"If-Match": user.get(old).header("ETag")}).status == 204
            # There is room again, once the cluster has counted.
            wait_for(lambda: "POOL_FULL" not in health(stack)["checks"], 60, "the pool to have room", interval=0.2)
            wait_for(lambda: user.put(user.name("new"), b"x").status in (200, 201), 30, "a file to be stored")
            user.check(user.name("new"), b"x")
        finally:
            stack.command("ceph", "osd", "pool", "set-quota", pool, "max_objects", "0")
            wait_for(lambda: "POOL_FULL" not in health(stack)["checks"], 60, "the pool to have room", interval=0.2)
