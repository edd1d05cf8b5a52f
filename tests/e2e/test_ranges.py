"""Several ranges at a time."""

import email
import email.policy
import random

import pytest

from backend import backend
from files import KIB, MIB, Files, Wire, content, digest, everywhere, files, head_of, is_problem, target_of
from stack import Client, wait_for

STRIPE, BLOCK = 4 * MIB, 256 * KIB
SIZES = (1000, 200 * KIB, STRIPE, 2 * STRIPE + 5)


def parts(answer):
    """[(Content-Range, Content-Type, bytes)] of a multipart/byteranges, read by somebody else's parser."""
    assert answer.status == 206, answer
    assert answer.header("Content-Range") is None
    head = f"Content-Type: {answer.header('Content-Type')}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.body, policy=email.policy.HTTP)
    assert message.get_content_type() == "multipart/byteranges" and not message.defects
    boundary = message.get_boundary().encode()
    # The parser of mails may touch line ends, so the bytes are cut out by the lengths that are told.
    found, at = [], 0
    for part in message.iter_parts():
        told = part["Content-Range"]
        first, last = map(int, told.split(" ")[1].split("/")[0].split("-"))
        header = b"%s--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n" % (
            b"\r\n" if found else b"", boundary, part["Content-Type"].encode(), told.encode())
        assert answer.body[at:at + len(header)] == header
        at += len(header)
        found.append((told, part["Content-Type"], answer.body[at:at + last - first + 1]))
        at += last - first + 1
    assert answer.body[at:] == b"\r\n--%s--\r\n" % boundary
    assert int(answer.header("Content-Length")) == len(answer.body)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_several_ranges(everywhere, size):
    user, body = everywhere, content(size)
    name = user.name("f.txt")
    assert user.put(name, body).status == 201
    middle = size // 2
    rows = [
        (f"bytes=0-9,{middle}-{middle + 9}", [(0, 10), (middle, middle + 10)]),
        ("bytes=-5, 0-0", [(size - 5, size), (0, 1)]),
        (f"bytes=10-19,0-4,{size - 1}-", [(10, 20), (0, 5), (size - 1, size)]),
        (f"bytes=0-9,{middle}-{middle + 9},5-14", [(0, 15), (middle, middle + 10)]),
        (f"bytes=0-1,{size}-,5-6", [(0, 2), (5, 7)]),
        (f"bytes={BLOCK - 3}-{BLOCK + 3},{STRIPE - 3}-{STRIPE + 3},0-0",
         [(first, min(last, size)) for first, last in ((BLOCK - 3, BLOCK + 4), (STRIPE - 3, STRIPE + 4), (0, 1)) if first < size]),
    ]
    for field, spans in rows:
        answer = user.get(name, {"Range": field})
        if len(spans) == 1:
            first, last = spans[0]
            assert answer.header("Content-Range") == f"bytes {first}-{last - 1}/{size}" and answer.body == body[first:last]
            continue
        assert [(told, kind) for told, kind, _ in parts(answer)] == [
            (f"bytes {first}-{last - 1}/{size}", "text/plain") for first, last in spans], field
        assert [digest(part) for _, _, part in parts(answer)] == [digest(body[first:last]) for first, last in spans], field
        assert answer.header("ETag") and answer.header("Repr-Digest")
        head = user.head(name, {"Range": field})
        assert head.status == 200 and head.header("Content-Length") == str(size)


def test_what_comes_to_one_range(files):
    body = content(5000)
    assert files.put(files.name("f"), body).status == 201
    for field in ("bytes=0-99,50-199", "bytes=100-199,0-99", "bytes=0-199,9999-", ", bytes=0-199"[2:] + ","):
        answer = files.get(files.name("f"), {"Range": field})
        assert (answer.status, answer.header("Content-Range")) == (206, "bytes 0-199/5000"), field
        assert answer.body == body[:200]


def test_none_and_too_many(files):
    body = content(5000)
    assert files.put(files.name("f"), body).status == 201
    answer = files.get(files.name("f"), {"Range": "bytes=5000-,9000-9999"})
    assert is_problem(answer, 416, "range-not-satisfiable") and answer.header("Content-Range") == "bytes */5000"
    most = ",".join(f"{2 * n}-{2 * n}" for n in range(32))
    assert len(parts(files.get(files.name("f"), {"Range": f"bytes={most}"}))) == 32
    is_problem(files.get(files.name("f"), {"Range": f"bytes={most},4000-"}), 416, "range-not-satisfiable", "32")
    for field in ("bytes=0-1,x", "lines=1-2,3-4", "bytes=2-1,5-6"):
        files.check(files.name("f"), body)
        assert files.get(files.name("f"), {"Range": field}).status == 200, field


@pytest.mark.parametrize("size", (100_000, 9 * MIB))
def test_any_ranges(everywhere, size):
    user, body, dice = everywhere, content(size, "any"), random.Random(size)
    assert user.put(user.name("f"), body).status == 201
    for _ in range(12):
        spans = []
        for _ in range(dice.randrange(1, 6)):
            first = dice.randrange(size)
            spans.append((first, min(size - 1, first + dice.choice((0, 10, 5000, 2 * MIB)))))
        answer = user.get(user.name("f"), {"Range": "bytes=" + ",".join(f"{first}-{last}" for first, last in spans)})
        wanted = bytearray(size)
        for first, last in spans:
            wanted[first:last + 1] = b"\x01" * (last + 1 - first)
        found = ([(answer.header("Content-Range"), None, answer.body)]
                 if answer.header("Content-Range") else parts(answer))
        for told, _, part in found:
            first, last = map(int, told.split(" ")[1].split("/")[0].split("-"))
            assert digest(part) == digest(body[first:last + 1]), told
            assert all(wanted[first:last + 1])
            wanted[first:last + 1] = bytes(last + 1 - first)
        assert not any(wanted)


def test_if_range_with_several(files):
    body = content(9 * MIB, "if-range")
    etag = files.put(files.name("f"), body).header("ETag")
    assert len(parts(files.get(files.name("f"), {"Range": "bytes=0-1,5-6", "If-Range": etag}))) == 2
    answer = files.get(files.name("f"), {"Range": "bytes=0-1,5-6", "If-Range": '"other"'})
    assert answer.status == 200 and digest(answer.body) == digest(body)


def counter(port, name):
    client = Client(port)
    text = client.get("/metrics").text
    client.close()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"ceph_lb_backend_{name} ")))


def test_only_what_is_needed_is_read(stack, work_dir, free_port):
    """A head, and one block for each of the ranges."""
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "needed") as some:
        assert some.put(some.name("f"), content(64 * MIB)).status == 201
        before = counter(one.port, "rados_operations_total")
        answer = some.get(some.name("f"), {"Range": f"bytes=0-9,{10 * MIB}-{10 * MIB + 9},-10"})
        assert len(parts(answer)) == 3
        assert counter(one.port, "rados_operations_total") - before <= 4


def test_several_fields_are_no_list_of_ranges(files):
    """Put together they read "bytes=0-1, bytes=2-3", and that is not the syntax."""
    name, body = files.name("f"), content(1000)
    assert files.put(name, body).status == 201
    with Wire(files.port) as wire:
        wire.send(head_of("GET", target_of(name), "Range: bytes=0-1", "Range: bytes=5-6"))
        status, fields, found = wire.response()
    assert (status, digest(found)) == (200, digest(body))


def test_ranges_of_a_large_object_of_others(everywhere, stack, tmp_path):
    """What another program has put lies in one object, however large it is."""
    user, body = everywhere, content(10 * MIB + 3, "foreign")
    name = user.name("foreign")
    user.remember(name)
    (tmp_path / "file").write_bytes(body)
    stack.command("rados", "-p", stack.env["CEPH_POOL"], "put", name, str(tmp_path / "file"))
    spans = [(STRIPE - 2, STRIPE + 1), (9 * MIB, len(body) - 1), (0, 3 * MIB)]
    found = parts(user.get(name, {"Range": "bytes=" + ",".join(f"{first}-{last}" for first, last in spans)}))
    assert [digest(part) for _, _, part in found] == [digest(body[first:last + 1]) for first, last in spans]


def test_replaced_between_two_ranges(stack, work_dir, free_port):
    """The answer is of the version with which it began, to its last part."""
    old, new = content(64 * MIB, "old"), content(STRIPE + 1, "new")
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "ranges") as some:
        name = some.name("f")
        assert some.put(name, old).status == 201
        with Wire(one.port, receive_buffer=8 * KIB) as wire:
            wire.send(head_of("GET", target_of(name), f"Range: bytes=0-{30 * MIB - 1},{33 * MIB}-"))
            status, fields = wire.head()
            assert status == 206
            assert some.put(name, new).status == 200
            some.check(name, new)
            found = wire.take(int(fields["content-length"]))
    first = found.index(b"\r\n\r\n") + 4
    assert digest(found[first:first + 30 * MIB]) == digest(old[:30 * MIB])
    second = found.index(b"\r\n\r\n", first + 30 * MIB) + 4
    assert digest(found[second:second + 31 * MIB]) == digest(old[33 * MIB:])


@pytest.mark.parametrize("taken", (0, 50, 1 * MIB, 31 * MIB))
def test_a_client_that_leaves(stack, work_dir, free_port, taken):
    """In the first part's header, in a part, in a later one: nothing of its request stays, and others are served."""
    body = content(64 * MIB, "leaves")
    with backend(stack, work_dir, free_port(), "--memory", "16MiB", "--threads", 1) as one, \
            Files(one.port, "ranges") as some:
        name = some.name("f")
        assert some.put(name, body).status == 201
        for _ in range(4):
            with Wire(one.port, receive_buffer=8 * KIB) as wire:
                wire.send(head_of("GET", target_of(name), f"Range: bytes=0-{30 * MIB - 1},{33 * MIB}-"))
                assert wire.head()[0] == 206
                wire.take(taken)
        # The one that is left is the request for the metrics.
        wait_for(lambda: counter(one.port, "requests_active") == 1, 30, "the requests to be over")
        some.check(name, body)
