"""What a long life must not add up to: descriptors, threads, memory."""

import os
import socket
from pathlib import Path

import pytest

from stack import open_at, open_to, wait_for

# Of memory, after a warm-up. A list of the size below that is lost each time is several times as much.
GROWTH_MAX = 4 << 20
ROWS = 500


def resident(pid):
    """Bytes of memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def backend(lb):
    """A backend that says nothing to those who ask for /silence, and many rows that are never used."""
    backend = lb.backend()
    rows = ", ".join(f"('127.1.{n // 250}.{n % 250 + 1}', 9, 1)" for n in range(ROWS))
    lb.sql(f"INSERT INTO addresses (address, port, backup) VALUES {rows}")

    def answer(handler, seen):
        if seen.target == "/silence":
            handler.wait_until_left()
        backend.plain_answer(handler, seen)
    backend.answer = answer
    return backend


def live_on(lb, backend, rounds):
    """Each round with another list, requests, and clients that leave; some with a lost connection to MySQL."""
    for number in range(rounds):
        lb.set(backend, f"max_conns = {1000 + number}")
        if number % 10 == 0:
            for (connection,) in lb.registry.sql("SELECT id FROM information_schema.PROCESSLIST"
                                                 " WHERE user = 'lb'", database=None):
                lb.registry.sql(f"KILL HARD CONNECTION {connection}", database=None)
        with lb.client() as client:
            assert client.get("/").status == 200
            assert client.put("/x", b"x" * 20_000).status == 200
        for request in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /silence HTTP/1.1\r\nHost: x\r\n\r\n",
                        b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"):
            with socket.create_connection(("127.0.0.1", lb.port), timeout=30) as leaving:
                leaving.sendall(request)


def settled(lb, backend):
    """The worker's descriptors and threads once nobody is connected and nothing is kept."""
    wait_for(lambda: open_at(lb.port) + open_to(backend.port) == 0, what="all connections to end")
    return lb.nginx.descriptors()


@pytest.mark.skipif(os.environ.get("SANITIZE") == "1", reason="AddressSanitizer's own memory grows")
def test_a_worker_does_not_grow(lb, backend):
    lb.start(parameters="connections=1", extra="keepalive 8; keepalive_timeout 100ms;")
    live_on(lb, backend, 50)
    before = settled(lb, backend)
    worker, = before
    memory = resident(worker)
    live_on(lb, backend, 100)
    assert settled(lb, backend) == before
    assert resident(worker) - memory < GROWTH_MAX
    log = lb.nginx.log()
    assert "is unreachable" not in log and "gives no list" not in log


@pytest.mark.skipif(os.environ.get("SANITIZE") == "1", reason="AddressSanitizer's own memory grows")
def test_the_master_does_not_grow(lb, backend):
    """Each reload reads the configuration anew, and each worker begins anew."""
    lb.start(parameters="connections=1", extra="keepalive 8; keepalive_timeout 100ms;")
    found = []
    for _ in range(25):
        live_on(lb, backend, 2)
        descriptors, = settled(lb, backend).values()
        master = lb.nginx.master()
        found.append((descriptors, len(os.listdir(f"/proc/{master}/fd")), resident(master)))
        old = lb.nginx.workers()
        lb.nginx.reload()
        wait_for(lambda: not set(old) & set(lb.nginx.workers()), 30, "the end of the old worker")
    assert len({descriptors for descriptors, _, _ in found[5:]}) == 1, found
    assert len({descriptors for _, descriptors, _ in found[5:]}) == 1, found
    assert found[-1][2] - found[5][2] < GROWTH_MAX, found
