"""What it takes to measure the load balancer alone: a registry, backends that answer at once, and one nginx a side.

No Ceph and no running stack. All of it lies in run/bench-lb; at the end only the logs stay there.
"""

import os
import re
import shutil
import socket
import subprocess

from processor_time import with_children
from running_stack import ROOT, Daemon, Failure, Settings, fetch, wait_until
from stacklib.registry import Registry
from stacklib.settings import DATABASE

NGINX = "/usr/sbin/nginx"
BACKENDS = 3
LARGE = "ipaddresses_1000"  # The database with the table of 1000 rows.
ROWS = 1000
PORTS = 10
VERSION_QUERY = '"version_query=SELECT version FROM addresses_version"'

NGINX_CONF = """\
{module}
{user}
worker_processes 1;
daemon off;
pid {conf}.pid;
error_log {log} notice;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    keepalive_requests 100000000;
{http}
}}
"""

BACKEND_HTTP = """\
    server {{ {listens} location / {{ return 200 "ok\\n"; }} }}"""

SIDE_HTTP = """\
    upstream backends {{ {servers} keepalive 512; keepalive_requests 100000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://backends; }} }}"""


class Nginx:
    """An nginx with one worker; its name is its side's in the tables."""

    def __init__(self, settings, name, port):
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._settings = settings
        file = name.replace(" ", "-")
        self._conf = settings.dir / f"{file}.conf"
        self._daemon = Daemon(f"nginx ({name})", settings.pid_dir / f"{file}.pid", settings.log_dir / f"{file}.log",
                              [NGINX, self._conf])

    def start(self, http, with_module):
        settings = self._settings
        self._conf.write_text(NGINX_CONF.format(
            module=f"load_module {settings.nginx_module};" if with_module else "", http=http,
            user="user root;" if os.geteuid() == 0 else "", dir=settings.nginx_dir, conf=self._conf,
            log=self._daemon.log))
        self._daemon.start([NGINX, "-e", self._daemon.log, "-p", settings.nginx_dir, "-c", self._conf],
                           settings.environment())
        self._daemon.wait_ready(self._answers, 15, "an answer")

    def worker(self):
        _, worker = with_children(self._daemon.pid())
        return worker

    def stop(self):
        self._daemon.stop()

    def _answers(self):
        try:
            return fetch(self.url, "/") == b"ok\n"
        except Failure:
            return False


class BalancerStack:
    """To be used by `with`. `sides`: name → Nginx, in the order in which they take turns: what is compared is adjacent."""

    def __init__(self, first_port):
        self._ports = range(first_port, first_port + PORTS)
        self.settings = Settings({**os.environ, "STACK_DIR": str(Settings().dir / "bench-lb"),
                                  "MYSQL_PORT": str(first_port)})
        self.backend_ports = self._ports[1:2 + BACKENDS]  # One more than there are rows: to be added and removed.
        self._registry = Registry(self.settings)
        self._backends = Nginx(self.settings, "backends", self.backend_ports[0])
        names = ["module 1000 rows", "module", "static", "version_query", "version_query 1000 rows"]
        self.sides = {name: Nginx(self.settings, name, port) for name, port in zip(names, self._ports[2 + BACKENDS:])}

    def __enter__(self):
        self._require_programs()
        self._stop()  # What is left of a run that was killed.
        shutil.rmtree(self.settings.dir, ignore_errors=True)
        self._require_ports()
        try:
            self.settings.make_dirs()
            self._registry.up()
            self._make_tables()
            listens = " ".join(f"listen 127.0.0.1:{port};" for port in self.backend_ports)
            self._backends.start(BACKEND_HTTP.format(listens=listens), with_module=False)
            for side in self.sides.values():
                side.start(SIDE_HTTP.format(servers=self._servers(side.name), port=side.port), side.name != "static")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._stop()
        for entry in self.settings.dir.iterdir() if self.settings.dir.exists() else []:
            if entry.is_file():
                entry.unlink()
            elif entry != self.settings.log_dir:
                # If the making of the database was interrupted, its program may write on for a moment.
                wait_until(lambda entry=entry: _is_removed(entry), 15, f"{entry} cannot be removed")

    def selects(self):
        """How many queries the registry has answered."""
        text = subprocess.run([*self._client(), "-e", "SHOW GLOBAL STATUS LIKE 'Com_select'"], check=True,
                              capture_output=True, text=True).stdout
        return int(text.split()[1])

    def client(self, text_file):
        """A process that carries out the statements of a file in the table of three, one after the other."""
        return subprocess.Popen([*self._client(), DATABASE], stdin=text_file, stdout=subprocess.DEVNULL)

    def _client(self):
        return ["mariadb", "--no-defaults", f"--socket={self.settings.mysql_socket}", "--batch", "--skip-column-names"]

    def _require_programs(self):
        os.environ["PATH"] += ":/usr/sbin:/sbin"  # Where Debian keeps servers.
        for program in (NGINX, "mariadbd", "mariadb", "wrk"):
            if shutil.which(program) is None:
                raise Failure(f"{program} is not installed: dev/deps bench")
        if not self.settings.nginx_module.exists():
            raise Failure(f"{self.settings.nginx_module} does not exist: make module")

    def _require_ports(self):
        for port in self._ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise Failure(f"port {port} cannot be used ({error.strerror}): --lb-port chooses others") from None

    def _make_tables(self):
        usable = [f"('127.0.0.1', {port}, 'up')" for port in self.backend_ports[:BACKENDS]]
        down = [f"('10.0.{number // 250}.{number % 250}', 8080, 'down')" for number in range(ROWS - BACKENDS)]
        files = [os.path.join(ROOT, "sql", name) for name in ("schema.sql", "version.sql")]
        for database, rows in ((DATABASE, usable), (LARGE, usable + down)):
            for file in files:
                with open(file) as schema:
                    self._registry.sql(re.sub(rf"\b{DATABASE}\b", database, schema.read()))
            self._registry.sql(f"INSERT INTO {database}.addresses (address, port, state) VALUES {', '.join(rows)}")

    def _servers(self, name):
        if name == "static":
            return " ".join(f"server 127.0.0.1:{port};" for port in self.backend_ports[:BACKENDS])
        database = LARGE if name.endswith("rows") else DATABASE
        version = VERSION_QUERY if name.startswith("version_query") else ""
        return (f"ceph_lb mysql://lb@unix:{self.settings.mysql_socket}:/{database} "
                f"password_file={self.settings.password_file('lb')} {version};")

    def _stop(self):
        for nginx in (*self.sides.values(), self._backends):
            nginx.stop()
        self._registry.stop()


def _is_removed(directory):
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()
