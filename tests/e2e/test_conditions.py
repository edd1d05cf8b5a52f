"""Conditional requests, RFC 9110, section 13: what is read, replaced and removed only if it is still the same."""

import calendar
import time
from email.utils import formatdate

import pytest

from files import (KIB, at_once, content, digest, encode, everywhere, file_part, form, head_of, is_problem,
                   post, target_of, Wire)
from stack import Client, request, wait_for

OTHER = '"00000000000000000000000000000000"'


def http_date(seconds):
    return formatdate(seconds, usegmt=True)


class Stored:
    """A file and what identifies its version."""

    def __init__(self, user, rest="file.txt", body=b"content"):
        self.name = user.name(rest)
        user.put(self.name, body)
        answer = user.get(self.name)
        self.etag = answer.header("ETag")
        self.modified = answer.header("Last-Modified")
        self.seconds = calendar.timegm(time.strptime(self.modified, "%a, %d %b %Y %H:%M:%S GMT"))
        self.before = http_date(self.seconds - 10)
        self.after = http_date(self.seconds + 10)


def cases(file):
    """Header fields, and what GET, PUT and DELETE answer to them."""
    etag, weak = file.etag, "W/" + file.etag
    held, failed, unmodified = (200, 200, 204), (412, 412, 412), (304, 412, 412)
    dates = [({"If-Modified-Since": file.modified}, (304, 200, 204)),
             ({"If-Modified-Since": file.after}, (304, 200, 204)),
             ({"If-Modified-Since": file.before}, held),
             ({"If-Modified-Since": "yesterday"}, held),
             ({"If-Modified-Since": ""}, held),
             ({"If-Unmodified-Since": file.modified}, held),
             ({"If-Unmodified-Since": file.after}, held),
             ({"If-Unmodified-Since": file.before}, failed),
             ({"If-Unmodified-Since": "yesterday"}, held),
             # The two obsolete forms of a date that every recipient has to know (5.6.7).
             ({"If-Unmodified-Since": time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(file.seconds - 10))},
              failed),
             ({"If-Unmodified-Since": time.asctime(time.gmtime(file.seconds - 10))}, failed),
             ({"If-Modified-Since": time.asctime(time.gmtime(file.seconds))}, (304, 200, 204))]
    tags = [({"If-Match": etag}, held),
            ({"If-Match": "*"}, held),
            ({"If-Match": OTHER}, failed),
            ({"If-Match": f"{OTHER}, {etag}"}, held),
            ({"If-Match": f" {OTHER} ,,{etag} ,"}, held),
            ({"If-Match": weak}, failed),  # If-Match compares strongly
            ({"If-Match": etag.upper() if etag.upper() != etag else OTHER}, failed),
            ({"If-Match": '"a,b", "*"'}, failed),
            ({"If-None-Match": etag}, unmodified),
            ({"If-None-Match": "*"}, unmodified),
            ({"If-None-Match": weak}, unmodified),  # and If-None-Match weakly
            ({"If-None-Match": OTHER}, held),
            ({"If-None-Match": f"{OTHER},{etag}"}, unmodified),
            ({"If-None-Match": '""'}, held)]
    both = [({"If-Match": etag, "If-Unmodified-Since": file.before}, held),  # the tag alone counts
            ({"If-Match": OTHER, "If-Unmodified-Since": file.after}, failed),
            ({"If-None-Match": OTHER, "If-Modified-Since": file.after}, held),
            ({"If-None-Match": etag, "If-Modified-Since": file.before}, unmodified),
            ({"If-Match": etag, "If-None-Match": OTHER}, held),
            ({"If-Match": etag, "If-None-Match": etag}, unmodified),
            ({"If-Match": OTHER, "If-None-Match": OTHER}, failed),
            ({"If-Match": etag, "If-Modified-Since": file.after}, (304, 200, 204)),
            ({"If-Unmodified-Since": file.before, "If-None-Match": OTHER}, failed),
            ({"If-Unmodified-Since": file.after, "If-None-Match": etag}, unmodified)]
    return dates + tags + both


def test_every_condition_on_a_file_that_exists(everywhere):
    user = everywhere
    file = Stored(user)
    for number in range(len(cases(file))):
        fields, (get, put, delete) = cases(file)[number]
        answer = user.get(file.name, fields)
        assert answer.status == get, fields
        assert user.head(file.name, fields).status == get, fields
        # The first byte of what failed is not there, and what was not modified has no content.
        if get == 304:
            assert answer.body == b"" and answer.header("ETag") == file.etag, fields
        elif get == 412:
            assert is_problem(answer, 412, "precondition-failed"), fields

        answer = user.put(file.name, b"replaced", fields)
        assert answer.status == put, fields
        if put == 412:
            assert is_problem(answer, 412, "precondition-failed"), fields
            assert user.get(file.name).header("ETag") == file.etag, fields
        else:
            assert user.get(file.name).body == b"replaced", fields

        file = Stored(user)
        fields = cases(file)[number][0]
        answer = user.delete(file.name, fields)
        assert answer.status == delete, fields
        if delete == 412:
            assert is_problem(answer, 412, "precondition-failed"), fields
            assert user.get(file.name).header("ETag") == file.etag, fields
        else:
            assert user.get(file.name).status == 404, fields
            file = Stored(user)


def test_conditions_on_a_file_that_does_not_exist(everywhere):
    user = everywhere
    name = user.name("nothing")
    date = http_date(time.time())
    for fields, put in (({"If-Match": "*"}, 412), ({"If-Match": OTHER}, 412), ({"If-None-Match": "*"}, 201),
                        ({"If-None-Match": OTHER}, 201), ({"If-Modified-Since": date}, 201),
                        ({"If-Match": OTHER, "If-None-Match": "*"}, 412)):
        # What answers without its conditions is neither 2xx nor 412 ignores them (13.2.1).
        for method in ("GET", "HEAD", "DELETE"):
            assert user.client.request(method, target_of(name), headers=fields).status == 404, (method, fields)
        answer = user.put(name, b"x", fields)
        assert answer.status == put, fields
        if put == 201:
            assert user.delete(name).status == 204
        else:
            assert is_problem(answer, 412, "precondition-failed")
            assert user.get(name).status == 404, fields


def test_what_304_says(everywhere):
    """The fields that a cache needs, and nothing behind the head."""
    user = everywhere
    file = Stored(user, body=content(300 * KIB))
    for method in ("GET", "HEAD"):
        with Wire(user.port) as wire:
            wire.send(head_of(method, target_of(file.name), f"If-None-Match: {file.etag}")
                      + head_of("GET", "/healthz", "Connection: close"))
            status, fields = wire.head()
            assert status == 304
            assert fields["etag"] == file.etag
            assert fields["last-modified"] == file.modified
            assert "transfer-encoding" not in fields
            assert fields.get("content-length", str(300 * KIB)) == str(300 * KIB)
            # The next answer follows at once.
            assert wire.head()[0] == 200


def test_a_condition_in_two_fields(everywhere):
    """A list may be spread over several fields of that name (RFC 9110, 5.3). nginx refuses that.

    Never may a part of the list be taken for the whole.
    """
    user = everywhere
    file = Stored(user)

    def status(method, *fields):
        with Wire(user.port) as wire:
            wire.send(head_of(method, target_of(file.name), "Content-Length: 0", *fields))
            return wire.head()[0]

    assert status("GET", f"If-None-Match: {OTHER}", f"If-None-Match: {file.etag}") in (304, 400)
    assert status("GET", f"If-Match: {OTHER}", f"If-Match: {file.etag}") in (200, 400)
    assert status("PUT", f"If-None-Match: {OTHER}", f"If-None-Match: {file.etag}") in (412, 400)
    assert status("DELETE", f"If-None-Match: {OTHER}", f"If-None-Match: {file.etag}") in (412, 400)


@pytest.mark.parametrize("field", ["If-Match", "If-None-Match"])
def test_malformed_entity_tags(everywhere, field):
    """What was meant cannot be known, and to guess would overwrite something."""
    user = everywhere
    file = Stored(user)
    bare = file.etag.strip('"')
    for value in (bare, f'"{bare}', f'{bare}"', "", '"', "W/", f"w/{file.etag}", f"{file.etag} {OTHER}", f"{file.etag}, x",
                  f"*, {file.etag}", f"{file.etag}, *", f"{file.etag};", "'a'"):
        for method, body in (("GET", None), ("HEAD", None), ("PUT", b"x"), ("DELETE", None)):
            answer = user.client.request(method, target_of(file.name), body, {field: value})
            assert answer.status == 400, (method, value)
            if method != "HEAD":
                assert is_problem(answer, 400, "bad-request", field)
        answer = post(user.port, form(file_part(file.name, b"x")), headers={field: value})
        assert is_problem(answer, 400, "bad-request", field)
    assert user.get(file.name).header("ETag") == file.etag


# --- ranges under conditions ------------------------------------------------------------------------

def test_if_range(everywhere):
    user = everywhere
    file = Stored(user)
    # Within the second in which it was stored a date may stand for two versions.
    assert user.get(file.name, {"Range": "bytes=1-3", "If-Range": file.etag}).status == 206
    wait_for(lambda: user.get(file.name, {"Range": "bytes=1-3", "If-Range": file.modified}).status == 206, 10,
             "the date to be a strong validator")
    for value, status in ((file.etag, 206), (file.modified, 206), (OTHER, 200), ("W/" + file.etag, 200),
                          (file.before, 200), (file.after, 200), ("nonsense", 200), ("*", 200), ("", 200),
                          (f"{OTHER}, {file.etag}", 200)):
        answer = user.get(file.name, {"Range": "bytes=1-3", "If-Range": value})
        assert answer.status == status, value
        assert answer.body == (b"ont" if status == 206 else b"content"), value
        # Without Range it says nothing.
        assert user.get(file.name, {"If-Range": value}).status == 200
    # Where the range does not count, it cannot be out of bounds either.
    assert user.get(file.name, {"Range": "bytes=100-", "If-Range": OTHER}).status == 200
    assert user.get(file.name, {"Range": "bytes=100-", "If-Range": file.etag}).status == 416


def test_conditions_come_before_ranges(everywhere):
    user = everywhere
    file = Stored(user)
    for value in ("bytes=1-3", "bytes=100-"):
        assert user.get(file.name, {"Range": value, "If-None-Match": file.etag}).status == 304
        assert user.get(file.name, {"Range": value, "If-Match": OTHER}).status == 412
    assert user.get(file.name, {"Range": "bytes=1-3", "If-Match": file.etag}).status == 206


# --- at the same time -------------------------------------------------------------------------------

def test_of_many_creators_exactly_one_succeeds(everywhere):
    user = everywhere
    for turn, size in enumerate((0, 10, 5000, 200_000)):
        name = user.name(f"created {turn}")
        user.remember(name)
        bodies = [b"%d" % creator + content(size, seed=creator) for creator in range(32)]
        answers = at_once([lambda body=body: request(user.port, "PUT", target_of(name), body, {"If-None-Match": "*"})
                           for body in bodies])
        statuses = [answer.status for answer in answers]
        assert sorted(statuses) == [201] + [412] * 31
        winner = statuses.index(201)
        answer = user.check(name, bodies[winner])
        assert answer.header("ETag") == answers[winner].header("ETag")


def test_no_update_is_lost(everywhere):
    """Clients that read, change and write under If-Match: each change is in what is there at the end."""
    user = everywhere
    name = user.name("counter")
    user.put(name, b"")
    clients, rounds = 6, 8

    def change(mark):
        tries = 0
        with Client(user.port) as client:
            for _ in range(rounds):
                while True:
                    tries += 1
                    assert tries < 5000
                    read = client.get(target_of(name))
                    write = client.put(target_of(name), read.body + mark, {"If-Match": read.header("ETag")})
                    if write.status == 200:
                        break
                    assert write.status == 412
        return tries

    at_once([lambda mark=mark: change(mark) for mark in (b"a", b"b", b"c", b"d", b"e", b"f")])
    body = user.get(name).body
    assert len(body) == clients * rounds
    assert {body.count(mark) for mark in (b"a", b"b", b"c", b"d", b"e", b"f")} == {rounds}


def test_of_many_who_replace_one_version_exactly_one_succeeds(everywhere):
    user = everywhere
    for turn in range(3):
        file = Stored(user, "replaced")
        fields = {"If-Match": file.etag}
        actions = [lambda body=b"%d" % number: request(user.port, "PUT", target_of(file.name), body, fields).status
                   for number in range(12)]
        actions += [lambda: request(user.port, "DELETE", target_of(file.name), headers=fields).status for _ in range(4)]
        statuses = at_once(actions)
        won = [status for status in statuses if status in (200, 204)]
        assert len(won) == 1
        # Who comes behind the deletion finds nothing to delete.
        lost = {412, 404} if won == [204] else {412}
        assert set(statuses) - {won[0]} <= lost
        answer = user.get(file.name)
        if won == [200]:
            assert answer.body == b"%d" % statuses.index(200)
        else:
            assert answer.status == 404


def test_conditions_of_other_ways_of_storing(everywhere):
    user = everywhere
    file = Stored(user)
    target = "/objects?name=" + encode(file.name, keep=b"")
    assert user.client.request("POST", target, b"x", {"If-None-Match": "*"}).status == 412
    assert user.client.request("POST", target, b"x", {"If-Match": OTHER}).status == 412
    assert user.client.request("POST", target, b"y", {"If-Match": file.etag}).status == 200
    assert user.get(file.name).body == b"y"

    body = form(file_part(user.name("new"), b"1"), file_part(file.name, b"2"), file_part(user.name("third"), b"3"))
    user.remember(user.name("new"), user.name("third"))
    answer = post(user.port, body, headers={"If-None-Match": "*"})
    # What was stored before the condition failed is told.
    assert is_problem(answer, 412, "precondition-failed", "first 1 of the form's 3 files")
    assert user.get(user.name("new")).body == b"1"
    assert user.get(file.name).body == b"y"
    assert user.get(user.name("third")).status == 404


def test_a_large_upload_whose_condition_fails_leaves_the_file(everywhere):
    user = everywhere
    file = Stored(user, body=content(100_000))
    for fields in ({"If-None-Match": "*"}, {"If-Match": OTHER}, {"If-Unmodified-Since": file.before}):
        assert user.put(file.name, content(3_000_000, seed=1), fields).status == 412
        answer = user.get(file.name)
        assert (answer.header("ETag"), digest(answer.body)) == (file.etag, digest(content(100_000)))
