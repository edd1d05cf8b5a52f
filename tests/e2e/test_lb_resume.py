"""A response that its backend breaks off goes on from another one: `ceph_lb_resume`."""

import re
import socket
import subprocess

import pytest

from fake import HangUp
from stack import open_to, raw, wait_for

SIZE = 300_000
BODY = bytes(number * 7 % 251 for number in range(SIZE))
TAG = '"a tag"'
BUFFERING = ["on", "off"]


class Source:
    """What backends answer that have the same file: all of it, or a part. `breaks` lists after how many bytes each
    answer breaks off, in their order; those after them come whole."""

    def __init__(self, lb, backends=3):
        self.tag = TAG
        self.breaks = []
        self.asked = []  # (backend, Range, If-Match) of each request
        self.backends = [lb.backend() for _ in range(backends)]
        for backend in self.backends:
            backend.answer = lambda handler, seen, backend=backend: self.answer(backend, handler, seen)

    def answer(self, backend, handler, seen):
        wanted, match = seen.headers.get("Range"), seen.headers.get("If-Match")
        self.asked.append((backend.name, wanted, match))
        headers = {"X-Backend": backend.name, **({"ETag": self.tag} if self.tag else {})}
        if match not in (None, self.tag):
            handler.reply(412, headers, b"it has changed\n")
            return
        status, body = 200, BODY
        if wanted is not None:
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted).groups()
            first, last = int(first), min(int(last or SIZE - 1), SIZE - 1)
            status, body = 206, BODY[first:last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{SIZE}"
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}",
                 *(f"{name}: {value}" for name, value in headers.items())]
        end = self.breaks.pop(0) if self.breaks else len(body)
        handler.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body[:end])
        if end < len(body):
            self.end(handler)

    def end(self, handler):
        raise HangUp


def broken(answer):
    """Whether a whole answer, as `raw` returns it, is shorter than it says."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return len(body) < int(re.search(rb"Content-Length: (\d+)", head).group(1))


def notices(lb):
    return re.findall(r"broken off after (\d+) of (\d+) bytes; going on", lb.nginx.log())


@pytest.mark.parametrize("buffering", BUFFERING)
@pytest.mark.parametrize("breaks", [[0], [1], [100_000], [SIZE - 1], [100_000, 50_000], [7, 7, 7, 7, 7]])
def test_the_client_gets_all_of_it(lb, breaks, buffering):
    source = Source(lb)
    source.breaks = list(breaks)
    # Backends that fail are not put aside here: all of them break off in turn.
    lb.start(parameters="max_fails=0", location=f"proxy_buffering {buffering};")
    answer = lb.get("/a%2Fb//c?d=e", headers={"If-None-Match": '"another"', "If-Modified-Since": "x"})
    assert (answer.status, answer.header("ETag"), answer.header("Content-Length")) == (200, TAG, str(SIZE))
    assert answer.body == BODY
    done, expected = 0, [(None, None)]
    for count in breaks:
        done += count
        expected.append((f"bytes={done}-{SIZE - 1}", TAG))
    assert [asked[1:] for asked in source.asked] == expected
    assert {seen.target for backend in source.backends for seen in backend.seen} == {"/a%2Fb//c?d=e"}
    assert len(notices(lb)) == len(breaks)


@pytest.mark.parametrize("buffering", BUFFERING)
def test_a_part_of_a_file(lb, buffering):
    source = Source(lb)
    source.breaks = [5000]
    lb.start(location=f"proxy_buffering {buffering};")
    answer = lb.get(headers={"Range": "bytes=1000-200000", "If-Match": TAG})
    assert answer.status == 206 and answer.header("Content-Range") == f"bytes 1000-200000/{SIZE}"
    assert answer.body == BODY[1000:200_001]
    assert [asked[1:] for asked in source.asked] == [("bytes=1000-200000", TAG), ("bytes=6000-200000", TAG)]


def test_one_that_broke_off_has_failed(lb):
    """So another one is asked, at once, and by those who come later."""
    source = Source(lb, backends=2)
    source.breaks = [1000]
    lb.start()
    assert lb.get().body == BODY
    first, second = (asked[0] for asked in source.asked)
    assert first != second
    assert lb.answering(3) == {second: 3}


def test_one_that_died(lb):
    """Nobody listens there any more when the rest is asked for."""
    source = Source(lb, backends=2)
    dead = []

    def die(handler):
        backend = next(one for one in source.backends if one.name == source.asked[-1][0])
        backend.stop()
        dead.append(backend.name)
        raise HangUp
    source.end = die
    source.breaks = [100_000]
    lb.start(parameters="max_fails=0")
    assert lb.get().body == BODY
    assert dead and source.asked[-1][0] not in dead


def test_one_that_says_nothing_more(lb):
    source = Source(lb)
    source.end = lambda handler: handler.wait_until_left()
    source.breaks = [100_000]
    lb.start(location="proxy_read_timeout 500ms;")
    assert lb.get().body == BODY
    assert len(notices(lb)) == 1


def test_one_that_is_reset(lb):
    source = Source(lb)
    source.end = lambda handler: handler.reset()
    source.breaks = [100_000]
    lb.start()
    assert lb.get().body == BODY


def test_the_connection_of_a_client_ends_with_it(lb):
    """nginx has given it up by then; but not before the end of the answer."""
    source = Source(lb)
    source.breaks = [100_000]
    lb.start()
    answer = raw(lb.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(BODY) and answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("tag, resume", [(None, "on"), ('W/"weak"', "on"), (TAG, "off")])
def test_what_is_not_gone_on_with(lb, tag, resume):
    """Without a strong entity tag nobody knows whether the bytes are the same."""
    source = Source(lb)
    source.tag = tag
    source.breaks = [1000]
    lb.start(location=f"ceph_lb_resume {resume};")
    assert broken(raw(lb.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert len(source.asked) == 1 and not notices(lb)


@pytest.mark.parametrize("buffering", BUFFERING)
def test_a_file_that_was_replaced(lb, buffering):
    """What is there now is another file: the client is told by the end that its answer is not whole."""
    source = Source(lb)

    def replaced(handler):
        source.tag = '"another tag"'
        raise HangUp
    source.end = replaced
    source.breaks = [1000]
    lb.start(location=f"proxy_buffering {buffering};",
             server='error_page 412 502 = /page; location = /page { return 200 "a page"; }')
    answer = raw(lb.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert broken(answer) and BODY.startswith(answer.partition(b"\r\n\r\n")[2])
    assert "cannot be gone on with from byte 1000 on: a backend answers 412" in lb.nginx.log()


def test_nobody_to_go_on_with(lb):
    source = Source(lb, backends=1)

    def die(handler):
        source.backends[0].stop()
        raise HangUp
    source.end = die
    source.breaks = [1000]
    lb.start(server='error_page 502 = /page; location = /page { return 200 "a page"; }')
    answer = raw(lb.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert broken(answer) and BODY.startswith(answer.partition(b"\r\n\r\n")[2])


def test_one_that_breaks_off_again_and_again(lb):
    source = Source(lb)
    source.breaks = [1000] * 50
    lb.start(parameters="max_fails=0")
    answer = raw(lb.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert broken(answer) and len(source.asked) == 6
    assert "broken off too often" in lb.nginx.log()


@pytest.mark.parametrize("buffering", BUFFERING)
def test_a_client_that_takes_its_time(lb, buffering):
    """What it has not taken yet comes before what is gone on with."""
    source = Source(lb)
    source.breaks = [250_000, 10_000]
    lb.start(parameters="max_fails=0", location=f"proxy_buffering {buffering}; proxy_max_temp_file_size 0;")
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(30)
        peer.connect(("127.0.0.1", lb.port))
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := peer.recv(3000):
            answer += data
    assert answer.partition(b"\r\n\r\n")[2] == BODY


def test_a_client_that_leaves_meanwhile(lb):
    source = Source(lb)
    backends = {backend.port for backend in source.backends}

    def end(handler):
        if len(source.asked) > 1:
            handler.wait_until_left()
        raise HangUp
    source.end = end
    source.breaks = [1000, 1000]
    lb.start()
    with socket.create_connection(("127.0.0.1", lb.port)) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: len(source.asked) == 2, what="the second request")
    wait_for(lambda: not any(open_to(port) for port in backends), what="the end of its connections")
    assert lb.get().status == 200


def test_over_http_2(lb):
    source = Source(lb)
    source.breaks = [100_000]
    port = lb.free_port()
    lb.start(server=f"listen 127.0.0.1:{port} http2;")
    got = subprocess.run(["curl", "-s", "--http2-prior-knowledge", f"http://127.0.0.1:{port}/"],
                         capture_output=True, check=True, timeout=30)
    assert got.stdout == BODY


def test_with_a_cache(lb):
    """What a cache takes in is its own matter."""
    source = Source(lb)
    source.breaks = [1000]
    lb.start(http=f"proxy_cache_path {lb.nginx.dir}/cache keys_zone=files:1m;",
             location="proxy_cache files; proxy_cache_valid 1h;")
    assert broken(raw(lb.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert lb.get().body == BODY
    assert not notices(lb)
