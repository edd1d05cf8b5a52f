"""Listings: every file once, in byte order, in pages of any size, while others come and go."""

import calendar
import json
import re
import threading
import time

from files import Files, command_bytes, content, encode, everywhere, files, in_parallel, is_problem, target_of
from stack import Client, wait_for

NAMES = ["a", "a/", "a/1", "a/2", "a/b/1", "a/b/2", "a/b/c/d", "a//x", "a0", "a-", "b", "b/1", "B", "Z/1", "z", "ab", "aa/1",
         "a/~", "0", "10", "9", "ä/1", "ä/2", "ä", "z/ä", "日本/1", "\U0001f600", "\uffff", "a b/c d", "a+b", "a%2Fb", "c", "c.txt",
         "c:d:e", "c:d:f", "c:", "line\nbreak", "tab\t/1"]


def model(names, prefix, prefix_asked="", delimiter="", after=""):
    """What is to be listed of `names`: (objects, prefixes), both as they are shown one behind the other."""
    shown = set()
    for name in names:
        name, asked = (prefix + name).encode(), (prefix + prefix_asked).encode()
        if not name.startswith(asked):
            continue
        place = name.find(delimiter.encode(), len(asked)) if delimiter else -1
        shown.add((name, False) if place == -1 else (name[:place + len(delimiter.encode())], True))
    return sorted(each for each in shown if each[0] > after.encode())


def shown_in(listing):
    """The same, of an answer."""
    return sorted([(entry["name"].encode(), False) for entry in listing["objects"]]
                  + [(name.encode(), True) for name in listing["prefixes"]])


def stored(user, names=NAMES):
    for number, name in enumerate(names):
        assert user.put(user.name(name), b"x" * number).status == 201
    return names


def pages(user, query):
    """All pages, by the Link field; each with its headers. `next` has to say the same."""
    target = "/objects?" + query
    while True:
        answer = user.client.get(target)
        assert answer.status == 200, answer
        listing = json.loads(answer.body)
        yield listing
        link = answer.header("Link")
        if listing["next"] is None:
            assert link is None
            return
        found = re.fullmatch(r'<(/objects\?\S+)>; rel="next"', link)
        assert found, link
        if "next_encoded" not in listing:
            assert f"after={encode(listing['next'])}" in found.group(1)
        target = found.group(1)


# --- one page ---------------------------------------------------------------------------------------

def test_order_and_what_is_told(everywhere):
    user = everywhere
    stored(user)
    etags = {user.name(name): user.head(user.name(name)).header("ETag") for name in NAMES}
    answer = user.listing(f"prefix={encode(user.prefix)}")
    assert answer.header("Content-Type") == "application/json"
    listing = json.loads(answer.body)
    assert set(listing) == {"objects", "prefixes", "next"}
    assert (listing["prefixes"], listing["next"], answer.header("Link")) == ([], None, None)
    names = [entry["name"] for entry in listing["objects"]]
    assert [name.encode() for name in names] == sorted((user.name(name)).encode() for name in NAMES)
    for entry in listing["objects"]:
        assert set(entry) == {"name", "size", "modified", "etag", "type"}
        assert entry["size"] == NAMES.index(entry["name"][len(user.prefix):])
        assert entry["etag"] == etags[entry["name"]]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", entry["modified"])
    types = {entry["name"]: entry["type"] for entry in listing["objects"]}
    assert types[user.name("c.txt")] == "text/plain"
    assert types[user.name("a")] == "application/octet-stream"


def test_a_listing_shows_what_was_acknowledged_before(everywhere):
    user = everywhere
    for turn in range(20):
        name = user.name(f"{turn:02}")
        user.put(name, b"x" * turn)
        assert user.names()[-1] == name
        user.put(name, b"longer than before")
        entry = json.loads(user.listing(f"prefix={encode(name)}").body)["objects"][0]
        assert entry["size"] == len("longer than before")
        if turn % 2:
            user.delete(name)
            assert name not in user.names()


def test_prefix_delimiter_and_after(everywhere):
    user = everywhere
    stored(user)
    base = user.prefix
    asked = [(prefix, delimiter, after)
             for prefix in ("", "a", "a/", "a/b/", "ä", "c:", "nothing", "z/ä", "a b/")
             for delimiter in ("", "/", ":", "//", "b", "d:", "ä")
             for after in (None,)]
    asked += [("", delimiter, after) for delimiter in ("", "/") for after in
              ("", "0", "a", "a/", "a/1", "a/b/zzz", "a/~", "a0", "ä", "ä/", "zzz", "\uffff", "line\nbreak", "c:d:e")]
    asked += [("a/", "/", "a/b/"), ("a/", "/", "a/b/1"), ("a/b", "", "a/b/1"), ("b", "", "a"), ("a", "", "b")]
    for prefix, delimiter, after in asked:
        query = f"prefix={encode(base + prefix)}"
        if delimiter:
            query += f"&delimiter={encode(delimiter)}"
        if after is not None:
            query += f"&after={encode(base + after)}"
        listing = json.loads(user.listing(query).body)
        expected = model(NAMES, base, prefix, delimiter, "" if after is None else base + after)
        assert shown_in(listing) == expected, (prefix, delimiter, after)
        assert listing["prefixes"] == sorted(listing["prefixes"], key=str.encode)


def test_after_need_not_be_a_name_nor_lie_below_the_prefix(everywhere):
    user = everywhere
    stored(user, ["a", "b", "c"])
    for after, expected in ((user.prefix + "a!", ["b", "c"]), ("", ["a", "b", "c"]), ("\x01", ["a", "b", "c"]),
                            ("\uffff", []), (user.prefix[:-1] + "0", [])):
        listing = json.loads(user.listing(f"prefix={encode(user.prefix)}&after={encode(after)}").body)
        assert [entry["name"] for entry in listing["objects"]] == [user.name(name) for name in expected], after


def test_text(everywhere):
    user = everywhere
    stored(user)
    answer = user.listing(f"prefix={encode(user.prefix)}", {"Accept": "text/plain"})
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"
    expected = sorted(user.name(name).encode() for name in NAMES)
    assert answer.body == b"".join(name.replace(b"\n", b"%0A") + b"\n" for name in expected)

    # Prefixes stand among the names, and Link leads on.
    answer = user.listing(f"prefix={encode(user.prefix)}&delimiter=/&limit=3", {"Accept": "text/plain"})
    shown = model(NAMES, user.prefix, "", "/")
    assert answer.body == b"".join(name + b"\n" for name, _ in shown[:3])
    assert f"after={encode(shown[2][0])}" in answer.header("Link")
    nothing = user.listing(f"prefix={encode(user.name('nothing'))}", {"Accept": "text/plain"})
    assert (nothing.status, nothing.body) == (200, b"")


def test_what_the_client_accepts(everywhere):
    user = everywhere
    for accept, text in ((None, False), ("*/*", False), ("application/json", False), ("text/plain", True),
                         ("text/*", True), ("text/plain, application/json", False), ("application/json;q=0.5, text/plain", True),
                         ("text/plain;q=0.5, application/json;q=0.9", False), ("text/html, */*;q=0.8", False),
                         ("TEXT/PLAIN", True), ("text/plain;q=0, */*", False), ("image/png", False), ("", False)):
        answer = user.listing("limit=1", {} if accept is None else {"Accept": accept})
        assert answer.status == 200
        assert answer.header("Content-Type").startswith("text/plain" if text else "application/json"), accept


def test_head_of_a_listing(everywhere):
    user = everywhere
    stored(user, ["a", "b"])
    query = f"/objects?limit=1&prefix={encode(user.prefix)}"
    get, head = user.client.get(query), user.client.request("HEAD", query)
    assert (head.status, head.body) == (200, b"")
    for field in ("Content-Type", "Content-Length", "Link"):
        assert head.header(field) == get.header(field)


def test_bad_queries_say_what_is_wrong(everywhere):
    user = everywhere
    for query, detail in (("limit=0", "limit"), ("limit=10001", "limit"), ("limit=-1", "limit"), ("limit=", "limit"),
                          ("limit", "limit"), ("limit=ten", "limit"), ("limit=1.5", "limit"), ("limit=0x10", "limit"),
                          ("limit=99999999999999999999999", "limit"), ("limit=4294967297", "limit"),
                          ("limit=+1", "limit"), ("limit=1%20", "limit"),
                          ("prefix=" + "a" * 1025, "prefix"), ("delimiter=" + "a" * 1025, "delimiter"),
                          ("after=" + "a" * 1025, "after"), ("unknown=1", "unknown"), ("Limit=1", "unknown"),
                          ("limit=1&x", "unknown"), ("prefix=%", "%"), ("prefix=%4", "%"), ("%zz=1", "%"),
                          ("after=a%g0", "%")):
        assert is_problem(user.listing(query), 400, "bad-query", detail), query
        assert is_problem(user.client.request("GET", f"/objects?prefix=x&{query}"), 400, "bad-query", detail), query
    for query in ("", "limit=1", "limit=10000", "limit=007", "&limit=1&", "prefix=", "after=", "delimiter=",
                  "prefix=" + "a" * 1024, "prefix=" + "%61" * 1024, "prefix=a+b", "limit=1&limit=2"):
        assert user.client.get("/objects?" + query).status == 200, query


def test_names_that_are_not_utf8(everywhere):
    user = everywhere
    names = [user.name(rest) for rest in (b"\x80", b"\xff", b"a\xff/1", b"a\xff/2", b"\xc3\xa9", b"valid", b"\xed\xa0\x80")]
    for name in names:
        user.put(name, b"x")
    expected = sorted(names)

    found = []
    for listing in pages(user, f"limit=1&prefix={encode(user.prefix)}"):
        for entry in listing["objects"]:
            found.append(entry.get("name_encoded", encode(entry["name"])))
        if listing["next"] is not None:
            assert listing.get("next_encoded", encode(listing["next"])) == found[-1]
    assert found == [encode(name) for name in expected]

    answer = user.listing(f"prefix={encode(user.prefix)}", {"Accept": "text/plain"})
    assert answer.body == b"".join(name + b"\n" for name in expected)
    listing = json.loads(user.listing(f"prefix={encode(user.name(bytes([0x61, 0xff])))}&delimiter=/").body)
    assert (listing["objects"], len(listing["prefixes"])) == ([], 1)


# --- pages ------------------------------------------------------------------------------------------

def test_pages_are_the_whole_listing_cut_into_pieces(everywhere):
    user = everywhere
    stored(user)
    for prefix, delimiter in (("", ""), ("", "/"), ("a", ""), ("a/", "/"), ("nothing", ""), ("", "ä"), ("c", ":")):
        expected = model(NAMES, user.prefix, prefix, delimiter)
        for limit in (1, 2, 3, len(expected) - 1, len(expected), len(expected) + 1, 10000):
            if limit < 1:
                continue
            query = f"limit={limit}&prefix={encode(user.name(prefix))}"
            if delimiter:
                query += f"&delimiter={encode(delimiter)}"
            listings = list(pages(user, query))
            for listing in listings[:-1]:
                assert len(listing["objects"]) + len(listing["prefixes"]) == limit
                assert listing["next"] == shown_in(listing)[-1][0].decode()
            assert [each for listing in listings for each in shown_in(listing)] == expected
            # No page that turns out to be empty.
            assert len(listings) == max(1, -(-len(expected) // limit))


def test_the_default_limit_is_1000(files):
    names = [files.name(f"{number:05}") for number in range(1001)]
    in_parallel(8, names, lambda client, name: client.put(target_of(name), b""), files.port)
    files.remember(*names)
    listing = json.loads(files.listing(f"prefix={encode(files.prefix)}").body)
    assert [entry["name"] for entry in listing["objects"]] == names[:1000]
    assert listing["next"] == names[999]
    listing = json.loads(files.listing(f"prefix={encode(files.prefix)}&after={encode(names[999])}").body)
    assert [entry["name"] for entry in listing["objects"]] == names[1000:]


def test_thousands_are_paged_exactly_while_others_come_and_go(stack):
    """What is there throughout appears once, in its place; what comes and goes once at most."""
    with Files(stack.port) as user:
        staying = [user.name(f"{number:05}") for number in range(3000)]
        passing = [user.name(f"{number:05}+passing") for number in range(0, 3000, 3)]
        user.remember(*staying, *passing)
        in_parallel(8, staying, lambda client, name: client.put(target_of(name), b"12345"), user.port)
        stop = threading.Event()
        changes = [0, 0]

        def churn(half):
            with Client(user.port) as client:
                while not stop.is_set():
                    for name in passing[half::2]:
                        if stop.is_set():
                            return
                        assert client.put(target_of(name), b"x").status == 201
                        assert client.delete(target_of(name)).status == 204
                        changes[half] += 1

        threads = [threading.Thread(target=churn, args=(half,)) for half in (0, 1)]
        for thread in threads:
            thread.start()
        try:
            for limit in (97, 500, 10000):
                before = sum(changes)
                found = [entry["name"] for listing in pages(user, f"limit={limit}&prefix={encode(user.prefix)}")
                         for entry in listing["objects"]]
                assert found == sorted(set(found))
                assert [name for name in found if not name.endswith("+passing")] == staying
                assert set(found) - set(staying) <= set(passing)
                wait_for(lambda seen=before: sum(changes) > seen, 30, "the changes to go on")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert user.names() == staying


def test_listings_at_the_same_time(everywhere):
    """Equal ones may share the work; each still has what was stored before it was asked for."""
    user = everywhere

    def work(client, number):
        name = user.name(f"{number:03}")
        assert client.put(target_of(name), b"x" * number).status == 201
        answer = client.get(f"/objects?limit=10000&prefix={encode(user.prefix)}")
        listed = {entry["name"]: entry["size"] for entry in json.loads(answer.body)["objects"]}
        return listed.get(name) == number

    user.remember(*(user.name(f"{number:03}") for number in range(120)))
    assert all(in_parallel(12, range(120), work, user.port))


# --- objects of others ------------------------------------------------------------------------------

def test_objects_of_others_are_listed(everywhere, stack, tmp_path):
    user, pool = everywhere, stack.env["CEPH_POOL"]
    user.put(user.name("1 ours"), b"x")
    user.put(user.name("3 ours"), b"x")
    (tmp_path / "file").write_bytes(content(5000))
    before = int(time.time())
    stack.command("rados", "-p", pool, "put", user.name("2 foreign.txt"), str(tmp_path / "file"))
    # Another namespace is another place.
    stack.command("rados", "-p", pool, "-N", "elsewhere", "put", user.name("4 hidden"), str(tmp_path / "file"))
    user.remember(user.name("2 foreign.txt"))

    def listing_of_three():
        listing = json.loads(user.listing(f"prefix={encode(user.prefix)}").body)
        return listing if len(listing["objects"]) == 3 else None

    try:
        # Whoever fetches it makes it known; else the next walk over all names would.
        assert user.get(user.name("2 foreign.txt")).status == 200
        listing = wait_for(listing_of_three, 30, "the object to be listed")
        assert user.get(user.name("4 hidden")).status == 404
    finally:
        stack.command("rados", "-p", pool, "-N", "elsewhere", "rm", user.name("4 hidden"))
    assert [entry["name"] for entry in listing["objects"]] == [user.name(rest) for rest in
                                                              ("1 ours", "2 foreign.txt", "3 ours")]
    foreign = listing["objects"][1]
    assert (foreign["size"], foreign["type"]) == (5000, "text/plain")
    assert foreign["etag"] == user.head(user.name("2 foreign.txt")).header("ETag")
    told = time.strptime(foreign["modified"][:19], "%Y-%m-%dT%H:%M:%S")
    assert before - 2 <= calendar.timegm(told) <= time.time() + 2
    assert command_bytes(stack, "rados", "-p", pool, "ls").count(user.prefix.encode()) == 3


def test_a_name_that_is_too_long_for_us_does_not_stop_the_pages(everywhere, stack, tmp_path):
    """RADOS takes names of 2048 bytes, from others."""
    user, pool = everywhere, stack.env["CEPH_POOL"]
    long = user.name("b" * 1500)
    for rest in ("a", "c"):
        user.put(user.name(rest), b"x")
    (tmp_path / "file").write_bytes(b"x")
    stack.command("rados", "-p", pool, "put", long, str(tmp_path / "file"))
    try:
        found = [entry["name"] for listing in pages(user, f"limit=1&prefix={encode(user.prefix)}")
                 for entry in listing["objects"]]
    finally:
        stack.command("rados", "-p", pool, "rm", long)
    assert [name for name in found if name != long] == [user.name("a"), user.name("c")]
