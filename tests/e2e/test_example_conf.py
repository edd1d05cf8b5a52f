"""nginx.conf.example, which the stack runs on: what it lets through, and what it says by itself."""

import json
import os
import re
import subprocess

import pytest

from stack import ROOT, Client, raw, request, wait_for
from status_page import StatusPage

LIMIT = 5242944 * 1024  # client_max_body_size: 5 GiB and what a form adds


@pytest.fixture
def client(stack):
    with Client(stack.port) as client:
        yield client


@pytest.mark.parametrize("target", [
    "/objects/conf%2Fescaped", "/objects/conf//double", "/objects/conf/./dot", "/objects/conf/../up",
    "/objects/conf%20space", "/objects/conf%3Fmark", "/objects/conf%23hash", "/objects/%C3%A4",
    "/objects/" + "%C3%A4" * 512])
def test_names_arrive_byte_for_byte(stack, client, target):
    """Stored through nginx, fetched from a backend, where no nginx can have changed the name."""
    body = target.encode()
    assert client.put(target, body).status in (200, 201)
    assert request(stack.backend_ports[0], "GET", target).body == body
    assert client.get(target).body == body
    assert client.delete(target).status == 204


def problem(response, status, name):
    """That this is nginx's own error, in the form of the backends' errors."""
    assert response.status == status, response
    assert response.header("Content-Type") == "application/problem+json"
    body = json.loads(response.body)
    assert body["type"] == f"urn:ceph-lb:problem:{name}" and body["status"] == status and body["title"]


@pytest.mark.parametrize("target", ["/objects/../../x", "/objects/a%00b", "/objects/a%zz"])
def test_what_nginx_takes_for_no_path(client, target):
    problem(client.get(target), 400, "bad-request")


def test_too_large_a_body(stack):
    """Refused by its length alone: nothing of it has been sent."""
    answer = raw(stack.port, b"PUT /objects/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1),
                 half_close=True)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["type"] == "urn:ceph-lb:problem:too-large"


def test_a_body_that_nginx_keeps_in_a_file(client):
    body = os.urandom(1 << 20) * 64
    assert client.put("/objects/largest", body).status == 201
    assert client.get("/objects/largest").body == body
    assert client.delete("/objects/largest").status == 204


def test_too_large_a_header(client):
    problem(client.get("/objects", headers={"X-Large": "x" * 20_000}), 431, "header-too-large")


def test_too_long_a_target(client):
    problem(client.get("/objects/" + "x" * 20_000), 414, "uri-too-long")


def test_eight_kilobytes_of_metadata_go_both_ways(client):
    headers = {f"X-Meta-{n}": "m" * 1000 for n in range(8)}
    assert client.request("PUT", "/objects/meta", b"x", headers).status == 201
    answer = client.get("/objects/meta")
    assert answer.status == 200
    assert all(answer.header(name) == value for name, value in headers.items())
    assert client.delete("/objects/meta").status == 204


def test_no_backend(stack, client):
    stack.sql("CREATE TABLE kept LIKE addresses; INSERT INTO kept (containerAddress, address, port, seen)"
              " SELECT containerAddress, address, port, seen FROM addresses; DELETE FROM addresses")
    try:
        response = client.get("/objects")
        problem(response, 503, "no-backend")
        assert response.header("Retry-After") == "1"
    finally:
        stack.sql("INSERT IGNORE INTO addresses (containerAddress, address, port, seen)"
                  " SELECT containerAddress, address, port, seen FROM kept; DROP TABLE kept")
    wait_for(lambda: client.get("/objects").status == 200, 10, "the backends")


def test_a_dead_backend_alone(stack, client, free_port):
    """A row by hand that leads nowhere, and no other: nginx's own 502."""
    stack.sql("UPDATE addresses SET state = 'down';"
              f"INSERT INTO addresses (address, port) VALUES ('127.0.0.1', {free_port()})")
    try:
        problem(client.get("/objects"), 502, "bad-gateway")
    finally:
        stack.sql("DELETE FROM addresses WHERE seen IS NULL; UPDATE addresses SET state = 'up'")


def test_a_backends_own_error_passes_unchanged(stack, client):
    own = request(stack.backend_ports[0], "GET", "/objects/there-is-none")
    through = client.get("/objects/there-is-none")
    assert through.status == own.status == 404
    assert through.header("Content-Type") == own.header("Content-Type")
    assert json.loads(through.body)["type"] == json.loads(own.body)["type"]


def test_requests_take_turns_over_kept_connections(stack, client):
    seen = [client.get("/healthz").header("X-Backend") for _ in range(9)]
    assert sorted(set(seen)) == [stack.backend_address(n) for n in (1, 2, 3)]


def test_the_access_log_tells_about_the_list(stack, client):
    client.get("/objects?limit=1&prefix=seen-in-the-log")
    line = wait_for(lambda: next((line for line in stack.log("nginx-access").splitlines()
                                  if "seen-in-the-log" in line), None), 10, "the line")
    assert re.search(r" 200 .* upstream=127\.0\.0\.1:\d+ upstream_status=200 .* lb_wait=0\.\d+ "
                     r"list_age=\S+ list_size=3 list_stale=0$", line), line


def test_the_status_page_of_the_balancer(stack, client):
    """On a port of its own, so that it hides no file; for people at /, for Prometheus at /metrics."""
    page = StatusPage(int(stack.env["STATUS_PORT"]))
    assert client.get("/healthz").status == 200
    of_backends = {stack.backend_address(n) for n in (1, 2, 3)}
    wait_for(lambda: {row["address"] for row in page.upstream()["backends"]} == of_backends, 10,
             "the list of the worker that answers")
    assert page.html().headings == ["backends"]
    assert page.metrics().get("ceph_lb_upstream_max_fails", upstream="backends") == 1
    assert page.get("/objects").status == 404


def test_the_stack_changed_only_ports_and_paths(stack):
    """What an operator takes is what was tested."""
    example = (ROOT / "nginx.conf.example").read_text().splitlines()
    used = (stack.dir / "nginx" / "nginx.conf").read_text().splitlines()[1:]
    assert len(used) == len(example)
    changed = [there.strip().split()[0] for there, here in zip(example, used) if there != here]
    assert set(changed) <= {"load_module", "user", "worker_rlimit_nofile", "pid", "error_log",
                            "access_log", "ceph_lb", "listen", "client_body_temp_path",
                            "proxy_temp_path"}


def test_the_example_as_it_stands_is_valid(stack, work_dir, build_dir):
    """But for the paths that only an installed system has."""
    text = (ROOT / "nginx.conf.example").read_text()
    directory = work_dir / "example"
    (directory / "modules").mkdir(parents=True)
    module = build_dir.resolve() / "ngx_http_ceph_lb_module.so"
    (directory / "modules" / module.name).symlink_to(module)
    for path in ("/etc/ceph-lb/lb.password", "/var/log/nginx/", "/var/lib/nginx/", "/run/nginx.pid"):
        assert path in text
    (directory / "lb.password").write_text("secret\n")
    text = text.replace("/etc/ceph-lb/lb.password", str(directory / "lb.password"))
    for path in ("/var/log/nginx", "/var/lib/nginx", "/run"):
        text = text.replace(f" {path}/nginx.pid", f" {directory}/nginx.pid")
        text = text.replace(f" {path}/", f" {directory}/")
    text = text.replace(f"{directory}/mysqld", "/run/mysqld")
    # The other kinds of temporary files have their places compiled in.
    extra = "".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("fastcgi", "uwsgi", "scgi"))
    text = text.replace("http {", f"http {{ {extra}", 1)
    if os.geteuid() != 0:
        text = text.replace("user www-data;", "")
    text = text.replace("load_module modules/", f"load_module {directory}/modules/")
    (directory / "nginx.conf").write_text(text)
    environment = dict(os.environ)
    if os.environ.get("SANITIZE") == "1":
        pytest.skip("nginx -t of a sanitized module is covered by the load balancer's own tests")
    result = subprocess.run(["/usr/sbin/nginx", "-t", "-p", directory, "-e", directory / "error.log",
                             "-c", directory / "nginx.conf"], env=environment, capture_output=True,
                            text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "[warn]" not in result.stderr, result.stderr
