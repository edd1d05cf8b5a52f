"""Large bodies: their stripes are written while they arrive, and whatever comes of it nothing is left over."""

import pytest

from files import MIB, Wire, content, digest, head_of, target_of
from pool import own_pool
from stack import Client, wait_for

STRIPE = 4 * MIB
BODY = content(26 * MIB + 5, "arriving")


@pytest.fixture(scope="module")
def pool(stack, work_dir, free_port):
    with own_pool(stack, work_dir, free_port) as some:
        yield some
        # After all of the tests: nothing is left but what one of them has not removed.
        some.wait_settled({})


def put_head(name, body, *fields):
    return head_of("PUT", target_of(name), f"Content-Length: {len(body)}", *fields)


def read(pool, name):
    with Client(pool.ports[2]) as client:
        answer = client.get(target_of(name))
        assert answer.status == 200
        return answer.body


def check_and_remove(pool, name):
    assert digest(read(pool, name)) == digest(BODY)
    with Client(pool.ports[1]) as client:
        assert client.delete(target_of(name)).status == 204


def stripes_of_new(pool, before):
    """How many stripes there are of sets that were not there before."""
    return sum(len(numbers) for uid, numbers in pool.stripes().items() if uid not in before)


@pytest.mark.parametrize("pieces", ((1,), (STRIPE, 2 * STRIPE), (3 * MIB, STRIPE + 1, 13 * MIB, len(BODY) - 1)))
def test_stripes_are_written_while_it_arrives(pool, pieces):
    before = pool.stripes()
    with Wire(pool.ports[0]) as wire:
        wire.send(put_head("f", BODY))
        begin = 0
        for end in pieces:
            wire.send(BODY[begin:end])
            begin = end
            wait_for(lambda whole=end // STRIPE: stripes_of_new(pool, before) >= whole, 20, "the stripes that are whole")
            assert not set(pool.heads().get("f", ())) & {"tag", "manifest"}
        wire.send(BODY[begin:])
        assert wire.response()[0] == 201
    check_and_remove(pool, "f")


@pytest.mark.parametrize("sent", (1, STRIPE, 9 * MIB, 25 * MIB))
def test_a_client_that_leaves(pool, sent):
    before = pool.stripes()
    with Wire(pool.ports[0]) as wire:
        wire.send(put_head("f", BODY) + BODY[:sent])
        wait_for(lambda: stripes_of_new(pool, before) >= sent // STRIPE, 20, "the stripes that are whole")


def test_a_client_that_leaves_at_once(pool):
    """Some of its stripes still wait to be written."""
    for sent in (8 * MIB, 17 * MIB, 26 * MIB):
        with Wire(pool.ports[0]) as wire:
            wire.send(put_head("f", BODY) + BODY[:sent])


def test_a_condition_is_judged_before_anything_is_written(pool):
    with Client(pool.ports[0]) as client:
        assert client.put(target_of("f"), BODY).status == 201
    before = pool.stripes()
    with Wire(pool.ports[0]) as wire:
        wire.send(put_head("f", BODY, "If-None-Match: *") + BODY[:-1])
        with Client(pool.ports[0]) as client:
            assert client.get("/healthz").status == 200  # What came first has been looked at.
        assert stripes_of_new(pool, before) == 0
        wire.send(BODY[-1:])
        assert wire.response()[0] == 412
    check_and_remove(pool, "f")


@pytest.mark.parametrize("field, status", [
    ("Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==", 400), ("X-Expires-In: soon", 400), ("Content-MD5: nonsense", 400)])
def test_it_turns_out_to_be_wrong(pool, field, status):
    """When all of it is there: what was written of it goes away."""
    with Wire(pool.ports[0]) as wire:
        wire.send(put_head("f", BODY, field) + BODY)
        assert wire.response()[0] == status


def test_it_takes_longer_than_the_grace_of_an_upload(pool):
    """Then the collector may take the stripes away, and so all of them are written anew when it has come."""
    before = pool.stripes()
    with Wire(pool.ports[0]) as wire:
        wire.send(put_head("f", BODY) + BODY[:9 * MIB])
        wait_for(lambda: stripes_of_new(pool, before) >= 2, 20, "the first stripes")
        wait_for(lambda: stripes_of_new(pool, before) == 0, 60, "the collector to have them")
        wire.send(BODY[9 * MIB:])
        assert wire.response()[0] == 201
    check_and_remove(pool, "f")


def test_much_is_sent_behind_it(pool):
    """The next requests come with the last bytes of the body: more than is kept free for them."""
    name = "n" * 900
    behind = head_of("GET", target_of(name)) * 2000
    with Wire(pool.ports[0]) as wire:
        wire.send(put_head("f", BODY) + BODY + behind)
        assert wire.response()[0] == 201
        for _ in range(2000):
            assert wire.response()[0] == 404
    check_and_remove(pool, "f")


def test_many_at_once(pool):
    """More than stays in memory: each is whole all the same."""
    wires = [Wire(pool.ports[0]) for _ in range(8)]
    try:
        for number, wire in enumerate(wires):
            wire.send(put_head(f"f{number}", BODY) + BODY[:20 * MIB + number])
        for number, wire in enumerate(wires):
            wire.send(BODY[20 * MIB + number:])
        for wire in wires:
            assert wire.response()[0] == 201
    finally:
        for wire in wires:
            wire.close()
    for number in range(8):
        check_and_remove(pool, f"f{number}")
