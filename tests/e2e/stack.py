"""The stack under test, and what tests need to talk to it. Standard library only."""

import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# All ports of the tests follow from this one. They stay below 32768: those above are the kernel's
# for outgoing connections, where a port can be taken at any moment.
PORT = int(os.environ.get("CHECK_PORT", "18080"))


def wait_for(condition, seconds=30, what="a condition", interval=0.02):
    """Waits until `condition()` is true and returns its value. Past the deadline the test fails."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(interval)


class Response:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def header(self, name):
        """The value of a header that may come once at most."""
        values = self.headers.get_all(name) or []
        assert len(values) <= 1, f"{name} comes {len(values)} times"
        return values[0] if values else None

    @property
    def text(self):
        return self.body.decode()

    def __repr__(self):
        return f"<{self.status} {dict(self.headers.items())} {self.body[:200]!r}>"


class Client:
    """A client with one kept-alive connection. Targets are sent exactly as they are given."""

    def __init__(self, port, host="127.0.0.1", timeout=60):
        self.connection = http.client.HTTPConnection(host, port, timeout=timeout)

    def request(self, method, target, body=None, headers=None):
        headers = dict(headers or {})
        self.connection.putrequest(method, target, skip_accept_encoding=True)
        if body is not None and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(body))
        elif body is None and method in ("PUT", "POST"):
            headers.setdefault("Content-Length", "0")
        for name, value in headers.items():
            self.connection.putheader(name, value)
        self.connection.endheaders(body)
        answer = self.connection.getresponse()
        response = Response(answer.status, answer.headers, answer.read())
        if answer.will_close:
            self.connection.close()
        return response

    def get(self, target, headers=None):
        return self.request("GET", target, headers=headers)

    def put(self, target, body, headers=None):
        return self.request("PUT", target, body, headers)

    def delete(self, target, headers=None):
        return self.request("DELETE", target, headers=headers)

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def request(port, method, target, body=None, headers=None, timeout=60):
    """One request on a connection of its own."""
    with Client(port, timeout=timeout) as client:
        return client.request(method, target, body, headers)


def raw(port, data, timeout=30, half_close=False):
    """Sends bytes and returns all that comes back until the peer closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as peer:
        peer.sendall(data)
        if half_close:
            peer.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            chunk = peer.recv(65536)
            if not chunk:
                return answer
            answer += chunk


def read_until(peer, end):
    """Reads from a socket until what came ends so, and returns it."""
    data = b""
    while not data.endswith(end):
        chunk = peer.recv(65536)
        assert chunk, f"the connection ended after {data!r}"
        data += chunk
    return data


class Stack:
    """A stack of dev/stack with a directory and ports of its own."""

    def __init__(self, directory, port=PORT, extra=None):
        self.dir = Path(directory)
        self.port = port
        self.environment = {
            **os.environ,
            "STACK_DIR": str(self.dir),
            "LB_PORT": str(port),
            "STATUS_PORT": str(port + 227),
            "BACKEND_PORT": str(port + 1),
            "MYSQL_PORT": str(port + 226),
            "MON_PORT": str(port + 709),
            "CEPH_PORT_MIN": str(port + 720),
            "CEPH_PORT_MAX": str(port + 819),
            **(extra or {}),
        }
        self._env = None
        self._reports_given = set()

    # --- dev/stack --------------------------------------------------------------------------

    def ctl(self, *words, check=True, seconds=180):
        """Runs dev/stack; returns its exit status and all that it printed."""
        result = subprocess.run(
            [str(ROOT / "dev" / "stack"), *map(str, words)], env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=seconds, check=False)
        if check and result.returncode != 0:
            raise AssertionError(f"dev/stack {' '.join(map(str, words))}: exit status "
                                 f"{result.returncode}\n{result.stdout}")
        return result

    @property
    def env(self):
        """What `dev/stack env` says, as a dictionary."""
        if self._env is None:
            self._env = dict(
                line.split("=", 1) for line in shlex.split(self.ctl("env").stdout))
        return self._env

    def cluster_environment(self):
        """The environment in which plain `ceph` and `rados` commands reach this cluster."""
        return {**os.environ, "CEPH_CONF": self.env["CEPH_CONF"], "CEPH_ARGS": self.env["CEPH_ARGS"]}

    def command(self, *words, check=True, input=None):
        """Runs a `ceph` or `rados` command as the cluster's administrator; returns its output."""
        result = subprocess.run(words, env=self.cluster_environment(), timeout=60, check=False,
                                input=input, capture_output=True)
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: {result.stderr.decode()}")
        return result.stdout.decode()

    # --- its parts --------------------------------------------------------------------------

    @property
    def backend_ports(self):
        return [self.port + 1 + n for n in range(int(self.env["BACKENDS"]))]

    def backend_address(self, number):
        """What backend `number` (from 1) calls itself in X-Backend and in the registry."""
        return f"127.0.0.1:{self.backend_ports[number - 1]}"

    def daemon_names(self):
        backends = [f"backend.{n}" for n in range(1, int(self.env["BACKENDS"]) + 1)]
        return ["mon.a", "mon.b", "mon.c", "mgr.x", "osd.0", "osd.1", "osd.2", "mysql", *backends,
                "nginx"]

    def pid(self, name):
        """The pid in a daemon's pid file if that process lives, else None."""
        try:
            pid = int((self.dir / "pid" / f"{name}.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def stopped(self):
        return [name for name in self.daemon_names() if self.pid(name) is None]

    def log(self, name):
        """The text of one of its logs ("nginx-error", "backend.1", "mysql")."""
        try:
            return (self.dir / "log" / f"{name}.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def new_sanitizer_reports(self):
        """The text of the reports that were not given before: one test is to blame, not all after it."""
        new = sorted(set((self.dir / "sanitizer").glob("*")) - self._reports_given)
        self._reports_given.update(new)
        return [f"{path}:\n{path.read_text(errors='replace')}" for path in new]

    def ready(self):
        """Whether every backend and the way through nginx answer now."""
        return all(is_ready(port) for port in self.backend_ports) and is_up(self.port, "/status")

    def wait_ready(self, seconds=60):
        wait_for(self.ready, seconds, "backends and nginx to be ready", interval=0.1)

    def wait_healthy(self, seconds=90):
        """Waits for HEALTH_OK: all OSDs up, every object with both its copies."""
        wait_for(self.healthy, seconds, "HEALTH_OK", interval=0.1)

    def healthy(self):
        """By what a backend says of the cluster: a client of Ceph's own would take half a second to connect."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = request(self.port, "GET", "/status")
            return answer.status == 200 and json.loads(answer.body)["health"]["status"] == "HEALTH_OK"
        return False

    # --- the registry -----------------------------------------------------------------------

    def sql(self, text, database="ipaddresses", user=None, check=True):
        """Runs SQL; returns the rows as lists of strings (NULL is "NULL").

        As `user` over TCP with its password, else as the administrator over the socket.
        """
        argv = ["mariadb", "--no-defaults", "--batch", "--skip-column-names"]
        environment = dict(os.environ)
        if user is None:
            argv += [f"--socket={self.env['MYSQL_SOCKET']}"]
        else:
            password_file = self.env[f"MYSQL_{user.upper()}_PASSWORD_FILE"]
            environment["MYSQL_PWD"] = Path(password_file).read_text().strip()
            argv += ["--host=127.0.0.1", f"--port={self.env['MYSQL_PORT']}", f"--user={user}"]
        if database is not None:
            argv.append(database)
        result = subprocess.run(argv, input=text, text=True, capture_output=True, timeout=60,
                                env=environment, check=False)
        if result.returncode != 0:
            if check:
                raise AssertionError(f"SQL failed: {result.stderr}\n{text}")
            raise SQLError(result.stderr)
        return [line.split("\t") for line in result.stdout.splitlines()]

    @contextlib.contextmanager
    def database(self, name, ddl=""):
        """A database of its own for a test, gone afterwards. The user lb may read it."""
        self.sql(f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name};"
                 f"GRANT SELECT ON {name}.* TO 'lb'@'%';", database=None)
        try:
            if ddl:
                self.sql(ddl, database=name)
            yield name
        finally:
            self.sql(f"REVOKE ALL PRIVILEGES ON {name}.* FROM 'lb'@'%'; DROP DATABASE {name};",
                     database=None)


class SQLError(Exception):
    pass


def is_up(port, target="/healthz"):
    try:
        return request(port, "GET", target, timeout=5).status == 200
    except (OSError, http.client.HTTPException):
        return False


def is_ready(port):
    return is_up(port, "/healthz?ready")


def processes_using(directory):
    """Living processes that name `directory` in their command line or hold a file below it."""
    directory = str(directory)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            held = any(_link(file).startswith(directory + "/") for file in (entry / "fd").iterdir())
        except OSError:
            continue
        if command and (re.search(re.escape(directory) + r"(?![\w.-])", command) or held):
            found[int(entry.name)] = command.strip()
    return found


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def listening(pids):
    """The addresses on which any of these processes listens, as (address, port)."""
    inodes = set()
    for pid in pids:
        try:
            for file in Path(f"/proc/{pid}/fd").iterdir():
                match = re.fullmatch(r"socket:\[(\d+)\]", _link(file))
                if match:
                    inodes.add(match.group(1))
        except OSError:
            continue
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] != "0A" or fields[9] not in inodes:
                continue
            address, port = fields[1].split(":")
            words = bytes.fromhex(address)
            packed = b"".join(words[n:n + 4][::-1] for n in range(0, len(words), 4))
            found.add((socket.inet_ntop(family, packed), int(port, 16)))
    return found


def open_at(port):
    """Connections to this port that are open on the side that accepted them."""
    return _open_tcp(1, port)


def open_to(port):
    """Connections to this port that are open on the side that made them."""
    return _open_tcp(2, port)


def _open_tcp(column, port):
    count = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            # ESTABLISHED, or CLOSE_WAIT: the peer has closed, this side has not.
            if int(fields[column].split(":")[1], 16) == port and fields[3] in ("01", "08"):
                count += 1
    return count


def end_process(process, seconds=10):
    """Ends a child that a test started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(seconds)
