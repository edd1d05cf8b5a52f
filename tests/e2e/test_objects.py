"""Files: what is stored is what comes back, byte for byte, under any name."""

import calendar
import http.client
import json
import re
import select
import threading
import time

import pytest

from backend import backend
from files import (BODY_SIZE_MAX, KIB, MIB, Files, Wire, at_once, command_bytes, content,
                   digest, encode, everywhere, file_part, form, head_of, is_problem, post,
                   send_chunked, target_of)
from stack import Client, request, wait_for

SIZES = [0, 1, 4 * KIB - 1, 4 * KIB, 4 * KIB + 1, 64 * KIB - 1, 64 * KIB, 128 * KIB - 1, 128 * KIB,
         128 * KIB + 1, 512 * KIB, 512 * KIB + 1, MIB - 1, MIB, MIB + 1, 4 * MIB, 16 * MIB + 1]

LIMIT = 3 * MIB  # what a backend is told to take where a test needs to go beyond it


# --- bytes in, bytes out ----------------------------------------------------------------------------

def test_put_gives_the_bytes_back(everywhere):
    user = everywhere
    for size in SIZES:
        name, body = user.name(str(size)), content(size)
        assert user.put(name, body).status == 201, size
        user.check(name, body)
        assert user.head(name).header("Content-Length") == str(size)


def test_raw_post_gives_the_bytes_back(everywhere):
    user = everywhere
    for size in SIZES:
        name, body = user.name(str(size)), content(size)
        user.remember(name)
        answer = user.client.request("POST", "/objects?name=" + encode(name, keep=b""), body,
                                     {"Content-Type": "application/octet-stream"})
        assert (answer.status, answer.header("Location")) == (201, target_of(name))
        user.check(name, body)


def test_a_form_gives_the_bytes_back(everywhere):
    user = everywhere
    for size in SIZES:
        name, body = user.name(str(size)), content(size)
        user.remember(name)
        answer = post(user.port, form(file_part(name, body)))
        assert (answer.status, answer.header("Location")) == (201, target_of(name))
        user.check(name, body)


def test_a_chunked_body_gives_the_bytes_back(everywhere):
    user = everywhere
    for size, step in [(size, 100_000) for size in SIZES] + [(5000, 1), (100_000, 7), (3 * MIB, 2 * MIB)]:
        name, body = user.name(str(size)), content(size)
        user.remember(name)
        pieces = [body[at:at + step] for at in range(0, size, step)]
        status, headers, _ = send_chunked(user.port, "PUT", target_of(name), pieces)
        assert (status, headers["Location"]) == (201, target_of(name))
        user.check(name, body)


@pytest.fixture
def limited(stack, work_dir, free_port):
    """A user of a backend that takes files of LIMIT bytes at most."""
    with backend(stack, work_dir, free_port(), "--max-file-size", "3MiB") as one, Files(one.port) as user:
        yield user


def test_the_largest_file(limited):
    user, body = limited, content(LIMIT)
    answer = user.put(user.name("largest"), body)
    assert answer.status == 201
    assert json.loads(answer.body)["objects"][0]["size"] == LIMIT
    user.check(user.name("largest"), body)
    # A form has room for what it adds.
    assert post(user.port, form(file_part(user.name("largest"), body))).status == 200


def test_what_an_answer_to_an_upload_says(everywhere):
    user = everywhere
    name = user.name("new file.txt")
    first = user.put(name, b"first")
    assert first.status == 201
    assert first.header("Location") == target_of(name)
    [told] = json.loads(first.body)["objects"]
    assert told["created"] is True
    assert (told["name"], told["size"], told["type"]) == (name, 5, "text/plain")
    assert told["etag"] == first.header("ETag")
    assert re.fullmatch(r'"[^"]+"', told["etag"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", told["modified"])

    second = user.put(name, b"second one")
    assert second.status == 200
    [told] = json.loads(second.body)["objects"]
    assert (told["created"], told["size"]) == (False, 10)
    assert second.header("ETag") != first.header("ETag")
    user.check(name, b"second one")

    # The same content again is another version all the same.
    assert user.put(name, b"second one").header("ETag") != second.header("ETag")

    as_text = user.put(name, b"x", {"Accept": "text/plain"})
    assert as_text.header("Content-Type").startswith("text/plain")
    assert as_text.text == name + "\n"


def test_an_upload_that_tells_in_text_takes_one_line_a_file(everywhere):
    """As the listing does it: a line break inside a name would make two of one."""
    user = everywhere
    name = user.name("two\nlines")
    assert user.put(name, b"x", {"Accept": "text/plain"}).text == name.replace("\n", "%0A") + "\n"


def test_deleting(everywhere):
    user = everywhere
    name = user.name("gone")
    user.put(name, b"x")
    with Wire(user.port) as wire:
        # A 204 has neither a body nor a field that announces one; the next answer follows at once.
        wire.send(head_of("DELETE", target_of(name)) + head_of("GET", target_of(name), "Connection: close"))
        status, fields = wire.head()
        assert status == 204
        assert "content-length" not in fields and "transfer-encoding" not in fields
        assert wire.head()[0] == 404
    assert is_problem(user.delete(name), 404, "not-found")
    assert is_problem(user.get(name), 404, "not-found")
    head = user.head(name)
    assert (head.status, head.body) == (404, b"")
    # And made anew.
    assert user.put(name, b"y").status == 201
    user.check(name, b"y")


def test_expect_100_continue(everywhere):
    user = everywhere
    name, body = user.name("expected"), content(100 * KIB)
    user.remember(name)
    with Wire(user.port) as wire:
        wire.send(head_of("PUT", target_of(name), f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert wire.head()[0] == 100
        wire.send(body)
        assert wire.response()[0] == 201
    user.check(name, body)


# --- too large --------------------------------------------------------------------------------------

def test_one_byte_too_many(limited):
    user = limited
    name = user.name("too large")
    assert user.put(name, b"what was there").status == 201
    answer = user.put(name, bytes(LIMIT + 1))
    assert is_problem(answer, 413, "too-large")
    answer = post(user.port, form(file_part(name, bytes(LIMIT + 1))))
    assert is_problem(answer, 413, "too-large")
    user.check(name, b"what was there")
    assert user.names() == [name]


def test_a_body_whose_length_is_too_large_is_not_waited_for(everywhere):
    user = everywhere
    name = user.name("announced")
    for method, target, field in (("PUT", target_of(name), "Content-Type: text/plain"),
                                  ("POST", "/objects?name=" + encode(name), "Content-Type: text/plain"),
                                  ("POST", "/objects", "Content-Type: multipart/form-data; boundary=x"),
                                  ("PUT", target_of(name), "Expect: 100-continue")):
        with Wire(user.port) as wire:
            wire.send(head_of(method, target, f"Content-Length: {BODY_SIZE_MAX + 1}", field))
            status, fields, body = wire.response()
            assert status == 413, fields
            assert fields["content-type"] == "application/problem+json"
            problem = json.loads(body)
            assert (problem["status"], problem["type"]) == (413, "urn:ceph-lb:problem:too-large")
    assert user.names() == []


def test_a_chunked_body_that_grows_too_large(limited):
    """Nobody knows beforehand, so it is answered while it is being sent."""
    user = limited
    name = user.name("growing")
    chunk = b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"
    sent = 0
    with Wire(user.port, timeout=60) as wire:
        wire.send(head_of("PUT", target_of(name), "Transfer-Encoding: chunked"))
        while not select.select([wire.socket], [], [], 0)[0]:
            assert sent < 64 * LIMIT, "nobody stops it"
            try:
                wire.send(chunk)
            except ConnectionError:
                break  # The answer has come nevertheless.
            sent += MIB
        assert sent >= LIMIT
        status, fields, body = wire.response()
        assert (status, fields["content-type"]) == (413, "application/problem+json")
        assert json.loads(body)["type"] == "urn:ceph-lb:problem:too-large"
    assert user.names() == []


def test_an_upload_that_breaks_off_leaves_what_was_there(everywhere):
    user = everywhere
    name = user.name("kept")
    user.put(name, b"what was there")
    for framing, beginning in ((f"Content-Length: {MIB}", content(700 * KIB)),
                               ("Transfer-Encoding: chunked", b"5\r\nbegin\r\n")):
        with Wire(user.port) as wire:
            wire.send(head_of("PUT", target_of(name), framing) + beginning)
    user.check(name, b"what was there")


# --- names ------------------------------------------------------------------------------------------

# Each has to be a name of its own: they are all there at the same time.
NAMES = [
    b"with spaces ", b" ", b"a/b", b"a//b", b"a///", b"/", b"//", b".", b"./x", b"x/.", b"a/./b", b"a/../b",
    b"a/..", b"..a", b"...", b"%", b"%2F", b"%25", b"%252F", b"%zz", b"+", b"a+b", b"a b", b"?", b"a?b=c&d",
    b"#", b"a#b", b";", b"a;b=c", b"a:b", b"\\", b"a\\b", b'"', b"'", b"<>", b"{}|^`", b"[]", b"*", b"~", b"~user",
    b"-", b"--help", b"name.with.dots.tar.gz", b".hidden", b"UPPER", b"upper", "größer".encode(),
    "日本語/ファイル.txt".encode(), "\U0001f600".encode(), "e\u0301".encode(), "\u00e9".encode(),
    "\u202egpj.exe".encode(), b"\xff", b"\xfe\xff", b"a\x80b", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80", b"\x01", b"\x1f", b"\x7f", b"tab\there", b"line\nbreak", b"return\rhere", b"\r\n",
    b"status", b"metrics", b"objects", b"objects/", b"1024" * 200,
]


def test_names_are_kept_byte_for_byte(everywhere, stack):
    user = everywhere
    names = [user.name(rest) for rest in NAMES]
    locations = {}
    for name in names:
        answer = user.put(name, b"content of " + name)
        assert answer.status == 201, (name, answer)
        assert answer.header("Location") == target_of(name)
        locations[name] = answer.header("Location")

    for name in names:
        assert user.get(name).body == b"content of " + name, name
        assert user.client.get(locations[name]).body == b"content of " + name, name
        # Each byte percent-encoded, and in lower case, is the same name.
        encoded = "/objects/" + "".join(f"%{byte:02x}" for byte in name)
        assert user.client.get(encoded).body == b"content of " + name, name

    answer = user.listing(f"prefix={encode(user.prefix)}")
    listed = json.loads(answer.body)["objects"]
    assert [_bytes_of(entry) for entry in listed] == sorted(names)
    for entry in listed:
        assert entry["size"] == len(b"content of ") + len(_bytes_of(entry))

    stored = command_bytes(stack, "rados", "-p", stack.env["CEPH_POOL"], "ls")
    for name in names:
        assert b"\n" + name + b"\n" in b"\n" + stored, name

    for name in names:
        assert user.delete(name).status == 204, name
    assert user.names() == []


def _bytes_of(entry):
    """A name from a listing. What is not UTF-8 comes with a repaired text and percent-encoded beside it."""
    if "name_encoded" not in entry:
        return entry["name"].encode()
    assert "\ufffd" in entry["name"]
    return re.sub(rb"%([0-9A-F]{2})", lambda found: bytes([int(found.group(1), 16)]),
                  entry["name_encoded"].encode())


# Names that are only dots and slashes have no prefix of their own.
BARE = [b".", b"..", b"../x", b"./x", b"/", b"//", b"/..", b"%2F", b"a/../../b"]


def test_dots_and_slashes_alone(everywhere):
    user = everywhere
    for name in BARE:
        assert user.put(name, b"content").status == 201, name
        assert user.get(name).body == b"content", name
        listed = json.loads(user.listing(f"limit=1&prefix={encode(name)}").body)["objects"]
        assert [entry["name"] for entry in listed] == [name.decode()]
        assert user.delete(name).status == 204, name


def test_paths_above_the_root_are_names_for_a_backend(stack):
    """nginx refuses them, which its configuration cannot change; it does so in the form of all problems."""
    for path in ("../../y", "../..", "%2e%2e/%2E%2e/x", "a/../../../b"):
        with Files(stack.backend_ports[0]) as user:
            name = path.replace("%2e", ".").replace("%2E", ".").encode()
            user.remember(name)
            assert user.client.put("/objects/" + path, b"x").status == 201
            assert user.client.get("/objects/" + path).body == b"x"
            assert user.get(name).body == b"x"
        assert is_problem(request(stack.port, "GET", "/objects/" + path), 400)


def test_unencoded_bytes_in_the_target(everywhere):
    """What a careless client sends: bytes above 127 as they are."""
    user = everywhere
    name = user.name("größe".encode() + b"\xff")
    user.remember(name)
    with Wire(user.port) as wire:
        wire.send(b"PUT /objects/" + name + b" HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx")
        status, fields, _ = wire.response()
    assert (status, fields["location"]) == (201, target_of(name))
    user.check(name, b"x")


def test_a_fragment_is_not_cut_off_in_silence(everywhere):
    """# does not belong into a request. Refused or taken as it is, but never another name."""
    user = everywhere
    user.remember(user.name("a#b"), user.name("a"))
    user.client.put("/objects/" + user.name("a#b"), b"x")
    assert user.names() in ([], [user.name("a#b")])


def test_names_of_the_greatest_length(everywhere, stack):
    user = everywhere
    for filler in (b"a", b"\xff", b"%", b"/"):
        name = user.prefix.encode() + filler * (1024 - len(user.prefix))
        encoded = "/objects/" + "".join(f"%{byte:02X}" for byte in name)
        user.remember(name)
        assert user.client.put(encoded, b"content").status == 201
        assert user.client.get(encoded).body == b"content"
        assert is_problem(user.client.put(encoded + "a", b"x"), 400, "bad-name", "1024")
        assert is_problem(user.client.get(encoded + "%FF"), 400, "bad-name", "1024")
        answer = user.client.request("POST", "/objects?name=" + encode(name + b"a", keep=b""), b"x")
        assert is_problem(answer, 400, "bad-name", "1024")
        answer = user.client.request("POST", "/objects?name=" + encode(name, keep=b""), b"xy")
        assert answer.status == 200
        assert user.delete(name).status == 204


def test_names_that_cannot_be_used(everywhere, stack):
    user = everywhere
    for path, detail in (("", "empty"), ("a%00b", "NUL"), ("%00", "NUL"), ("%zz", "%"), ("a%", "%"), ("a%2", "%"),
                         ("%-1", "%"), ("a%2g", "%"), ("%", "%")):
        for method, body in (("GET", None), ("PUT", b"x"), ("DELETE", None)):
            answer = user.client.request(method, "/objects/" + path, body)
            if user.port == stack.port:
                # nginx refuses a malformed escape itself, and knows nothing of names.
                assert is_problem(answer, 400), (method, path)
            else:
                assert is_problem(answer, 400, "bad-name", detail), (method, path)
    for path in ("a b", "% 41", "a\x01b"):
        with Wire(user.port) as wire:
            wire.send(head_of("PUT", "/objects/" + path, "Content-Length: 0"))
            assert wire.head()[0] == 400, path


def test_a_raw_post_names_its_file_once(everywhere):
    for query, slug, detail in (
            ("", "bad-request", "name"), ("name=", "bad-name", "empty"), ("name", "bad-name", "empty"),
            ("name=%00", "bad-name", "NUL"), ("name=%zz", "bad-query", "percent"), ("name=a&name=b", "bad-query", "once"),
            ("name=a&x=y", "bad-query", "name"), ("x=y", "bad-query", "name"), ("Name=a", "bad-query", "name")):
        answer = everywhere.client.request("POST", "/objects" + (query and "?" + query), b"x",
                                           {"Content-Type": "text/plain"})
        assert is_problem(answer, 400, slug, detail), query


def test_plus_is_a_space_in_a_query_and_itself_in_a_path(everywhere):
    user = everywhere
    user.remember(user.name("a b"), user.name("a+b"))
    prefix = encode(user.prefix, keep=b"")
    assert user.client.request("POST", f"/objects?name={prefix}a+b", b"space").status == 201
    assert user.client.request("POST", f"/objects?name={prefix}a%2Bb", b"plus").status == 201
    assert user.get(user.name("a b")).body == b"space"
    assert user.client.get("/objects/" + user.prefix + "a+b").body == b"plus"
    assert user.names() == [user.name("a b"), user.name("a+b")]


# --- ranges -----------------------------------------------------------------------------------------

SIZE = 300_000
RANGES = [
    ("bytes=0-0", 0, 0), ("bytes=0-99", 0, 99), ("bytes=5-", 5, SIZE - 1), ("bytes=-7", SIZE - 7, SIZE - 1),
    ("bytes=0-", 0, SIZE - 1), (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1), (f"bytes=-{SIZE}", 0, SIZE - 1),
    (f"bytes=-{SIZE + 1}", 0, SIZE - 1), (f"bytes=100-{SIZE + 5}", 100, SIZE - 1),
    ("bytes=131071-131072", 131071, 131072), ("bytes=131072-131072", 131072, 131072),
    ("bytes=1-262144", 1, 262144), ("bytes=200000-299998", 200000, 299998), ("bytes=-1", SIZE - 1, SIZE - 1),
    ("BYTES=1-2", 1, 2), ("bytes=1-99999999999999999999999", 1, SIZE - 1), ("bytes=-99999999999999999999999", 0, SIZE - 1),
    ("bytes=0000-0001", 0, 1),
]
IGNORED = ["bytes=5-2", "bytes=a-b", "bytes=", "bytes=-", "bytes", "items=0-1", "bytes=0-1-2", "bytes=0-1x",
           "bytes=0-1,5-2", "bytes=--1", "bytes=1", "0-1", ""]


def test_ranges(everywhere):
    user, body = everywhere, content(SIZE)
    name = user.name("ranges.png")
    stored = user.put(name, body)
    for field, first, last in RANGES:
        answer = user.get(name, {"Range": field})
        assert answer.status == 206, (field, answer)
        assert answer.header("Content-Range") == f"bytes {first}-{last}/{SIZE}", field
        assert answer.header("Content-Length") == str(last - first + 1), field
        assert digest(answer.body) == digest(body[first:last + 1]), field
        assert answer.header("ETag") == stored.header("ETag")
        assert answer.header("Content-Type") == "image/png"
    for field in IGNORED:
        answer = user.get(name, {"Range": field})
        assert answer.status == 200, (field, answer)
        assert answer.header("Content-Range") is None
        assert answer.header("Accept-Ranges") == "bytes"
        assert digest(answer.body) == digest(body), field
    # A range is for GET only.
    head = user.head(name, {"Range": "bytes=0-0"})
    assert (head.status, head.header("Content-Length")) == (200, str(SIZE))


def test_a_range_outside_the_file(everywhere):
    user = everywhere
    name = user.name("outside")
    for size, field in ((10, "bytes=10-"), (10, "bytes=10-20"), (10, "bytes=99999999999999999999-"), (10, "bytes=-0"),
                        (0, "bytes=0-"), (0, "bytes=0-0"), (200_000, "bytes=200000-")):
        user.put(name, bytes(size))
        answer = user.get(name, {"Range": field})
        assert is_problem(answer, 416, "range-not-satisfiable"), field
        assert answer.header("Content-Range") == f"bytes */{size}", field
        # The connection goes on.
        assert user.get(name).status == 200


def test_a_suffix_of_an_empty_file(everywhere):
    """It has no last bytes, and no Content-Range could say so."""
    user = everywhere
    user.put(user.name("empty"), b"")
    answer = user.get(user.name("empty"), {"Range": "bytes=-5"})
    assert answer.status in (200, 416)


def test_ranges_of_the_largest_files_are_exact(everywhere):
    user, body = everywhere, content(16 * MIB + 1)
    name = user.name("large")
    user.put(name, body)
    for first, last in ((0, 16 * MIB), (MIB - 1, MIB), (128 * KIB - 1, 3 * MIB), (8 * MIB + 3, 16 * MIB),
                        (16 * MIB, 16 * MIB)):
        answer = user.get(name, {"Range": f"bytes={first}-{last}"})
        assert answer.status == 206
        assert digest(answer.body) == digest(body[first:last + 1])


# --- what is kept with a file -----------------------------------------------------------------------

def test_metadata_comes_back(everywhere):
    user = everywhere
    name = user.name("described")
    fields = {"X-Meta-Author": "Ada", "x-meta-lower": "small", "X-META-UPPER": "LARGE", "X-Meta-Empty": "",
              "X-Meta-Spaces": "a  b", "X-Meta-Punctuation": "\"quoted\", a=b; c\\d", "X-Meta-1": "2",
              "X-Meta-Long": "v" * 5000}
    user.put(name, b"x", fields)
    for answer in (user.get(name), user.head(name), user.get(name, {"Range": "bytes=0-0"})):
        told = {key.lower(): value for key, value in answer.headers.items() if key.lower().startswith("x-meta-")}
        assert told == {key.lower(): value for key, value in fields.items()}
    # A new version has what came with it and nothing of the old one.
    user.put(name, b"y", {"X-Meta-New": "1"})
    told = [key.lower() for key in user.get(name).headers if key.lower().startswith("x-meta-")]
    assert told == ["x-meta-new"]
    # A form's fields hold for all its files.
    names = [user.name("one"), user.name("two")]
    user.remember(*names)
    post(user.port, form(*(file_part(each, b"x") for each in names)), headers={"X-Meta-From": "form"})
    assert [user.get(each).header("X-Meta-From") for each in names] == ["form", "form"]


def test_metadata_under_every_name_that_a_field_may_have(everywhere):
    """RFC 9110, 5.6.2. If one could not be kept, the client would have to be told."""
    user = everywhere
    name = user.name("described")
    for field in ("X-Meta-with-1-digit", "X-Meta-under_score", "X-Meta-with.dot", "X-Meta-!#$%&'*+^`|~"):
        stored = user.put(name, b"x", {field: "value"})
        assert stored.status == 400 or user.get(name).header(field) == "value", field


def test_metadata_that_is_not_ascii(everywhere):
    user = everywhere
    name = user.name("described")
    user.put(name, b"x", {"X-Meta-Title": "größe".encode(), "X-Meta-Latin": b"gr\xf6\xdfe"})
    answer = user.get(name)
    assert answer.header("X-Meta-Title").encode("latin-1") == "größe".encode()
    assert answer.header("X-Meta-Latin").encode("latin-1") == b"gr\xf6\xdfe"


def test_metadata_has_a_limit(everywhere):
    user = everywhere
    name = user.name("described")
    # What counts is what stands behind "X-Meta-", names and values.
    fits = {f"X-Meta-{n}": "v" * 4095 for n in (1, 2)}
    assert user.put(name, b"x", fits).status == 201
    assert user.get(name).header("X-Meta-2") == "v" * 4095
    assert is_problem(user.put(name, b"y", {**fits, "X-Meta-3": ""}), 400, "bad-metadata", "8192")
    assert user.put(name, b"x", {f"X-Meta-{n}": "v" for n in range(64)}).status == 200
    assert is_problem(user.put(name, b"y", {f"X-Meta-{n}": "v" for n in range(65)}), 400, "bad-metadata", "64")
    assert user.get(name).body == b"x"


def test_media_types(everywhere):
    user = everywhere

    def kept(rest, headers):
        name = user.name(rest)
        user.put(name, b"x", headers)
        [listed] = json.loads(user.listing(f"limit=1&prefix={encode(name)}").body)["objects"]
        assert listed["type"] == user.get(name).header("Content-Type") == user.head(name).header("Content-Type")
        return listed["type"]

    assert kept("a.txt", {"Content-Type": "image/x-mine; q=1"}) == "image/x-mine; q=1"
    assert kept("a", {"Content-Type": "text/html; charset=utf-8"}) == "text/html; charset=utf-8"
    assert kept("a.txt", {"Content-Type": "application/octet-stream"}) == "application/octet-stream"
    assert kept("a.json", {}) == "application/json"
    assert kept("a.b.png", {}) == "image/png"
    assert kept("UPPER.JPG", {}) == "image/jpeg"
    assert kept("dir.png/plain", {}) == "application/octet-stream"
    assert kept("plain", {}) == "application/octet-stream"
    assert kept("a.unheard-of", {}) == "application/octet-stream"
    assert kept("a.", {}) == "application/octet-stream"
    # curl's --data-binary says this of whatever it sends.
    assert kept("a.css", {"Content-Type": "application/x-www-form-urlencoded"}) == "text/css"
    assert kept("longest", {"Content-Type": "text/" + "x" * 250}) == "text/" + "x" * 250
    answer = user.put(user.name("too-long"), b"x", {"Content-Type": "text/" + "x" * 251})
    assert is_problem(answer, 400, "bad-request", "255")
    assert user.get(user.name("too-long")).status == 404


def test_head_has_the_fields_of_get(everywhere):
    user = everywhere
    for size in (0, 10, 300_000):
        name = user.name(f"{size}.txt")
        user.put(name, bytes(size), {"X-Meta-Some": "thing"})
        get, head = user.get(name), user.head(name)
        assert (head.status, head.body) == (200, b"")
        changing = {"date", "x-backend"}  # The load balancer asks another backend each time.
        assert ({(key, value) for key, value in head.headers.items() if key.lower() not in changing}
                == {(key, value) for key, value in get.headers.items() if key.lower() not in changing})


def test_last_modified(everywhere):
    user = everywhere
    name = user.name("dated")
    before = int(time.time())
    told = json.loads(user.put(name, b"x").body)["objects"][0]["modified"]
    after = int(time.time())
    answer = user.get(name)
    stamp = time.strptime(answer.header("Last-Modified"), "%a, %d %b %Y %H:%M:%S GMT")
    assert before <= calendar.timegm(stamp) <= after
    assert told.startswith(time.strftime("%Y-%m-%dT%H:%M:%S", stamp))


# --- foreign objects --------------------------------------------------------------------------------

def test_objects_of_others_are_files(everywhere, stack, tmp_path):
    user, pool = everywhere, stack.env["CEPH_POOL"]
    body = content(300_000, seed="foreign")
    (tmp_path / "file").write_bytes(body)
    name = user.name("foreign.txt")
    user.remember(name)
    before = int(time.time())
    stack.command("rados", "-p", pool, "put", name, str(tmp_path / "file"))

    answer = user.check(name, body)
    assert answer.header("Content-Type") == "text/plain"
    stamp = time.strptime(answer.header("Last-Modified"), "%a, %d %b %Y %H:%M:%S GMT")
    assert before - 2 <= calendar.timegm(stamp) <= time.time() + 2
    etag = answer.header("ETag")
    assert re.fullmatch(r'"[^"]+"', etag)
    [listed] = wait_for(lambda: json.loads(user.listing(f"prefix={encode(name)}").body)["objects"], 30,
                        "the object to be listed")
    assert (listed["name"], listed["size"], listed["etag"]) == (name, len(body), etag)
    assert listed["modified"].startswith(time.strftime("%Y-%m-%dT%H:%M:%S", stamp))
    part = user.get(name, {"Range": "bytes=200000-200009"})
    assert (part.status, part.body) == (206, body[200_000:200_010])
    assert user.get(name, {"If-None-Match": etag}).status == 304

    # Somebody else changes it: that is another version.
    (tmp_path / "file").write_bytes(b"changed")
    stack.command("rados", "-p", pool, "put", name, str(tmp_path / "file"))
    assert user.check(name, b"changed").header("ETag") != etag
    assert user.put(name, b"x", {"If-Match": etag}).status == 412

    # It is replaced like any other.
    assert user.put(name, b"ours", {"If-None-Match": "*"}).status == 412
    answer = user.put(name, b"ours", {"X-Meta-By": "us"})
    assert answer.status == 200
    assert user.check(name, b"ours").header("X-Meta-By") == "us"
    assert stack.command("rados", "-p", pool, "stat", name).strip().endswith("size 4")

    # And somebody else's write over ours is theirs again, not our tag with their bytes.
    (tmp_path / "file").write_bytes(b"theirs once more")
    stack.command("rados", "-p", pool, "put", name, str(tmp_path / "file"))
    changed = user.check(name, b"theirs once more")
    assert changed.header("ETag") != answer.header("ETag")
    assert user.delete(name, {"If-Match": answer.header("ETag")}).status == 412
    assert user.delete(name, {"If-Match": changed.header("ETag")}).status == 204
    assert user.get(name).status == 404


def test_a_foreign_object_is_deleted_like_any_other(everywhere, stack, tmp_path):
    user = everywhere
    (tmp_path / "file").write_bytes(b"x")
    for name in (user.name("foreign"), user.name("empty")):
        stack.command("rados", "-p", stack.env["CEPH_POOL"], "put", name, str(tmp_path / "file"))
        assert user.delete(name).status == 204
        assert user.get(name).status == 404
        (tmp_path / "file").write_bytes(b"")
    assert user.names() == []


# --- at the same time -------------------------------------------------------------------------------

def test_of_concurrent_uploads_one_is_left_whole(everywhere):
    user = everywhere
    sizes = [0, 1, 4 * KIB, 100_000, 128 * KIB + 1, MIB, 2 * MIB + 7, 5 * MIB]
    name = user.name("contended")
    user.remember(name)
    for turn in range(4):
        versions = {}

        def put(size):
            body = content(size, seed=turn)
            answer = request(user.port, "PUT", target_of(name), body)
            assert answer.status in (200, 201), answer
            versions[answer.header("ETag")] = digest(body)
            return answer.status

        statuses = at_once([lambda size=size: put(size) for size in sizes])
        # Of those who found nothing there, one made it.
        assert statuses.count(201) == (1 if turn == 0 else 0)
        assert len(versions) == len(sizes)
        answer = user.get(name)
        assert versions[answer.header("ETag")] == digest(answer.body)
        [listed] = json.loads(user.listing(f"prefix={encode(name)}").body)["objects"]
        assert (listed["etag"], listed["size"]) == (answer.header("ETag"), len(answer.body))


def test_a_reader_never_sees_a_mixture(everywhere):
    """While a file is replaced again and again, each GET gives one version whole, or breaks off."""
    user = everywhere
    name = user.name("changing")
    versions, seen, broken = {}, [], []
    stop = threading.Event()
    sizes = [10, 100_000, 128 * KIB, 128 * KIB + 1, 700_000, 3 * MIB, 6 * MIB]
    first = content(sizes[-1], seed="first")
    versions[user.put(name, first).header("ETag")] = digest(first)

    def write(seed):
        with Client(user.port) as client:
            for number in range(40):
                body = content(sizes[(number + seed) % len(sizes)], seed=(seed, number))
                versions[client.put(target_of(name), body).header("ETag")] = digest(body)

    def read():
        with Client(user.port) as client:
            while not stop.is_set():
                try:
                    answer = client.get(target_of(name))
                except (ConnectionError, http.client.HTTPException) as error:
                    broken.append(error)
                    client.close()
                else:
                    seen.append((answer.status, answer.header("ETag"), digest(answer.body)))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        at_once([lambda seed=seed: write(seed) for seed in range(2)])
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert len(seen) > 20
    for status, etag, what in seen:
        assert status == 200
        assert versions[etag] == what
    # A download of more than one piece may break off; the small ones never do.
    small = {digest_ for digest_ in versions.values() if digest_[0] <= 128 * KIB}
    assert small & {what for _, _, what in seen}


def test_small_files_are_read_whole_whatever_happens(everywhere):
    """One operation reads them, so that replacing and deleting cannot break a download off."""
    user = everywhere
    name = user.name("small")
    versions = {}
    done = threading.Event()

    def write():
        try:
            with Client(user.port) as client:
                for number in range(150):
                    body = b"%d " % number * (1 + number * 97 % 3000)
                    versions[client.put(target_of(name), body).header("ETag")] = digest(body)
                    if number % 10 == 9:
                        assert client.delete(target_of(name)).status == 204
        finally:
            done.set()

    def read():
        found = []
        with Client(user.port) as client:
            while not done.is_set():
                answer = client.get(target_of(name))
                assert answer.status in (200, 404)
                if answer.status == 200:
                    found.append((answer.header("ETag"), digest(answer.body)))
        return found

    _, *readings = at_once([write, read, read, read])
    user.remember(name)
    assert sum(len(found) for found in readings) > 20
    for found in readings:
        for etag, what in found:
            assert versions[etag] == what


def test_deleting_at_the_same_time_succeeds_once(everywhere):
    user = everywhere
    for _ in range(5):
        user.put(user.name("gone"), b"x")
        statuses = at_once([lambda: request(user.port, "DELETE", target_of(user.name("gone"))).status
                            for _ in range(8)])
        assert sorted(statuses) == [204] + [404] * 7
