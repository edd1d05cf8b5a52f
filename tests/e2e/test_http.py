"""HTTP as it should not be: what is malformed is refused, and harms nobody else."""

import json
import re

import pytest

from files import (KIB, MIB, Wire, content, digest, encode, everywhere, file_part, files, form, head_of,
                   target_of)
from stack import Client, raw, request, wait_for


def statuses(answer):
    """The status of each response in the bytes."""
    return [int(found) for found in re.findall(rb"^HTTP/1\.[01] (\d\d\d)", answer, re.MULTILINE)]


def metric(port, name):
    text = request(port, "GET", "/metrics").text
    return int(re.search(rf"^ceph_lb_backend_{name} (\d+)$", text, re.MULTILINE).group(1))


def put(target, *fields, body=b""):
    return head_of("PUT", target, *fields) + body


def malformed(target):
    chunked = "Transfer-Encoding: chunked"
    return {
        "garbage": b"\x00\x01\x02 garbage \xff\r\n\r\n",
        "no version": b"GET /healthz x\r\n\r\n",
        "another version": b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
        "control in the target": b"GET /objects/a\x01b HTTP/1.1\r\nHost: x\r\n\r\n",
        "space in the target": b"GET /objects/a b HTTP/1.1\r\nHost: x\r\n\r\n",
        "space before the colon": put(target, "Content-Length: 1", "X-A : b", body=b"x"),
        "NUL in a field": put(target, "Content-Length: 1", "X-A: b\0c", body=b"x"),
        "two lengths": put(target, "Content-Length: 3", "Content-Length: 4", body=b"abcd"),
        "two equal lengths": put(target, "Content-Length: 3", "content-length: 3", body=b"abc"),
        "two lengths in one": put(target, "Content-Length: 3, 3", body=b"abc"),
        "length and chunked": put(target, "Content-Length: 3", chunked, body=b"3\r\nabc\r\n0\r\n\r\n"),
        "chunked and length": put(target, chunked, "Content-Length: 3", body=b"3\r\nabc\r\n0\r\n\r\n"),
        "chunked twice": put(target, chunked, chunked, body=b"3\r\nabc\r\n0\r\n\r\n"),
        "negative length": put(target, "Content-Length: -3", body=b"abc"),
        "signed length": put(target, "Content-Length: +3", body=b"abc"),
        "hexadecimal length": put(target, "Content-Length: 0x3", body=b"abc"),
        "no digits": put(target, "Content-Length: three", body=b"abc"),
        "empty length": put(target, "Content-Length:", body=b"abc"),
        "immense length": put(target, "Content-Length: 99999999999999999999999", body=b"abc"),
        "length of 2^64": put(target, "Content-Length: 18446744073709551616", body=b"abc"),
        "chunk of no size": put(target, chunked, body=b"zz\r\nabc\r\n0\r\n\r\n"),
        "negative chunk": put(target, chunked, body=b"-3\r\nabc\r\n0\r\n\r\n"),
        "immense chunk": put(target, chunked, body=b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        "unknown encoding": put(target, "Transfer-Encoding: gzip", body=b"abc"),
        "encoding before chunked": put(target, "Transfer-Encoding: gzip, chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
    }


def test_malformed_requests_are_refused(everywhere):
    """Each with a status of 4xx, 501 or 505, a closed connection, and nothing stored."""
    user = everywhere
    name = user.name("never")
    for what, data in malformed(target_of(name)).items():
        # What follows could be anybody's idea of a request: it must not be taken for one.
        answer = raw(user.port, data + head_of("GET", "/metrics", "Connection: close"))
        found = statuses(answer)
        assert len(found) == 1, (what, answer)
        assert 400 <= found[0] < 500 or found[0] in (501, 505), (what, answer)
    assert user.names() == []


def test_refusals_have_the_form_of_all_errors(files):
    """nginx's own ones too."""
    for what, data in malformed(target_of(files.name("never"))).items():
        head, _, body = raw(files.port, data).partition(b"\r\n\r\n")
        assert b"Content-Type: application/problem+json" in head, (what, head, body)
        problem = json.loads(body)
        assert problem["status"] == statuses(head)[0]
        assert problem["type"].startswith("urn:ceph-lb:problem:") and problem["title"]
    for method in ("TRACE", "CONNECT"):
        head, _, body = raw(files.port, head_of(method, "/status", "Connection: close")).partition(b"\r\n\r\n")
        assert 400 <= statuses(head)[0] < 500
        assert b"Content-Type: application/problem+json" in head, (method, head, body)


def test_framing_refusals_of_a_backend_say_why(stack):
    for fields, why in ((("Content-Length: 3", "Content-Length: 3"), "more than one Content-Length"),
                        (("Content-Length: 3", "Transfer-Encoding: chunked"), "both"),
                        (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), "more than one Transfer-Encoding")):
        with Wire(stack.backend_ports[0]) as wire:
            wire.send(put("/objects/never", *fields, body=b"3\r\nabc\r\n0\r\n\r\n"))
            status, head, body = wire.response()
            assert status == 400
            assert why in json.loads(body)["detail"]
            assert wire.closed()


def test_huge_heads_are_refused(everywhere):
    port = everywhere.port
    for data in (b"GET /objects/" + b"a" * 3 * MIB + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                 head_of("GET", "/healthz", "X-Huge: " + "a" * 3 * MIB),
                 head_of("GET", "/healthz", *(f"X-{number}: {'v' * 100}" for number in range(20_000)))):
        with Wire(port) as wire:
            try:
                wire.send(data)
                status = wire.head()[0]
            except AssertionError:
                raise
            except OSError:
                status = None  # Cut off before it was all sent; the answer may be lost then.
            assert status is None or 400 <= status < 500
    assert request(port, "GET", "/healthz").status == 200


def test_what_clients_send_beside_the_request(everywhere):
    """Fields that the service does not know, or need not heed."""
    name = everywhere.name("x")
    everywhere.put(name, b"content")
    for fields in ({"Accept-Encoding": "gzip, br"}, {"Cookie": "a=b; c=d"}, {"Accept": "text/html"},
                   {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA"},
                   {"Connection": "Upgrade", "Upgrade": "websocket"}, {"X-" + "N" * 200: "v"}, {"Via": "1.1 a, 1.1 b"},
                   {"Content-Length": "0"}, {"TE": "trailers"}, {"Cache-Control": "no-cache"}):
        answer = everywhere.get(name, fields)
        assert (answer.status, answer.body) == (200, b"content"), fields


def test_a_line_without_a_colon(stack):
    """A backend refuses it; nginx drops the line and goes on, as it does with all invalid ones."""
    data = b"GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\nConnection: close\r\n\r\n"
    assert statuses(raw(stack.backend_ports[0], data)) == [400]
    assert statuses(raw(stack.port, data)) in ([200], [400])


def test_pipelined_requests_are_answered_in_order(everywhere):
    user = everywhere
    bodies = [content(size) for size in (0, 10, 200 * KIB, 1)]
    user.remember(*(user.name(str(number)) for number in range(len(bodies))))
    data = b""
    for number, body in enumerate(bodies):
        data += put(target_of(user.name(str(number))), f"Content-Length: {len(body)}", body=body)
    for number in range(len(bodies)):
        data += head_of("GET", target_of(user.name(str(number))))
    data += head_of("HEAD", target_of(user.name("2"))) + head_of("GET", "/nothing")
    data += put(target_of(user.name("3")), "Transfer-Encoding: chunked", body=b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\nTrailer: x\r\n\r\n")
    data += head_of("GET", target_of(user.name("3")), "Connection: close")
    with Wire(user.port) as wire:
        wire.send(data)
        for _ in bodies:
            assert wire.response()[0] == 201
        for body in bodies:
            status, _, got = wire.response()
            assert (status, digest(got)) == (200, digest(body))
        status, fields = wire.head()
        assert (status, fields["content-length"]) == (200, str(200 * KIB))
        assert wire.response()[0] == 404
        assert wire.response()[0] == 200
        status, _, got = wire.response()
        assert (status, got) == (200, b"abc")
        assert wire.closed()


def test_pipelined_small_requests(everywhere):
    """Many at once, across the limits of buffers."""
    count = 500
    with Wire(everywhere.port) as wire:
        wire.send(b"".join(head_of("GET", f"/objects/{encode(everywhere.name(str(number)))}", "X-Pad: " + "p" * (number % 97))
                           for number in range(count)))
        for _ in range(count):
            assert wire.response()[0] == 404


def test_a_request_that_comes_byte_by_byte(everywhere):
    name = everywhere.name("slow")
    everywhere.remember(name)
    with Wire(everywhere.port) as wire:
        for byte in put(target_of(name), "Content-Length: 5", body=b"bytes"):
            wire.send(bytes([byte]))
        assert wire.response()[0] == 201
    everywhere.check(name, b"bytes")


def test_absolute_targets(everywhere):
    user = everywhere
    name = user.name("absolute")
    user.put(name, b"content")
    for target, status in ((f"http://any.host{target_of(name)}", 200), (f"http://any.host:1{target_of(name)}", 200),
                           ("http://any.host/healthz", 200), ("http://any.host/healthz?ready", 200),
                           ("http://any.host/nothing", 404), ("http://any.host", 404),
                           (f"http://any.host{target_of(name)}%zz", 400)):
        with Wire(user.port) as wire:
            wire.send(b"GET " + target.encode() + b" HTTP/1.1\r\nHost: any.host\r\nConnection: close\r\n\r\n")
            got, _, body = wire.response()
            assert got == status, target
            assert target != f"http://any.host{target_of(name)}" or body == b"content"


def test_http_1_0(everywhere):
    user = everywhere
    name = user.name("old")
    user.remember(name)
    body = content(300 * KIB)
    put_it = f"PUT {target_of(name)} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    answer = raw(user.port, put_it)
    assert statuses(answer) == [201]
    head, _, got = raw(user.port, f"GET {target_of(name)} HTTP/1.0\r\n\r\n".encode()).partition(b"\r\n\r\n")
    assert statuses(head) == [200]
    assert digest(got) == digest(body)
    twice = raw(user.port, b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n")
    assert statuses(twice) == [200, 200]


def test_methods_are_case_sensitive(stack):
    assert statuses(raw(stack.backend_ports[0], head_of("get", "/healthz", "Connection: close"))) == [405]
    assert statuses(raw(stack.port, head_of("get", "/healthz", "Connection: close"))) in ([400], [405])


def test_an_expectation_that_nobody_knows(stack):
    data = put("/objects/never", "Expect: the unexpected", "Content-Length: 0", "Connection: close")
    head, _, body = raw(stack.backend_ports[0], data).partition(b"\r\n\r\n")
    assert statuses(head) == [417]
    assert json.loads(body)["type"] == "urn:ceph-lb:problem:expectation-failed"


def test_a_body_where_none_is_expected(everywhere):
    """It is read, and not taken for the next request."""
    with Wire(everywhere.port) as wire:
        wire.send(head_of("GET", "/healthz", "Content-Length: 40") + head_of("GET", "/nothing")[:40].ljust(40)
                  + head_of("DELETE", target_of(everywhere.name("x")), "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
                  + head_of("GET", "/healthz", "Connection: close"))
        assert wire.response()[0] == 200
        assert wire.response()[0] == 404
        assert wire.response()[0] == 200
        assert wire.closed()


def test_empty_lines_before_a_request(everywhere):
    """RFC 9112, 2.2: a server should ignore at least one."""
    answer = raw(everywhere.port, b"\r\n" + head_of("GET", "/healthz", "Connection: close"))
    assert statuses(answer) == [200]


# --- clients that leave -----------------------------------------------------------------------------

def settle(stack):
    """Waits until every backend has noticed that its clients are gone."""
    for port in stack.backend_ports:
        wait_for(lambda: metric(port, "requests_active") == 1, 30, f"no request at {port}")


def test_clients_that_leave_in_the_middle_of_a_request(everywhere, stack):
    user = everywhere
    name = user.name("left")
    whole = put(target_of(name), f"Content-Length: {2 * MIB}", body=content(2 * MIB))
    cuts = [1, 20, len(head_of("PUT", target_of(name))), 2000, 100 * KIB, 600 * KIB, len(whole) - 1]
    cuts += [random_cut * 50_000 for random_cut in range(1, 40)]
    for cut in cuts:
        with Wire(user.port) as wire:
            wire.send(whole[:cut])
    chunked = put(target_of(name), "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n6\r\nwo")
    with Wire(user.port) as wire:
        wire.send(chunked)
    whole_form = form(file_part(name, content(700 * KIB)))
    with Wire(user.port) as wire:
        wire.send(head_of("POST", "/objects", "Content-Type: multipart/form-data; boundary=test-boundary",
                          f"Content-Length: {len(whole_form)}") + whole_form[:-1])
    settle(stack)
    assert user.names() == []


def test_clients_that_leave_in_the_middle_of_a_download(everywhere, stack):
    user = everywhere
    name, body = user.name("download"), content(8 * MIB)
    user.put(name, body)
    for number in range(40):
        with Wire(user.port, receive_buffer=8 * KIB) as wire:
            wire.send(head_of("GET", target_of(name)))
            if number % 4:
                assert wire.head()[0] == 200
                wire.take(number * 10_000)
    settle(stack)
    user.check(name, body)


def test_clients_that_do_not_wait_for_the_answer(everywhere, stack):
    """The request is complete, its client gone: it is carried out or not, and nothing breaks."""
    user = everywhere
    names = [user.name(str(number)) for number in range(60)]
    user.remember(*names)
    for number, name in enumerate(names):
        with Wire(user.port) as wire:
            if number % 3 == 0:
                wire.send(put(target_of(name), "Content-Length: 10", body=b"0123456789"))
            elif number % 3 == 1:
                wire.send(head_of("GET", "/objects"))
            else:
                wire.send(head_of("GET", "/status") + head_of("DELETE", target_of(name)))
    settle(stack)
    for name in names:
        answer = user.get(name)
        assert answer.status == 404 or answer.body == b"0123456789"


def test_half_closed_connections(everywhere):
    """A client that says it will send nothing more still gets its answer, or an end; never a hang."""
    name = everywhere.name("half")
    everywhere.remember(name)
    answer = raw(everywhere.port, put(target_of(name), "Content-Length: 3", "Connection: close", body=b"abc"), half_close=True)
    assert statuses(answer) in ([201], [])
    # Cut short: it cannot become complete any more.
    answer = raw(everywhere.port, put(target_of(name), "Content-Length: 300", body=b"abc"), half_close=True)
    assert 201 not in statuses(answer) and 200 not in statuses(answer)


@pytest.mark.parametrize("size", [10, 400 * KIB])
def test_many_requests_on_one_connection(everywhere, size):
    body = content(size)
    with Client(everywhere.port) as client:
        name = everywhere.name("again")
        everywhere.remember(name)
        for _ in range(30):
            assert client.put(target_of(name), body).status in (200, 201)
            assert digest(client.get(target_of(name)).body) == digest(body)
            assert client.get(target_of(everywhere.name("nothing"))).status == 404
