"""Reloading and ending nginx, clients that leave: nothing is lost and nothing is left."""

import os
import signal
import socket
import threading

import pytest

from load import Load
from proxy import Proxy
from stack import Client, open_at, raw, wait_for


@pytest.mark.parametrize("workers", [1, 2])
def test_reload_under_load(lb, workers):
    """No failed request, and each old worker ends."""
    backends = {lb.backend().name, lb.backend().name}
    lb.start(workers=workers, extra="keepalive 16;")

    def reload():
        before = set(lb.nginx.workers())
        lb.nginx.reload()
        wait_for(lambda: not before & set(lb.nginx.workers()), 30, "the end of the old workers")

    # One request a connection: a kept connection that an old worker closes is the client's affair.
    with Load(lb.port, lambda n: ("GET", "/", None, {"Connection": "close"}), threads=6) as load:
        for _ in range(4):
            count = load.count()
            reload()
            wait_for(lambda: load.count() > count + 100, what="load after a reload")
    assert not load.failed(), load.failed()[:5]
    assert {record.backend for record in load.records} == backends


def test_reload_changes_the_registry(lb, free_port):
    """New requests have the new configuration's list, those under way keep theirs."""
    old, new = lb.backend(), lb.backend(row=False)
    release = threading.Event()

    def slowly(handler, seen):
        if seen.target == "/slow":
            release.wait(30)
        old.plain_answer(handler, seen)
    lb.start()
    assert lb.answering(1) == {old.name: 1}
    old.answer = slowly
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(lb.get("/slow")))
    waiting.start()
    wait_for(lambda: len(old.seen) == 2, what="the request at the old backend")
    lb.sql(f"CREATE TABLE others LIKE addresses;"
           f"INSERT INTO others (address, port) VALUES ('127.0.0.1', {new.port})")
    lb.nginx.write(lb.conf(parameters='"query=SELECT address, port FROM others"'))
    lb.nginx.reload()
    wait_for(lambda: lb.answering(2) == {new.name: 2}, what="the new list")
    release.set()
    waiting.join(30)
    assert answers[0].status == 200 and answers[0].header("X-Backend") == old.name


@pytest.mark.parametrize("workers", [1, 2])
def test_quit_under_load(lb, workers):
    """SIGQUIT: what was accepted is answered."""
    lb.backend()
    lb.start(workers=workers)
    with Load(lb.port, lambda n: ("GET", "/", None, {"Connection": "close"}), threads=6,
              pause=0.001) as load:
        wait_for(lambda: load.count() > 200, what="load")
        lb.nginx.stop()
    assert not [record for record in load.records if record.status not in (None, 200)]
    # Those after the end were refused; none was accepted and then dropped half-way.
    assert not [record for record in load.records
                if record.error is not None and not isinstance(record.error, ConnectionError)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("state", ["idle", "querying", "connecting", "refused"])
def test_end_in_every_state(lb, free_port, number, state):
    """No alert, no descriptor, no process is left, whatever the connections to MySQL do just then."""
    lb.backend()
    target = ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))
    with Proxy(("127.0.0.1", free_port()), target) as between:
        if state == "connecting":
            between.stall()
        elif state == "refused":
            between.refuse()
        lb.start(url=f"mysql://lb@127.0.0.1:{between.listen[1]}/{lb.database}",
                 parameters="timeout=1s", workers=2)
        if state in ("idle", "querying"):
            assert lb.get().status == 200
        if state == "querying":
            between.stall()
        waiting = [threading.Thread(target=_get_ignoring, args=(lb,)) for _ in range(4)]
        for thread in waiting if state != "idle" else []:
            thread.start()
        if state in ("querying", "connecting"):
            wait_for(lambda: between.connections > 0, what="a connection")
        lb.nginx.stop(number)
        between.resume()
        for thread in waiting if state != "idle" else []:
            thread.join(30)


def test_an_old_worker_that_may_not_wait_for_its_requests(lb, free_port):
    """worker_shutdown_timeout: nginx closes everything then, while MySQL and a backend are silent."""
    backend, release = lb.backend(), threading.Event()

    def answer(handler, seen):
        if seen.target == "/silence":
            release.wait(30)
        backend.plain_answer(handler, seen)
    backend.answer = answer
    target = ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))
    with Proxy(("127.0.0.1", free_port()), target) as between:
        lb.start(url=f"mysql://lb@127.0.0.1:{between.listen[1]}/{lb.database}",
                 parameters="timeout=60s connections=1")
        lb.nginx.conf.write_text("worker_shutdown_timeout 1s;\n" + lb.nginx.conf.read_text())
        lb.nginx.reload()
        wait_for(lambda: len(lb.nginx.workers()) == 1, what="the end of the first worker")
        assert lb.get().status == 200
        at_the_backend = _send(lb.port, "GET /silence HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: "/silence" in backend.begun, what="the request at the backend")
        between.stall()
        waiting = [_send(lb.port, "GET /waiting HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(5)]
        wait_for(lambda: open_at(lb.port) == 6, what="the requests that wait for their list")
        old, = lb.nginx.workers()
        lb.nginx.reload()
        wait_for(lambda: old not in lb.nginx.workers(), 30, "the end of the old worker")
        for peer in [at_the_backend, *waiting]:
            assert peer.recv(65536) == b""
            peer.close()
        between.resume()
        release.set()
        lb.wait_fresh()
        lb.nginx.stop()
    assert "/waiting" not in backend.begun


def test_clients_that_leave_while_waiting(lb, free_port):
    """They are forgotten: nothing is sent to a backend for them, and nothing piles up."""
    backend = lb.backend()
    target = ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))
    with Proxy(("127.0.0.1", free_port()), target) as between:
        lb.start(url=f"mysql://lb@127.0.0.1:{between.listen[1]}/{lb.database}",
                 parameters="timeout=20s connections=1")
        assert lb.get().status == 200
        wait_for(lambda: open_at(lb.port) == 0, what="the first connection to be closed")
        before = lb.nginx.descriptors()
        between.stall()
        leaving = [_send(lb.port, f"GET /leaving/{n} HTTP/1.1\r\nHost: x\r\n\r\n") for n in range(50)]
        wait_for(lambda: open_at(lb.port) >= 50, what="the connections")
        staying = []
        thread = threading.Thread(target=lambda: staying.append(lb.get("/staying")))
        thread.start()
        wait_for(lambda: open_at(lb.port) >= 51, what="the connection that stays")
        for peer in leaving:
            peer.close()
        wait_for(lambda: open_at(lb.port) <= 1, what="their end to be noticed")
        wait_for(lambda: len([line for line in lb.nginx.access_log() if "/leaving/" in line]) == 50,
                 what="all of them to be logged")
        between.resume()
        thread.join(30)
        assert staying[0].status == 200
        assert [seen.target for seen in backend.seen if "leaving" in seen.target] == []
        assert lb.get().status == 200
        wait_for(lambda: lb.nginx.descriptors() == before, what="the former number of descriptors")
        lb.nginx.stop()


def test_descriptors_and_threads_stay_as_many(lb):
    """After a warm-up, thousands of requests and a restart of MySQL open nothing for good."""
    lb.backend()
    lb.start(parameters="connections=4")
    with Load(lb.port, threads=12) as load:
        wait_for(lambda: load.count() > 500, what="the warm-up")
    assert not load.failed()
    for _ in range(2):
        lb.registry.ctl("mysql", "kill")
        wait_for(lambda: lb.get().header("X-Stale") == "1", what="a stale list")
        lb.registry.ctl("mysql", "start")
        lb.wait_fresh()
    with Load(lb.port, threads=12) as load:
        wait_for(lambda: load.count() > 1000, 60, what="load")
    assert not load.failed()
    (descriptors, threads), = lb.nginx.descriptors().values()
    assert descriptors < 60, descriptors  # listening, log, epoll, eventfds, 4 connections, channels
    assert threads <= 1 + 32, threads     # nginx's default pool


def test_a_slow_upload_gets_a_list_that_is_read_after_it(lb):
    """While the body comes in, its backend leaves the table. The request must not go there."""
    leaving, coming = lb.backend(), lb.backend(row=False)
    lb.start()
    assert lb.get().status == 200
    with socket.create_connection(("127.0.0.1", lb.port), timeout=30) as slow:
        slow.sendall(b"PUT /objects/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf-")
        # The answer to a later request on another connection: nginx has dealt with the first part.
        assert lb.get().header("X-Backend") == leaving.name
        lb.remove(leaving)
        lb.add(coming)
        slow.sendall(b"done!")
        answer = slow.recv(65536)
    assert coming.name.encode() in answer, answer
    assert coming.seen[-1].body == b"half-done!"
    assert not [seen for seen in leaving.seen if seen.method == "PUT"]


def test_an_unbuffered_upload(lb):
    """proxy_request_buffering off: the body streams through, with the list of its beginning."""
    backend = lb.backend()
    lb.start(location="proxy_request_buffering off;", server="client_max_body_size 0;")
    body = os.urandom(3_000_000)
    with lb.client() as client:
        for _ in range(3):
            assert client.put("/objects/x", body).status == 200
            assert backend.seen[-1].body == body


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_client_that_leaves_in_the_middle_of_an_upload(lb, buffering):
    lb.backend()
    lb.start(location=f"proxy_request_buffering {buffering};")
    for _ in range(10):
        peer = _send(lb.port, "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        peer.close()
    wait_for(lambda: open_at(lb.port) == 0, what="their end to be noticed")
    assert lb.get().status == 200


def test_pipelined_requests(lb):
    backend = lb.backend()
    lb.start()
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(20))
    last = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw(lb.port, requests + last)
    assert answer.count(b"HTTP/1.1 200") == 21
    assert [seen.target for seen in backend.seen] == [f"/{n}" for n in range(20)] + ["/last"]


def test_a_loaded_module_that_is_not_used(lb, free_port):
    """It asks nobody anything and holds no connection."""
    backend = lb.backend()
    lb.nginx.write(f"upstream plain {{ server {backend.name}; }}"
                   f"server {{ listen 127.0.0.1:{lb.port}; location / {{ proxy_pass http://plain; }} }}")
    lb.nginx.start()
    assert lb.get().status == 200
    rows = lb.registry.sql("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE user = 'lb'",
                           database=None)
    assert rows == [["0"]]


def _get_ignoring(lb):
    """A request of which only its end matters."""
    client = Client(lb.port, timeout=30)
    try:
        client.get("/")
    except Exception:  # noqa: BLE001  (nginx may end in any moment of it)
        pass
    finally:
        client.close()


def _send(port, text):
    peer = socket.create_connection(("127.0.0.1", port), timeout=30)
    peer.sendall(text.encode())
    return peer
