"""GET /healthz through the module, beside the same nginx with the same backends written as a static upstream."""

import os
import subprocess
import tempfile
import time

from clients import wrk
from running_stack import Failure
from table import median

NGINX_CONF = """
load_module {module};
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream dynamic {{
        ceph_lb mysql://lb@unix:{socket}:/{database} password_file={password_file};
        keepalive 128; keepalive_requests 1000000;
    }}
    upstream static {{ {servers} keepalive 128; keepalive_requests 1000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{ listen 127.0.0.1:{dynamic_port}; location / {{ proxy_pass http://dynamic; }} }}
    server {{ listen 127.0.0.1:{static_port}; location / {{ proxy_pass http://static; }} }}
}}
"""


class Registry:
    def __init__(self, environment):
        self.command = ["mariadb", "--socket", environment["MYSQL_SOCKET"], "--user", "root", "-N", "-B", "-e"]

    def selects(self):
        text = subprocess.run([*self.command, "SHOW GLOBAL STATUS LIKE 'Com_select'"], check=True,
                              capture_output=True, text=True).stdout
        return int(text.split()[1])


def wait_for_port(port):
    deadline = time.monotonic() + 10
    while subprocess.run(["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/healthz"]).returncode != 0:
        if time.monotonic() > deadline:
            raise Failure(f"nothing answers on port {port}")
        time.sleep(0.05)


def measure_balancer(stack, rounds, duration):
    environment = stack.environment
    dynamic_port, static_port = 20080, 20081
    registry = Registry(environment)
    servers = " ".join(f"server {url.removeprefix('http://')};" for url in environment["BACKEND_URLS"].split())
    with tempfile.TemporaryDirectory(prefix="ceph-lb-bench.") as folder:
        os.chmod(folder, 0o755)
        conf = os.path.join(folder, "nginx.conf")
        with open(conf, "w") as file:
            file.write(NGINX_CONF.format(
                module=environment["NGINX_MODULE"], folder=folder, socket=environment["MYSQL_SOCKET"],
                user="user root;\n" if os.geteuid() == 0 else "", database=environment["MYSQL_DATABASE"],
                password_file=environment["MYSQL_LB_PASSWORD_FILE"], servers=servers,
                dynamic_port=dynamic_port, static_port=static_port))
        nginx = subprocess.Popen(["/usr/sbin/nginx", "-e", f"{folder}/error.log", "-p", folder, "-c", conf])
        try:
            wait_for_port(dynamic_port)
            wait_for_port(static_port)
            print("GET /healthz, one nginx worker, three backends; static: the same three in the file")
            print(f"{'clients':>8} {'':8} {'requests/s':>11} {'of static':>10} {'p50 ms':>8} {'p99 ms':>8} "
                  f"{'queries':>9} {'requests/query':>15} {'failed':>7}")
            for connections in (1, 16, 64, 256):
                runs = {"static": [], "module": []}
                queries = 0
                for _ in range(rounds):
                    runs["static"].append(wrk(f"http://127.0.0.1:{static_port}/healthz", connections, duration))
                    before = registry.selects()
                    runs["module"].append(wrk(f"http://127.0.0.1:{dynamic_port}/healthz", connections, duration))
                    queries += registry.selects() - before
                base = median(runs["static"], "rate")
                for name, results in runs.items():
                    requests = sum(run["units"] for run in results)
                    tail = (f"{queries:9d} {requests / max(queries, 1):15.1f}" if name == "module" else " " * 25)
                    print(f"{connections:8d} {name:8} {median(results, 'rate'):11.0f} "
                          f"{median(results, 'rate') / base:10.2f} {median(results, 'p50'):8.2f} "
                          f"{median(results, 'p99'):8.2f} {tail} {sum(run['failed'] for run in results):7d}")
        finally:
            nginx.terminate()
            nginx.wait(timeout=15)
