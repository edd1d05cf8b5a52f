"""The backends: each listens on a port of its own and announces itself in the registry."""

import http.client
import os

from .ceph import CLIENT
from .console import Failure, say
from .daemon import Daemon
from .settings import DATABASE, POOL, require_free_port


class Backends:
    def __init__(self, settings):
        self.settings = settings
        self.daemons = [
            Daemon(f"backend.{number}", settings.pid_dir / f"backend.{number}.pid",
                   settings.log_dir / f"backend.{number}.log",
                   [f"127.0.0.1:{self.port(number)}", settings.ceph_conf])
            for number in range(1, settings.backends + 1)
        ]

    def port(self, number):
        """Backends are counted from 1."""
        return self.settings.backend_port + number - 1

    def require_ports(self):
        for number in range(1, len(self.daemons) + 1):
            self._require_port(number)

    def _require_port(self, number):
        if not self.find(number).pid():
            require_free_port(self.port(number), "BACKEND_PORT", f"backend {number}")

    def up(self):
        stopped = [number for number, daemon in enumerate(self.daemons, 1) if not daemon.pid()]
        for number in stopped:
            self._start(number)
        for number in stopped:
            self._wait_ready(number)
        if stopped:
            first, last = self.port(1), self.port(self.settings.backends)
            say(f"backends: {len(self.daemons)} ready on 127.0.0.1:{first}-{last}")
        else:
            say("backends: already running")

    def down(self):
        """All are asked together: each leaves the registry, then finishes what it has."""
        stopping = [daemon for daemon in self.daemons if daemon.ask_to_stop()]
        for daemon in stopping:
            daemon.wait_gone(40)

    def start_one(self, number):
        if self.find(number).pid():
            say(f"backend.{number}: already running")
            return
        self._start(number)
        self._wait_ready(number)
        say(f"backend.{number}: running")

    def find(self, number):
        if not 1 <= number <= len(self.daemons):
            raise Failure(f"there is no backend {number}; there are 1 to {len(self.daemons)}")
        return self.daemons[number - 1]

    def _start(self, number):
        settings = self.settings
        if not os.access(settings.backend_binary, os.X_OK):
            raise Failure(f"{settings.backend_binary} does not exist: run make")
        self._require_port(number)
        daemon = self.find(number)
        daemon.start(
            [settings.backend_binary, "--listen", f"127.0.0.1:{self.port(number)}",
             "--pool", POOL, "--ceph-conf", settings.ceph_conf, "--ceph-name", CLIENT,
             "--spool-dir", settings.spool_dir,
             "--announce", f"mysql://backend@unix:{settings.mysql_socket}:/{DATABASE}",
             "--announce-password-file", settings.password_file("backend"),
             *settings.backend_options],
            settings.environment(daemon.name))

    def _wait_ready(self, number):
        self.find(number).wait_ready(
            lambda: answers_200(self.port(number), "/healthz?ready"), 30, "readiness")


def answers_200(port, target):
    """Whether GET answers 200 there now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", target)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
