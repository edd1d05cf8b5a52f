"""Several ranges at a time; and that no byte is delivered that was not stored."""

import email
import email.policy
import http.client
import random

import pytest

from backend import backend
from files import KIB, MIB, Files, content, digest, everywhere, files, is_problem, target_of
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


# ---- what was damaged ----

def write_over(stack, namespace, name, offset, data):
    """As a disk that lies would: the content changes, what was noted with it stays."""
    import rados
    with rados.Rados(conffile=stack.env["CEPH_CONF"], name="client.admin") as cluster, \
            cluster.open_ioctx(stack.env["CEPH_POOL"]) as ioctx:
        ioctx.set_namespace(namespace)
        before = ioctx.read(name, len(data), offset)
        assert before != data and len(before) == len(data)
        ioctx.write(name, data, offset)


def uid_of(stack, name):
    return stack.command("rados", "-p", stack.env["CEPH_POOL"], "getxattr", name, "uid")


def read_until_it_breaks(port, name, headers=None):
    """(status, the bytes that came, whether all did)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", target_of(name), headers=headers or {})
    answer = connection.getresponse()
    try:
        return answer.status, answer.read(), True
    except http.client.IncompleteRead as broken:
        return answer.status, broken.partial, False
    finally:
        connection.close()


@pytest.mark.parametrize("at", (0, BLOCK + 7, STRIPE - 1, STRIPE + 3 * BLOCK + 5, 9 * MIB - 1))
def test_a_damaged_stripe_is_not_delivered(stack, work_dir, free_port, at):
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "damaged") as some:
        one.expected.append("DAMAGED")
        name, body = some.name("f"), content(9 * MIB)
        assert some.put(name, body).status == 201
        uid = uid_of(stack, name)
        write_over(stack, "stripe", f"{uid}.{at // STRIPE}", at % STRIPE, bytes([body[at] ^ 1]))

        status, found, whole = read_until_it_breaks(one.port, name)
        assert status == 200 and not whole
        assert len(found) <= at and digest(found) == digest(body[:len(found)])
        one.wait_log(rf'DAMAGED: "{name}", in the object {uid}\.{at // STRIPE} from byte {at % STRIPE // BLOCK * BLOCK} on')
        assert counter(one.port, "damaged_total") >= 1
        # A range that has the block in it breaks off; all others are as before.
        status, found, whole = read_until_it_breaks(one.port, name, {"Range": f"bytes={at}-{at}"})
        assert not whole and found == b""
        elsewhere = (at + 2 * BLOCK) % len(body) // BLOCK * BLOCK
        answer = some.get(name, {"Range": f"bytes={elsewhere}-{elsewhere + 99}"})
        assert answer.status == 206 and answer.body == body[elsewhere:elsewhere + 100]


def test_a_stripe_that_is_cut_short(stack, work_dir, free_port):
    import rados
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "damaged") as some:
        one.expected.append("DAMAGED")
        name, body = some.name("f"), content(9 * MIB)
        assert some.put(name, body).status == 201
        with rados.Rados(conffile=stack.env["CEPH_CONF"], name="client.admin") as cluster, \
                cluster.open_ioctx(stack.env["CEPH_POOL"]) as ioctx:
            ioctx.set_namespace("stripe")
            ioctx.trunc(f"{uid_of(stack, name)}.1", 100)
        status, found, whole = read_until_it_breaks(one.port, name)
        assert status == 200 and not whole and digest(found) == digest(body[:len(found)])
        one.wait_log("DAMAGED")


@pytest.mark.parametrize("size", (10, 300 * KIB, STRIPE))
def test_a_damaged_head_is_not_delivered(stack, work_dir, free_port, size):
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "damaged") as some:
        one.expected.append("DAMAGED")
        name, body = some.name("f"), content(size)
        assert some.put(name, body).status == 201
        write_over(stack, "", name, size - 1, bytes([body[-1] ^ 1]))
        is_problem(some.get(name), 500, "damaged")
        one.wait_log("DAMAGED")
        assert some.put(name, body).status == 200
        some.check(name, body)
