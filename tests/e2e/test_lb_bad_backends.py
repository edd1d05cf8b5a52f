"""Backends that misbehave, and what a client gets through the load balancer. A POST is never sent twice."""

import http.client
import threading

import pytest

from fake import HangUp
from stack import open_to, wait_for

METHODS = ["GET", "PUT", "POST"]
REPEATED = ["GET", "PUT"]


def ask(lb, method, client=None):
    """One request; the body is there if the method has one."""
    body = None if method == "GET" else b"a body"
    with client or lb.client() as own:
        return own.request(method, "/x", body)


@pytest.fixture
def pair(lb):
    """A bad backend, which is asked first, and a good one."""
    return lb.backend(), lb.backend(backup=1)


def check_repeated(pair, method, response, otherwise):
    """What may be sent again was answered by the good backend; a POST was not sent to it."""
    bad, good = pair
    assert len(bad.seen) == 1
    if method in REPEATED:
        assert (response.status, response.header("X-Backend")) == (200, good.name)
        assert good.seen[0].body == bad.seen[0].body == (b"" if method == "GET" else b"a body")
    else:
        assert response.status == otherwise
        assert not good.seen and not good.begun
    wait_for(lambda: open_to(bad.port) == 0, what="the end of the connection to the bad one")


@pytest.mark.parametrize("method", METHODS)
def test_one_that_does_not_listen(lb, pair, method):
    """Nothing was sent to it, so that even a POST may go to another one."""
    bad, good = pair
    lb.start()
    bad.stop()
    assert ask(lb, method).header("X-Backend") == good.name
    assert len(good.seen) == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_one_that_says_nothing_more(lb, pair, method, beginning):
    """It accepts and is silent, or has sent half a header: it is left after proxy_read_timeout."""
    def be_silent(handler, seen):
        handler.send(beginning)
        handler.wait_until_left()
    pair[0].answer = be_silent
    lb.start(location="proxy_read_timeout 300ms;")
    check_repeated(pair, method, ask(lb, method), otherwise=504)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
@pytest.mark.parametrize("way", ["end", "reset"])
def test_one_that_hangs_up(lb, pair, method, beginning, way):
    def hang_up(handler, seen):
        handler.send(beginning)
        if way == "reset":
            handler.reset()
        raise HangUp
    pair[0].answer = hang_up
    lb.start()
    check_repeated(pair, method, ask(lb, method), otherwise=502)


@pytest.mark.parametrize("method", METHODS)
def test_one_that_sends_too_large_a_header(lb, pair, method):
    """Not a matter of the connection: nginx's `invalid_header` decides."""
    def send_too_much(handler, seen):
        handler.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000)
        handler.wait_until_left()
    pair[0].answer = send_too_much
    lb.start(location="proxy_next_upstream error timeout invalid_header;")
    check_repeated(pair, method, ask(lb, method), otherwise=502)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["end", "reset"])
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_one_that_breaks_off_in_the_body(lb, pair, method, way, buffering):
    """Half an answer cannot be taken back: the client sees that it is not whole, and nobody else is asked."""
    bad, good = pair

    def break_off(handler, seen):
        handler.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
        if way == "reset":
            handler.reset()
        raise HangUp
    bad.answer = break_off
    lb.start(location=f"proxy_buffering {buffering};")
    try:
        response = ask(lb, method)
    except http.client.IncompleteRead as half:
        assert len(half.partial) <= 500
    except ConnectionError:
        pass
    else:
        # A reset can come before nginx has read anything.
        assert way == "reset" and response.status == (502 if method == "POST" else 200)
        check_repeated(pair, method, response, otherwise=502)
        return
    assert len(bad.seen) == 1 and not good.seen
    wait_for(lambda: open_to(bad.port) == 0, what="the end of the connection to the bad one")


@pytest.mark.parametrize("method", METHODS)
def test_one_that_is_slow(lb, pair, method):
    """Each piece comes in time, so it may take as long as it likes; the client has each as it comes."""
    bad, good = pair
    steps = [threading.Event() for _ in range(3)]

    def answer_slowly(handler, seen):
        handler.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        for step in steps:
            handler.send(b"x")
            assert step.wait(30)
        handler.send(b"x")
    bad.answer = answer_slowly
    lb.start(location="proxy_buffering off;")
    with lb.client() as client:
        client.connection.request(method, "/x", None if method == "GET" else b"a body")
        answer = client.connection.getresponse()
        for step in steps:
            assert answer.read(1) == b"x"
            step.set()
        assert answer.read() == b"x"
    assert len(bad.seen) == 1 and not good.seen
    bad.answer = bad.plain_answer
    assert lb.get().header("X-Backend") == bad.name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("next_upstream", ["error timeout", "error timeout http_503"])
def test_one_that_has_no_time(lb, pair, method, next_upstream):
    """503 with Retry-After goes to the client as it is, unless another backend may be asked."""
    bad, good = pair
    bad.answer = lambda handler, seen: handler.reply(503, {"Retry-After": "7"}, b"busy")
    lb.start(location=f"proxy_next_upstream {next_upstream};")
    response = ask(lb, method)
    if method in REPEATED and "http_503" in next_upstream:
        assert (response.status, response.header("X-Backend")) == (200, good.name)
    else:
        assert (response.status, response.header("Retry-After"), response.body) == (503, "7", b"busy")
        assert not good.seen
    assert len(bad.seen) == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["end", "reset"])
@pytest.mark.parametrize("alone", [True, False])
def test_one_that_closes_a_kept_connection_at_the_next_request(lb, method, way, alone):
    """It has not read anything, and may close an idle connection: that is not held against it."""
    bad = lb.backend()
    good = None if alone else lb.backend(backup=1)
    used, closed = [], []

    def close_a_used_one(handler):
        if handler not in used:
            used.append(handler)
            return
        closed.append(handler)
        if way == "reset":
            handler.reset()
        raise HangUp
    lb.start(extra="keepalive 4;")
    bad.on_request = close_a_used_one
    assert lb.get("/first").header("X-Backend") == bad.name
    assert open_to(bad.port) == 1
    response = ask(lb, method)
    assert len(closed) == 1
    if method in REPEATED:
        assert (response.status, response.header("X-Backend")) == (200, bad.name if alone else good.name)
    else:
        assert response.status == 502
        assert [seen.method for seen in bad.seen] == ["GET"] and (alone or not good.seen)
    # It did not fail: it is the first choice still.
    bad.on_request = None
    assert lb.get("/last").header("X-Backend") == bad.name


@pytest.mark.parametrize("method", METHODS)
def test_one_that_closed_a_kept_connection_before(lb, method):
    """nginx notices, and no request goes into the void, not even a POST."""
    bad = lb.backend()
    lb.start(extra="keepalive 4;")
    for _ in range(5):
        assert lb.get().header("X-Backend") == bad.name
        bad.stop()
        wait_for(lambda: open_to(bad.port) == 0, what="nginx to notice")
        bad.start()
        assert ask(lb, method).header("X-Backend") == bad.name
    assert len(bad.seen) == 10


@pytest.mark.parametrize("way", ["end", "reset"])
def test_one_that_answers_before_the_body_has_come(lb, pair, way):
    """413 in the middle of an upload that streams: the client gets that answer."""
    bad, good = pair

    def refuse(handler):
        head = b""
        while b"\r\n\r\n" not in head:
            head += handler.connection.recv(65536)
        handler.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge")
        if way == "reset":
            handler.wait_until_left()
        raise HangUp
    bad.on_request = refuse
    lb.start(location="proxy_request_buffering off;", server="client_max_body_size 0;")
    with lb.client() as client:
        client.connection.putrequest("PUT", "/x")
        client.connection.putheader("Content-Length", "1000000")
        client.connection.endheaders(b"x" * 1000)
        answer = client.connection.getresponse()
        assert (answer.status, answer.read()) == (413, b"large")
    assert not good.seen
