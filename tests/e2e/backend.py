"""A backend of a test's own: a process with the options that the test wants."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from stack import ROOT, is_ready, is_up, wait_for


class Backend:
    """`stack` lends it Ceph. Its log is what the backend writes to standard error."""

    def __init__(self, stack, directory, port, *options, environment=None, ceph_conf=None, program=None):
        self.stack = stack
        self.port = port
        self.options = options
        self.program = program or binary()
        self.ceph_conf = ceph_conf or stack.env["CEPH_CONF"]
        self.dir = Path(directory)
        self.log_file = self.dir / f"backend-{port}.log"
        self.environment = {**backend_environment(stack), **(environment or {})}
        self.process = None
        self.expected = []  # patterns of error lines that would be untoward elsewhere

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def argv(self):
        return [str(self.program), "--listen", self.address, "--ceph-conf", str(self.ceph_conf),
                "--ceph-name", "client.ceph-lb", "--pool", self.stack.env["CEPH_POOL"],
                "--spool-dir", str(self.dir), *map(str, self.options)]

    def launch(self):
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment)
        return self

    def start(self):
        """Launches it and waits until it serves."""
        self.launch()
        return self.start_waiting()

    def start_waiting(self):
        wait_for(lambda: self.alive() and is_ready(self.port), 30, f"{self.address} to be ready")
        return self

    def start_listening(self):
        self.launch()
        wait_for(lambda: self.alive() and is_up(self.port), 30, f"{self.address} to listen")
        return self

    def alive(self):
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log}"
        return True

    @property
    def log(self):
        return self.log_file.read_text(errors="replace")

    def wait_log(self, pattern, seconds=30):
        return wait_for(lambda: re.search(pattern, self.log), seconds, f"{pattern!r} in\n{self.log}")

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds=60):
        """Its exit status."""
        return self.process.wait(seconds)

    def refuses(self):
        """Whether new connections are refused."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return False
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            return False  # It came just as the listening socket was closed.

    def close(self):
        if self.process is None:
            return
        running = self.process.poll() is None
        if running:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        # SIGKILL is what a test sends, and a fault point.
        status = self.process.returncode
        assert status == 0 if running else status >= 0 or status == -signal.SIGKILL, \
            f"{self.address} ended with {status}:\n{self.log[-4000:]}"
        errors = [line for line in self.log.splitlines() if re.match(r"\S+Z error ", line)
                  and not any(re.search(pattern, line) for pattern in self.expected)]
        assert not errors, "\n".join(errors)


def binary():
    default = ROOT / "build" / ("sanitize" if os.environ.get("SANITIZE") == "1" else "")
    return Path(os.environ.get("BUILD_DIR") or default) / "ceph-lb-backend"


def faulty_binary():
    """The same program, with the places where CEPH_LB_FAULT has it killed."""
    return binary().with_name("ceph-lb-backend-faults")


def backend_environment(stack):
    """Nothing of what a person may have set for Ceph or for a backend; sanitizers report where the stack looks."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CEPH_")}
    if os.environ.get("SANITIZE") == "1":
        log = stack.dir.resolve() / "sanitizer" / f"test.{time.monotonic_ns()}"
        environment["ASAN_OPTIONS"] = f"log_path={log}.asan:detect_stack_use_after_return=1:detect_leaks=1"
        environment["UBSAN_OPTIONS"] = f"log_path={log}.ubsan:print_stacktrace=1"
        environment["LSAN_OPTIONS"] = "print_suppressions=0"
    return environment


@contextlib.contextmanager
def backend(stack, directory, port, *options, **settings):
    """A started backend, stopped at the end; its log must have no error line then."""
    one = Backend(stack, directory, port, *options, **settings)
    try:
        yield one.start()
    finally:
        one.close()
