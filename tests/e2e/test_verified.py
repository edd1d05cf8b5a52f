"""No byte is delivered that was not stored: what RADOS gives back is compared with the checksums that were written."""

import contextlib
import http.client

import pytest
import rados

from backend import backend
from files import KIB, MIB, Files, content, digest, is_problem, target_of
from stack import Client

STRIPE, BLOCK = 4 * MIB, 256 * KIB
CHECKSUMS = "crc32c"


def counter(port, name):
    client = Client(port)
    text = client.get("/metrics").text
    client.close()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"ceph_lb_backend_{name} ")))


@contextlib.contextmanager
def pool_of(stack, namespace=""):
    with rados.Rados(conffile=stack.env["CEPH_CONF"], name="client.admin") as cluster, \
            cluster.open_ioctx(stack.env["CEPH_POOL"]) as ioctx:
        ioctx.set_namespace(namespace)
        yield ioctx


def write_over(stack, namespace, name, offset, data):
    """As a disk that lies would: the content changes, what was noted with it stays."""
    with pool_of(stack, namespace) as ioctx:
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
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "damaged") as some:
        one.expected.append("DAMAGED")
        name, body = some.name("f"), content(9 * MIB)
        assert some.put(name, body).status == 201
        with pool_of(stack, "stripe") as ioctx:
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


@pytest.mark.parametrize("checksums", (b"", b"\0" * 4, lambda right: right[:-1], lambda right: right[:-4],
                                       lambda right: right + b"\0", lambda right: right + right[:4]))
def test_checksums_that_are_damaged(stack, work_dir, free_port, checksums):
    """Too few, too many, or not of whole blocks: then nobody knows whether the bytes are right."""
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "damaged") as some:
        one.expected.append("DAMAGED")
        name, body = some.name("f"), content(9 * MIB)
        assert some.put(name, body).status == 201
        stripe = f"{uid_of(stack, name)}.1"
        with pool_of(stack, "stripe") as ioctx:
            right = ioctx.get_xattr(stripe, CHECKSUMS)
            assert len(right) == STRIPE // BLOCK * 4
            ioctx.set_xattr(stripe, CHECKSUMS, checksums(right) if callable(checksums) else checksums)
        status, found, whole = read_until_it_breaks(one.port, name)
        assert status == 200 and not whole
        assert len(found) <= STRIPE and digest(found) == digest(body[:len(found)])
        one.wait_log(rf'DAMAGED: "{name}", in the object {stripe} from byte 0 on')
        # A block whose own checksum is there and right is doubted too.
        status, found, whole = read_until_it_breaks(one.port, name, {"Range": f"bytes={STRIPE}-{STRIPE}"})
        assert not whole and found == b""
        assert some.get(name, {"Range": f"bytes=0-{STRIPE - 1}"}).body == body[:STRIPE]


def test_stripes_of_before_there_were_checksums(stack, work_dir, free_port):
    """They have none, and are read as they are."""
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "before") as some:
        name, body = some.name("f"), content(9 * MIB)
        assert some.put(name, body).status == 201
        with pool_of(stack, "stripe") as ioctx:
            for number in range(3):
                ioctx.rm_xattr(f"{uid_of(stack, name)}.{number}", CHECKSUMS)
        some.check(name, body)
        answer = some.get(name, {"Range": f"bytes={STRIPE - 1}-{STRIPE + BLOCK}"})
        assert digest(answer.body) == digest(body[STRIPE - 1:STRIPE + BLOCK + 1])
        assert counter(one.port, "damaged_total") == 0


@pytest.mark.parametrize("fields", (
    {"Range": "bytes=0-"}, {"Range": "bytes=-1000"}, {"Range": "bytes=0-0,5-5"},
    # The range does not count, so it is the whole file that is sent.
    {"Range": "bytes=0-0", "If-Range": '"other"'}, {"Range": "bytes=500-", "If-Range": '"other"'},
    # All of the content came with the head.
    {"Range": "bytes=0-0"}))
def test_a_damaged_head_in_ranges(stack, work_dir, free_port, fields):
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "damaged") as some:
        one.expected.append("DAMAGED")
        name, body = some.name("f"), content(1000)
        assert some.put(name, body).status == 201
        write_over(stack, "", name, 999, bytes([body[-1] ^ 1]))
        is_problem(some.get(name, fields), 500, "damaged")
        one.wait_log("DAMAGED")
        assert counter(one.port, "damaged_total") >= 1
        # Nothing of the content is asked for.
        assert some.head(name).status == 200


def test_a_damaged_part_of_several(stack, work_dir, free_port):
    """What comes before it comes; with it the answer breaks off."""
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "damaged") as some:
        one.expected.append("DAMAGED")
        name, body = some.name("f"), content(9 * MIB)
        assert some.put(name, body).status == 201
        write_over(stack, "stripe", f"{uid_of(stack, name)}.1", 5, bytes([body[STRIPE + 5] ^ 1]))
        status, found, whole = read_until_it_breaks(
            one.port, name, {"Range": f"bytes=0-99,{STRIPE}-{STRIPE + 9},{8 * MIB}-"})
        assert status == 206 and not whole
        head, _, first = found.partition(b"\r\n\r\n")
        assert b"Content-Range: bytes 0-99/" in head
        # The header of the part that cannot be had may still be there, but no byte of it.
        content_of_first, _, rest = first[:100], first[100:102], first[102:]
        assert content_of_first == body[:100]
        assert rest == b"" or rest.startswith(b"--") and rest.endswith(b"\r\n\r\n")


@pytest.mark.backend_errors("DAMAGED")
def test_it_breaks_off_through_the_load_balancer(stack):
    """nginx has passed the head on, so its client sees what the backend's would."""
    with Files(stack.port, "damaged") as some:
        name, body = some.name("f"), content(9 * MIB)
        assert some.put(name, body).status == 201
        at = 2 * STRIPE + 5
        write_over(stack, "stripe", f"{uid_of(stack, name)}.2", 5, bytes([body[at] ^ 1]))
        status, found, whole = read_until_it_breaks(stack.port, name)
        assert status == 200 and not whole
        assert len(found) <= at and digest(found) == digest(body[:len(found)])
        assert some.get(name, {"Range": "bytes=0-99,200-299"}).status == 206
        assert some.get(name, {"Range": f"bytes={STRIPE - 1}-{STRIPE}"}).body == body[STRIPE - 1:STRIPE + 1]


def test_it_breaks_off_from_each_kind_of_start(stack, work_dir, free_port):
    """Any first byte: whole blocks are read, and it is one of them that does not fit."""
    with backend(stack, work_dir, free_port()) as one, Files(one.port, "damaged") as some:
        one.expected.append("DAMAGED")
        name, body = some.name("f"), content(2 * STRIPE)
        assert some.put(name, body).status == 201
        bad = STRIPE + BLOCK  # the first byte of a block
        write_over(stack, "stripe", f"{uid_of(stack, name)}.1", BLOCK, bytes([body[bad] ^ 1]))
        for first, last in ((bad + BLOCK - 1, bad + BLOCK - 1), (bad - 1, bad), (bad + 7, bad + 2 * BLOCK),
                            (STRIPE - 1, bad), (0, bad)):
            status, found, whole = read_until_it_breaks(one.port, name, {"Range": f"bytes={first}-{last}"})
            assert status == 206 and not whole and digest(found) == digest(body[first:first + len(found)])
            assert first + len(found) <= bad or found == b""
        for first, last in ((0, bad - 1), (bad + BLOCK, 2 * STRIPE - 1), (bad - 1, bad - 1)):
            answer = some.get(name, {"Range": f"bytes={first}-{last}"})
            assert answer.status == 206 and digest(answer.body) == digest(body[first:last + 1])
