"""How clients send their requests: HTTP/2, in pieces, with Expect, one behind the other, and not to the end."""

import contextlib
import os
import socket
import struct
import subprocess
import threading

import pytest

from fake import HangUp
from http2 import Http2Client
from proxy import Proxy
from stack import open_at, open_to, raw, read_until, wait_for


@pytest.fixture
def http2_port(lb):
    """A port on which the server that a test starts speaks HTTP/2, by `server=f"listen …:{port} http2;"`."""
    return lb.free_port()


# --- HTTP/2 -----------------------------------------------------------------------------------------

def test_http2(lb, http2_port):
    """Many requests on one connection, and each list is as fresh as with HTTP/1."""
    first, second = lb.backend(), lb.backend()
    lb.start(server=listen(http2_port))
    with contextlib.closing(Http2Client(http2_port)) as client:
        streams = [client.begin("GET", f"/{number}") for number in range(30)]
        assert answering(client, streams) == {first.name, second.name}
        for leaving, staying in ((first, second), (second, first)):
            lb.remove(leaving)
            assert answering(client, [client.begin("GET", "/") for _ in range(4)]) == {staying.name}
            lb.add(leaving)
        lb.sql("DELETE FROM addresses")
        assert client.get("/")[0] == 503
    targets = [seen.target for seen in first.seen + second.seen]
    assert {f"/{number}" for number in range(30)} <= set(targets)


def test_http2_many_at_once_while_the_registry_is_slow(lb, http2_port, free_port):
    """A hundred streams wait for few queries."""
    backend = lb.backend()
    target = ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))
    with Proxy(("127.0.0.1", free_port()), target) as between:
        lb.start(url=f"mysql://lb@127.0.0.1:{between.listen[1]}/{lb.database}", server=listen(http2_port))
        assert lb.get().status == 200
        between.delay = 0.2
        with contextlib.closing(Http2Client(http2_port)) as client:
            for _ in range(3):
                streams = [client.begin("GET", "/") for _ in range(100)]
                assert answering(client, streams) == {backend.name}
        lb.nginx.stop()


def test_http2_upload_gets_a_list_that_is_read_after_it(lb, http2_port):
    """Without a length, too: HTTP/2 does not need one."""
    leaving, coming = lb.backend(), lb.backend(row=False)
    lb.start(server=listen(http2_port))
    with contextlib.closing(Http2Client(http2_port)) as client:
        stream = client.begin("PUT", "/x", end=False)
        client.data(stream, b"half-")
        assert client.get("/")[0] == 200
        lb.remove(leaving)
        lb.add(coming)
        client.data(stream, b"done!", end=True)
        status, body = client.answer(stream)
    assert (status, body.decode().strip()) == (200, coming.name)
    assert coming.seen[-1].body == b"half-done!"
    assert not [seen for seen in leaving.seen if seen.method == "PUT"]


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_http2_large_upload(lb, http2_port, buffering):
    backend = lb.backend()
    lb.start(location=f"proxy_request_buffering {buffering};",
             server=listen(http2_port) + "client_max_body_size 0;")
    file = lb.nginx.dir / "upload"
    file.write_bytes(os.urandom(8_000_000))
    answer = subprocess.run(
        ["curl", "-s", "--http2-prior-knowledge", "-w", "%{http_code} %{http_version}", "-T", str(file),
         f"http://127.0.0.1:{http2_port}/x"], capture_output=True, timeout=60, check=True).stdout
    assert answer.decode().split() == [backend.name, "200", "2"]
    assert backend.seen[-1].body == file.read_bytes()


# --- bodies and what goes before them ---------------------------------------------------------------

def test_an_unbuffered_upload_keeps_the_list_of_its_beginning(lb):
    """The backend has it already: that its row leaves changes nothing for this request."""
    first, second = lb.backend(), lb.backend(row=False)
    lb.start(location="proxy_request_buffering off;", server="client_max_body_size 0;")
    body = os.urandom(1_000_000)
    with connection(lb.port) as peer:
        peer.sendall(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + body[:10_000])
        wait_for(lambda: first.begun, what="the header at the backend")
        lb.remove(first)
        lb.add(second)
        assert lb.get().header("X-Backend") == second.name
        peer.sendall(body[10_000:])
        read_until(peer, f"{first.name}\n".encode())
    assert first.seen[0].body == body


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_chunked_uploads(lb, buffering, pieces):
    backend = lb.backend()
    lb.start(location=f"proxy_request_buffering {buffering};", server="client_max_body_size 0;")
    body = os.urandom(pieces * 1500)
    with connection(lb.port) as peer:
        peer.sendall(b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(pieces):
            peer.sendall(b"5dc\r\n" + body[number * 1500:(number + 1) * 1500] + b"\r\n")
        peer.sendall(b"0\r\n\r\n")
        assert read_until(peer, f"{backend.name}\n".encode()).startswith(b"HTTP/1.1 200")
    assert backend.seen[0].body == body


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_expect_100_continue(lb, buffering):
    """The client is told to go on, and the list is from after the body, or from before it if that streams."""
    first, second = lb.backend(), lb.backend(row=False)
    lb.start(location=f"proxy_request_buffering {buffering};")
    with connection(lb.port) as peer:
        peer.sendall(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n")
        assert read_until(peer, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        lb.remove(first)
        lb.add(second)
        peer.sendall(b"a body")
        meant = second if buffering == "on" else first
        assert read_until(peer, f"{meant.name}\n".encode()).startswith(b"HTTP/1.1 200")
    assert [seen.body for seen in first.seen + second.seen] == [b"a body"]


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_expect_100_continue_without_a_backend(lb, buffering):
    """A body that streams is not asked for if there is nobody to send it to."""
    lb.start(location=f"proxy_request_buffering {buffering};")
    with connection(lb.port) as peer:
        peer.sendall(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n")
        if buffering == "on":
            assert read_until(peer, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            peer.sendall(b"a body")
        answer = read_until(peer, b"</html>\r\n")
    assert answer.startswith(b"HTTP/1.1 503")
    assert answer.count(b"Retry-After: 1\r\n") == 1


def test_a_body_that_is_refused_while_it_comes_in(lb):
    """The error page is asked of the backends: one request goes through the module twice."""
    backend = lb.backend()
    lb.start(server="""
        error_page 413 = /refused;
        location /upload { client_max_body_size 100; proxy_pass http://backends; }
        location = /refused { proxy_method GET; proxy_pass_request_body off; proxy_set_header Content-Length "";
                              proxy_set_header Transfer-Encoding ""; proxy_pass http://backends/refused; }
    """)
    with connection(lb.port) as peer:
        peer.sendall(b"PUT /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):  # What comes after the refusal is not read.
            for _ in range(3):
                peer.sendall(b"c8\r\n" + bytes(200) + b"\r\n")
        assert backend.name.encode() in until_end(peer)
    assert backend.begun == ["/refused"]
    assert lb.get().status == 200


@pytest.mark.parametrize("passed_to", ["plain", "backends"])
def test_a_refused_body_that_comes_to_its_end_all_the_same(lb, passed_to):
    """The request is elsewhere by then, and is not begun there once more."""
    elsewhere, sent = lb.backend(row=passed_to == "backends"), threading.Event()

    def answer(handler, seen):
        sent.wait(30)
        lb.get("/a-later-one")
        elsewhere.plain_answer(handler, seen)
    elsewhere.answer = answer
    lb.start(http=f"upstream plain {{ server {elsewhere.name}; }}", server=f"""
        error_page 413 = @elsewhere;
        location = /a-later-one {{ return 200; }}
        location /upload {{ client_max_body_size 100; proxy_pass http://backends; }}
        location @elsewhere {{ proxy_method GET; proxy_pass_request_body off; proxy_set_header Content-Length "";
                               proxy_ignore_client_abort on; proxy_pass http://{passed_to}; }}
    """)
    with connection(lb.port) as peer:
        peer.sendall(b"PUT /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        lb.get("/a-later-one")
        peer.sendall(b"c8\r\n" + bytes(100))
        wait_for(lambda: elsewhere.begun, what="the request in its other location")
        peer.sendall(bytes(100) + b"\r\n0\r\n\r\n")
        sent.set()
        assert elsewhere.name.encode() in until_end(peer)
    assert len(elsewhere.begun) == 1


def test_a_body_that_takes_too_long(lb):
    backend = lb.backend()
    lb.start(location="client_body_timeout 300ms;")
    with connection(lb.port) as peer:
        peer.sendall(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        assert until_end(peer) == b""
    assert " 408 " in lb.nginx.access_log()[0]
    assert not backend.begun
    assert lb.get().status == 200


def test_pipelined_uploads(lb):
    """Heads and bodies in one piece: none takes a byte of another."""
    backend = lb.backend()
    lb.start()
    requests = b"".join(b"PUT /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                        % (number, 10 + number, b"%d" % (number % 10) * (10 + number))
                        for number in range(20))
    answer = raw(lb.port, requests + b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 21
    assert [(seen.target, seen.body) for seen in backend.seen[:-1]] == [
        (f"/{number}", b"%d" % (number % 10) * (10 + number)) for number in range(20)]
    assert backend.seen[-1].target == "/last"


# --- a connection that becomes another one ----------------------------------------------------------

UPGRADE = (b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n")
UPGRADING = """location /socket { proxy_pass http://backends; proxy_set_header Upgrade $http_upgrade;
                                  proxy_set_header Connection "upgrade"; }"""


def switch_and_echo(handler, seen):
    handler.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    while data := handler.connection.recv(65536):
        handler.send(data)
        if data.endswith(b"bye"):
            break
    raise HangUp


@pytest.mark.parametrize("who_ends", ["client", "backend"])
def test_websocket(lb, who_ends):
    """It stays with its backend while the list changes and nginx reloads, and ends on both sides."""
    first, second = lb.backend(), lb.backend(row=False)
    first.answer = switch_and_echo
    lb.start(server=UPGRADING)
    with connection(lb.port) as peer:
        peer.sendall(UPGRADE)
        assert read_until(peer, b"\r\n\r\n").startswith(b"HTTP/1.1 101")
        for number in range(3):
            message = b"message %d" % number
            peer.sendall(message)
            assert read_until(peer, message) == message
            lb.remove(first)
            if number == 0:
                lb.add(second)
                assert lb.get().header("X-Backend") == second.name
            elif number == 1:
                lb.nginx.reload()
                assert lb.get().header("X-Backend") == second.name
        assert open_to(first.port) == 1
        if who_ends == "backend":
            peer.sendall(b"bye")
            assert until_end(peer) == b"bye"
    wait_for(lambda: open_to(first.port) == 0, what="the end of the connection to the backend")


# --- clients that leave -----------------------------------------------------------------------------

WAYS = ["end", "reset", "http2 end", "http2 reset"]


class Leaver:
    """A client that begins a request and leaves before its end, in one of the ways above."""

    def __init__(self, port, http2_port, way):
        self.way = way
        self.stream = None
        self.client = Http2Client(http2_port) if way.startswith("http2") else None
        self.peer = self.client.peer if self.client else connection(port)

    def begin(self, method, path, body=b"", rest=0):
        """Sends a request, but for the last `rest` bytes of its body."""
        if self.client:
            self.stream = self.client.begin(method, path, end=not body)
            if body:
                self.client.data(self.stream, body, end=not rest)
        else:
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + rest}\r\n\r\n"
            self.peer.sendall(head.encode() + body)

    def read(self, data):
        """Reads the answer as far as this, which no header ends with."""
        if self.client:
            self.client.beginning(self.stream, len(data))
        else:
            read_until(self.peer, data)

    def leave(self):
        """With "http2 reset" only the request ends, not the connection."""
        if self.way == "http2 reset":
            self.client.reset(self.stream)
            self.client.ping()
            return
        if self.way == "reset":
            self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()

    def close(self):
        if self.way == "http2 reset":
            assert self.client.get("/other")[0] == 200
        self.peer.close()


@pytest.fixture
def leaving(lb, http2_port, free_port):
    """A function that has ten clients leave in one way, and then looks that nothing of them is left."""
    target = ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))
    with Proxy(("127.0.0.1", free_port()), target) as between:
        lb.url = f"mysql://lb@127.0.0.1:{between.listen[1]}/{lb.database}"

        def run(way, begin, there=lambda: True, location="", stall=False):
            """`begin(leaver)` brings each as far as it is to come; `there()` is true when all are."""
            # Newer nginx keeps connections to backends without being told; here each is to end with its request.
            lb.start(server=listen(http2_port), location=f'proxy_set_header Connection "close"; {location}',
                     parameters="timeout=20s connections=1")
            assert lb.get("/other").status == 200
            wait_for(lambda: open_at(lb.port) == 0, what="the end of the first request")
            before = lb.nginx.descriptors()
            if stall:
                between.stall()
            leavers = [Leaver(lb.port, http2_port, way) for _ in range(10)]
            for leaver in leavers:
                begin(leaver)
            wait_for(there, what="all of them to be there")
            for leaver in leavers:
                leaver.leave()
            for backend in lb.backends:
                wait_for(lambda port=backend.port: open_to(port) == 0, what="the end of the backend's connections")
            if way != "http2 reset":
                wait_for(lambda: open_at(lb.port) + open_at(http2_port) == 0, what="their end to be noticed")
            between.resume()
            for leaver in leavers:
                leaver.close()
            assert lb.get("/other").status == 200
            wait_for(lambda: lb.nginx.descriptors() == before, what="the former descriptors and threads")
        yield run
        lb.nginx.stop()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_leaving_while_the_list_is_awaited(lb, leaving, way, method):
    backend = lb.backend()
    leaving(way, lambda leaver: leaver.begin(method, "/leaving", b"a body" if method == "PUT" else b""),
            stall=True)
    assert "/leaving" not in backend.begun


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_leaving_while_the_body_comes_in(lb, leaving, way, buffering):
    backend = lb.backend()
    leaving(way, lambda leaver: leaver.begin("PUT", "/leaving", b"half", 4),
            lambda: buffering == "on" or backend.begun.count("/leaving") == 10,
            location=f"proxy_request_buffering {buffering};")
    assert "/leaving" not in [seen.target for seen in backend.seen]
    assert backend.begun.count("/leaving") == (0 if buffering == "on" else 10)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_leaving_while_the_backend_is_silent(lb, leaving, way, method):
    """It is told: its connection ends. And it is not taken for one that failed."""
    backend, backup = lb.backend(), lb.backend(backup=1)
    backend.answer = when_leaving(backend, lambda handler: None)
    leaving(way, lambda leaver: leaver.begin(method, "/leaving", b"a body" if method == "PUT" else b""),
            lambda: backend.begun.count("/leaving") == 10)
    assert not backup.seen


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_leaving_in_the_middle_of_the_answer(lb, leaving, way, buffering):
    backend, backup = lb.backend(), lb.backend(backup=1)
    half = b"x" * 10
    backend.answer = when_leaving(backend, lambda handler: handler.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + half))

    def ask_and_read(leaver):
        leaver.begin("GET", "/leaving")
        if buffering == "off":
            leaver.read(half)
    leaving(way, ask_and_read, lambda: backend.begun.count("/leaving") == 10,
            location=f"proxy_buffering {buffering};")
    assert not backup.seen


def test_leaving_while_the_list_is_awaited_where_post_action_follows(lb, free_port):
    """The request goes on without its client, elsewhere; the list that comes then is not for it any more."""
    backend, notified, listed = lb.backend(), lb.backend(row=False), threading.Event()

    def answer(handler, seen):
        listed.wait(30)
        notified.plain_answer(handler, seen)
    notified.answer = answer
    target = ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))
    with Proxy(("127.0.0.1", free_port()), target) as between:
        lb.start(url=f"mysql://lb@127.0.0.1:{between.listen[1]}/{lb.database}",
                 parameters="timeout=20s connections=1", location="post_action @after;",
                 http=f"upstream plain {{ server {notified.name}; }}",
                 server="location = /other { proxy_pass http://backends; }"
                        "location @after { proxy_pass http://plain; }")
        assert lb.get("/other").status == 200
        between.stall()
        with connection(lb.port) as peer:
            peer.sendall(b"GET /leaving HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: notified.begun, what="the request after the request")
        between.resume()
        assert lb.get("/other").status == 200
        listed.set()
        wait_for(lambda: open_at(lb.port) + open_to(notified.port) == 0, what="the end of all connections")
        lb.nginx.stop()
    assert notified.begun == ["/leaving"]
    assert backend.begun == ["/other"] * 2


def when_leaving(backend, begin):
    """An answer to those who will leave: its beginning, and then nothing until they have left."""
    def answer(handler, seen):
        if seen.target == "/leaving":
            begin(handler)
            handler.wait_until_left()
        backend.plain_answer(handler, seen)
    return answer


# --- small parts ------------------------------------------------------------------------------------

def listen(port):
    return f"listen 127.0.0.1:{port} http2;\n"


def answering(client, streams):
    """The backends that answered these streams; all of them have to succeed."""
    answers = [client.answer(stream) for stream in streams]
    assert {status for status, _ in answers} == {200}, answers
    return {body.decode().strip() for _, body in answers}


def connection(port):
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def until_end(peer):
    data = b""
    with contextlib.suppress(ConnectionError):
        while chunk := peer.recv(65536):
            data += chunk
    return data
