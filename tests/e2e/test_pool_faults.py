"""OSDs stop, die and come back, the cluster pauses, a pool is full, while writers go on: then RADOS holds exactly what it
has to. An operation that timed out may still be carried out; nothing may follow from that which is not whole."""

import json
import time

import pytest

from files import is_problem, content, target_of
from pool import STRIPE, own_pool
from stack import Client, wait_for
from writers import settle, write_during


@pytest.fixture(scope="module")
def pool(stack, work_dir, free_port):
    # Shorter than what the cluster needs to find out about an OSD: so operations do time out.
    with own_pool(stack, work_dir, free_port, options=("--op-timeout", 2)) as some:
        yield some


def up(stack):
    return json.loads(stack.command("ceph", "-s", "-f", "json"))["osdmap"]["num_up_osds"]


def test_an_osd_that_stops_for_a_while(stack, pool):
    """Not long enough to be left out: what waits there is carried out when it goes on, late."""
    def disturb():
        for number in (0, 1, 2):
            stack.ctl("osd", number, "pause")
            try:
                time.sleep(3)  # Longer than an operation may take.
            finally:
                stack.ctl("osd", number, "continue")
            time.sleep(1)
    settle(pool, write_during(pool, 6, disturb))


def test_an_osd_dies(stack, pool):
    def disturb():
        stack.ctl("osd", 1, "kill")
        wait_for(lambda: up(stack) == 2, 60, "the OSD to be marked down")
        time.sleep(2)
        stack.ctl("osd", 1, "start")
        wait_for(lambda: up(stack) == 3, 60, "the OSD to be back")
        time.sleep(1)
    settle(pool, write_during(pool, 6, disturb))


def test_a_paused_cluster(stack, pool):
    def disturb():
        time.sleep(1)
        stack.command("ceph", "osd", "set", "pause")
        try:
            time.sleep(4)
        finally:
            stack.command("ceph", "osd", "unset", "pause")
        time.sleep(2)
    settle(pool, write_during(pool, 6, disturb))


def test_a_pool_at_its_quota(stack, pool):
    """Nothing can be stored, and nothing of what was tried stays; deleting works, down to the last stripe."""
    client = Client(pool.ports[0])
    before = {"small": content(1000), "large": content(2 * STRIPE)}
    for name, body in before.items():
        assert client.put(target_of(name), body).status == 201
    stack.command("ceph", "osd", "pool", "set-quota", pool.name, "max_objects", "1")
    try:
        def refused():
            answers = [client.put(target_of(f"extra {number}"), b"x") for number in range(20)]
            for number in range(20):
                assert client.delete(target_of(f"extra {number}")).status in (204, 404)
            return all(answer.status == 507 for answer in answers)
        wait_for(refused, 60, "the pool to be full", 0.2)
        assert is_problem(client.put(target_of("large"), content(3 * STRIPE)), 507, "full")
        assert is_problem(client.put(target_of("new"), content(3 * STRIPE)), 507, "full")
        pool.wait_settled({name: len(body) for name, body in before.items()})
        for name in before:
            assert client.delete(target_of(name)).status == 204
        pool.wait_settled({})
    finally:
        client.close()
        stack.command("ceph", "osd", "pool", "set-quota", pool.name, "max_objects", "0")
        wait_for(lambda: "POOL_FULL" not in json.loads(stack.command("ceph", "-s", "-f", "json"))["health"]["checks"], 60,
                 "the pool to have room", 0.2)
