"""One daemon: its pid file, its log, and how it is started, signalled and stopped."""

import os
import signal
import subprocess
import time
from pathlib import Path

from .console import Failure, say, wait_until


class Daemon:
    """A process that is known by its pid file.

    A pid file outlives its process when the machine dies or somebody uses SIGKILL, and the number
    may belong to a stranger by then. So a process counts as ours only if its command line holds
    every word of `words`, among them a path below STACK_DIR.
    """

    def __init__(self, name, pid_file, log, words):
        self.name = name
        self.pid_file = Path(pid_file)
        self.log = Path(log)
        self.words = [str(word) for word in words]
        self.child = None

    def pid(self):
        """The pid while it runs, else None."""
        if self.child is not None:
            self.child.poll()  # Else it stays a zombie as long as this program runs.
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        # nginx writes its own command line into one string, hence the split at blanks too.
        found = command.replace(b"\0", b" ").decode(errors="replace").split()
        if not found or not all(word in found for word in self.words):
            return None
        return pid

    def start(self, argv, environment):
        """Starts it in a session of its own. Whether it is ready is another question."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, start_new_session=True,
            )
        self.pid_file.write_text(f"{self.child.pid}\n")

    def wait_ready(self, condition, seconds, what):
        """Waits for `condition`, and gives up at once if the process ends."""
        def ready():
            if self.child is not None and self.child.poll() is not None:
                raise Failure(f"{self.name} ended with status {self.child.returncode} "
                              "while starting", self.log)
            return condition()
        return wait_until(ready, seconds, f"{self.name}: {what} is still to come", self.log)

    def send(self, number):
        pid = self.pid()
        if pid is None:
            raise Failure(f"{self.name} does not run")
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def ask_to_stop(self, number=signal.SIGTERM):
        """Sends the signal. True if there was somebody to get it."""
        pid = self.pid()
        if pid is None:
            self.pid_file.unlink(missing_ok=True)
            return False
        try:
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # A paused process would never see it.
        except ProcessLookupError:
            pass
        return True

    def wait_gone(self, seconds):
        """Waits for the end of the process; past the deadline it is killed, and that is said."""
        if not self._gone_within(seconds):
            say(f"{self.name} does not end within {seconds} s: killed")
            self.ask_to_stop(signal.SIGKILL)
            if not self._gone_within(10):
                raise Failure(f"{self.name} (pid {self.pid()}) cannot be killed", self.log)
        self.pid_file.unlink(missing_ok=True)

    def stop(self, seconds=30):
        if self.ask_to_stop():
            self.wait_gone(seconds)

    def kill(self):
        if not self.ask_to_stop(signal.SIGKILL):
            raise Failure(f"{self.name} does not run")
        self.wait_gone(10)

    def _gone_within(self, seconds):
        deadline = time.monotonic() + seconds
        while True:
            pid = self.pid()
            if pid is None or _is_zombie(pid):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)


def _is_zombie(pid):
    """A dead process whose parent has not asked yet. Nobody may ever ask, in a container."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in ("Z", "X")


def run(argv, environment, what, log, input_text=None, seconds=120):
    """Runs a command to its end; its output goes to `log`. A Failure if it does not exit with 0."""
    with open(log, "a+b") as output:
        try:
            result = subprocess.run(
                [str(word) for word in argv], env=environment, timeout=seconds,
                input=None if input_text is None else input_text.encode(),
                stdin=subprocess.DEVNULL if input_text is None else None,
                stdout=output, stderr=output, check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"{what} took more than {seconds} s", log) from None
        except FileNotFoundError:
            raise Failure(f"{what}: {argv[0]} is not installed; run dev/deps") from None
    if result.returncode != 0:
        raise Failure(f"{what} failed with status {result.returncode}", log)
