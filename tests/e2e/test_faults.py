"""One thing dies under load, whichever it is: no client notices.

Each load is of writers and readers that check every byte. A request that answers anything but
success, or not at all, fails the test; so does one byte that is wrong.
"""

import hashlib
import os
import re
import socket
import threading

import pytest

from load import Load
from stack import request, wait_for

SIZE = 4096


def content(name):
    return hashlib.sha256(name.encode()).digest() * (SIZE // 32)


class Files:
    """What the load asks for: files are written, then read back; some are replaced and removed."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.local = threading.local()
        self.threads = 0
        self.lock = threading.Lock()

    def __call__(self, number):
        if not hasattr(self.local, "id"):
            with self.lock:
                self.threads += 1
                self.local.id = self.threads
        name = f"{self.prefix}/{self.local.id}/{number // 4}"
        step = number % 4
        if step in (0, 1):  # Written, then replaced by the same: PUT may be repeated by nginx.
            return "PUT", f"/objects/{name}", content(name), {}
        if step == 2:
            return "GET", f"/objects/{name}", None, {}
        return "GET", f"/objects?prefix={self.prefix}/{self.local.id}/&limit=5", None, {}


def check(load, prefix):
    """Every answer was a success, every byte read was right, and every file is there at the end."""
    failed = load.failed()
    assert not failed, f"{len(failed)} of {load.count()} failed: {failed[:5]}"
    written = set()
    for record in load.records:
        method, _, target = record.label.partition(" ")
        name = target[len("/objects/"):]
        if method == "PUT":
            written.add(name)
        elif "?" not in target:
            assert record.body == content(name), f"{name} came back wrong"
    assert len(written) > 50
    return written


def under_load(stack, prefix, fault):
    files = Files(prefix)
    with Load(stack.port, files, threads=6) as load:
        wait_for(lambda: load.count() > 150, 60, "load")
        fault(load)
        count = load.count()
        wait_for(lambda: load.count() > count + 300, 90, "load afterwards")
    written = check(load, prefix)
    for name in written:
        assert request(stack.port, "GET", f"/objects/{name}").body == content(name)
    for name in written:
        request(stack.port, "DELETE", f"/objects/{name}")


def more(load, requests=200):
    """Lets the load go on for a while: that many further requests are answered."""
    count = load.count()
    wait_for(lambda: load.count() > count + requests, 90, "load during the fault")


@pytest.mark.parametrize("action", ["kill", "stop"])
def test_a_backend(stack, action):
    def fault(load):
        for number in (1, 2, 3):
            stack.ctl("backend", number, action)
            more(load)
            stack.ctl("backend", number, "start")
            more(load, 100)
    under_load(stack, f"backend-{action}", fault)


def test_a_paused_backend(stack):
    """It accepts connections and answers nothing. Its row falls behind, and requests leave it."""
    def fault(load):
        stack.ctl("backend", 2, "pause")
        try:
            more(load, 300)
        finally:
            stack.ctl("backend", 2, "continue")
    under_load(stack, "backend-pause", fault)


@pytest.mark.backend_errors("registry|announce|MySQL|MariaDB")
def test_the_database(stack):
    def fault(load):
        stack.ctl("mysql", "kill")
        more(load, 500)
        stack.ctl("mysql", "start")
        more(load)
    under_load(stack, "mysql", fault)


@pytest.mark.backend_errors("registry|announce|MySQL|MariaDB")
def test_a_paused_database(stack):
    def fault(load):
        stack.ctl("mysql", "pause")
        try:
            more(load, 60)
        finally:
            stack.ctl("mysql", "continue")
    under_load(stack, "mysql-pause", fault)


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_monitor(stack, name):
    def fault(load):
        stack.ctl("mon", name, "kill")
        more(load, 400)
        stack.ctl("mon", name, "start")
    under_load(stack, f"mon-{name}", fault)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_osd(stack, number):
    def fault(load):
        stack.ctl("osd", number, "kill")
        more(load, 400)
        stack.ctl("osd", number, "start")
    under_load(stack, f"osd-{number}", fault)


def test_the_manager(stack):
    def fault(load):
        stack.ctl("mgr", "kill")
        more(load, 300)
        stack.ctl("mgr", "start")
    under_load(stack, "mgr", fault)


def test_reloading_nginx(stack):
    """New workers take over; connections that the old ones keep open are used up first."""
    def fault(load):
        for _ in range(3):
            stack.ctl("nginx", "reload")
            more(load, 100)

    # A kept connection may be closed by a worker that ends, in the very moment of the next request.
    # That is HTTP's race and not a failure: so one request a connection here.
    files = Files("reload")

    def make(number):
        method, target, body, headers = files(number)
        return method, target, body, {**headers, "Connection": "close"}
    with Load(stack.port, make, threads=6) as load:
        wait_for(lambda: load.count() > 150, 60, "load")
        fault(load)
    for name in check(load, "reload"):
        request(stack.port, "DELETE", f"/objects/{name}")


def test_all_backends_one_after_another_while_uploading(stack):
    """Larger bodies, so that the end of a backend falls into the middle of one."""
    body = os.urandom(3_000_000)

    def make(number):
        return "PUT", f"/objects/large/{threading.get_ident()}", body, {}
    with Load(stack.port, make, threads=4) as load:
        wait_for(lambda: load.count() > 10, 60, "load")
        for number in (1, 2, 3):
            stack.ctl("backend", number, "kill")
            more(load, 20)
            stack.ctl("backend", number, "start")
    assert not load.failed(), load.failed()[:5]
    for target in {record.label.partition(" ")[2] for record in load.records}:
        assert request(stack.port, "GET", target).body == body
        request(stack.port, "DELETE", target)


# --- what a backend finds when it goes on ---------------------------------------------------------------

# target: what is stored there before, and the late request
LATE = {
    "/objects/late/new": (None, "PUT", b"late"),
    "/objects/late/replaced": (b"before", "PUT", b"late"),
    "/objects/late/deleted": (b"before", "DELETE", b""),
}


@pytest.mark.parametrize("proxied", [True, False], ids=["given up by a proxy", "a client's own"])
def test_a_backend_that_was_stopped_goes_on(stack, proxied):
    """A proxy has asked another backend long since when it finds the requests: what was stored after that stays."""
    stopped, other = stack.backend_ports[0], stack.backend_ports[1]
    for target, (before, _, _) in LATE.items():
        if before is not None:
            assert request(other, "PUT", target, before).status == 201
    asked = changes(stopped)
    stack.ctl("backend", 1, "pause")
    try:
        peers = [send(stopped, method, target, body, proxied) for target, (_, method, body) in LATE.items()]
        for target, (_, method, body) in LATE.items():
            # What the proxy had another one do, and what came after it.
            assert request(other, method, target, body).status in (200, 201, 204)
            assert request(other, "PUT", target, b"after").status in (200, 201)
    finally:
        stack.ctl("backend", 1, "continue")
    wait_for(lambda: changes(stopped) >= asked + len(LATE), what="the late requests to be done with")
    for peer, (target, (_, method, _)) in zip(peers, LATE.items()):
        if not proxied:
            assert peer.recv(4096).startswith(b"HTTP/1.1 20")
        peer.close()
        found = request(other, "GET", target)
        if proxied or method == "PUT":
            assert (found.status, found.body) == (200, b"after" if proxied else b"late")
            assert request(other, "DELETE", target).status == 204
        else:
            assert found.status == 404


def send(port, method, target, body, proxied):
    """Sends a request and closes the connection: as a proxy does that has given it up, or one side of it only."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=30)
    forwarded = "X-Forwarded-For: 192.0.2.1\r\n" if proxied else ""
    peer.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{forwarded}"
                 f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    if proxied:
        peer.close()
    else:
        peer.shutdown(socket.SHUT_WR)
    return peer


def changes(port):
    """How many requests that change something a backend has answered."""
    text = request(port, "GET", "/metrics").text
    return sum(int(count) for count in re.findall(r'requests_total{method="(?:PUT|DELETE)"} (\d+)', text))
