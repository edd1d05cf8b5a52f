"""Large bodies: memory stays flat, nothing is left of those that break off, and a full --spool-dir is a 507."""

import contextlib
import hashlib
import http.client
import itertools
import json
import os
import re
import resource
import subprocess
from pathlib import Path

import pytest

from backend import backend
from files import KIB, MIB, Files, Wire, at_once, head_of, target_of
from stack import request, wait_for

BLOCK = os.urandom(MIB)


class Pieces:
    """A body of many pieces that nobody holds at once; each piece differs from the others."""

    def __init__(self, mebibytes):
        self.count = mebibytes

    def __iter__(self):
        for number in range(self.count):
            yield number.to_bytes(8, "big") + BLOCK[8:]

    def digest(self):
        digest = hashlib.sha256()
        for piece in self:
            digest.update(piece)
        return digest.hexdigest()


def put(port, name, pieces, headers=None, chunked=False):
    """Sends it all, whatever is said meanwhile, as simple clients do; status, fields and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    with contextlib.closing(connection):
        fields = dict(headers or {})
        if not chunked:
            fields["Content-Length"] = str(pieces.count * MIB)
        connection.request("PUT", target_of(name), iter(pieces), fields, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def digest_of(port, name):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    digest = hashlib.sha256()
    with contextlib.closing(connection):
        connection.request("GET", target_of(name))
        answer = connection.getresponse()
        assert answer.status == 200
        while data := answer.read(MIB):
            digest.update(data)
    return digest.hexdigest()


def peak_memory(one):
    status = Path(f"/proc/{one.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * KIB


def bodies_kept(one):
    """The files of bodies that the process holds, by descriptor or by mapping."""
    found = []
    for descriptor in Path(f"/proc/{one.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(descriptor))
    maps = Path(f"/proc/{one.process.pid}/maps").read_text()
    return [line for line in [*found, *maps.splitlines()] if "ceph-lb-body" in line]


def limit_files(one, size):
    """No file of that process may grow larger: what a full disk does to one body."""
    resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def is_refused(answer):
    status, fields, body = answer
    fields = {name.lower(): value for name, value in fields.items()}
    assert (status, fields["content-type"]) == (507, "application/problem+json"), body
    assert fields["retry-after"].isdigit()
    problem = json.loads(body)
    assert (problem["status"], problem["type"]) == (507, "urn:ceph-lb:problem:spool-full")
    return fields


@pytest.fixture
def one(stack, work_dir, free_port):
    with backend(stack, work_dir, free_port(), "--threads", 2) as started:
        yield started
        assert not bodies_kept(started)


@pytest.fixture
def user(one):
    with Files(one.port, "large") as files:
        yield files


# --- memory -----------------------------------------------------------------------------------------

def test_a_large_file_through_nginx(stack):
    with Files(stack.port, "large") as user:
        name, pieces = user.name("file"), Pieces(300)
        user.remember(name)
        assert put(stack.port, name, pieces)[0] == 201
        assert digest_of(stack.port, name) == pieces.digest()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.skipif(os.environ.get("SANITIZE") == "1", reason="AddressSanitizer's own memory grows")
def test_memory_stays_flat(one, user, chunked):
    """Four at a time, which are twice as large together as what the process may take."""
    names, pieces = [user.name(str(number)) for number in range(4)], Pieces(192)
    user.remember(*names)
    answers = at_once([lambda name=name: put(one.port, name, pieces, chunked=chunked) for name in names])
    assert [answer[0] for answer in answers] == [201] * 4
    assert peak_memory(one) < (256 + 128) * MIB
    assert digest_of(one.port, names[3]) == pieces.digest()


def test_a_form_with_a_large_file(one, user):
    name, pieces = user.name("form"), Pieces(400)
    user.remember(name)
    begin = (f'--limit\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n').encode()
    end = b"\r\n--limit--\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=300)
    with contextlib.closing(connection):
        connection.request("POST", "/objects", itertools.chain([begin], pieces, [end]),
                           {"Content-Type": "multipart/form-data; boundary=limit",
                            "Content-Length": str(len(begin) + pieces.count * MIB + len(end))})
        assert connection.getresponse().status == 201
    if os.environ.get("SANITIZE") != "1":
        assert peak_memory(one) < (256 + 128) * MIB
    assert digest_of(one.port, name) == pieces.digest()


def test_another_request_follows_a_large_body_at_once(one, user):
    """Sent without waiting for the answer, so that it is read together with the body's end."""
    name = user.name("first")
    user.remember(name)
    with Wire(one.port, timeout=60) as wire:
        body = b"".join(Pieces(8))
        wire.send(head_of("PUT", target_of(name), f"Content-Length: {len(body)}") + body +
                  head_of("PUT", target_of(name), f"Content-Length: {len(body)}") + body +
                  head_of("GET", "/healthz"))
        assert [wire.response()[0] for _ in range(3)] == [201, 200, 200]
    assert digest_of(one.port, name) == Pieces(8).digest()


def test_a_body_whose_sender_waits_for_100(one, user):
    name, body = user.name("continue"), b"".join(Pieces(8))
    user.remember(name)
    with Wire(one.port, timeout=60) as wire:
        wire.send(head_of("PUT", target_of(name), f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert wire.head()[0] == 100
        wait_for(lambda: bodies_kept(one), what="its file")
        wire.send(body)
        assert wire.response()[0] == 201
    assert digest_of(one.port, name) == Pieces(8).digest()


# --- bodies that break off --------------------------------------------------------------------------

@pytest.mark.parametrize("fields", ["Content-Length: 100000000", "Transfer-Encoding: chunked"])
def test_a_client_that_leaves_takes_its_file_along(one, user, fields):
    name = user.name("left")
    with Wire(one.port) as wire:
        wire.send(head_of("PUT", target_of(name), fields) + (b"1000000\r\n" if "chunked" in fields else b""))
        for piece in Pieces(4):
            wire.send(piece)
        wait_for(lambda: bodies_kept(one), what="its file")
    wait_for(lambda: not bodies_kept(one), what="its file to be gone")
    assert user.names() == []


def test_a_body_that_stalls_is_cut_off_with_its_file(stack, work_dir, free_port):
    with backend(stack, work_dir, free_port(), "--request-timeout", 2) as one, Wire(one.port) as wire:
        wire.send(head_of("PUT", "/objects/stalled", "Content-Length: 100000000") + BLOCK)
        wait_for(lambda: bodies_kept(one), what="its file")
        assert wire.closed()
        wait_for(lambda: not bodies_kept(one), what="its file to be gone")


# --- no room ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("fields", [(), ("Expect: 100-continue",)], ids=["plain", "100-continue"])
def test_no_room_for_what_is_announced(one, user, fields):
    """Said before the body comes; and the server goes on for those for whom there is room."""
    limit_files(one, 16 * MIB)
    with Wire(one.port) as wire:
        wire.send(head_of("PUT", target_of(user.name("x")), f"Content-Length: {32 * MIB}", *fields))
        status, answer_fields = wire.head()
        if status == 100:
            status, answer_fields = wire.head()
        body = wire.take(int(answer_fields["content-length"]))
        assert is_refused((status, answer_fields, body))["connection"] == "close"
        assert wire.closed()
    wait_for(lambda: not bodies_kept(one), what="its file to be gone")
    one.wait_log(r"warn .*--spool-dir: File too large")
    assert user.put(user.name("smaller"), BLOCK * 8).status == 201
    assert user.names() == [user.name("smaller")]


def test_a_client_that_does_not_listen_gets_the_answer_all_the_same(one, user):
    """It sends all of its body before it reads: the connection must not be reset under it."""
    limit_files(one, 16 * MIB)
    is_refused(put(one.port, user.name("x"), Pieces(64)))
    assert user.names() == []


def test_no_room_in_the_middle_of_a_body(one, user):
    limit_files(one, 64 * MIB)
    is_refused(put(one.port, user.name("x"), Pieces(128), chunked=True))
    assert user.put(user.name("y"), BLOCK * 2).status == 201
    assert user.names() == [user.name("y")]


def test_no_room_as_text(one, user):
    limit_files(one, 16 * MIB)
    status, fields, body = put(one.port, user.name("x"), Pieces(32), {"Accept": "text/plain"})
    assert (status, fields["Content-Type"]) == (507, "text/plain; charset=utf-8")
    assert body == b"The server has no room for the body at the moment\n"


def test_no_room_for_a_request_without_a_body_in_its_answer(one):
    limit_files(one, 16 * MIB)
    with Wire(one.port) as wire:
        wire.send(head_of("HEAD", "/objects/x", f"Content-Length: {32 * MIB}"))
        assert wire.head()[0] == 507
        assert wire.closed() and not wire.rest


def test_no_room_through_nginx(stack, one, user):
    """nginx passes the answer on, and does not take the backend for a broken one."""
    limit_files(one, 16 * MIB)
    stack.sql("UPDATE addresses SET state = 'down';"
              f"INSERT INTO addresses (address, port) VALUES ('127.0.0.1', {one.port})")
    try:
        for _ in range(5):
            fields = is_refused(put(stack.port, user.name("x"), Pieces(64)))
            assert fields["x-backend"] == one.address
        assert request(stack.port, "PUT", target_of(user.name("y")), BLOCK).status == 201
        user.remember(user.name("y"))
    finally:
        stack.sql("DELETE FROM addresses WHERE seen IS NULL; UPDATE addresses SET state = 'up'")


def test_many_bodies_in_a_directory_that_is_too_small(stack, work_dir, free_port):
    """Really full: each is either stored or refused, nobody is cut off, and the room comes back."""
    directory = work_dir / "small-spool"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", directory], capture_output=True,
                      check=False).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        with backend(stack, work_dir, free_port(), "--threads", 2, "--spool-dir", directory) as one, \
                Files(one.port, "large") as user:
            names = [user.name(str(number)) for number in range(12)]
            user.remember(*names)
            ways = [(name, number % 2 == 1) for number, name in enumerate(names)]
            answers = at_once([lambda name=name, chunked=chunked: put(one.port, name, Pieces(20), chunked=chunked)
                               for name, chunked in ways])
            stored = [name for name, answer in zip(names, answers) if answer[0] == 201]
            for answer in answers:
                if answer[0] != 201:
                    is_refused(answer)
            assert 0 < len(stored) < len(names)
            assert user.names() == sorted(stored)
            assert all(digest_of(one.port, name) == Pieces(20).digest() for name in stored)
            wait_for(lambda: not bodies_kept(one), what="the room to come back")
            assert os.statvfs(directory).f_bfree == os.statvfs(directory).f_blocks
            assert put(one.port, names[0], Pieces(60))[0] in (200, 201)
            assert "failed to" not in one.log
    finally:
        subprocess.run(["umount", directory], check=True)
