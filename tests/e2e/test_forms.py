"""Forms: multipart/form-data as browsers, curl and Python's requests send it (RFC 7578, RFC 2046)."""

import json
import subprocess

import pytest

from files import content, encode, everywhere, file_part, files, form, is_problem, part, post, target_of


def names_in(answer):
    return [entry["name"] for entry in json.loads(answer.body)["objects"]]


def test_one_file(everywhere):
    user = everywhere
    name = user.name("photo.jpg")
    user.remember(name)
    answer = post(user.port, form(file_part(name, b"content", "image/x-own")))
    assert answer.status == 201
    assert answer.header("Location") == target_of(name)
    assert names_in(answer) == [name]
    stored = user.check(name, b"content")
    assert stored.header("ETag") == answer.header("ETag")
    assert stored.header("Content-Type") == "image/x-own"

    answer = post(user.port, form(file_part(name, b"other")))
    assert answer.status == 200
    assert user.check(name, b"other").header("Content-Type") == "image/jpeg"


def test_several_files_and_fields_between_them(everywhere):
    user = everywhere
    names = [user.name(rest) for rest in ("one.txt", "two", "three")]
    user.remember(*names)
    answer = post(user.port, form(
        part('form-data; name="description"', b"a field, and no file"),
        file_part(names[0], b"1"), file_part(names[1], b""),
        part('form-data; name="empty"; filename=""', b"", "application/octet-stream"),
        part('form-data; name="not chosen"; filename=""', b"x"),
        file_part(names[2], b"333"), part('form-data; name="submit"', b"Send")))
    assert answer.status == 201
    assert names_in(answer) == names
    told = json.loads(answer.body)["objects"]
    assert [(entry["size"], entry["created"]) for entry in told] == [(1, True), (0, True), (3, True)]
    assert answer.header("Location") is None
    assert user.names() == sorted(names)
    for name, body in zip(names, (b"1", b"", b"333")):
        assert user.check(name, body).header("ETag") == told[names.index(name)]["etag"]

    # One of several was there already: something was created all the same.
    user.delete(names[1])
    answer = post(user.port, form(file_part(names[0], b"a"), file_part(names[1], b"b")))
    assert answer.status == 201
    assert [entry["created"] for entry in json.loads(answer.body)["objects"]] == [False, True]
    answer = post(user.port, form(file_part(names[0], b"a"), file_part(names[1], b"b")),
                  headers={"Accept": "text/plain"})
    assert (answer.status, answer.text) == (200, f"{names[0]}\n{names[1]}\n")


def test_the_same_name_twice_in_a_form(everywhere):
    user = everywhere
    name = user.name("twice")
    user.remember(name)
    answer = post(user.port, form(file_part(name, b"first"), file_part(name, b"second")))
    assert (answer.status, names_in(answer)) == (201, [name, name])
    user.check(name, b"second")


def test_filenames(everywhere):
    user = everywhere
    prefix = user.prefix
    for written, meant in (
            ('filename="{}plain"', "plain"), ("filename={}token", "token"), ("filename = {}spaces", "spaces"),
            ('FILENAME="{}upper"', "upper"), ('filename="{}with spaces"', "with spaces"),
            ('filename="{}semi;colon=x"', "semi;colon=x"), (r'filename="{}quo\"te"', 'quo"te'),
            ('filename="{}quo%22te 2"', 'quo"te 2'), (r'filename="{}back\\slash"', "back\\slash"),
            (r'filename="{}C:\dir\file"', r"C:\dir\file"), ('filename="{}größe"', "größe"),
            ('filename="{}a/b//c"', "a/b//c"), ('filename="{}../up"', "../up"), ('filename="{}100%"', "100%"),
            ('filename="{}%41"', "%41"), ('filename="{}a%0D%0Ab"', "a\r\nb"), ("filename=\"{}it's\"", "it's"),
            ('filename="{}last";', "last")):
        name = prefix + meant
        user.remember(name)
        answer = post(user.port, form(part('form-data; name="file"; ' + written.format(prefix), b"of " + meant.encode())))
        assert answer.status == 201, (written, answer)
        assert names_in(answer) == [name], written
        assert user.get(name).body == b"of " + meant.encode(), written
    # The order of the parameters does not matter, nor others beside them.
    name = prefix + "order"
    user.remember(name)
    assert post(user.port, form(part(f'form-data; filename="{name}"; x=y; name=file', b"x"))).status == 201
    user.check(name, b"x")


def test_a_filename_that_is_not_utf8(everywhere):
    user = everywhere
    name = user.name(b"latin gr\xf6\xdfe")
    user.remember(name)
    answer = post(user.port, form(file_part(name, b"x")))
    assert answer.status == 201
    assert answer.header("Location") == target_of(name)
    assert json.loads(answer.body)["objects"][0]["name_encoded"] == encode(name)
    user.check(name, b"x")


def test_content_is_kept_byte_for_byte(everywhere):
    """Line breaks, and what only looks like a boundary."""
    user = everywhere
    boundary = "test-boundary"
    line = b"--" + boundary.encode()
    for number, body in enumerate((
            b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"line\r\nline\r\n", b"--", b"\r\n--", b"--\r\n--\r\n", b"\r\n--\r\n",
            b"x" + line, b"x" + line + b"--", b"x" + line + b"\r\n", b"\n" + line + b"\n", b"\r" + line + b"--\r\n", line[:-1],
            b"\r\n" + line[:-1], b"\r\n" + line[:-1] + b"--\r\n", b"\r\n-" + line, b"\r\n " + line + b"--",
            b"\r\n-" + line[2:], b"\r\n--" + boundary.upper().encode() + b"--\r\n", b"\r\n\r\n--", b"\r\n\r",
            b"Content-Disposition: form-data; name=x\r\n\r\n", b"\0" * 100, bytes(range(256)) * 40, content(100_000))):
        name = user.name(str(number))
        user.remember(name)
        other = user.name("other")
        user.remember(other)
        answer = post(user.port, form(file_part(name, body), file_part(other, b"behind it"), boundary=boundary))
        assert answer.status == 201, body
        user.check(name, body)
        assert user.get(other).body == b"behind it"


def test_boundaries(everywhere):
    user = everywhere
    name = user.name("file")
    user.remember(name)
    for boundary, written in (
            ("x", "x"), ("x", '"x"'), ("-" * 70, "-" * 70), ("a b", '"a b"'), ("--", "--"), ("a;b", '"a;b"'),
            ("'()+_,-./:=?", "\"'()+_,-./:=?\""), ("----WebKitFormBoundaryAbC123", "----WebKitFormBoundaryAbC123")):
        body = boundary.encode() + b"\r\n--"
        for head in ("multipart/form-data; boundary=", "Multipart/Form-Data;  BOUNDARY=",
                     "multipart/form-data; charset=utf-8; boundary="):
            answer = post(user.port, form(file_part(name, body), boundary=boundary), head + written)
            assert answer.status in (200, 201), (head + written, answer)
            user.check(name, body)


def test_what_stands_around_the_parts_is_no_content(everywhere):
    user = everywhere
    name = user.name("file")
    user.remember(name)
    whole = form(file_part(name, b"content"))
    for body in (b"a preamble\r\n" + whole, b"\r\n" + whole, whole + b"an epilogue", whole + whole, whole[:-2],
                 whole.replace(b"--test-boundary\r\n", b"--test-boundary \t\r\n")):
        answer = post(user.port, body)
        assert (answer.status in (200, 201), names_in(answer)) == (True, [name])
        user.check(name, b"content")


def test_malformed_forms(everywhere):
    user = everywhere
    name = user.name("file")
    good = form(file_part(name, b"content"))
    disposition = f'form-data; name="file"; filename="{name}"'
    plain = "multipart/form-data; boundary=test-boundary"
    for what, body, content_type, detail in (
            ("no boundary parameter", good, "multipart/form-data", "boundary"),
            ("an empty one", good, "multipart/form-data; boundary=", "boundary"),
            ("an empty quoted one", good, 'multipart/form-data; boundary=""', "boundary"),
            ("too long a one", form(file_part(name, b"x"), boundary="b" * 71),
             "multipart/form-data; boundary=" + "b" * 71, "70"),
            ("an unclosed quote", good, 'multipart/form-data; boundary="test-boundary', "boundary"),
            ("another boundary", good, "multipart/form-data; boundary=other", "boundary"),
            ("an empty body", b"", plain, "boundary"),
            ("no closing boundary", good[:-len(b"--test-boundary--\r\n")], plain, "clos"),
            ("a body cut off in the content", good[:good.index(b"content") + 3], plain, "clos"),
            ("a body cut off in a part's head", good[:40], plain, "header"),
            ("nothing but a boundary", b"--test-boundary", plain, "boundary"),
            ("something behind a boundary", good.replace(b"boundary\r\n", b"boundary junk\r\n", 1), plain, "boundary"),
            ("a boundary inside the content", form(file_part(name, b"\r\n--test-boundary is not mine\r\n")), plain,
             "boundary"),
            ("no Content-Disposition", form(b"Content-Type: text/plain\r\n\r\nx"), plain, "Content-Disposition"),
            ("no head at all", form(b"\r\nx"), plain, "head|Content-Disposition"),
            ("another disposition", form(part(f'attachment; filename="{name}"', b"x")), plain, "form-data"),
            ("an unclosed filename", form(part(f'form-data; filename="{name}', b"x")), plain, "Content-Disposition"),
            ("a parameter without value", form(part(f'{disposition}; x', b"x")), plain, "parameter"),
            ("a line without a colon", form(part(disposition, b"x", None, "no colon")), plain, "header"),
            ("an endless head", form(part(disposition, b"x", None, "X-Long: " + "x" * 70_000)), plain, "header"),
            ("too long a type", form(part(disposition, b"x", "text/" + "x" * 251)), plain, "255"),
            ("no file", form(part('form-data; name="text"', b"only a field")), plain, "no file"),
            ("no part", b"--test-boundary--\r\n", plain, "no file"),
            ("only files that were not chosen", form(part('form-data; name="f"; filename=""', b"")), plain, "no file")):
        answer = post(user.port, body, content_type)
        assert is_problem(answer, 400, "bad-form", detail), what
        answer = post(user.port, body, content_type, {"Accept": "text/plain"})
        assert answer.status == 400, what
        assert answer.header("Content-Type").startswith("text/plain")
    assert user.names() == []


def test_a_bad_name_in_a_form_stores_nothing_of_it(everywhere):
    user = everywhere
    for bad, detail in (("x" * 1025, "1024"), ("nul\0name", "NUL")):
        body = form(file_part(user.name("good"), b"1"), file_part(bad, b"2"), file_part(user.name("third"), b"3"))
        answer = post(user.port, body)
        assert is_problem(answer, 400, "bad-name", detail)
        assert user.names() == []


def test_the_number_of_files_in_a_form_is_limited(everywhere):
    user = everywhere
    parts = [file_part(user.name(f"{number:04}"), b"") for number in range(1001)]
    assert is_problem(post(user.port, form(*parts)), 400, "bad-form", "1000")
    assert user.names() == []


def test_media_types_of_parts(everywhere):
    user = everywhere
    for rest, sent, kept in (("a.txt", None, "text/plain"), ("b.txt", "text/x-mine; a=b", "text/x-mine; a=b"),
                             # What clients say when they do not know.
                             ("c.txt", "application/octet-stream", "text/plain"),
                             ("d.txt", "Application/Octet-Stream", "text/plain"),
                             ("e", "application/octet-stream", "application/octet-stream"),
                             ("f", None, "application/octet-stream")):
        name = user.name(rest)
        user.remember(name)
        answer = post(user.port, form(file_part(name, b"x", sent)))
        assert json.loads(answer.body)["objects"][0]["type"] == kept, rest
        assert user.get(name).header("Content-Type") == kept, rest


def test_a_form_beside_a_query(everywhere):
    """The form says what its files are called."""
    user = everywhere
    user.remember(user.name("in the form"), user.name("in the query"))
    answer = post(user.port, form(file_part(user.name("in the form"), b"x")),
                  target="/objects?name=" + encode(user.name("in the query")))
    if answer.status == 201:
        assert user.names() == [user.name("in the form")]
    else:
        assert is_problem(answer, 400) and user.names() == []


@pytest.mark.parametrize("name", ["plain.txt", "with space.txt", 'quo"te', "größe", "semi;colon", "back\\slash"])
def test_curl(files, tmp_path, name):
    """curl -F file=@NAME, as the manual says."""
    (tmp_path / "content").write_bytes(b"from curl\r\n")
    files.remember(files.name(name))
    shown = files.name(name).replace("\\", "\\\\").replace('"', '\\"')
    result = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "30", "--noproxy", "*",
         "--form", f'file=@"{tmp_path}/content";filename="{shown}"', f"http://127.0.0.1:{files.port}/objects"],
        capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result
    assert files.names() == [files.name(name)]
    files.check(files.name(name), b"from curl\r\n")
