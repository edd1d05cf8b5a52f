"""The one-machine stack that is measured, as dev/stack knows it, and what all benchmarks ask of its cluster."""

import http.client
import json
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "dev"))

from stacklib.ceph import Ceph  # noqa: E402  (the path above comes first)
from stacklib.console import Failure, say, wait_until  # noqa: E402,F401
from stacklib.daemon import Daemon  # noqa: E402,F401
from stacklib.settings import POOL, Settings  # noqa: E402

MIB = 1024**2


class RunningStack:
    def __init__(self):
        self.settings = Settings()
        self.environment = {name: str(value) for name, value in self.settings.shell().items()}
        self.balancer = self.environment["LB_URL"]
        self.backend = self.environment["BACKEND_URLS"].split()[0]
        self.dir = self.settings.dir / "bench"
        self._ceph = Ceph(self.settings)

    def require_running(self):
        if not all(daemon.pid() for daemon in self._ceph.daemons()):
            raise Failure("the stack does not run: make run")
        fetch(self.balancer, "/status")
        self.dir.mkdir(exist_ok=True)

    def command(self, prefix, **arguments):
        """A monitor's command as client.admin; returns its parsed answer."""
        with self._ceph.admin() as cluster:
            request = json.dumps({"prefix": prefix, "format": "json", **arguments})
            code, answer, message = cluster.mon_command(request, b"", timeout=30)
        if code != 0:
            raise Failure(f"ceph {prefix}: {message or os.strerror(-code)}")
        return json.loads(answer) if answer.strip() else {}

    def pools(self):
        return [pool["poolname"] for pool in self.command("osd lspools")]

    def make_pool(self, name, pg_num, application):
        """Its size is the cluster's default, as that of the pool of the files is."""
        if name not in self.pools():
            self.command("osd pool create", pool=name, pg_num=pg_num)
            self.command("osd pool application enable", pool=name, app=application)

    def remove_pool(self, name):
        if name in self.pools():
            self.command("osd pool delete", pool=name, pool2=name, yes_i_really_really_mean_it=True)

    def require_room(self, bytes_to_write):
        """A Failure if so much more, in as many copies as the pool has, would fill the OSDs or the disk."""
        size = self.command("osd pool get", pool=POOL, var="size")["size"]
        free = shutil.disk_usage(self.dir).free
        if free < size * bytes_to_write:
            raise Failure(f"{self.dir}: {free // MIB} MiB are free on the disk, "
                          f"{size * bytes_to_write // MIB} may be needed")
        stats = self.command("df")["stats"]
        if stats["total_used_raw_bytes"] + size * bytes_to_write > 0.8 * stats["total_bytes"]:
            raise Failure(f"the cluster has no room for {bytes_to_write // MIB} MiB more. What is replaced stays for "
                          "--download-grace: see docs/benchmarks.md for the options to start the stack with")

    def run(self, *argv):
        """Runs a command that knows the cluster as client.admin; returns what it printed."""
        result = subprocess.run([argv[0], "--conf", str(self.settings.ceph_conf), "--name", "client.admin", *argv[1:]],
                                env=self.settings.environment(), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise Failure(f"{' '.join(argv)} failed with status {result.returncode}: {result.stderr.strip()[-500:]}")
        return result.stdout


def connect(url, seconds=60):
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=seconds)


def fetch(url, path):
    """The body of GET; a Failure for any status but 200."""
    connection = connect(url)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise Failure(f"GET {url}{path}: {error}") from None
    finally:
        connection.close()
    if response.status != 200:
        raise Failure(f"GET {url}{path} answered {response.status}: {body[:300]!r}")
    return body
