"""An nginx with the module, a table of its own in a MariaDB, and fake backends behind it."""

import os
import re
import signal
import subprocess
from pathlib import Path

from fake import FakeBackend
from stack import ROOT, Client, request, wait_for

# Another nginx than the system's wants a module of its own, in $BUILD_DIR.
NGINX = os.environ.get("NGINX_BINARY", "/usr/sbin/nginx")

# Never expected, whatever a test does; a test that expects one names it.
UNTOWARD = re.compile(r"\[(alert|emerg|crit)\]|open socket .* left")


class Nginx:
    """One nginx process of a test, with its own directory."""

    def __init__(self, directory, module):
        self.dir = Path(directory)
        self.module = module
        self.conf = self.dir / "nginx.conf"
        self.error_log = self.dir / "error.log"
        self.pid_file = self.dir / "nginx.pid"
        self.expected = []  # patterns of log lines that would be untoward elsewhere
        self.dir.mkdir(parents=True, exist_ok=True)

    def write(self, http, workers=1, level="info"):
        user = "user root;" if os.geteuid() == 0 else ""
        temps = "\n".join(f"{kind}_temp_path {self.dir}/{kind};" for kind in
                          ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self.conf.write_text(f"""
load_module {self.module};
{user}
worker_processes {workers};
pid {self.pid_file};
error_log {self.error_log} {level};
events {{ worker_connections 1024; }}
http {{
{temps}
log_format lb '$request_uri $status wait=$ceph_lb_wait_time age=$ceph_lb_list_age '
              'backends=$ceph_lb_backends stale=$ceph_lb_stale upstream=$upstream_addr';
access_log {self.dir}/access.log lb;
keepalive_requests 1000000;
{http}
}}
""")

    def check(self):
        """`nginx -t`: its exit status and what it said."""
        result = self._run("-t")
        return result.returncode, result.stdout

    def start(self):
        result = self._run()
        if result.returncode != 0:
            raise AssertionError(f"nginx does not start:\n{result.stdout}\n{self.conf.read_text()}")
        # A signal that comes before its workers are there can get lost.
        wait_for(self.workers, 20, "workers")

    def _run(self, *options):
        environment = dict(os.environ)
        if os.environ.get("SANITIZE") == "1":
            # What only reads a configuration leaves its memory to the system.
            environment.update(self._sanitizer(leaks="-t" not in options))
        return subprocess.run(
            [NGINX, "-p", str(self.dir), "-e", str(self.error_log), "-c", str(self.conf),
             *options], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=60, check=False)

    def _sanitizer(self, leaks):
        names = ("libasan.so", "libubsan.so")
        libraries = [subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True,
                                    check=True).stdout.strip() for name in names]
        log = self.dir / "sanitizer"
        # nginx itself never frees its tables of connections, the only memory of this size that it does
        # not have from a pool.
        suppressions = self.dir / "suppressions"
        suppressions.write_text("leak:^ngx_alloc$\n")
        return {"LD_PRELOAD": ":".join(libraries),
                "ASAN_OPTIONS": f"log_path={log}.asan:detect_leaks={int(leaks)}",
                "LSAN_OPTIONS": f"suppressions={suppressions}:print_suppressions=0",
                "UBSAN_OPTIONS": f"log_path={log}.ubsan:print_stacktrace=1"}

    def master(self):
        try:
            pid = int(self.pid_file.read_text())
            os.kill(pid, 0)
            return pid
        except (OSError, ValueError):
            return None

    def workers(self):
        """The pids of the workers, those of an earlier configuration that still finish included."""
        master = self.master()
        if master is None:
            return []
        found = []
        for child in Path(f"/proc/{master}/task/{master}/children").read_text().split():
            try:
                title = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            if b"worker process" in title:
                found.append(int(child))
        return found

    def reload(self):
        """Reloads and waits until the new workers are there."""
        before = set(self.workers())
        os.kill(self.master(), signal.SIGHUP)
        wait_for(lambda: set(self.workers()) - before, 20, "new workers")

    def stop(self, number=signal.SIGQUIT, seconds=30):
        pid = self.master()
        if pid is None:
            return
        workers = self.workers()
        os.kill(pid, number)
        # The master removes its pid file a moment before it ends.
        wait_for(lambda: not _alive(pid), seconds, "nginx to end")
        assert not [worker for worker in workers if _alive(worker)]

    def log(self):
        try:
            return self.error_log.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def access_log(self, lines=1):
        """The access log, once it has at least so many lines: they come after the answers."""
        def read():
            text = (self.dir / "access.log").read_text().splitlines()
            return text if len(text) >= lines else None
        return wait_for(read, 10, f"{lines} lines in the access log")

    def descriptors(self):
        """For each worker the number of open descriptors and of threads."""
        return {worker: (len(os.listdir(f"/proc/{worker}/fd")), len(os.listdir(f"/proc/{worker}/task")))
                for worker in self.workers()}

    def problems(self):
        """What stands in the log, or in a sanitizer's report, and should not."""
        found = [line for line in self.log().splitlines() if UNTOWARD.search(line)
                 and not any(re.search(pattern, line) for pattern in self.expected)]
        for report in self.dir.glob("sanitizer*"):
            found.append(report.read_text(errors="replace"))
        return found


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Balancer:
    """The load balancer under test. `database` is its own; rows are added and removed at will."""

    def __init__(self, registry, nginx, free_port, database):
        self.registry = registry
        self.nginx = nginx
        self.free_port = free_port
        self.database = database
        self.port = free_port()
        self.backends = []
        self.password_file = registry.env["MYSQL_LB_PASSWORD_FILE"]
        self.url = f"mysql://lb@unix:{registry.env['MYSQL_SOCKET']}:/{database}"

    # --- backends and rows ------------------------------------------------------------------------

    def backend(self, row=True, address="127.0.0.1", **columns):
        """A new fake backend, with a row in the table unless row=False."""
        backend = FakeBackend(self.free_port(), address)
        self.backends.append(backend)
        if row:
            self.add(backend, **columns)
        return backend

    def add(self, backend, **columns):
        values = {"address": backend.address, "port": backend.port, **columns}
        self.sql(f"INSERT INTO addresses ({', '.join(values)}) "
                 f"VALUES ({', '.join(repr(value) for value in values.values())})")

    def remove(self, backend):
        self.sql(f"DELETE FROM addresses WHERE port = {backend.port}")

    def set(self, backend, assignment):
        self.sql(f"UPDATE addresses SET {assignment} WHERE port = {backend.port}")

    def sql(self, text):
        return self.registry.sql(text, database=self.database)

    # --- nginx ------------------------------------------------------------------------------------

    def upstream(self, parameters="", extra="", url=None, password=True):
        password_file = f"password_file={self.password_file}" if password else ""
        return (f"upstream backends {{ ceph_lb {url or self.url} {password_file} {parameters};\n"
                f"{extra} }}\n")

    def conf(self, parameters="", extra="", url=None, location="", server="", http=""):
        """An http block as an operator has it; each argument goes to one place of it."""
        return self.upstream(parameters, extra, url) + f"""
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_connect_timeout 2s;
{http}
server {{
    listen 127.0.0.1:{self.port};
    add_header X-Wait $ceph_lb_wait_time always;
    add_header X-Age $ceph_lb_list_age always;
    add_header X-Backends $ceph_lb_backends always;
    add_header X-Stale $ceph_lb_stale always;
    {server}
    location / {{
        proxy_pass http://backends;
        {location}
    }}
}}
"""

    def start(self, *, workers=1, **places):
        self.nginx.write(self.conf(**places), workers)
        self.nginx.start()
        return self

    # --- requests ---------------------------------------------------------------------------------

    def get(self, target="/", **options):
        return request(self.port, "GET", target, **options)

    def client(self):
        return Client(self.port)

    def answering(self, requests):
        """How often each backend answered in a row of requests that all have to succeed."""
        counts = {}
        with self.client() as client:
            for _ in range(requests):
                response = client.get("/")
                assert response.status == 200, response
                name = response.header("X-Backend")
                counts[name] = counts.get(name, 0) + 1
        return counts

    def wait_fresh(self, seconds=20):
        """Waits until a request gets a list that was read for it."""
        def fresh():
            response = self.get()
            return response.status == 200 and response.header("X-Stale") == "0"
        wait_for(fresh, seconds, "a fresh list")

    def close(self):
        try:
            self.nginx.stop()
        finally:
            for backend in self.backends:
                backend.stop()


VERSION_QUERY = '"version_query=SELECT version FROM addresses_version"'


def schema(database, file="schema.sql"):
    """The registry's schema, or what is added to it, made in another database, without its users."""
    text = (ROOT / "sql" / file).read_text()
    text = re.sub(r"\bipaddresses\b", database, text)
    return text.partition("-- The load balancers read.")[0]


def other_authority(directory):
    """A certificate authority that signed nothing here."""
    path = Path(directory) / "other-ca.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=another authority",
                    "-keyout", "/dev/null", "-out", str(path)], check=True, capture_output=True)
    return path
