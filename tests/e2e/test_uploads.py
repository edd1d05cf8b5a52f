"""Uploads in parts: through any backend, in any order, and nothing of them is left over."""

import base64
import hashlib
import json
import random
import signal
import struct
import threading
import time
from pathlib import Path

import pytest

from backend import Backend, backend, faulty_binary
from files import KIB, MIB, Files, content, digest, encode, everywhere, files, in_parallel, is_problem, target_of
from pool import own_pool
from stack import Client, wait_for

PART = 4 * MIB


@pytest.fixture(scope="module")
def pool(stack, work_dir, free_port):
    with own_pool(stack, work_dir, free_port, program=faulty_binary()) as some:
        yield some


def begin(client, name, size=None, headers=None):
    query = f"name={encode(name, keep=b'')}" + (f"&size={size}" if size is not None else "")
    return client.request("POST", f"/uploads?{query}", headers=headers)


def begun(client, name, size=None, headers=None):
    answer = begin(client, name, size, headers)
    assert answer.status == 201, answer
    told = json.loads(answer.body)
    assert answer.header("Location") == f"/uploads/{told['id']}"
    return told["id"]


def put(client, upload, number, body, headers=None):
    return client.put(f"/uploads/{upload}/{number}", body, headers)


def publish(client, upload, size, **members):
    return client.request("POST", f"/uploads/{upload}", json.dumps({"size": size, **members}).encode())


def parts_of(body):
    return [body[at:at + PART] for at in range(0, len(body), PART)]


@pytest.mark.parametrize("declared", (True, False))
@pytest.mark.parametrize("size", (0, 1, PART, PART + 1, 5 * PART - 7))
def test_a_whole_upload(everywhere, size, declared):
    user, body = everywhere, content(size, "upload")
    name = user.name("a b/ü.txt")
    user.remember(name)
    answer = begin(user.client, name, size if declared else None, {"X-Meta-Author": "Ada"})
    told = json.loads(answer.body)
    assert (told["name"], told["part_size"], told["size"]) == (name, PART, size if declared else None)
    assert told["parts_most"] == (-(-size // PART) if declared else 10_000)
    upload = told["id"]
    assert user.get(name).status == 404
    numbered = list(enumerate(parts_of(body)))
    random.Random(size).shuffle(numbered)
    for number, part in numbered:
        assert put(user.client, upload, number, part).status == 204
    state = json.loads(user.client.get(f"/uploads/{upload}").body)
    assert state["received"] == size and not state["published"]
    assert [part["number"] for part in state["parts"]] == sorted(number for number, _ in numbered)
    assert user.get(name).status == 404

    answer = publish(user.client, upload, size)
    assert answer.status == 201, answer
    assert answer.header("Location") == target_of(name)
    [told] = json.loads(answer.body)["objects"]
    assert (told["name"], told["size"], told["created"], told["type"]) == (name, size, True, "text/plain")
    found = user.check(name, body)
    assert found.header("ETag") == answer.header("ETag") == told["etag"]
    assert found.header("X-Meta-Author") == "Ada"
    [listed] = json.loads(user.listing(f"prefix={encode(name)}").body)["objects"]
    assert (listed["size"], listed["etag"]) == (size, told["etag"])

    # Asked again, it says the same; also when the file is another one by now.
    again = publish(user.client, upload, size)
    assert (again.status, again.header("ETag")) == (200, answer.header("ETag"))
    user.put(name, b"other")
    again = publish(user.client, upload, size)
    assert (again.status, again.header("ETag")) == (200, answer.header("ETag"))
    user.check(name, b"other")


def test_the_size_of_a_part(files):
    for size, part_size in ((PART, PART), (40_000 * MIB + 1, 2 * PART)):
        told = json.loads(begin(files.client, files.name("f"), size).body)
        assert (told["part_size"], told["parts_most"]) == (part_size, -(-size // part_size))
        assert files.client.delete(f"/uploads/{told['id']}").status == 204
    is_problem(begin(files.client, files.name("f"), (5 << 40) + 1), 413, "too-large")


def test_larger_parts(files):
    """The parts of a file that has not all of them yet: its size was declared, so they are larger ones."""
    size = 90_000 * MIB - 5
    told = json.loads(begin(files.client, files.name("f"), size).body)
    assert told["part_size"] == 16 * MIB
    assert put(files.client, told["id"], 5, content(16 * MIB)).status == 204
    is_problem(put(files.client, told["id"], 5624, content(16 * MIB)), 400, "bad-part", "has to have")
    answer = publish(files.client, told["id"], size)
    problem = json.loads(answer.body)
    assert is_problem(answer, 409, "parts-missing") and problem["missing"] == [*range(5), *range(6, 1001)]
    assert files.client.delete(f"/uploads/{told['id']}").status == 204


def test_bad_input(files):
    client, name = files.client, files.name("f")
    for query in ("", "?", "?size=5", "?name=a&name=b", "?name=a&size=x", "?name=a&size=-1", "?name=a&other=1", "?name=%G"):
        is_problem(client.request("POST", f"/uploads{query}"), 400)
    is_problem(client.request("POST", "/uploads?name="), 400, "bad-name")
    is_problem(client.request("POST", f"/uploads?name={encode(name, keep=b'')}", b"body"), 400, "bad-request", "no body")
    is_problem(client.get("/uploads"), 405)
    is_problem(client.get("/uploads/"), 404, "no-such-upload")
    for path in ("0" * 32, "nonsense", "0" * 31, "G" * 32):
        is_problem(client.get(f"/uploads/{path}"), 404, "no-such-upload")
        is_problem(client.delete(f"/uploads/{path}"), 404, "no-such-upload")
        is_problem(put(client, path, 0, b"x"), 404, "no-such-upload")
        is_problem(publish(client, path, 5), 404, "no-such-upload")
    upload = begun(client, name, 2 * PART + 5)
    for number in ("x", "-1", "", "1.5", "999999999", "1/2"):
        is_problem(put(client, upload, number, b"x"), 400, "bad-part")
    is_problem(put(client, upload, 3, b"x" * 5), 400, "bad-part", "from 0 to 2")
    is_problem(put(client, upload, 0, b"x" * 5), 400, "bad-part", "has to have 4194304")
    is_problem(put(client, upload, 2, b"x" * 6), 400, "bad-part", "has to have 5")
    is_problem(put(client, upload, 2, b""), 400, "bad-part")
    for body in (b"", b"{}", b"[]", b"5", b"{", b'{"size": "5"}', b'{"size": -1}', b'{"size": 1.5}', b'{"size": 1e30}',
                 b'{"size": 5, "other": 1}', b'{"size": 5, "repr_digest": 5}', b'{"size": 5, "repr_digest": "x"}',
                 b'{"size": 5}' + b" " * 5000, b'{"size": 5}\0'):
        is_problem(client.request("POST", f"/uploads/{upload}", body), 400, "bad-request")
    is_problem(publish(client, upload, 5), 400, "bad-request", "another size")
    is_problem(publish(client, upload, 2 * PART + 5), 409, "parts-missing")
    assert json.loads(client.get(f"/uploads/{upload}").body)["parts"] == []
    assert client.delete(f"/uploads/{upload}").status == 204
    for answer in (client.get(f"/uploads/{upload}"), put(client, upload, 2, b"x" * 5), publish(client, upload, 2 * PART + 5),
                   client.delete(f"/uploads/{upload}")):
        is_problem(answer, 404, "no-such-upload")
    assert files.get(name).status == 404


def test_parts_that_do_not_make_up_the_file(files):
    client, name = files.client, files.name("f")
    upload = begun(client, name)
    assert put(client, upload, 1, b"short").status == 204
    assert put(client, upload, 3, b"short").status == 204
    answer = publish(client, upload, 2 * PART + 5)
    problem = json.loads(answer.body)
    assert is_problem(answer, 409, "parts-missing")
    assert (problem["missing"], problem["wrong_size"]) == ([0, 2], [1, 3])
    assert client.delete(f"/uploads/{upload}").status == 204


def test_a_part_never_changes(files):
    client, name, body = files.client, files.name("f"), content(PART + 5)
    files.remember(name)
    upload = begun(client, name)
    first, last = parts_of(body)
    for _ in range(2):
        assert put(client, upload, 0, first).status == 204
    is_problem(put(client, upload, 0, content(PART, "other")), 409, "part-conflict")
    is_problem(put(client, upload, 0, first[:-1]), 409, "part-conflict")
    assert put(client, upload, 1, last).status == 204
    assert publish(client, upload, len(body)).status == 201
    is_problem(put(client, upload, 0, first), 409, "part-conflict", "published")
    is_problem(put(client, upload, 2, b"x"), 409, "part-conflict", "published")
    is_problem(publish(client, upload, 5), 409, "part-conflict", "another size")
    files.check(name, body)


def test_an_empty_file_is_published_once(files):
    """By all who try at the same moment."""
    name = files.name("empty")
    files.remember(name)
    upload, answers = begun(files.client, name, 0), []
    in_parallel(4, range(4), lambda client, _: answers.append(publish(client, upload, 0)), files.port)
    assert {answer.status for answer in answers} <= {200, 201}
    assert len({answer.header("ETag") for answer in answers}) == 1
    files.check(name, b"")


def test_begun_and_given_up_many_times(files):
    """More often than a head has room for uploads under way."""
    name = files.name("f")
    for _ in range(40):
        assert files.client.delete(f"/uploads/{begun(files.client, name)}").status == 204
    assert files.get(name).status == 404
    files.put(name, b"there is a file now")
    for _ in range(40):
        assert files.client.delete(f"/uploads/{begun(files.client, name)}").status == 204
    files.check(name, b"there is a file now")


def test_head_of_an_upload(files):
    upload = begun(files.client, files.name("f"))
    told, asked = files.client.get(f"/uploads/{upload}"), files.client.request("HEAD", f"/uploads/{upload}")
    assert (asked.status, asked.body) == (200, b"")
    assert asked.header("Content-Length") == str(len(told.body))
    assert files.client.delete(f"/uploads/{upload}").status == 204
    assert files.client.request("HEAD", f"/uploads/{upload}").status == 404


def test_digests(files):
    client, name, body = files.client, files.name("f"), content(2 * PART + 5)
    files.remember(name)
    upload = begun(client, name)
    sha = lambda data: f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
    for number, part in enumerate(parts_of(body)):
        is_problem(put(client, upload, number, part, {"Content-Digest": sha(part + b"x")}), 400, "digest-mismatch")
        assert put(client, upload, number, part, {"Content-Digest": sha(part)}).status == 204
    is_problem(publish(client, upload, len(body), repr_digest=sha(b"other")), 400, "digest-mismatch", "sha-256")
    is_problem(publish(client, upload, len(body), repr_digest="crc32c=:AAAAAA==:"), 400, "digest-mismatch", "crc32c")
    assert files.get(name).status == 404
    assert publish(client, upload, len(body), repr_digest=sha(body)).status == 201
    told = files.check(name, body).header("Repr-Digest")
    assert sha(body) in told
    # The same bytes in one request have the same CRC, which is combined from those of the parts.
    assert files.put(files.name("g"), body).status == 201
    assert files.head(files.name("g")).header("Repr-Digest") in told
    assert publish(client, upload, len(body), repr_digest=told).status == 200


def test_conditions(files):
    client, name = files.client, files.name("f")
    is_problem(begin(client, name, headers={"If-Match": "*"}), 412)
    upload = begun(client, name, headers={"If-None-Match": "*"})
    assert put(client, upload, 0, b"mine").status == 204
    etag = files.put(name, b"theirs").header("ETag")
    is_problem(publish(client, upload, 4), 412, "precondition-failed")
    files.check(name, b"theirs")
    is_problem(begin(client, name, headers={"If-None-Match": "*"}), 412)
    assert files.delete(name).status == 204
    assert publish(client, upload, 4).status == 201
    files.check(name, b"mine")
    upload = begun(client, name, headers={"If-Match": files.head(name).header("ETag")})
    assert put(client, upload, 0, b"next").status == 204
    assert publish(client, upload, 4).status == 200
    files.check(name, b"next")
    assert etag != files.head(name).header("ETag")


def test_through_all_backends_at_once(stack):
    body = content(60 * MIB + 12345, "parallel")
    with Files(stack.port, "parallel") as some:
        name = some.name("f")
        some.remember(name)
        upload = begun(some.client, name, len(body))
        ports = [*stack.backend_ports, stack.port]
        numbered = [(ports[number % len(ports)], number, part) for number, part in enumerate(parts_of(body))]
        random.Random(7).shuffle(numbered)

        def send(client, one):
            port, number, part = one
            with Client(port) as own:
                assert put(own, upload, number, part).status == 204
        in_parallel(6, numbered, send, stack.port)
        outcomes = []
        in_parallel(4, range(4), lambda client, _: outcomes.append(publish(client, upload, len(body))), stack.port)
        assert {answer.status for answer in outcomes} <= {200, 201}
        assert len({answer.header("ETag") for answer in outcomes}) == 1
        some.check(name, body)


# ---- nothing is left over ----

def test_published_replaced_and_deleted(pool):
    client, body = Client(pool.ports[0]), content(3 * PART + 1)
    for size in (len(body), None):
        upload = begun(client, "f", size)
        for number, part in enumerate(parts_of(body)):
            with Client(pool.ports[number % 3]) as other:
                assert put(other, upload, number, part).status == 204
        with Client(pool.ports[2]) as other:
            assert publish(other, upload, len(body)).status in (200, 201)
        pool.wait_settled({"f": len(body)})
    assert digest(client.get(target_of("f")).body) == digest(body)
    assert client.delete(target_of("f")).status == 204
    pool.wait_settled({})
    client.close()


def test_given_up_and_forgotten(pool):
    client = Client(pool.ports[0])
    upload = begun(client, "given up", 2 * PART)
    assert put(client, upload, 0, content(PART)).status == 204
    assert client.delete(f"/uploads/{upload}").status == 204
    upload = begun(client, "forgotten", 2 * PART)
    assert put(client, upload, 0, content(PART)).status == 204
    pool.wait_settled({})
    is_problem(put(client, upload, 1, content(PART)), 404, "no-such-upload")
    is_problem(publish(client, upload, 2 * PART), 404, "no-such-upload")
    client.close()


def test_one_that_goes_on_is_not_given_up(pool):
    """For longer than the grace, but never idle for so long; and all backends are other ones in the middle."""
    client, body = Client(pool.ports[0]), content(8 * PART)
    upload = begun(client, "slow", len(body))
    for number, part in enumerate(parts_of(body)):
        begun_at = time.monotonic()
        assert put(client, upload, number, part).status == 204
        if number == 4:
            client.close()
            for one in pool.backends:
                one.close()
                one.start()
        # Two graces pass in all.
        wait_for(lambda: time.monotonic() - begun_at > 1, 5, "a second to pass")
    assert publish(client, upload, len(body)).status == 201
    assert digest(client.get(target_of("slow")).body) == digest(body)
    pool.wait_settled({"slow": len(body)})
    assert client.delete(target_of("slow")).status == 204
    pool.wait_settled({})
    client.close()


def test_stripes_of_64_mib(pool):
    """Uploads have the largest parts when their size is declared to be some hundreds of GiB: more than a test can send.
    So two parts are made a file by hand."""
    size = 64 * MIB
    body = content(size, "first") + content(size, "second")
    with Client(pool.ports[0]) as client, pool.ioctx() as heads:
        told = json.loads(begin(client, "large stripes", 5 << 40).body)
        assert (told["part_size"], told["parts_most"]) == (size, 81920)
        for number in range(2):
            with Client(pool.ports[number]) as other:
                assert put(other, told["id"], number, body[number * size:(number + 1) * size]).status == 204
        assert json.loads(client.get(f"/uploads/{told['id']}").body)["received"] == len(body)
        heads.set_xattr("large stripes", "manifest",
                        b"M\1" + b"".join(struct.pack("<BIQ", field, 8, value) for field, value in
                                          ((1, len(body)), (2, time.time_ns()), (5, size))))
        heads.set_xattr("large stripes", "uid", told["id"].encode())
        heads.set_xattr("large stripes", "tag", b"0" * 32)
        assert digest(client.get(target_of("large stripes")).body) == digest(body)
        for first, last in ((0, 0), (size - 3, size + 3), (size - 300 * KIB, size + 700 * KIB), (size, size),
                            (2 * size - 5, 2 * size - 1)):
            part = client.get(target_of("large stripes"), {"Range": f"bytes={first}-{last}"})
            assert (part.status, digest(part.body)) == (206, digest(body[first:last + 1]))
        assert client.delete(target_of("large stripes")).status == 204
    pool.wait_settled({})


@pytest.mark.parametrize("place", ("published", "upload-published"))
def test_an_empty_file_replaces_nothing_that_came_later(pool, place):
    """Published by one who dies before he can tell; then there is another file, and then it is tried again."""
    name, victim = f"empty {place}", pool.backends[0]
    victim.close()
    victim.environment["CEPH_LB_FAULT"] = place
    victim.start()
    try:
        with Client(pool.ports[1]) as other, Client(victim.port) as dying:
            upload = begun(other, name, 0)
            with pytest.raises(Exception):
                publish(dying, upload, 0)
            assert victim.wait() == -signal.SIGKILL
            assert other.put(target_of(name), b"newer").status == 200
            is_problem(publish(other, upload, 0), 404, "no-such-upload")
            assert other.get(target_of(name)).body == b"newer"
            assert other.delete(target_of(name)).status == 204
    finally:
        victim.environment.pop("CEPH_LB_FAULT")
        victim.close()
        victim.start()
    pool.wait_settled({})


def test_what_is_told_is_listed(pool):
    """One publishes and dies before he tells the index. Who is told by another that the file is there finds it in a listing."""
    victim, names = pool.backends[0], [f"listed {number}" for number in range(3)]
    victim.environment["CEPH_LB_FAULT"] = "published"
    try:
        for name in names:
            victim.close()
            victim.start()
            with Client(pool.ports[1]) as other, Client(victim.port) as dying:
                upload = begun(other, name, 5)
                assert put(other, upload, 0, b"hello").status == 204
                with pytest.raises(Exception):
                    publish(dying, upload, 5)
                answer = publish(other, upload, 5)
                listing = json.loads(other.get(f"/objects?prefix={encode(name)}").body)
                assert answer.status == 200
                assert [(one["name"], one["etag"]) for one in listing["objects"]] == [(name, answer.header("ETag"))]
                assert other.delete(target_of(name)).status == 204
    finally:
        victim.environment.pop("CEPH_LB_FAULT")
        victim.close()
        victim.start()
    pool.wait_settled({})


def is_stopped(process):
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_part_that_comes_too_late(pool):
    """It is about to be written when the upload is given up, and is written when nobody looks for it any more."""
    victim, answers = pool.backends[0], []
    options = victim.options
    victim.close()
    victim.environment["CEPH_LB_STOP"] = "part-judged"
    victim.options = (*options, "--upload-grace", 600)
    victim.start()
    try:
        with Client(pool.ports[1]) as other, Client(victim.port) as slow:
            upload = begun(other, "late", 2 * PART)
            sending = threading.Thread(target=lambda: answers.append(put(slow, upload, 1, content(PART))))
            sending.start()
            wait_for(lambda: is_stopped(victim.process), 30, "the backend to be stopped")
            assert other.delete(f"/uploads/{upload}").status == 204
            pool.wait_settled({})
            victim.signal(signal.SIGCONT)
            sending.join(60)
            is_problem(answers[0], 404, "no-such-upload")
            pool.wait_settled({}, 5)
    finally:
        victim.environment.pop("CEPH_LB_STOP")
        victim.options = options
        victim.close()
        victim.start()


@pytest.mark.parametrize("place", ("upload-given-up", "upload-noted", "claimed", "upload-created", "part-written", "part-recorded", "published",
                                   "indexed", "upload-published"))
def test_a_backend_dies(pool, place):
    """Another one goes on with it, where that can be; in any case nothing is left."""
    body, victim = content(PART + 5), pool.backends[0]
    name = f"dies {place}"
    victim.close()
    victim.environment["CEPH_LB_FAULT"] = place
    victim.start()
    try:
        at_begin = place in ("upload-noted", "claimed", "upload-created")
        with Client(pool.ports[1]) as other, Client(victim.port) as dying:
            if at_begin:
                with pytest.raises(Exception):
                    begin(dying, name, len(body))
                pool_files = {}
            elif place == "upload-given-up":
                upload = begun(other, name, len(body))
                assert put(other, upload, 0, body[:PART]).status == 204
                with pytest.raises(Exception):
                    dying.delete(f"/uploads/{upload}")
                is_problem(other.delete(f"/uploads/{upload}"), 404, "no-such-upload")
                pool_files = {}
            else:
                upload = begun(other, name, len(body))
                if place.startswith("part"):
                    with pytest.raises(Exception):
                        put(dying, upload, 0, body[:PART])
                for number, part in enumerate(parts_of(body)):
                    assert put(other, upload, number, part).status == 204
                if not place.startswith("part"):
                    with pytest.raises(Exception):
                        publish(dying, upload, len(body))
                answer = publish(other, upload, len(body))
                assert answer.status in (200, 201), answer
                pool_files = {name: len(body)}
                assert digest(other.get(target_of(name)).body) == digest(body)
            assert victim.wait() == -signal.SIGKILL
            pool.wait_settled(pool_files)
            for one in pool_files:
                assert other.delete(target_of(one)).status == 204
    finally:
        victim.environment.pop("CEPH_LB_FAULT")
        victim.close()
        victim.start()
    pool.wait_settled({})
