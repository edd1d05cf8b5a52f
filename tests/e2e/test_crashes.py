"""A backend dies at each named step of a change: what was acknowledged is there and whole, what was not is old or new,
and after the graces nothing is left over."""

import contextlib
import http.client
import random
import signal
import time

import pytest

import writers
from backend import faulty_binary
from files import MIB, content, digest, encode, target_of
from pool import own_pool
from stack import Client, request
from writers import change

SMALL, LARGE = content(3000, "small"), content(9 * MIB, "large")
OTHER_SMALL, OTHER_LARGE = content(5000, "other"), content(10 * MIB, "other")


@pytest.fixture(scope="module")
def pool(stack, work_dir, free_port):
    """The first backend is the one that dies."""
    with own_pool(stack, work_dir, free_port, program=faulty_binary()) as some:
        yield some


@contextlib.contextmanager
def dying(pool, place):
    """The first backend, started so that it dies at the place. In the end it runs as before."""
    victim = pool.backends[0]
    victim.close()
    victim.environment["CEPH_LB_FAULT"] = place
    victim.start()
    try:
        yield victim
    finally:
        victim.environment.pop("CEPH_LB_FAULT")
        victim.close()
        victim.start()


def read(pool, name):
    """What a backend that lives says: the content, or None."""
    client = Client(pool.ports[1])
    try:
        answer = client.get(target_of(name))
    finally:
        client.close()
    assert answer.status in (200, 404), answer
    return answer.body if answer.status == 200 else None


STORED = {"new": None, "over small": SMALL, "over large": LARGE}


def put_and_die(pool, places, after):
    """One file for each place and for each of what may have been there before."""
    wanted = {}
    for place in places:
        for what, before in STORED.items():
            if place == "old-noted" and before is not LARGE:
                continue  # Nothing is noted as dead then.
            name = f"{what} {len(after)} {place}"
            if before is not None:
                assert change(pool.ports[1], "PUT", name, before).status == 201
            with dying(pool, place) as victim:
                assert change(victim.port, "PUT", name, after) is None
                assert victim.wait() == -signal.SIGKILL
                found = read(pool, name)
                wanted[name] = after if place in ("published", "indexed") else before
                assert found is wanted[name] or digest(found) == digest(wanted[name]), name
    settle(pool, wanted)


def settle(pool, wanted):
    """`wanted`: name → content or None. It is as it has to be, and when all has been removed nothing is left."""
    wanted = {name: body for name, body in wanted.items() if body is not None}
    pool.wait_settled({name: len(body) for name, body in wanted.items()})
    for name, body in wanted.items():
        assert digest(read(pool, name)) == digest(body)
        assert change(pool.ports[2], "DELETE", name).status == 204
    pool.wait_settled({})


def test_a_small_file(pool):
    put_and_die(pool, ("published", "indexed"), OTHER_SMALL)


def test_a_large_file(pool):
    put_and_die(pool, ("upload-noted", "claimed", "stripe-written", "checked", "old-noted", "published", "indexed"),
                OTHER_LARGE)


def test_a_deletion(pool):
    wanted = {}
    for place in ("deletion-noted", "removed", "deletion-indexed"):
        for before in (SMALL, LARGE):
            if place == "deletion-noted" and before is SMALL:
                continue
            name = f"{len(before)} {place}"
            assert change(pool.ports[1], "PUT", name, before).status == 201
            with dying(pool, place) as victim:
                assert change(victim.port, "DELETE", name) is None
                assert victim.wait() == -signal.SIGKILL
                found = read(pool, name)
                wanted[name] = before if place == "deletion-noted" else None
                assert found is wanted[name] or digest(found) == digest(wanted[name]), name
    settle(pool, wanted)


@pytest.mark.parametrize("body", (SMALL, LARGE), ids=("small", "large"))
def test_a_renaming(pool, body):
    """The content is under the old name, under both, or under the new one; the same request once more does the rest."""
    before = ("upload-noted", "claimed", "stripe-written", "checked") if body is LARGE else ()
    between = ("published", "indexed", "copy-published", "rename-copied") + (("deletion-noted",) if body is LARGE else ())
    wanted = {}
    for place in before + between + ("removed", "deletion-indexed", "rename-removed"):
        old, new = f"{len(body)} {place} old", f"{len(body)} {place} new"
        target = f"{target_of(old)}?rename={encode(new)}"
        assert change(pool.ports[1], "PUT", old, body).status == 201
        with dying(pool, place) as victim:
            with contextlib.suppress(OSError, http.client.HTTPException):
                raise AssertionError(request(victim.port, "POST", target, b""))
            assert victim.wait() == -signal.SIGKILL
        found = [name for name in (old, new) if read(pool, name) is not None]
        assert found == ([old] if place in before else [old, new] if place in between else [new]), place
        assert {digest(read(pool, name)) for name in found} == {digest(body)}
        again = request(pool.ports[1], "POST", target, b"")
        assert again.status == {(old,): 201, (old, new): 200, (new,): 404}[tuple(found)], place
        wanted[old], wanted[new] = None, body
    settle(pool, wanted)


def test_a_file_that_expires(pool):
    """Its maker dies, or those who are to collect it."""
    for body in (SMALL, LARGE):
        for place in ("expiry-noted", "published", "indexed"):
            name = f"{len(body)} {place} expires"
            with dying(pool, place) as victim:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    raise AssertionError(request(victim.port, "PUT", target_of(name), body, {"X-Expires-In": "4"}))
                assert victim.wait() == -signal.SIGKILL
            assert (read(pool, name) is None) or digest(read(pool, name)) == digest(body)
    for backend in pool.backends[1:]:
        backend.close()
    with contextlib.ExitStack() as ends:
        for backend in pool.backends[1:]:
            ends.callback(backend.start)
        with dying(pool, "collector-expired") as victim:
            for number, body in enumerate((SMALL, LARGE)):
                if victim.process.poll() is None:
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        request(victim.port, "PUT", target_of(f"expires {number}"), body, {"X-Expires-In": "2"})
            assert victim.wait(60) == -signal.SIGKILL
    settle(pool, {})


@pytest.mark.parametrize("place", ("collector-touched", "collector-gave-up", "collector-found-garbage", "collector-removed",
                                   "index-moved"))
def test_those_who_clean_up(pool, place):
    """All of them die there in turn; who starts again finishes it."""
    name = f"crash {place}"
    for backend in pool.backends:
        backend.close()
    with contextlib.ExitStack() as ends:
        for backend in pool.backends[1:]:
            ends.callback(backend.start)
        with dying(pool, "published" if place == "collector-touched" else
                   "stripe-written" if place == "collector-gave-up" else "nowhere") as victim:
            client = Client(victim.port)
            if place in ("collector-touched", "collector-gave-up"):
                assert change(victim.port, "PUT", name, LARGE) is None
                assert victim.wait() == -signal.SIGKILL
            else:
                assert client.put(target_of(name), LARGE).status == 201
                assert client.put(target_of(name), OTHER_LARGE).status == 200
            client.close()
        with dying(pool, place) as victim:
            assert victim.wait(60) == -signal.SIGKILL
    settle(pool, {name: {"collector-touched": LARGE, "collector-gave-up": None}.get(place, OTHER_LARGE)})


def test_killed_at_random_moments(pool):
    """Writers on all backends, while one backend after the other is killed."""
    chance, ends = random.Random(1), time.monotonic() + 10

    def disturb():
        while time.monotonic() < ends:
            victim = chance.choice(pool.backends)
            time.sleep(chance.uniform(0.1, 1.5))  # The moment is to be any.
            victim.signal(signal.SIGKILL)
            victim.wait()
            victim.start()

    writers.settle(pool, writers.write_during(pool, 8, disturb))
