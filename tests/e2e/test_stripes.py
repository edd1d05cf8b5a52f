"""Files above one stripe: where they lie in RADOS, and that nothing of them is lost or left over."""

import json
import signal
import threading

import pytest

from backend import Backend, backend
from files import MIB, Files, content, digest, in_parallel, is_problem, target_of
from stack import Client, wait_for

STRIPE = 4 * MIB
GRACES = ("--collect-interval", 1, "--download-grace", 1, "--upload-grace", 10)


def rados(stack, *words, namespace="", check=True):
    where = ("-N", namespace) if namespace else ()
    return stack.command("rados", "-p", stack.env["CEPH_POOL"], *where, *words, check=check)


def stripes(stack):
    """How many stripes each stripe set has, by uid."""
    found = {}
    for name in rados(stack, "ls", namespace="stripe").split():
        uid, number = name.rsplit(".", 1)
        found.setdefault(uid, set()).add(int(number))
    return {uid: len(numbers) for uid, numbers in found.items()}


def log_entries(stack):
    shards = rados(stack, "ls", namespace="gc").split()
    return [key for shard in shards for key in rados(stack, "listomapkeys", shard, namespace="gc").split()]


def xattrs(stack, name):
    return set(rados(stack, "listxattr", name).split())


def uid_of(stack, name):
    return rados(stack, "getxattr", name, "uid")


def uids_in_use(stack):
    found = (stack.command("rados", "-p", stack.env["CEPH_POOL"], "getxattr", name, "uid", check=False)
             for name in rados(stack, "ls").splitlines())
    return {uid for uid in found if uid}


def wait_until_collected(stack):
    wait_for(lambda: set(stripes(stack)) == uids_in_use(stack), 60, "all stripes of no use to be collected", 0.5)
    wait_for(lambda: not log_entries(stack), 60, "the log to be empty", 0.5)


@pytest.fixture
def collecting(stack, work_dir, free_port):
    """A backend whose graces are short. At the end there is no stripe that is not in use, and no log entry."""
    with backend(stack, work_dir, free_port(), "--max-file-size", "256MiB", *GRACES) as one:
        yield one
        wait_until_collected(stack)


@pytest.fixture
def files(collecting):
    with Files(collecting.port, "stripes") as some:
        yield some


@pytest.mark.parametrize("size", [STRIPE, STRIPE + 1, 2 * STRIPE - 1, 2 * STRIPE, 2 * STRIPE + 1, 64 * MIB])
def test_bytes_in_are_bytes_out(stack, size):
    with Files(stack.port, "stripes") as some:
        name, body = some.name("file"), content(size)
        assert some.put(name, body).status == 201
        some.check(name, body)
        if size <= STRIPE:
            assert xattrs(stack, name) == {"tag", "manifest"}
        else:
            assert xattrs(stack, name) == {"tag", "manifest", "uid"}
            assert stripes(stack)[uid_of(stack, name)] == -(-size // STRIPE)


def test_ranges_over_stripes(files):
    name, body = files.name("file"), content(3 * STRIPE + 5)
    assert files.put(name, body).status == 201
    for first, last in [(0, 0), (STRIPE - 1, STRIPE), (STRIPE, STRIPE), (STRIPE - 3, 2 * STRIPE + 3),
                        (3 * STRIPE, 3 * STRIPE + 4), (3 * STRIPE + 4, 3 * STRIPE + 4), (1, 3 * STRIPE + 3)]:
        answer = files.get(name, {"Range": f"bytes={first}-{last}"})
        assert answer.status == 206
        assert answer.header("Content-Range") == f"bytes {first}-{last}/{len(body)}"
        assert digest(answer.body) == digest(body[first:last + 1])
    answer = files.get(name, {"Range": f"bytes=-{STRIPE + 7}"})
    assert digest(answer.body) == digest(body[-STRIPE - 7:])


def test_listed_with_size_and_etag(files):
    name = files.name("file")
    etag = files.put(name, content(STRIPE + 1)).header("ETag")
    entry, = json.loads(files.listing(f"prefix={files.prefix}").body)["objects"]
    assert (entry["name"], entry["size"], entry["etag"]) == (name, STRIPE + 1, etag)


@pytest.mark.parametrize("after", [0, 100, STRIPE, STRIPE + 1, 3 * STRIPE])
def test_replaced_and_deleted(stack, files, after):
    """The stripes of what was replaced go, and only those."""
    name, new = files.name("file"), content(after, 2)
    assert files.put(name, content(2 * STRIPE, 1)).status == 201
    old = uid_of(stack, name)
    assert files.put(name, new).status == 200
    wait_for(lambda: old not in stripes(stack), 30, "the old stripes to be collected")
    files.check(name, new)
    assert ("uid" in xattrs(stack, name)) == (after > STRIPE)
    assert files.delete(name).status == 204
    assert files.get(name).status == 404
    assert name not in rados(stack, "ls").splitlines()


def test_conditions(stack, files):
    name = files.name("file")
    etag = files.put(name, content(STRIPE + 1)).header("ETag")
    before = set(stripes(stack))
    assert is_problem(files.put(name, content(2 * STRIPE), {"If-None-Match": "*"}), 412)
    assert is_problem(files.put(name, content(2 * STRIPE), {"If-Match": '"other"'}), 412)
    assert set(stripes(stack)) <= before, "nothing was written for them"
    assert files.put(name, content(2 * STRIPE), {"If-Match": etag}).status == 200


def test_a_reader_of_a_replaced_version_finishes(stack, work_dir, free_port):
    old, new = content(128 * MIB, 1), content(STRIPE + 1, 2)
    with backend(stack, work_dir, free_port(), "--max-file-size", "256MiB", "--collect-interval", 1,
                 "--download-grace", 3600) as one, Files(one.port, "stripes") as files, Client(one.port) as reader:
        name = files.name("file")
        assert files.put(name, old).status == 201
        reader.connection.request("GET", target_of(name))
        response = reader.connection.getresponse()
        head = response.read(MIB)
        assert files.put(name, new).status == 200
        files.check(name, new)
        assert digest(head + response.read()) == digest(old)


def test_an_upload_that_dies_leaves_nothing(stack, work_dir, free_port):
    """kill -9 while stripes are being written: what was there stays, what was new never was, and all space comes back."""
    with backend(stack, work_dir, free_port(), *GRACES) as collector, Files(collector.port, "stripes") as files:
        old, new, body = files.name("old"), files.name("new"), content(STRIPE + 1, 1)
        assert files.put(old, body).status == 201
        for name in (old, new):
            # Graces of an hour: it must be the other backend that clears up.
            dying = Backend(stack, work_dir, free_port(), "--max-file-size", "1GiB")
            dying.start()
            before = stripes(stack)
            thread = threading.Thread(target=_put_ignoring, args=(dying.port, name, content(64 * MIB, 2) * 8))
            thread.start()
            wait_for(lambda: any(count > 2 for uid, count in stripes(stack).items() if uid not in before), 60,
                     "some stripes", 0.005)
            dying.signal(signal.SIGKILL)
            dying.wait()
            thread.join()
        files.check(old, body)
        assert files.get(new).status == 404
        assert new not in files.names()
        wait_until_collected(stack)
        assert xattrs(stack, old) == {"tag", "manifest", "uid"}
        assert new not in rados(stack, "ls").splitlines()
        files.check(old, body)


def _put_ignoring(port, name, body):
    try:
        with Client(port) as client:
            client.put(target_of(name), body)
    except OSError:
        pass


def test_many_uploads_of_one_name(stack, files):
    """One of them stays, whole; of the others nothing."""
    name = files.name("file")
    bodies = [content(STRIPE + 1 + number, number) for number in range(6)] + [content(1000, 7)]
    files.remember(name)
    answers = in_parallel(len(bodies), bodies, lambda client, body: client.put(target_of(name), body), files.port)
    assert sorted({answer.status for answer in answers}) in ([200, 201], [201])
    assert [answer.status for answer in answers].count(201) == 1
    answer = files.get(name)
    winner = bodies[[digest(body) for body in bodies].index(digest(answer.body))]
    assert answer.header("ETag") == answers[bodies.index(winner)].header("ETag")
    wait_until_collected(stack)
    assert ("uid" in xattrs(stack, name)) == (len(winner) > STRIPE)
    files.check(name, winner)


def test_deleted_while_an_upload_is_under_way(stack, files):
    """The deletion is of the old file; the upload publishes the new one all the same."""
    name, body = files.name("file"), content(128 * MIB, 2)
    assert files.put(name, b"old").status == 201
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(_put_status(files.port, name, body)))
    thread.start()
    wait_for(lambda: any(key.startswith("pending.") for key in xattrs(stack, name)), 60, "the upload", 0.005)
    assert files.delete(name).status == 204
    thread.join()
    assert statuses == [201]
    files.check(name, body)


def _put_status(port, name, body):
    with Client(port) as client:
        return client.put(target_of(name), body).status


def test_a_full_pool_is_made_room_in(stack, files):
    """Deleting works, and so does the collection that gives the space back."""
    pool = stack.env["CEPH_POOL"]
    name = files.name("file")
    assert files.put(name, content(2 * STRIPE)).status == 201
    old = uid_of(stack, name)
    stack.command("ceph", "osd", "pool", "set-quota", pool, "max_objects", "1")
    try:
        refused = (files.put(files.name(f"extra {number}"), b"x").status for number in range(10_000))
        wait_for(lambda: next(refused) == 507, 60, "the pool to be full", 0.2)
        assert is_problem(files.put(files.name("large"), content(STRIPE + 1)), 507, "full")
        assert files.delete(name).status == 204
        assert files.get(name).status == 404
        wait_for(lambda: old not in stripes(stack), 60, "the stripes to be collected", 0.2)
    finally:
        stack.command("ceph", "osd", "pool", "set-quota", pool, "max_objects", "0")
    wait_for(lambda: files.put(files.name("room"), b"x").status == 201, 60, "room", 0.2)


def test_layout(stack, work_dir, free_port):
    layout = json.loads(rados(stack, "get", "layout", "-", namespace="layout"))
    assert layout == {"format": 1, "stripe_size": STRIPE, "index_shards": 16, "index_journals": 2, "gc_shards": 16,
                      "data_pool": stack.env["CEPH_POOL"]}

    stack.command("ceph", "osd", "pool", "create", "other", "8", "8", "replicated")
    stack.command("ceph", "osd", "pool", "application", "enable", "other", "rados")
    admin = ("--ceph-name", "client.admin", "--pool", "other")
    try:
        wrong = Backend(stack, work_dir, free_port(), "--ceph-name", "client.admin", "--data-pool", "other")
        wrong.launch()
        assert wrong.wait() == 1
        assert "its files lie in another data pool than --data-pool says" in wrong.log

        stack.command("rados", "-p", "other", "-N", "layout", "put", "layout", "-", input=b'{"format": 2}')
        newer = Backend(stack, work_dir, free_port(), *admin)
        newer.launch()
        assert newer.wait() == 1
        assert "pool other has a layout that cannot be used: its format is not 1" in newer.log
    finally:
        stack.command("ceph", "osd", "pool", "delete", "other", "other", "--yes-i-really-really-mean-it")


def test_an_erasure_coded_data_pool(stack, work_dir, free_port):
    stack.command("ceph", "osd", "erasure-code-profile", "set", "small", "k=2", "m=1", "crush-failure-domain=osd")
    stack.command("ceph", "osd", "pool", "create", "coded", "8", "8", "erasure", "small")
    stack.command("ceph", "osd", "pool", "create", "heads", "8", "8", "replicated")
    for pool in ("coded", "heads"):
        stack.command("ceph", "osd", "pool", "application", "enable", pool, "rados")
    try:
        with backend(stack, work_dir, free_port(), "--ceph-name", "client.admin", "--pool", "heads", "--data-pool",
                     "coded", *GRACES) as one, Files(one.port, "coded") as files:
            name, body = files.name("file"), content(3 * STRIPE + 5)
            assert files.put(name, body).status == 201
            files.check(name, body)
            answer = files.get(name, {"Range": f"bytes={STRIPE - 2}-{STRIPE + 1}"})
            assert answer.body == body[STRIPE - 2:STRIPE + 2]
            assert len(stack.command("rados", "-p", "coded", "-N", "stripe", "ls").split()) == 4
            assert files.delete(name).status == 204
            wait_for(lambda: not stack.command("rados", "-p", "coded", "-N", "stripe", "ls"), 30, "it to be collected")
    finally:
        for pool in ("coded", "heads"):
            stack.command("ceph", "osd", "pool", "delete", pool, pool, "--yes-i-really-really-mean-it")
        stack.command("ceph", "osd", "erasure-code-profile", "rm", "small")
