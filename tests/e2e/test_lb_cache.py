"""nginx's cache in front of the backends: what it asks for in the background, and in slices."""

import os
import re
import subprocess
import threading

import pytest

from balancer import NGINX
from stack import wait_for

SLICE = 1000


def with_cache(lb, location):
    lb.start(http=f"proxy_cache_path {lb.nginx.dir}/cache keys_zone=files:1m;",
             location=f"proxy_cache files; add_header X-Cache $upstream_cache_status always; {location}")


def numbered(backend):
    """Each answer has the number of the request in it, and may be kept for a second."""
    def answer(handler, seen):
        handler.reply(200, {"X-Backend": backend.name, "Cache-Control": "max-age=1, stale-while-revalidate=600"},
                      b"%d" % len(backend.seen))
    return answer


def test_cached_answers(lb):
    backend = lb.backend()
    with_cache(lb, "proxy_cache_valid 200 1h;")
    assert [lb.get("/x").header("X-Cache") for _ in range(5)] == ["MISS"] + ["HIT"] * 4
    assert len(backend.seen) == 1
    # The backend that the answer came from need not be there any more.
    lb.remove(backend)
    lb.backend()
    assert lb.get("/x").header("X-Cache") == "HIT"


def test_an_update_in_the_background(lb):
    """It belongs to a request, and has that one's list: a changed one, here."""
    first, second = lb.backend(), lb.backend(row=False)
    first.answer, second.answer = numbered(first), numbered(second)
    with_cache(lb, "proxy_cache_background_update on;")
    assert lb.get("/x").header("X-Cache") == "MISS"
    lb.remove(first)
    lb.add(second)
    old = wait_for(lambda: cached(lb, "STALE"), what="an answer that is past its time")
    assert old.header("X-Backend") == first.name
    wait_for(lambda: second.seen, what="the update")
    assert [len(first.seen), second.seen[0].target] == [1, "/x"]
    wait_for(lambda: lb.get("/x").header("X-Backend") == second.name, what="the updated answer")


def test_an_update_in_the_background_after_the_client_left(lb):
    """The request has been answered and is over while its update still waits for the backend."""
    backend = lb.backend()
    answer_at_once, release = numbered(backend), threading.Event()

    def answer(handler, seen):
        if len(backend.seen) > 1:
            release.wait(30)
        answer_at_once(handler, seen)
    backend.answer = answer
    with_cache(lb, "proxy_cache_background_update on;")
    assert lb.get("/x").body == b"1"
    assert wait_for(lambda: cached(lb, "STALE"), what="an answer that is past its time").body == b"1"
    wait_for(lambda: len(backend.seen) == 2, what="the update at the backend")
    lb.sql("DELETE FROM addresses")
    assert lb.get("/y").status == 503
    release.set()
    lb.add(backend)
    wait_for(lambda: lb.get("/x").body == b"2", what="the updated answer")


def test_one_of_many_fills_the_cache(lb):
    """proxy_cache_lock: the others wait with a list of their own in hand."""
    backend = lb.backend()

    def answer(handler, seen):
        wait_for(lambda: lb.nginx.log().count("cache lock u:0") >= 7, what="the seven that wait")
        backend.plain_answer(handler, seen)
    backend.answer = answer
    lb.nginx.write(lb.conf(
        http=f"proxy_cache_path {lb.nginx.dir}/cache keys_zone=files:1m;",
        location="proxy_cache files; proxy_cache_valid 200 1h; proxy_cache_lock on;"), level="debug")
    lb.nginx.start()
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(lb.get("/x").status)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 8
    assert len(backend.seen) == 1


@pytest.fixture
def sliced(lb):
    """A file of 20 slices at two backends; a function that says which slices they were asked for."""
    if b"http_slice_module" not in subprocess.run([NGINX, "-V"], capture_output=True, check=True).stderr:
        pytest.skip("this nginx has no slice module")
    lb.file = os.urandom(20 * SLICE - 1)
    backends = [lb.backend(), lb.backend()]
    for backend in backends:
        backend.answer = slices(lb, backend)
    with_cache(lb, f"""slice {SLICE}; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;
                       proxy_cache_valid 200 206 1h;""")
    return lambda: sorted(seen.headers["Range"] for backend in backends for seen in backend.seen)


def test_slices(lb, sliced):
    assert lb.get("/file").body == lb.file
    asked = sliced()
    assert len(asked) == len(set(asked)) == 20
    assert lb.get("/file", headers={"Range": "bytes=1500-7777"}).body == lb.file[1500:7778]
    assert sliced() == asked


def test_slices_while_the_list_changes(lb, sliced):
    """They are parts of one request, which keeps its list."""
    first, second = lb.backends
    answer = second.answer

    def leave(handler, seen):
        lb.sql("DELETE FROM addresses")
        answer(handler, seen)
    second.answer = leave
    assert lb.get("/file").body == lb.file
    assert len(first.seen) == len(second.seen) == 10
    assert lb.get("/another").status == 503


def cached(lb, state):
    response = lb.get("/x")
    return response if response.header("X-Cache") == state else None


def slices(lb, backend):
    def answer(handler, seen):
        begin, end = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", seen.headers["Range"]).groups())
        part = lb.file[begin:end + 1]
        content_range = f"bytes {begin}-{begin + len(part) - 1}/{len(lb.file)}"
        handler.reply(206, {"Content-Range": content_range, "ETag": '"the-file"'}, part)
    return answer
