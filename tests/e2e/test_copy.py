"""Copies and renamings: made by the service, of one version, whole, and with nothing in common with where they came from."""

import json
import signal
import threading
import time

import pytest

from backend import Backend, backend
from files import MIB, Files, at_once, command_bytes, content, digest, encode, everywhere, is_problem, target_of
from stack import Client, wait_for
from test_stripes import GRACES, STRIPE, collecting, rados, stripes, uid_of, wait_until_collected, xattrs

SIZES = [0, 1, 100_000, 200_000, STRIPE, STRIPE + 1, 3 * STRIPE, 5 * STRIPE + 17]


def copy(files, source, name, headers=None, client=None):
    files.remember(name)
    return (client or files.client).request("PUT", target_of(name), b"",
                                            {"X-Copy-From": target_of(source), **(headers or {})})


def rename(files, old, new, headers=None, client=None):
    files.remember(new)
    return (client or files.client).request("POST", f"{target_of(old)}?rename={encode(new, keep=b'')}", b"", headers)


@pytest.fixture
def files(collecting):
    with Files(collecting.port, "copy") as some:
        yield some


# ---- copies ----

@pytest.mark.parametrize("size", SIZES)
def test_a_copy(stack, everywhere, size):
    old, new, body = everywhere.name("old"), everywhere.name("new"), content(size)
    first = everywhere.put(old, body, {"Content-Type": "text/x", "X-Meta-Colour": "red", "X-Meta-Size": "L"})
    answer = copy(everywhere, old, new)
    assert (answer.status, answer.header("Location")) == (201, target_of(new))
    stored, = json.loads(answer.body)["objects"]
    assert (stored["name"], stored["size"], stored["created"], stored["type"]) == (new, size, True, "text/x")
    assert stored["etag"] == answer.header("ETag") != first.header("ETag")
    for name in (old, new):
        found = everywhere.check(name, body)
        assert found.header("Content-Type") == "text/x"
        assert (found.header("X-Meta-Colour"), found.header("X-Meta-Size")) == ("red", "L")
    assert found.header("ETag") == answer.header("ETag")
    assert everywhere.names() == [new, old]
    if size > STRIPE:
        assert uid_of(stack, new) != uid_of(stack, old)
        assert stripes(stack)[uid_of(stack, new)] == -(-size // STRIPE)
    # Neither needs the other.
    assert everywhere.delete(old).status == 204
    everywhere.check(new, body)


def test_stripes_have_checksums(stack, files):
    """The same ones, since the bytes are the same."""
    old, new = files.name("old"), files.name("new")
    files.put(old, content(2 * STRIPE + 5))
    assert copy(files, old, new).status == 201
    for number in range(3):
        sums = [command_bytes(stack, "rados", "-p", stack.env["CEPH_POOL"], "-N", "stripe", "getxattr",
                              f"{uid_of(stack, name)}.{number}", "crc32c") for name in (old, new)]
        assert len(sums[0]) == (64 if number < 2 else 4)
        assert sums[0] == sums[1]


@pytest.mark.parametrize("before", [None, 100, STRIPE + 1])
@pytest.mark.parametrize("size", [50, 2 * STRIPE])
def test_a_copy_over_another(stack, files, size, before):
    old, new, body = files.name("old"), files.name("new"), content(size, 1)
    files.put(old, body)
    if before is not None:
        files.put(new, content(before, 2), {"Content-Type": "text/y", "X-Meta-Gone": "1"})
    answer = copy(files, old, new)
    assert answer.status == (201 if before is None else 200)
    assert files.check(new, body).header("X-Meta-Gone") is None
    wait_until_collected(stack)
    files.check(new, body)
    files.check(old, body)


@pytest.mark.parametrize("size", [10, STRIPE + 1])
def test_another_description(everywhere, size):
    """What the request says takes the place of what the source has: its type, and all of its metadata."""
    old, new = everywhere.name("old.txt"), everywhere.name("new.html")
    everywhere.put(old, content(size), {"Content-Type": "text/x", "X-Meta-A": "1", "X-Meta-B": "2"})
    assert copy(everywhere, old, new, {"Content-Type": "text/y"}).status == 201
    found = everywhere.head(new)
    assert (found.header("Content-Type"), found.header("X-Meta-A"), found.header("X-Meta-B")) == ("text/y", "1", "2")
    assert copy(everywhere, old, new, {"X-Meta-B": "3"}).status == 200
    found = everywhere.head(new)
    assert (found.header("Content-Type"), found.header("X-Meta-A"), found.header("X-Meta-B")) == ("text/x", None, "3")
    everywhere.check(new, content(size))


def test_in_text(everywhere):
    old, new = everywhere.name("old"), everywhere.name("new")
    everywhere.put(old, b"x")
    answer = copy(everywhere, old, new, {"Accept": "text/plain"})
    assert (answer.status, answer.text) == (201, new + "\n")


def test_names_of_every_kind(everywhere):
    previous = everywhere.name("begin")
    everywhere.put(previous, b"content")
    for rest in (b"\xff", b"a b+c", b"100%", b"?x=1&rename=y#z", b"//..//.", "café".encode(), b"n\n"):
        name = everywhere.name(rest)
        assert copy(everywhere, previous, name).status == 201
        everywhere.check(name, b"content")
        previous = everywhere.name(rest + b" renamed")
        answer = rename(everywhere, name, previous)
        assert (answer.status, answer.header("Location")) == (201, target_of(previous))
        everywhere.check(previous, b"content")
        assert everywhere.get(name).status == 404


def test_conditions_are_about_the_new_one(stack, everywhere):
    for size in (10, STRIPE + 1):
        old, new = everywhere.name(f"old{size}"), everywhere.name(f"new{size}")
        old_tag = everywhere.put(old, content(size)).header("ETag")
        assert is_problem(copy(everywhere, old, new, {"If-Match": old_tag}), 412)
        assert is_problem(copy(everywhere, old, new, {"If-Match": "*"}), 412)
        answer = copy(everywhere, old, new, {"If-None-Match": "*"})
        assert answer.status == 201
        assert is_problem(copy(everywhere, old, new, {"If-None-Match": "*"}), 412)
        assert copy(everywhere, old, new, {"If-Match": answer.header("ETag")}).status == 200
        assert is_problem(copy(everywhere, old, new, {"If-Match": answer.header("ETag")}), 412)
        everywhere.check(new, content(size))


def test_what_cannot_be_copied(everywhere):
    old, new = everywhere.name("old"), everywhere.name("new")
    assert is_problem(copy(everywhere, old, new), 404, "not-found", "source")
    everywhere.put(old, b"x")
    assert is_problem(copy(everywhere, old, old), 400, "bad-request", "same")
    everywhere.remember(new)
    answer = everywhere.client.put(target_of(new), b"body", {"X-Copy-From": target_of(old)})
    assert is_problem(answer, 400, "bad-request", "body")
    for value in ("", "/", "/objects", "/objects/", old, target_of(old) + "?x", "/objects/%", "/objects/%0g", "/objects/a%00",
                  "/objects/" + "a" * 1025, "http://x" + target_of(old)):
        answer = everywhere.client.put(target_of(new), b"", {"X-Copy-From": value})
        assert is_problem(answer, 400, "bad-name"), value
    assert is_problem(copy(everywhere, old, new, {"X-Expires-In": "0"}), 400, "bad-request")
    assert is_problem(copy(everywhere, old, new, {"If-Match": "bad"}), 400, "bad-request")
    assert everywhere.get(new).status == 404


@pytest.mark.parametrize("size", [1000, STRIPE + 1])
def test_a_source_that_is_too_large(stack, work_dir, free_port, size):
    with backend(stack, work_dir, free_port(), "--max-file-size", size - 1) as small, \
            Files(stack.port, "large") as user, Files(small.port, "small") as files:
        old, new = user.name("old"), files.name("new")
        user.put(old, content(size))
        assert is_problem(copy(files, old, new), 413, "too-large", "--max-file-size")
        assert is_problem(rename(files, old, new), 413, "too-large", "--max-file-size")
        assert files.get(new).status == 404
        user.put(old, content(size - 1))
        assert copy(files, old, new).status == 201


@pytest.mark.parametrize("size", [0, 10, 300_000, STRIPE, STRIPE + 1, 3 * STRIPE + 5])
def test_a_foreign_source(stack, files, size):
    """What another program put there becomes a file of ours; the type comes from the new name."""
    old, body = files.name("foreign"), content(size)
    stack.command("rados", "-p", stack.env["CEPH_POOL"], "put", old, "-", input=body)
    files.remember(old)
    for make, new in ((copy, "copy.html"), (rename, "renamed.html")):
        answer = make(files, old, files.name(new))
        assert answer.status == 201
        found = files.check(files.name(new), body)
        assert found.header("Content-Type").startswith("text/html")
        assert ("uid" in xattrs(stack, files.name(new))) == (size > STRIPE)
    assert files.get(old).status == 404


@pytest.mark.parametrize("after", [10, STRIPE + 1, None])
def test_a_source_that_is_replaced_meanwhile(stack, work_dir, free_port, after):
    """The copy is of the version that was there at the beginning, all of it."""
    with backend(stack, work_dir, free_port(), "--max-file-size", "256MiB") as one, Files(one.port, "copy") as files:
        old, new, body = files.name("old"), files.name("new"), content(128 * MIB, 1)
        assert files.put(old, body).status == 201
        answers = []

        def run():
            with Client(files.port) as client:
                answers.append(copy(files, old, new, client=client))

        thread = threading.Thread(target=run)
        thread.start()
        wait_for(lambda: "pending." in rados(stack, "listxattr", new, check=False), 60, "the copy", 0.002)
        changed = files.delete(old) if after is None else files.put(old, content(after, 2))
        assert thread.is_alive(), "it was to be changed under way"
        thread.join()
        assert changed.status in (200, 204)
        assert answers[0].status == 201
        files.check(new, body)
        if after is not None:
            files.check(old, content(after, 2))


def test_a_copy_of_what_loses_its_stripes(stack, everywhere):
    """Nothing is published of it."""
    old, new = everywhere.name("old"), everywhere.name("new")
    everywhere.put(old, content(3 * STRIPE))
    rados(stack, "rm", f"{uid_of(stack, old)}.1", namespace="stripe")
    answer = copy(everywhere, old, new)
    assert answer.status in (500, 503)
    assert everywhere.get(new).status == 404
    everywhere.put(new, b"there")
    assert copy(everywhere, old, new).status in (500, 503)
    everywhere.check(new, b"there")


@pytest.mark.backend_errors("DAMAGED|cannot write")
@pytest.mark.backend_errors("DAMAGED|cannot write")
@pytest.mark.parametrize("harm", ["changed", "short"])
def test_a_copy_of_what_is_damaged(stack, everywhere, harm):
    """Damage is not given checksums that fit."""
    old, new, body = everywhere.name("old"), everywhere.name("new"), content(3 * STRIPE)
    everywhere.put(old, body)
    stripe = f"{uid_of(stack, old)}.1"
    if harm == "short":
        rados(stack, "truncate", stripe, str(STRIPE - 1), namespace="stripe")
    else:
        overwrite(stack, stripe, 12345, bytes([body[STRIPE + 12345] ^ 1]))
    assert is_problem(copy(everywhere, old, new), 500)
    assert everywhere.get(new).status == 404


def overwrite(stack, object_name, offset, data):
    """Some bytes in the middle of a stripe; its xattrs stay."""
    stack.command("rados", "-p", stack.env["CEPH_POOL"], "-N", "stripe", "put", object_name, "-", "--offset", str(offset),
                  input=data)


def test_many_copies_of_one(stack, files):
    """At once, to names of their own and to one: each is whole."""
    old, body = files.name("old"), content(3 * STRIPE + 1)
    files.put(old, body)
    names = [files.name(f"new {number}") for number in range(6)] + [files.name("one")] * 6

    def make(name):
        with Client(files.port) as client:
            return copy(files, old, name, client=client)

    answers = at_once([lambda name=name: make(name) for name in names])
    assert {answer.status for answer in answers} <= {200, 201}
    assert [answer.status for answer in answers[6:]].count(201) == 1
    for name in set(names):
        files.check(name, body)
    wait_until_collected(stack)
    for name in set(names):
        files.check(name, body)


def test_with_little_memory(stack, work_dir, free_port):
    """More copies than the memory budget has room for wait for each other."""
    with backend(stack, work_dir, free_port(), "--memory", "16MiB", "--threads", 2, "--op-timeout", 60) as one, \
            Files(one.port, "memory") as files:
        old, body = files.name("old"), content(5 * STRIPE + 1)
        files.put(old, body)
        names = [files.name(f"new {number}") for number in range(8)]

        def make(name):
            with Client(files.port) as client:
                return copy(files, old, name, client=client)

        answers = at_once([lambda name=name: make(name) for name in names])
        assert {answer.status for answer in answers} == {201}
        for name in names:
            files.check(name, body)


def test_expiry_of_copies(everywhere):
    """A copy expires if the request says so; what is renamed keeps its time unless the request gives another."""
    old, new = everywhere.name("old"), everywhere.name("new")
    at = everywhere.put(old, b"x", {"X-Expires-In": "1000"}).header("X-Expires-At")
    assert copy(everywhere, old, new).header("X-Expires-At") is None
    assert everywhere.head(new).header("X-Expires-At") is None
    answer = copy(everywhere, old, new, {"X-Expires-In": "2000"})
    assert everywhere.head(new).header("X-Expires-At") == answer.header("X-Expires-At") not in (None, at)
    assert rename(everywhere, old, new).header("X-Expires-At") == at
    assert everywhere.head(new).header("X-Expires-At") == at
    assert rename(everywhere, new, old, {"X-Expires-In": "3000"}).header("X-Expires-At") not in (None, at)


@pytest.mark.parametrize("size", [10, STRIPE + 1])
def test_a_copy_that_expires(stack, files, size):
    old, new = files.name("old"), files.name("new")
    files.put(old, content(size))
    assert copy(files, old, new, {"X-Expires-In": "3"}).status == 201
    files.check(new, content(size))
    wait_for(lambda: files.get(new).status == 404, 30, "it to expire", 0.1)
    assert is_problem(copy(files, new, files.name("other")), 404, "not-found", "source")
    files.check(old, content(size))


# ---- renaming ----

@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("over", [False, True])
def test_a_renaming(everywhere, size, over):
    old, new, body = everywhere.name("old"), everywhere.name("new"), content(size)
    everywhere.put(old, body, {"Content-Type": "text/x", "X-Meta-A": "1"})
    if over:
        everywhere.put(new, content(10, 2))
    answer = rename(everywhere, old, new)
    assert (answer.status, answer.header("Location")) == (200 if over else 201, target_of(new))
    stored, = json.loads(answer.body)["objects"]
    assert (stored["name"], stored["created"], stored["etag"]) == (new, not over, answer.header("ETag"))
    assert everywhere.get(old).status == 404
    found = everywhere.check(new, body)
    assert (found.header("Content-Type"), found.header("X-Meta-A")) == ("text/x", "1")
    assert everywhere.names() == [new]


@pytest.mark.parametrize("size", [10, 2 * STRIPE])
def test_nothing_is_left_of_the_old_name(stack, files, size):
    old, new, body = files.name("old"), files.name("new"), content(size)
    files.put(old, body)
    assert rename(files, old, new).status == 201
    wait_until_collected(stack)
    assert old not in rados(stack, "ls").splitlines()
    files.check(new, body)


def test_conditions_of_a_renaming(everywhere):
    """If-None-Match: * is about the new name; If-Match and dates are about the old one."""
    for size in (10, STRIPE + 1):
        old, new, body = everywhere.name(f"old{size}"), everywhere.name(f"new{size}"), content(size, 1)
        etag = everywhere.put(old, body).header("ETag")
        everywhere.put(new, b"there")
        assert is_problem(rename(everywhere, old, new, {"If-None-Match": "*"}), 412, "precondition-failed")
        assert is_problem(rename(everywhere, old, new, {"If-Match": '"other"'}), 412, detail="renamed")
        assert is_problem(rename(everywhere, old, new, {"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}), 412)
        assert is_problem(rename(everywhere, old, new, {"If-None-Match": etag}), 400, "bad-request", "If-None-Match")
        everywhere.check(old, body)
        everywhere.check(new, b"there")
        everywhere.delete(new)
        assert rename(everywhere, old, new, {"If-Match": etag, "If-None-Match": "*"}).status == 201
        everywhere.check(new, body)
        assert everywhere.get(old).status == 404


def test_what_cannot_be_renamed(everywhere):
    old, new = everywhere.name("old"), everywhere.name("new")
    assert is_problem(rename(everywhere, old, new), 404, "not-found", "source")
    everywhere.put(old, b"x")
    assert is_problem(rename(everywhere, old, old), 400, "bad-request", "same")
    post = everywhere.client.request
    for query in ("", "?", "?x=1", "?rename", "?rename=", "?rename=a&rename=b", "?rename=a&x=1", "?rename=%0", "?rename=%00",
                  "?rename=" + "a" * 1025):
        assert post("POST", target_of(old) + query, b"").status == 400, query
    assert is_problem(post("POST", f"{target_of(old)}?rename={encode(new)}", b"body"), 400, "bad-request", "body")
    everywhere.check(old, b"x")
    assert everywhere.get(new).status == 404


def test_writers_of_the_old_name(stack, files):
    """While a file is renamed again and again, and others store it anew: whatever is fetched is one version, whole."""
    old, new = files.name("old"), files.name("new")
    bodies = {digest(body): body for body in (content(size, seed) for seed, size in
                                              enumerate([100, 300_000, STRIPE + 1, 2 * STRIPE + 3]))}
    files.remember(old, new)
    end, seen, wrong = time.monotonic() + 60, {}, []

    def renamed():
        return seen.get(("rename", 200), 0) + seen.get(("rename", 201), 0)

    def goes_on():
        return renamed() < 10 and time.monotonic() < end

    def writer():
        """Now and then it lets one of the others win."""
        with Client(files.port) as client:
            while goes_on():
                before = renamed()
                for body in bodies.values():
                    note("PUT", client.put(target_of(old), body).status)
                wait_for(lambda: renamed() > before or not goes_on(), 60, "a renaming")

    def renamer():
        with Client(files.port) as client:
            while goes_on():
                note("rename", rename(files, old, new, client=client).status)

    def reader(name):
        with Client(files.port) as client:
            while goes_on():
                answer = client.get(target_of(name))
                note("GET", answer.status)
                if answer.status == 200 and digest(answer.body) not in bodies:
                    wrong.append((name, len(answer.body)))

    lock = threading.Lock()

    def note(what, status):
        with lock:
            seen[what, status] = seen.get((what, status), 0) + 1

    at_once([writer, renamer, renamer, lambda: reader(old), lambda: reader(new)])
    assert not wrong
    assert {status for what, status in seen if what == "PUT"} <= {200, 201}
    assert {status for what, status in seen if what == "rename"} <= {200, 201, 404, 503}, seen
    assert {status for what, status in seen if what == "GET"} <= {200, 404}
    assert renamed() >= 10, seen
    wait_until_collected(stack)


def test_renamed_by_several(stack, files):
    """One content, many new names: it is at least under one of them, whole, and not under the old one."""
    old, body = files.name("old"), content(STRIPE + 1)
    for number in range(3):
        files.put(old, body)
        names = [files.name(f"new {number} {each}") for each in range(4)]

        def make(name):
            with Client(files.port) as client:
                return rename(files, old, name, client=client).status

        statuses = at_once([lambda name=name: make(name) for name in names])
        assert set(statuses) <= {201, 404} and 201 in statuses
        assert files.get(old).status == 404
        for name, status in zip(names, statuses):
            if status == 201:
                files.check(name, body)
            else:
                assert files.get(name).status == 404
    wait_until_collected(stack)


def test_a_copy_that_dies_leaves_nothing(stack, work_dir, free_port):
    """kill -9 in the middle of a renaming: the old name has all of it, and what was written comes back."""
    with backend(stack, work_dir, free_port(), *GRACES, "--max-file-size", "256MiB") as collector, \
            Files(collector.port, "copy") as files:
        old, new, body = files.name("old"), files.name("new"), content(128 * MIB, 2)
        assert files.put(old, body).status == 201
        dying = Backend(stack, work_dir, free_port(), "--max-file-size", "1GiB")
        dying.start()
        before = stripes(stack)

        def run():
            try:
                with Client(dying.port) as client:
                    rename(files, old, new, client=client)
            except OSError:
                pass

        thread = threading.Thread(target=run)
        thread.start()
        wait_for(lambda: any(count > 1 for uid, count in stripes(stack).items() if uid not in before), 60,
                 "some stripes", 0.005)
        dying.signal(signal.SIGKILL)
        dying.wait()
        thread.join()
        files.check(old, body)
        assert files.get(new).status == 404
        wait_until_collected(stack)
        assert new not in rados(stack, "ls").splitlines()
        files.check(old, body)
