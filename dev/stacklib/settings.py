"""Where a stack lies and which ports it has.

A setting comes from the environment, else from what the stack was last started with, else from
the defaults here. So `LB_PORT=9080 dev/stack up` is needed once, and `dev/stack status` finds it.
"""

import json
import os
import shlex
import socket
from pathlib import Path

from .console import Failure

ROOT = Path(__file__).resolve().parent.parent.parent
POOL = "data"
DATABASE = "ipaddresses"

DEFAULTS = {
    "LB_PORT": 8080,
    "STATUS_PORT": 8100,
    "BACKEND_PORT": 8081,
    "MYSQL_PORT": 13306,
    "MON_PORT": 16789,
    "CEPH_PORT_MIN": 16800,
    "CEPH_PORT_MAX": 16899,
    "BACKENDS": 3,
}

# A socket's path must fit into sockaddr_un, 108 bytes with the closing NUL.
SOCKET_PATH_MAX = 107


class Settings:
    def __init__(self, environment=None):
        environment = os.environ if environment is None else environment
        self.dir = Path(os.path.abspath(environment.get("STACK_DIR") or ROOT / "run"))
        self.sanitize = environment.get("SANITIZE") == "1"
        self.build = _build_dir(environment, self.sanitize)
        self.backend_options = shlex.split(environment.get("BACKEND_OPTIONS", ""))
        self.file = self.dir / "settings.json"
        self.saved = self._read_saved()
        self.values = dict(DEFAULTS)
        self.values.update(self.saved)
        for name in DEFAULTS:
            if environment.get(name):
                self.values[name] = _number(name, environment[name])
        self._check()

    def __getattr__(self, name):
        try:
            return self.__dict__["values"][name.upper()]
        except KeyError:
            raise AttributeError(name) from None

    def _read_saved(self):
        try:
            saved = json.loads(self.file.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Failure(f"{self.file} cannot be read: {error}") from None
        return {name: saved[name] for name in DEFAULTS if name in saved}

    def _check(self):
        if not 1 <= self.backends <= 16:
            raise Failure(f"BACKENDS={self.backends}: 1 to 16 are possible")
        if self.ceph_port_max - self.ceph_port_min < 40:
            raise Failure("CEPH_PORT_MIN to CEPH_PORT_MAX: Ceph's daemons need 40 ports or more")
        socket_path = str(self.mysql_socket)
        if len(os.fsencode(socket_path)) > SOCKET_PATH_MAX:
            raise Failure(
                f"{socket_path} is too long for a socket: set STACK_DIR to a shorter path"
            )
        # nginx's and MySQL's configuration have no way to write these.
        if any(character in str(self.dir) for character in "\"'\\$;{}:#\n\t "):
            raise Failure(f"STACK_DIR={self.dir}: a path without spaces and quotes is needed")

    def changed(self):
        """The settings that differ from those the stack was started with, as 'NAME: old, now new'."""
        return [
            f"{name}={self.saved[name]}, now {self.values[name]}"
            for name in DEFAULTS
            if name in self.saved and self.saved[name] != self.values[name]
        ]

    def save(self):
        temporary = self.file.with_suffix(".new")
        temporary.write_text(json.dumps(self.values, indent=2) + "\n")
        temporary.replace(self.file)
        self.saved = dict(self.values)

    # --- where things lie -------------------------------------------------------------------

    @property
    def log_dir(self):
        return self.dir / "log"

    @property
    def pid_dir(self):
        return self.dir / "pid"

    @property
    def ceph_dir(self):
        return self.dir / "ceph"

    @property
    def ceph_conf(self):
        return self.ceph_dir / "ceph.conf"

    @property
    def mysql_dir(self):
        return self.dir / "mysql"

    @property
    def mysql_socket(self):
        return self.mysql_dir / "mysqld.sock"

    @property
    def nginx_dir(self):
        return self.dir / "nginx"

    @property
    def nginx_conf(self):
        return self.nginx_dir / "nginx.conf"

    @property
    def spool_dir(self):
        return self.dir / "spool"

    @property
    def sanitizer_dir(self):
        return self.dir / "sanitizer"

    @property
    def lb_url(self):
        return f"http://127.0.0.1:{self.lb_port}"

    @property
    def backend_binary(self):
        return self.build / "ceph-lb-backend"

    @property
    def nginx_module(self):
        return self.build / "ngx_http_ceph_lb_module.so"

    def password_file(self, user):
        return self.mysql_dir / f"{user}.password"

    def make_dirs(self):
        for directory in (self.dir, self.log_dir, self.pid_dir, self.ceph_dir, self.mysql_dir,
                          self.nginx_dir, self.spool_dir, self.sanitizer_dir):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)

    # --- what the daemons get ---------------------------------------------------------------

    def environment(self, name=None):
        """The environment of a daemon. A person's CEPH_ARGS would turn an OSD into a client."""
        environment = {
            key: value for key, value in os.environ.items()
            if not key.startswith("CEPH_") and key not in ("LD_PRELOAD", "NGINX")
        }
        if self.sanitize and name is not None:
            log = self.sanitizer_dir / name
            environment["ASAN_OPTIONS"] = (
                f"log_path={log}.asan:detect_stack_use_after_return=1:detect_leaks=1"
            )
            environment["UBSAN_OPTIONS"] = f"log_path={log}.ubsan:print_stacktrace=1"
            environment["LSAN_OPTIONS"] = "print_suppressions=0"
        return environment

    def shell(self):
        """What scripts and tests want to know, in the order of `dev/stack env`."""
        backends = [f"http://127.0.0.1:{self.backend_port + n}" for n in range(self.backends)]
        return {
            "STACK_DIR": self.dir,
            "LB_URL": self.lb_url,
            "LB_PORT": self.lb_port,
            "STATUS_PORT": self.status_port,
            "BACKENDS": self.backends,
            "BACKEND_URLS": " ".join(backends),
            "BACKEND_PORT": self.backend_port,
            "CEPH_CONF": self.ceph_conf,
            "CEPH_ARGS": "--name client.admin",
            "CEPH_POOL": POOL,
            "MYSQL_SOCKET": self.mysql_socket,
            "MYSQL_PORT": self.mysql_port,
            "MYSQL_DATABASE": DATABASE,
            "MYSQL_SSL_CA": self.mysql_dir / "tls" / "ca.pem",
            "MYSQL_LB_PASSWORD_FILE": self.password_file("lb"),
            "MYSQL_BACKEND_PASSWORD_FILE": self.password_file("backend"),
            "NGINX_CONF": self.nginx_conf,
            "NGINX_MODULE": self.nginx_module,
            "LOG_DIR": self.log_dir,
            "PID_DIR": self.pid_dir,
            "SANITIZER_DIR": self.sanitizer_dir,
        }


def _build_dir(environment, sanitize):
    if environment.get("BUILD_DIR"):
        return Path(os.path.abspath(environment["BUILD_DIR"]))
    return ROOT / "build" / "sanitize" if sanitize else ROOT / "build"


def _number(name, text):
    try:
        number = int(text)
    except ValueError:
        raise Failure(f"{name}={text}: a number is needed") from None
    if name != "BACKENDS" and not 1 <= number <= 65535:
        raise Failure(f"{name}={text}: a port is 1 to 65535")
    return number


def require_free_port(port, variable, purpose):
    """A Failure that names the port and the variable, if something listens there already."""
    with socket.socket() as probe:
        # As the daemons do: connections of an earlier run that linger in TIME_WAIT do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise Failure(f"port {port} ({purpose}) needs root: set {variable}") from None
        except OSError as error:
            raise Failure(
                f"port {port} is taken, it is wanted for {purpose} ({error.strerror}). "
                f"Free it, or choose another one: {variable}=PORT dev/stack up"
            ) from None
