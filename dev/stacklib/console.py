"""What the stack says, and how it gives up."""

import sys
import threading
import time

_begun = time.monotonic()
_lock = threading.Lock()


class Failure(Exception):
    """A step that cannot be done. The message is for a person; `log` is a file whose end explains it."""

    def __init__(self, message, log=None):
        super().__init__(message)
        self.log = log


def say(text):
    """One line of progress, with the seconds since the start."""
    with _lock:
        print(f"[{time.monotonic() - _begun:5.1f}s] {text}", flush=True)


def report(failure):
    """Tells a failure on standard error, with the end of its log."""
    with _lock:
        print(f"dev/stack: {failure}", file=sys.stderr)
        if failure.log is None:
            return
        try:
            lines = failure.log.read_text(errors="replace").splitlines()[-15:]
        except OSError:
            return
        print(f"the end of {failure.log}:", file=sys.stderr)
        for line in lines:
            print(f"    {line}", file=sys.stderr)


def wait_until(condition, seconds, message, log=None, interval=0.05):
    """Waits until `condition()` is true and returns its value; past the deadline it is a Failure."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Failure(f"{message} (waited {seconds:.0f} s)", log)
        time.sleep(interval)
