"""A backend dies at each named step of a change: what was acknowledged is there and whole, what was not is old or new,
and after the graces nothing is left over."""

import contextlib
import http.client
import random
import signal
import threading

import pytest

from backend import faulty_binary
from files import MIB, content, digest, target_of
from pool import own_pool
from stack import Client, wait_for

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


def change(port, method, name, body=None):
    """None when no answer came."""
    client = Client(port)
    try:
        return client.request(method, target_of(name), body)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        client.close()


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
    put_and_die(pool, ("upload-noted", "claimed", "stripe-written", "old-noted", "published", "indexed"), OTHER_LARGE)


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


@pytest.mark.parametrize("place", ("collector-touched", "collector-gave-up", "collector-removed", "index-moved"))
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
    """Writers on all backends, one name each, while a backend after the other is killed."""
    seconds, chance = 10, random.Random(1)
    done = threading.Event()
    acknowledged, failures = {}, []

    def write(number):
        name, dice, version = f"random {number}", random.Random(number), 0
        history = [None]  # contents that the file may have, the first one being acknowledged
        while not done.is_set():
            version += 1
            port = dice.choice(pool.ports)
            size = dice.choice((100, 3000, 5 * MIB))
            body = None if dice.random() < 0.2 else content(size, f"{number} {version}")
            answer = change(port, "DELETE", name) if body is None else change(port, "PUT", name, body)
            if answer is not None and answer.status in (200, 201, 204, 404):
                if answer.status == 404 and any(one is None for one in history):
                    body = None
                history = [body]
            else:
                if answer is not None and answer.status not in (502, 503):
                    failures.append(f"{name}: {answer}")
                history.append(body)
        acknowledged[name] = history

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    ended = threading.Timer(seconds, done.set)
    ended.start()
    while not done.is_set():
        victim = chance.choice(pool.backends)
        done.wait(chance.uniform(0.1, 1.5))
        victim.signal(signal.SIGKILL)
        victim.wait()
        victim.start()
    for writer in writers:
        writer.join()
    assert not failures

    sizes = {}
    for name, history in acknowledged.items():
        found = read(pool, name)
        assert (None if found is None else digest(found)) in [None if one is None else digest(one) for one in history], name
        if found is not None:
            sizes[name] = len(found)
    pool.wait_settled(sizes)
    for name in sizes:
        assert change(pool.ports[0], "DELETE", name).status == 204
    pool.wait_settled({})
