"""Constant load of uploads, downloads and deletions, while one thing after another dies, stops or is reloaded.

No request fails, and every byte is right. Half a minute of it, or as long as SOAK_SECONDS says.
"""

import hashlib
import os
import random
import threading
import time

import pytest

from stack import Client, wait_for

SECONDS = float(os.environ.get("SOAK_SECONDS", "30"))
SIZES = (0, 100, 4096, 100_000, 3_000_000, 9_000_000)
WRITERS = 6


def content(seed, size):
    piece = hashlib.sha256(seed.encode()).digest()
    return (piece * (size // len(piece) + 1))[:size]


class Writer(threading.Thread):
    """Has files of its own, so that it knows what each answer has to be. The first wrong one ends them all."""

    def __init__(self, port, number, end):
        super().__init__(daemon=True)
        self.port, self.number, self.end = port, number, end
        self.chance = random.Random(number)
        self.files = {}
        self.requests, self.longest = 0, 0.0
        self.problem = None

    def run(self):
        try:
            while not self.end.is_set():
                self.step()
            for name in list(self.files):
                self.remove(name)
        except Exception as error:
            self.problem = error
            self.end.set()

    def ask(self, method, name, body=None):
        # A connection each: a kept one may end in the very moment of a request, when nginx is reloaded.
        target, begun = f"/objects/soak/{self.number}/{name}", time.monotonic()
        with Client(self.port, timeout=150) as client:
            answer = client.request(method, target, body, {"Connection": "close"})
        self.requests += 1
        self.longest = max(self.longest, time.monotonic() - begun)
        return answer

    def step(self):
        name = str(self.chance.randrange(8))
        what = self.chance.choice(("put", "get", "get", "get", "delete"))
        if what == "put" or name not in self.files:
            self.put(name)
        elif what == "get":
            self.get(name)
        else:
            self.remove(name)

    def put(self, name):
        # Large ones are rarer, or nothing else would be done.
        size = self.chance.choices(SIZES, weights=(2, 8, 8, 4, 1, 1))[0]
        body = content(f"{self.number}/{name}/{self.requests}", size)
        answer = self.ask("PUT", name, body)
        # Sent once more to another backend, after the first had stored it already: then it replaces itself.
        assert answer.status in ((200,) if name in self.files else (200, 201)), answer
        self.files[name] = body

    def get(self, name):
        answer = self.ask("GET", name)
        assert answer.status == 200 and answer.body == self.files[name], (answer, len(self.files[name]))

    def remove(self, name):
        answer = self.ask("DELETE", name)
        # The same: the first one may have removed it already.
        assert answer.status in (204, 404), answer
        del self.files[name]
        answer = self.ask("GET", name)
        assert answer.status == 404, answer


FAULTS = {
    "a backend killed": lambda stack, n: (("backend", n, "kill"), ("backend", n, "start")),
    "a backend stopped": lambda stack, n: (("backend", n, "stop"), ("backend", n, "start")),
    "a backend paused": lambda stack, n: (("backend", n, "pause"), ("backend", n, "continue")),
    "MySQL killed": lambda stack, n: (("mysql", "kill"), ("mysql", "start")),
    "MySQL stopped": lambda stack, n: (("mysql", "stop"), ("mysql", "start")),
    "MySQL paused": lambda stack, n: (("mysql", "pause"), ("mysql", "continue")),
    "nginx reloaded": lambda stack, n: (("nginx", "reload"),),
}


def set_state(stack, number, state):
    port = stack.backend_ports[number - 1]
    stack.sql(f"UPDATE addresses SET state = '{state}' WHERE port = {port}")


def disturb(stack, chance, go_on):
    """One fault, and its end. `go_on` lets the load go on for a moment."""
    name = chance.choice((*FAULTS, "a row drained"))
    number = chance.randrange(1, len(stack.backend_ports) + 1)
    if name == "a row drained":
        set_state(stack, number, "drain")
        go_on()
        set_state(stack, number, "up")
        return name
    for step in FAULTS[name](stack, number):
        stack.ctl(*step)
        go_on()
    return name


@pytest.mark.backend_errors("registry|announce|MySQL|MariaDB")
def test_no_request_fails(stack):
    chance, until, end = random.Random(SECONDS), time.monotonic() + SECONDS, threading.Event()
    writers = [Writer(stack.port, number, end) for number in range(WRITERS)]
    done = []

    def go_on():
        before = sum(writer.requests for writer in writers)
        wait_for(lambda: sum(writer.requests for writer in writers) >= before + 100 or end.is_set()
                 or time.monotonic() >= until, 120, "the load to go on")

    for writer in writers:
        writer.start()
    while time.monotonic() < until and not end.is_set():
        done.append(disturb(stack, chance, go_on))
        go_on()
    end.set()
    for writer in writers:
        writer.join(200)
        assert not writer.is_alive()
    requests, longest = sum(writer.requests for writer in writers), max(writer.longest for writer in writers)
    print(f"{requests} requests, the longest took {longest:.1f} s; {len(done)} faults: "
          f"{', '.join(f'{done.count(name)} × {name}' for name in sorted(set(done)))}")
    problems = [f"writer {writer.number}: {writer.problem!r}" for writer in writers if writer.problem]
    assert not problems, (problems, done[-3:])
    assert requests > 100 and done
