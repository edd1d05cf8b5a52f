"""A backend dies at each named step of a change: what was acknowledged is there and whole, what was not is old or new,
and after the graces nothing is left over."""

import contextlib
import random
import signal
import time

import pytest

import writers
from backend import faulty_binary
from files import MIB, content, digest, target_of
from pool import own_pool
from stack import Client
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
