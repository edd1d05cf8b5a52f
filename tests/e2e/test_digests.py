"""Digests that clients claim are verified, kept, and given back."""

import base64
import hashlib

import pytest

from files import MIB, content, everywhere, files, is_problem

SIZES = (0, 9, 20_000, 3 * MIB, 9 * MIB)


def crc32c(data, table=[]):
    """Bit by bit would take too long, a table does."""
    if not table:
        for byte in range(256):
            for _ in range(8):
                byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
            table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def text(raw):
    return base64.b64encode(raw).decode()


def sha256(data):
    return f"sha-256=:{text(hashlib.sha256(data).digest())}:"


def crc(data):
    return f"crc32c=:{text(crc32c(data).to_bytes(4, 'big'))}:"


def md5(data):
    return text(hashlib.md5(data).digest())


@pytest.mark.parametrize("size", SIZES)
def test_kept_and_given_back(everywhere, size):
    user, body = everywhere, content(size)
    name = user.name(f"{size}")
    answer = user.put(name, body, {"Repr-Digest": f"{sha256(body)}, {crc(body)}", "Content-MD5": md5(body)})
    assert answer.status == 201
    for answer in (user.check(name, body), user.head(name)):
        told = answer.header("Repr-Digest").split(", ")
        assert sorted(told) == sorted([sha256(body), crc(body)])
        assert answer.header("Content-MD5") == md5(body)
    if size:
        part = user.get(name, {"Range": "bytes=0-3"})
        assert part.status == 206 and part.header("Content-MD5") is None
        assert sha256(body) in part.header("Repr-Digest")


@pytest.mark.parametrize("size", SIZES)
def test_a_crc_is_always_known(files, size):
    body = content(size, "plain")
    assert files.put(files.name("f"), body).status == 201
    assert files.check(files.name("f"), body).header("Repr-Digest") == crc(body)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("claim", ["Repr-Digest", "Content-Digest", "crc", "Content-MD5"])
def test_another_content_is_refused(everywhere, size, claim):
    user, body, other = everywhere, content(size), content(size, "other") + b"x"
    headers = {"crc": {"Repr-Digest": crc(other)}, "Content-MD5": {"Content-MD5": md5(other)}}.get(claim, {claim: sha256(other)})
    name = user.name("f")
    is_problem(user.put(name, body, headers), 400, "digest-mismatch", r"another than the request says")
    assert user.get(name).status == 404
    assert user.put(name, b"before").status == 201
    is_problem(user.put(name, body, headers), 400, "digest-mismatch")
    user.check(name, b"before")


def test_wanted(files):
    body = b"123456789"
    name = files.name("f")
    assert files.put(name, body, {"Repr-Digest": sha256(body), "Content-MD5": md5(body)}).status == 201
    rows = [
        ("sha-256=1, crc32c=10", f"{crc(body)}, {sha256(body)}"),
        ("sha-256=10", sha256(body)),
        ("crc32c=1, sha-256=0", crc(body)),
        ("md5=1", f"md5=:{md5(body)}:"),
        ("sha-512=10", None),
        ("sha-256=nonsense", files.get(name).header("Repr-Digest")),
    ]
    for wanted, told in rows:
        assert files.get(name, {"Want-Repr-Digest": wanted}).header("Repr-Digest") == told, wanted
        assert files.head(name, {"Want-Repr-Digest": wanted}).header("Repr-Digest") == told, wanted
    assert crc(body) == "crc32c=:4waSgw==:"


def test_a_form(everywhere):
    """The digest of a form is not that of the files in it."""
    user, name = everywhere, everywhere.name("f")
    form = (f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nhello\r\n--b--\r\n').encode()
    user.remember(name)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    is_problem(user.client.request("POST", "/objects", form, {**headers, "Content-Digest": sha256(b"hello")}), 400,
               "digest-mismatch")
    assert user.client.request("POST", "/objects", form, {**headers, "Content-Digest": sha256(form)}).status == 201
    assert user.check(name, b"hello").header("Repr-Digest") == crc(b"hello")


@pytest.mark.parametrize("headers, detail", [
    ({"Repr-Digest": "sha-256"}, "Repr-Digest"),
    ({"Repr-Digest": "sha-256=:!:"}, "Repr-Digest"),
    ({"Content-Digest": "sha-256=:AAAA:"}, "Content-Digest"),
    ({"Content-MD5": "AAAA"}, "Content-MD5"),
    ({"Repr-Digest": sha256(b"x"), "Content-Digest": sha256(b"y")}, "sha-256"),
])
def test_malformed(files, headers, detail):
    is_problem(files.put(files.name("f"), b"x", headers), 400, "bad-digest", detail)
    assert files.get(files.name("f")).status == 404


def test_unknown_algorithms_are_passed_over(files):
    assert files.put(files.name("f"), b"x", {"Repr-Digest": "sha-512=:AAAA:, other=:AAAA:;p=1"}).status == 201
    assert files.get(files.name("f")).header("Repr-Digest") == crc(b"x")
