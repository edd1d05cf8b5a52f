"""The promise, at length and under faults: whoever answers stood in the table, usable, after the request was sent.

Backends are removed, added, drained and taken back all the time. For each the times are noted in which it surely
was of no use: from the moment at which the statement that took it out had returned until the one that brought it
back was about to be sent. A request that was sent and answered within such a time must not be answered by it.
"""

import bisect
import contextlib
import os
import random
import signal
import threading
import time

import pytest

from balancer import VERSION_QUERY, schema
from load import Load
from proxy import Proxy
from stack import wait_for

REQUESTS = int(os.environ.get("EXACTNESS_REQUESTS", "3000"))
OUT = ("DELETE", "state = 'drain'", "state = 'down'", "weight = 0")


class Member:
    """A backend and the times in which it was of no use."""

    def __init__(self, lb):
        self.lb = lb
        self.backend = lb.backend()
        self.out_since = None
        self.away = []

    def change(self, chance):
        if self.out_since is None:
            how = chance.choice(OUT)
            self.lb.remove(self.backend) if how == "DELETE" else self.lb.set(self.backend, how)
            self.out_since = (time.monotonic(), how)
            return
        since, how = self.out_since
        self.away.append((since, time.monotonic()))
        self.out_since = None
        if how == "DELETE":
            self.lb.add(self.backend)
        else:
            self.lb.set(self.backend, "state = 'up', weight = 1")

    def was_away(self, sent, answered):
        place = bisect.bisect_right(self.away, (sent, float("inf"))) - 1
        return place >= 0 and self.away[place][0] <= sent and answered <= self.away[place][1]


@contextlib.contextmanager
def repeated(action, pause):
    """Does it again and again in a thread, as long as the block runs."""
    end, failures = threading.Event(), []

    def run():
        while not end.wait(pause):
            try:
                action()
            except Exception as error:  # To be raised where the test sees it.
                failures.append(error)
                return
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(60)
    assert not failures, failures


def kill_a_worker(lb, chance):
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(chance.choice(lb.nginx.workers()), signal.SIGKILL)


def disturbed(fault, lb, between, chance):
    """What goes wrong meanwhile, as a context."""
    def stall():
        between.stall()
        time.sleep(0.3)  # The length of the stall.
        between.resume()

    if fault == "slow":
        between.delay = 0.02
    return {
        "none": contextlib.nullcontext,
        "slow": contextlib.nullcontext,
        "stalled": lambda: repeated(stall, 0.5),
        "cut": lambda: repeated(between.cut, 0.3),
        "reloaded": lambda: repeated(lambda: os.kill(lb.nginx.master(), signal.SIGHUP), 1),
        "killed": lambda: repeated(lambda: kill_a_worker(lb, chance), 1),
    }[fault]()


@pytest.mark.parametrize("by_version", [False, True], ids=["", "by version"])
@pytest.mark.parametrize("fault", ["none", "slow", "stalled", "cut", "reloaded", "killed"])
def test_no_request_to_one_that_is_out(lb, free_port, fault, by_version):
    chance = random.Random(fault)
    if by_version:
        lb.registry.sql(schema(lb.database, "version.sql"), database=None)
    staying = lb.backend()
    members = [Member(lb) for _ in range(3)]
    target = ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))
    lb.nginx.expected += ["exited on signal 9"]
    with Proxy(("127.0.0.1", free_port()), target) as between:
        lb.start(url=f"mysql://lb@127.0.0.1:{between.listen[1]}/{lb.database}", workers=2,
                 extra="ceph_lb_stale off; keepalive 32;",
                 parameters=f"timeout=2s {VERSION_QUERY if by_version else ''}")
        closing = {"Connection": "close"} if fault in ("reloaded", "killed") else {}
        with disturbed(fault, lb, between, chance), \
                Load(lb.port, lambda n: ("GET", "/", None, closing), threads=16) as load:
            while load.count() < REQUESTS:
                count = load.count()
                chance.choice(members).change(chance)
                wait_for(lambda seen=count: load.count() >= seen + 20, 60, "load")
            between.delay = 0.0
        lb.nginx.stop()
    for member in members:
        if member.out_since is not None:
            member.away.append((member.out_since[0], time.monotonic()))

    by_name = {member.backend.name: member for member in members}
    answered = [record for record in load.records if record.status == 200]
    broken = [record for record in answered if record.backend in by_name
              and by_name[record.backend].was_away(record.sent, record.answered)]
    assert not broken, f"{len(broken)} of {len(answered)}: {broken[:5]}"

    # The test can tell: each was used, and many requests ran wholly within the time in which one was out.
    assert {record.backend for record in answered} == {staying.name, *by_name}
    telling = [record for record in answered
               if any(member.was_away(record.sent, record.answered) for member in members)]
    assert len(telling) > REQUESTS // 10
    # Where neither MySQL nor nginx was disturbed every request was answered well.
    if fault in ("none", "slow", "reloaded"):
        assert not load.failed(), load.failed()[:5]
