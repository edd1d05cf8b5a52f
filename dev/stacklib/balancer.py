"""nginx with the module. It runs on nginx.conf.example: only ports and paths are filled in."""

import os
import resource
import shutil
import subprocess

from .backends import answers_200
from .console import Failure, say
from .daemon import Daemon
from .settings import DATABASE, ROOT, require_free_port


class Balancer:
    def __init__(self, settings):
        self.settings = settings
        self.dir = settings.nginx_dir
        self.daemon = Daemon("nginx", settings.pid_dir / "nginx.pid",
                             settings.log_dir / "nginx-error.log",
                             ["nginx:", "master", settings.nginx_conf])

    def require_ports(self):
        if not self.daemon.pid():
            require_free_port(self.settings.lb_port, "LB_PORT", "nginx")
            require_free_port(self.settings.status_port, "STATUS_PORT", "nginx's status page")

    def up(self):
        if self.daemon.pid():
            say("nginx: already running")
        else:
            self.start()
        self.daemon.wait_ready(lambda: answers_200(self.settings.lb_port, "/status"), 30,
                               "GET /status with answer 200")

    def start(self):
        settings = self.settings
        if self.daemon.pid():
            say("nginx: already running")
            return
        if not settings.nginx_module.exists():
            raise Failure(f"{settings.nginx_module} does not exist: run make")
        self.require_ports()
        self.write_conf()
        self._nginx("starting nginx")
        say(f"nginx: listening on 127.0.0.1:{settings.lb_port}, "
            f"status page at http://127.0.0.1:{settings.status_port}/")

    def reload(self):
        self.write_conf()
        self._nginx("checking nginx's configuration", "-t")
        self.daemon.send(1)  # SIGHUP

    def stop(self):
        """SIGQUIT: requests that are under way are finished."""
        if self.daemon.ask_to_stop(3):
            self.daemon.wait_gone(30)

    def write_conf(self):
        text = (ROOT / "nginx.conf.example").read_text()
        settings = self.settings
        registry = f"mysql://lb@unix:{settings.mysql_socket}:/{DATABASE}"
        hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        replacements = {
            "load_module modules/ngx_http_ceph_lb_module.so;":
                f"load_module {settings.nginx_module};",
            # Only root can change to another user; files of root's stack may be closed to others.
            "user www-data;": "user root;" if os.geteuid() == 0 else "",
            "worker_rlimit_nofile 16384;": f"worker_rlimit_nofile {min(16384, hard_limit)};",
            "pid /run/nginx.pid;": f"pid {self.daemon.pid_file};",
            "error_log /var/log/nginx/error.log notice;": f"error_log {self.daemon.log} notice;",
            "access_log /var/log/nginx/access.log ceph_lb;":
                f"access_log {settings.log_dir}/nginx-access.log ceph_lb;",
            "client_body_temp_path /var/lib/nginx/body;":
                f"client_body_temp_path {self.dir}/body;",
            "proxy_temp_path /var/lib/nginx/proxy;": " ".join(
                f"{kind}_temp_path {self.dir}/{kind};"
                for kind in ("proxy", "fastcgi", "uwsgi", "scgi")),
            "mysql://lb@unix:/run/mysqld/mysqld.sock:/ipaddresses": registry,
            "password_file=/etc/ceph-lb/lb.password":
                f"password_file={settings.password_file('lb')}",
            "listen 127.0.0.1:8081;": f"listen 127.0.0.1:{settings.status_port};",
            "listen 8080;": f"listen 127.0.0.1:{settings.lb_port};",
        }
        for there, here in replacements.items():
            if text.count(there) != 1:
                raise Failure(f"nginx.conf.example: '{there}' is to stand there exactly once")
            text = text.replace(there, here)
        temporary = settings.nginx_conf.with_suffix(".new")
        temporary.write_text("# Made from nginx.conf.example by dev/stack at each start.\n" + text)
        temporary.replace(settings.nginx_conf)

    def _nginx(self, what, *options):
        """nginx answers once it has read its configuration and listens, then goes on by itself."""
        environment = self.settings.environment("nginx")
        if self.settings.sanitize:
            environment.update(_sanitizer_environment(environment))
        result = subprocess.run(
            ["/usr/sbin/nginx", "-p", self.dir, "-e", self.daemon.log,
             "-c", self.settings.nginx_conf, *options],
            env=environment, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True)
        if result.returncode != 0:
            raise Failure(f"{what} failed:\n" + result.stdout.decode(errors="replace").rstrip())


def _sanitizer_environment(environment):
    """The module was built with sanitizers, Debian's nginx was not: their libraries come first."""
    compiler = shutil.which("gcc") or "cc"
    libraries = [
        subprocess.run([compiler, f"-print-file-name={name}"], check=True, capture_output=True,
                       text=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    # What nginx itself leaves at its end is not ours to judge.
    return {"LD_PRELOAD": ":".join(libraries),
            "ASAN_OPTIONS": environment["ASAN_OPTIONS"].replace("detect_leaks=1", "detect_leaks=0")}
