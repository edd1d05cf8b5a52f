"""Constant load: threads that send requests one after another and record every answer."""

import http.client
import threading
import time

from stack import Client


class Record:
    """One request: when it was sent and answered (time.monotonic), and what came back."""

    __slots__ = ("sent", "answered", "status", "backend", "body", "error", "label")

    def __init__(self, label, sent):
        self.label = label
        self.sent = sent
        self.answered = None
        self.status = None
        self.backend = None
        self.body = None
        self.error = None

    def __repr__(self):
        return (f"<{self.label} status={self.status} backend={self.backend} error={self.error!r} "
                f"took={(self.answered or 0) - self.sent:.3f}>")


class Load:
    """Runs `make()` in a loop in each of `threads` threads until stopped.

    `make(n)` gives (method, target, body, headers) for a thread's n-th request. A request that fails
    on a connection is recorded with its error, never sent again: to a user it failed.
    """

    def __init__(self, port, make=None, threads=4, pause=0.0):
        self.port = port
        self.make = make or (lambda n: ("GET", "/", None, {}))
        self.pause = pause
        self.records = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive(), "a request of the load hangs"

    def count(self):
        return len(self.records)

    def failed(self):
        return [record for record in self.records
                if record.error is not None or record.status >= 400]

    def _run(self):
        client = Client(self.port)
        number = 0
        while not self._stop.is_set():
            method, target, body, headers = self.make(number)
            number += 1
            record = Record(f"{method} {target}", time.monotonic())
            try:
                answer = client.request(method, target, body, headers)
                record.status = answer.status
                record.backend = answer.headers.get("X-Backend")
                record.body = answer.body
            except (OSError, http.client.HTTPException) as error:
                record.error = error
                client.close()
            record.answered = time.monotonic()
            with self._lock:
                self.records.append(record)
            if self.pause:
                self._stop.wait(self.pause)
        client.close()
