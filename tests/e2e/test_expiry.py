"""Files that expire: until their time they are as any other, afterwards they are not there, and then nothing is left."""

import calendar
import datetime
import email.utils
import json
import time

import pytest

from backend import backend
from files import Files, content, encode, everywhere, file_part, form, is_problem, post, target_of
from stack import request, wait_for
from test_stripes import GRACES, STRIPE, log_entries, rados, stripes, uid_of, wait_until_collected, xattrs

TEN_YEARS = 315360000


def http_date(seconds):
    return email.utils.formatdate(seconds, usegmt=True)


def seconds_of(date):
    return calendar.timegm(email.utils.parsedate(date))


def entry_of(files, name):
    """What the listing says of a file, or None."""
    found = [each for each in json.loads(files.listing(f"prefix={encode(name)}").body)["objects"] if each["name"] == name]
    return found[0] if found else None


def iso_seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def wait_gone(files, name, seconds=30):
    wait_for(lambda: files.get(name).status == 404, seconds, f"{name} to expire", 0.1)


@pytest.fixture
def collecting(stack, work_dir, free_port):
    """A backend whose graces are short. At the end there is no stripe that is not in use, and no log entry."""
    with backend(stack, work_dir, free_port(), *GRACES) as one:
        yield one
        wait_until_collected(stack)


@pytest.fixture
def files(collecting):
    with Files(collecting.port, "expiry") as some:
        yield some


def test_fields(everywhere):
    """X-Expires-In and X-Expires-At on PUT; X-Expires-At on every answer about the file, `expires` where it is listed."""
    name = everywhere.name("file")
    before = time.time()
    answer = everywhere.put(name, b"abc", {"X-Expires-In": "1000"})
    assert answer.status == 201
    at = seconds_of(answer.header("X-Expires-At"))
    assert before + 999 <= at <= time.time() + 1002
    stored, = json.loads(answer.body)["objects"]
    assert iso_seconds(stored["expires"]) == at
    for again in (everywhere.get(name), everywhere.head(name), everywhere.get(name, {"Range": "bytes=1-1"}),
                  everywhere.get(name, {"If-None-Match": answer.header("ETag")})):
        assert again.header("X-Expires-At") == answer.header("X-Expires-At")
    assert entry_of(everywhere, name)["expires"] == stored["expires"]

    date = http_date(int(time.time()) + 5000)
    answer = everywhere.put(name, b"abcd", {"X-Expires-At": date})
    assert (answer.status, answer.header("X-Expires-At")) == (200, date)
    assert everywhere.head(name).header("X-Expires-At") == date

    answer = everywhere.put(name, b"abcde")
    assert answer.header("X-Expires-At") is None
    assert "expires" not in json.loads(answer.body)["objects"][0]
    assert everywhere.head(name).header("X-Expires-At") is None
    assert "expires" not in entry_of(everywhere, name)


def test_forms_and_raw_posts(everywhere):
    """All files of a form expire."""
    names = [everywhere.name(f"file-{number}") for number in range(3)]
    everywhere.remember(*names)
    answer = post(everywhere.port, form(*(file_part(name, b"x") for name in names)), headers={"X-Expires-In": "600"})
    assert answer.status == 201
    assert {each["expires"] for each in json.loads(answer.body)["objects"]} == \
        {entry_of(everywhere, names[0])["expires"]}
    for name in names:
        assert everywhere.head(name).header("X-Expires-At")

    raw = everywhere.name("raw")
    everywhere.remember(raw)
    answer = request(everywhere.port, "POST", f"/objects?name={raw}", b"x", {"X-Expires-In": "600"})
    assert answer.status == 201
    assert everywhere.head(raw).header("X-Expires-At") == answer.header("X-Expires-At") is not None


@pytest.mark.parametrize("value", ["", "0", "-1", "+1", "1.5", "1s", "0x10", "never", "1 2", str(TEN_YEARS + 1),
                                   "99999999999999999999999"])
def test_seconds_that_cannot_be_used(everywhere, value):
    name = everywhere.name("file")
    assert is_problem(everywhere.put(name, b"x", {"X-Expires-In": value}), 400, "bad-request", "X-Expires-In")
    assert everywhere.get(name).status == 404


def test_the_longest(everywhere):
    name = everywhere.name("file")
    assert everywhere.put(name, b"x", {"X-Expires-In": str(TEN_YEARS)}).status == 201
    everywhere.check(name, b"x")


def test_dates_that_cannot_be_used(everywhere):
    name, now = everywhere.name("file"), int(time.time())
    for value in ("", "tomorrow", str(now + 100), "2094-11-06T08:49:37Z", http_date(now - 1), http_date(now - 100_000_000),
                  http_date(now + TEN_YEARS + 100), "Sun, 06 Nov 9999 08:49:37 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"):
        answer = everywhere.put(name, b"x", {"X-Expires-At": value})
        assert is_problem(answer, 400, "bad-request", "X-Expires-At"), value
    answer = everywhere.put(name, b"x", {"X-Expires-At": http_date(now + 100), "X-Expires-In": "100"})
    assert is_problem(answer, 400, "bad-request", "only one")
    assert everywhere.get(name).status == 404


@pytest.mark.parametrize("size", [0, 100, STRIPE + 1])
def test_expires(stack, files, size):
    """It is there, it is gone for everybody at its time, and then the collector takes all of it away."""
    name, body = files.name("file"), content(size)
    # Graces of an hour: an observer that does not collect.
    observer = Files(stack.port, "observer")
    assert files.put(name, body, {"X-Expires-In": "4"}).status == 201
    at = seconds_of(files.check(name, body).header("X-Expires-At"))
    assert entry_of(files, name) is not None
    wait_gone(observer, name)
    assert at <= time.time() <= at + 5
    for answer in (files.get(name), observer.get(name)):
        assert is_problem(answer, 404, "not-found")
    assert files.head(name).status == 404
    assert is_problem(files.delete(name), 404, "not-found")
    assert is_problem(files.delete(name, {"If-Match": "*"}), 404)
    assert entry_of(files, name) is None and entry_of(observer, name) is None
    wait_for(lambda: name not in rados(stack, "ls").splitlines(), 30, "the head to be collected", 0.2)
    wait_until_collected(stack)
    wait_for(lambda: not index_has_file(stack, name), 60, "the index to know", 0.5)


def index_has_file(stack, name):
    """Whether the shards of the index have an entry of the kind `f`."""
    for shard in (f"index.{number}" for number in range(16)):
        dump = rados(stack, "getomapval", shard, name, namespace="index", check=False).splitlines()
        first = next((line.split() for line in dump if line.startswith("00000000 ")), [])
        if first[9:12] == ["49", "01", "66"]:  # Behind the offset and the version: "I", 1, "f".
            return True
    return False


@pytest.mark.parametrize("before", [100, STRIPE + 1])
@pytest.mark.parametrize("after", [50, STRIPE + 7])
def test_stored_anew_after_it_expired(stack, work_dir, free_port, before, after):
    """The expired version is as none: it can be created, with the condition that there be none. Nothing is left of it."""
    with backend(stack, work_dir, free_port(), "--collect-interval", 3600) as lazy, Files(lazy.port, "anew") as files:
        name, new = files.name("file"), content(after, 2)
        assert files.put(name, content(before, 1), {"X-Expires-In": "2"}).status == 201
        assert is_problem(files.put(name, new, {"If-None-Match": "*"}), 412)
        wait_gone(files, name)
        assert is_problem(files.put(name, new, {"If-Match": "*"}), 412)
        assert files.put(name, new, {"If-None-Match": "*"}).status == 201
        files.check(name, new)
        assert "expires" not in entry_of(files, name)
        with backend(stack, work_dir, free_port(), *GRACES):
            wait_until_collected(stack)
        files.check(name, new)


@pytest.mark.parametrize("size", [100, STRIPE + 1])
def test_replaced_by_one_that_stays(stack, files, size):
    """The note of when the first would have expired goes with it, and its time does the second no harm."""
    name, new = files.name("file"), content(size, 2)
    at = seconds_of(files.put(name, content(size, 1), {"X-Expires-In": "15"}).header("X-Expires-At"))
    old = rados(stack, "getxattr", name, "tag")
    assert old in log_entries(stack)
    assert files.put(name, new).status == 200
    assert old not in log_entries(stack)
    wait_for(lambda: time.time() > at + 2, 60, "its time")
    wait_until_collected(stack)
    files.check(name, new)
    assert entry_of(files, name) is not None


def test_replaced_by_one_that_expires_later(stack, files):
    name = files.name("file")
    at = seconds_of(files.put(name, b"old", {"X-Expires-In": "5"}).header("X-Expires-At"))
    later = files.put(name, b"new", {"X-Expires-In": "15"})
    wait_for(lambda: time.time() > at + 2, 30, "the first time")
    assert files.check(name, b"new").header("X-Expires-At") == later.header("X-Expires-At")
    wait_gone(files, name)
    assert time.time() >= seconds_of(later.header("X-Expires-At"))


def test_nothing_is_noted_of_what_is_not_stored(stack, files):
    """A note would stay until the time has come, which may be years."""
    name = files.name("file")
    assert files.put(name, b"x").status == 201
    for size in (10, STRIPE + 1):
        assert is_problem(files.put(name, content(size), {"X-Expires-In": "100000", "If-None-Match": "*"}), 412)
        assert is_problem(files.put(name, content(size), {"X-Expires-In": "100000", "If-Match": '"x"'}), 412)
    assert not log_entries(stack)
    assert files.put(name, b"y", {"X-Expires-In": "100000"}).status == 200
    assert len(log_entries(stack)) == 1
    assert files.delete(name).status == 204
    assert not log_entries(stack)


def test_an_entry_that_came_before_its_version(stack, files):
    """Who publishes notes first, and may be slow: the entry stays for as long as an upload may take, whatever its time."""
    name, tag = files.name("slow"), "0123" + 28 * "a"
    past = ((int(time.time()) - 2) * 10**9).to_bytes(8, "little")
    value = b"G\x01e" + past + bytes(8) + name.encode()
    shard = f"gc.{int(tag[:4], 16) % 16}"
    stack.command("rados", "-p", stack.env["CEPH_POOL"], "-N", "gc", "setomapval", shard, tag, input=value)
    walks = walks_of(files)
    wait_for(lambda: walks_of(files) >= walks + 3, 30, "the collector to come by", 0.1)
    assert tag in log_entries(stack)
    wait_for(lambda: tag not in log_entries(stack), 30, "the entry to go after --upload-grace", 0.5)


def walks_of(files):
    line, = [each for each in files.client.get("/metrics").text.splitlines()
             if each.startswith("ceph_lb_backend_collector_walks_total ")]
    return int(line.split()[1])


def test_an_upload_under_way_outlives_the_expired_version(stack, work_dir, free_port, files):
    """The head of an expired version holds an upload's right to publish: collected, the right stays."""
    name, body = files.name("file"), content(STRIPE + 1)
    files.remember(name)
    assert files.put(name, b"old", {"X-Expires-In": "2"}).status == 201
    stack.command("rados", "-p", stack.env["CEPH_POOL"], "setxattr", name, "pending." + 32 * "b", "1")
    wait_for(lambda: xattrs(stack, name) == {"pending." + 32 * "b"}, 30, "the version to go, and the right to stay", 0.2)
    assert files.get(name).status == 404
    assert files.put(name, body, {"If-None-Match": "*"}).status == 201
    files.check(name, body)
    stack.command("rados", "-p", stack.env["CEPH_POOL"], "rmxattr", name, "pending." + 32 * "b")


def test_many_at_once(stack, files):
    """Each at its own time, and in the end nothing is left."""
    names = [files.name(f"{number:03}") for number in range(120)]
    ats = {}
    for number, name in enumerate(names):
        headers = {"X-Expires-In": str(2 + number % 5)} if number % 3 else None
        ats[name] = files.put(name, content(50, number), headers).header("X-Expires-At")
    wait_for(lambda: len(files.names()) == 40, 60, "the rest", 0.2)
    assert files.names() == [name for name in names if ats[name] is None]
    wait_for(lambda: not log_entries(stack), 60, "all entries to go", 0.5)
    heads = [name for name in rados(stack, "ls").splitlines() if name.startswith(files.prefix)]
    assert sorted(heads) == files.names()
