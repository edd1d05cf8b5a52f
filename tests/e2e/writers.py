"""Writers who go on while something is broken, and remember what their files may hold."""

import http.client
import random
import threading

from files import MIB, content, digest, target_of
from stack import Client

SIZES = (100, 3000, 5 * MIB)


def change(port, method, name, body=None):
    """None when no answer came."""
    client = Client(port)
    try:
        return client.request(method, target_of(name), body)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        client.close()


class Writer:
    """One name, changed through a backend chosen anew each time."""

    def __init__(self, pool, number, allowed=(503,)):
        self.pool = pool
        self.name = f"writer {number}"
        self.dice = random.Random(number)
        self.allowed = allowed  # statuses besides those of success
        self.acknowledged = None  # the content, or None for no file
        # Changes whose outcome nobody knows: they may be made later, too. One that was to create the file can even
        # come after a deletion; one that was to replace a version cannot come after another version.
        self.doubtful, self.doubtful_since = [], []
        self.count = 0
        self.failures = []

    def step(self, number):
        body = None if self.dice.random() < 0.2 else content(self.dice.choice(SIZES), f"{self.name} {number}")
        port = self.dice.choice(self.pool.ports)
        answer = change(port, "DELETE", self.name) if body is None else change(port, "PUT", self.name, body)
        if answer is not None and answer.status in (200, 201, 204, 404):
            self.acknowledged = body
            self.doubtful_since = list(self.doubtful) if body is None else []
            self.count += 1
            return
        self.doubtful.append(body)
        self.doubtful_since.append(body)
        if answer is not None and answer.status not in self.allowed:
            self.failures.append(f"{self.name}: {answer}")

    def check(self, port):
        """Asserts that the file is one of what it may be; returns its size or None."""
        client = Client(port)
        try:
            answer = client.get(target_of(self.name))
        finally:
            client.close()
        assert answer.status in (200, 404), answer
        found = digest(answer.body) if answer.status == 200 else None
        possible = [None if one is None else digest(one) for one in [self.acknowledged, *self.doubtful_since]]
        assert found in possible, self.name
        return None if found is None else found[0]


def write_during(pool, count, disturb):
    """`count` writers go on while `disturb()` runs, and a little longer."""
    done = threading.Event()
    writers = [Writer(pool, number) for number in range(count)]

    def run(writer):
        number = 0
        while not done.is_set():
            number += 1
            writer.step(number)

    threads = [threading.Thread(target=run, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        disturb()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    failures = [failure for writer in writers for failure in writer.failures]
    assert not failures, "\n".join(failures)
    assert all(writer.count for writer in writers), "a writer never succeeded"
    return writers


def settle(pool, writers):
    """All is as it may be, RADOS holds exactly that; and nothing when it has been removed."""
    sizes = {writer.name: writer.check(pool.ports[0]) for writer in writers}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    pool.wait_settled(sizes)
    for name in sizes:
        assert change(pool.ports[0], "DELETE", name).status == 204
    pool.wait_settled({})
