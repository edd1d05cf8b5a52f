"""POST /objects?delete: many files with one request, and what became of each."""

import json

import pytest

from backend import backend
from files import MIB, Files, content, encode, everywhere, in_parallel, is_problem, request
from test_stripes import GRACES, STRIPE, rados, wait_until_collected


def delete(files, names, headers=None):
    return files.client.request("POST", "/objects?delete", json.dumps(names).encode(),
                                {"Content-Type": "application/json", **(headers or {})})


def results(answer):
    assert answer.status == 200, answer
    assert answer.header("Content-Type") == "application/json"
    return json.loads(answer.body)["results"]


def gone(name):
    return {"name": name, "status": 204}


def missing(name):
    return {"name": name, "status": 404, "type": "urn:ceph-lb:problem:not-found"}


def store(files, names):
    files.remember(*names)
    answers = in_parallel(4, names, lambda client, name: client.put("/objects/" + encode(name), b"x"), files.port)
    assert {answer.status for answer in answers} == {201}


def test_in_the_order_of_the_request(everywhere):
    names = [everywhere.name(f"{number % 7}/{number}") for number in range(60)]
    store(everywhere, names[::2])
    answer = delete(everywhere, names)
    assert results(answer) == [gone(name) if number % 2 == 0 else missing(name) for number, name in enumerate(names)]
    assert everywhere.names() == []
    assert results(delete(everywhere, names)) == [missing(name) for name in names]


def test_a_thousand(everywhere):
    names = [everywhere.name(f"{number:04}") for number in range(1000)]
    store(everywhere, names)
    assert len(everywhere.names()) == 1000
    assert results(delete(everywhere, names)) == [gone(name) for name in names]
    assert everywhere.names() == []


def test_none(everywhere):
    assert results(delete(everywhere, [])) == []


def test_others_stay(everywhere):
    store(everywhere, [everywhere.name(rest) for rest in ("a", "a/b", "b", "B")])
    assert results(delete(everywhere, [everywhere.name("a")])) == [gone(everywhere.name("a"))]
    assert everywhere.names() == [everywhere.name(rest) for rest in ("B", "a/b", "b")]


def test_names_of_every_kind(everywhere):
    """What JSON carries as it is, escaped or not; and the others percent-encoded, as a listing gives them."""
    plain = [everywhere.name(rest) for rest in ("%41", "a b", "a+b", "?x=1#y", "//..//.", "café", "\U0001f600", "\n\"\\",
                                                "\x01\x7f")]
    other = [everywhere.name(rest) for rest in (b"\xff", b"\xed\xa0\x80", b"\xc3\x28/+%")]
    store(everywhere, plain + other)
    listed = [entry.get("name_encoded") for entry in
              json.loads(everywhere.listing(f"prefix={encode(everywhere.prefix)}").body)["objects"]]
    encoded = sorted(encode(name) for name in other)
    assert sorted(name for name in listed if name) == encoded
    answer = delete(everywhere, plain + [{"name_encoded": name} for name in encoded])
    found = results(answer)
    assert [entry["name"] for entry in found[:len(plain)]] == plain
    assert [entry["name_encoded"] for entry in found[len(plain):]] == encoded
    assert {entry["status"] for entry in found} == {204}
    assert everywhere.names() == []
    # Not escaped, in UTF-8.
    store(everywhere, plain[5:7])
    body = json.dumps(plain[5:7], ensure_ascii=False).encode()
    answer = everywhere.client.request("POST", "/objects?delete", body)
    assert {entry["status"] for entry in results(answer)} == {204}


def test_the_same_name_twice(everywhere):
    """One of them deletes it."""
    name = everywhere.name("file")
    store(everywhere, [name])
    found = results(delete(everywhere, [name] * 40))
    assert sorted(entry["status"] for entry in found) == [204] + [404] * 39


def test_text(everywhere):
    names = [everywhere.name(rest) for rest in ("there", "not there", "line\nbreak")]
    store(everywhere, names[::2])
    answer = delete(everywhere, names, {"Accept": "text/plain"})
    assert (answer.status, answer.header("Content-Type")) == (200, "text/plain; charset=utf-8")
    assert answer.text == f"204 {names[0]}\n404 {names[1]}\n204 {everywhere.name('line%0Abreak')}\n"


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "application/x-www-form-urlencoded",
                                          "text/plain"])
def test_the_content_type_does_not_matter(everywhere, content_type):
    """It is what the body is read as, and curl's --data gives another one."""
    name = everywhere.name("file")
    store(everywhere, [name])
    headers = {"Content-Type": content_type} if content_type else {}
    answer = everywhere.client.request("POST", "/objects?delete", json.dumps([name]).encode(), headers)
    assert results(answer) == [gone(name)]


@pytest.mark.parametrize("what, slug, detail", [
    ('', "bad-request", "not JSON"),
    ('[', "bad-request", "not JSON"),
    ('[NAME', "bad-request", "not JSON"),
    ('[NAME] x', "bad-request", "not JSON"),
    ('[NAME,]', "bad-request", "not JSON"),
    ('NAME', "bad-request", "array of names"),
    ('{"names": [NAME]}', "bad-request", "array of names"),
    ('[NAME, 1]', "bad-request", "^Entry 1 "),
    ('[NAME, NAME, null]', "bad-request", "^Entry 2 "),
    ('[NAME, [NAME]]', "bad-request", "^Entry 1 "),
    ('[NAME, {"name": NAME}]', "bad-request", "^Entry 1 .*name_encoded"),
    ('[NAME, ""]', "bad-name", "^Entry 1 .*empty"),
    ('[NAME, "a\\u0000b"]', "bad-name", "^Entry 1 .*NUL"),
    ('[NAME, "\\ud800"]', "bad-name", "surrogate"),
    ('[NAME, NAME, {"name_encoded": "%0"}]', "bad-name", "^Entry 2 .*hexadecimal"),
    ('[NAME, "' + "x" * 1025 + '"]', "bad-name", "^Entry 1 .*too long"),
    ('[' + "NAME, " * 1000 + 'NAME]', "bad-request", "^Entry 1000 .*1000 names"),
])
def test_nothing_is_deleted_by_what_is_wrong(everywhere, what, slug, detail):
    name = everywhere.name("file")
    store(everywhere, [name])
    answer = everywhere.client.request("POST", "/objects?delete", what.replace("NAME", json.dumps(name)).encode())
    assert is_problem(answer, 400, slug, detail)
    everywhere.check(name, b"x")


def test_a_list_that_is_too_long_to_be_read(everywhere):
    name = everywhere.name("file")
    store(everywhere, [name])
    body = json.dumps([name]).encode() + b" " * (8 * MIB)
    assert is_problem(everywhere.client.request("POST", "/objects?delete", body), 413, "too-large", "8 MiB")
    everywhere.check(name, b"x")


@pytest.mark.parametrize("query", ["delete=1", "delete&x", "delete&name=a", "Delete", "deletex", "x", "name=a&delete"])
def test_other_queries(everywhere, query):
    name = everywhere.name("file")
    store(everywhere, [name])
    answer = everywhere.client.request("POST", f"/objects?{query}", json.dumps([name]).encode())
    assert is_problem(answer, 400, "bad-query")
    everywhere.check(name, b"x")


def test_large_ones(stack, work_dir, free_port):
    """Their stripes go too."""
    with backend(stack, work_dir, free_port(), *GRACES) as one, Files(one.port, "bulk") as files:
        names = [files.name(f"{number}") for number in range(20)]
        for number, name in enumerate(names):
            assert files.put(name, content(STRIPE + number)).status == 201
        assert results(delete(files, names)) == [gone(name) for name in names]
        wait_until_collected(stack)
        assert not [name for name in rados(stack, "ls").splitlines() if name.startswith(files.prefix)]


def test_several_at_once(stack):
    """Of the same names: each is deleted once, and every list gets its answer."""
    with Files(stack.port, "bulk") as files:
        names = [files.name(f"{number:03}") for number in range(200)]
        store(files, names)
        body = json.dumps(names).encode()
        answers = in_parallel(6, range(6), lambda client, _: client.request("POST", "/objects?delete", body), files.port)
        statuses = [[entry["status"] for entry in results(answer)] for answer in answers]
        for of_one_name in zip(*statuses):
            assert sorted(of_one_name) == [204] + [404] * 5
        assert files.names() == []
        assert request(files.port, "GET", "/healthz").status == 200
