"""One stack for the whole session, looked over after each test that used it."""

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
from pathlib import Path

import pytest

from balancer import Balancer, Nginx, schema
from fake_mysql import FakeMysql
from stack import PORT, ROOT, Stack, processes_using

# For a second run of the tests beside another one: it is part of the names of the directories.
NAME = os.environ.get("CHECK_NAME", "")

# Where a daemon that ignores its configuration would leave something.
SYSTEM_PLACES = [Path(place) for place in (
    "/etc/ceph", "/var/lib/ceph", "/var/log/ceph", "/run/ceph", "/etc/nginx", "/var/lib/nginx",
    "/var/log/nginx", "/run/nginx.pid", "/var/lib/mysql", "/run/mysqld", "/var/log/mysql")]


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "backend_errors(pattern): the test makes the backends log such error lines")
    config.addinivalue_line(
        "markers", "nginx_errors(pattern): the test makes nginx log such alert or crit lines")
    # A CI that gives up sends SIGTERM, and a shell starts what it puts into the background with SIGINT
    # ignored. The stack has to be stopped in either case.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


@pytest.fixture(scope="session")
def build_dir():
    default = ROOT / "build" / ("sanitize" if os.environ.get("SANITIZE") == "1" else "")
    return Path(os.environ.get("BUILD_DIR") or default)


@pytest.fixture(scope="session")
def work_dir(build_dir):
    """A directory for what tests leave to be looked at: beside the stack's own one."""
    directory = build_dir / f"check-tmp{NAME}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


@pytest.fixture(scope="session")
def stack(build_dir):
    """A stack of its own, beside any that runs already. It begins empty and is stopped at the end."""
    directory = build_dir / f"check-run{NAME}"
    stack = Stack(directory)
    if directory.exists():
        stack.ctl("down")
        shutil.rmtree(directory)
    before = _system_files()
    try:
        stack.ctl("up")
        yield stack
    finally:
        stack.ctl("down")
    assert not processes_using(directory), "processes of the stack are left"
    assert _system_files() == before, "the stack wrote outside its directory"
    reports = stack.new_sanitizer_reports()
    assert not reports, "\n".join(reports)


@pytest.fixture(autouse=True)
def looked_over(request):
    """After a test: everything runs and is well again, and nothing untoward stands in a log."""
    if "stack" not in request.fixturenames:
        yield
        return
    stack = request.getfixturevalue("stack")
    names = ["nginx-error", *(f"backend.{n + 1}" for n in range(len(stack.backend_ports)))]
    begins = {name: len(stack.log(name)) for name in names}
    yield
    stopped = stack.stopped()
    if stopped:
        stack.ctl("up")
    stack.wait_ready()
    stack.wait_healthy()
    problems = [f"{name} does not run" for name in stopped]
    for name in names:
        problems += _untoward(name, stack.log(name)[begins[name]:], request.node)
    problems += stack.new_sanitizer_reports()
    assert not problems, "\n".join(problems)


def _untoward(name, text, node):
    """The lines of a log that must not be there."""
    if name == "nginx-error":
        marker, pattern = "nginx_errors", re.compile(r"\[(alert|emerg|crit)\]")
    else:
        marker, pattern = "backend_errors", re.compile(r"^\S+Z error ")
    expected = [mark.args[0] for mark in node.iter_markers(marker)]
    return [f"{name}: {line}" for line in text.splitlines()
            if pattern.search(line) and not any(re.search(regex, line) for regex in expected)]


def _system_files():
    """What stands in the system's places, and when it was last changed."""
    found = {}
    for place in SYSTEM_PLACES:
        for path in [place, *sorted(place.rglob("*"))] if place.exists() else []:
            try:
                status = path.lstat()
            except OSError:
                continue
            found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


@pytest.fixture(scope="session")
def free_port():
    """A function that gives a port on which nothing listens. They are used in turn."""
    ports = itertools.cycle(range(PORT + 20, PORT + 220))

    def give():
        for port in itertools.islice(ports, 200):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with contextlib.suppress(OSError):
                    probe.bind(("127.0.0.1", port))
                    return port
        raise AssertionError("every port is taken")
    return give


@pytest.fixture
def small_stack(tmp_path_factory, build_dir):
    """A second stack's directory and ports, for tests that start a part of one; stopped at the end."""
    directory = build_dir / f"check-run-2{NAME}"
    shutil.rmtree(directory, ignore_errors=True)
    second = Stack(directory, PORT + 2000)
    try:
        yield second
    finally:
        second.ctl("down")
        left = processes_using(directory)
        shutil.rmtree(directory, ignore_errors=True)
    assert not left, left


@pytest.fixture(scope="session")
def registry(build_dir):
    """A MariaDB for the tests of the load balancer, which pause it, kill it and fill its tables.

    Apart from the stack's own, so that its backends and its log are not in the way.
    """
    directory = build_dir / f"check-registry{NAME}"
    second = Stack(directory, PORT + 1000)
    if directory.exists():
        second.ctl("down")
        shutil.rmtree(directory)
    try:
        second.ctl("up", "--only", "mysql")
        yield second
    finally:
        second.ctl("down")
    assert not processes_using(directory)


@pytest.fixture
def lb(registry, build_dir, work_dir, free_port, request):
    """A load balancer that is not started yet; looked over and stopped after the test."""
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    if registry.pid("mysql") is None:
        registry.ctl("mysql", "start")
    directory = next(path for path in (work_dir / f"{name}{suffix}" for suffix in ("", *range(2, 1000)))
                     if not path.exists())
    nginx = Nginx(directory, build_dir.resolve() / "ngx_http_ceph_lb_module.so")
    with registry.database("lb_test"):
        registry.sql(schema("lb_test"), database=None)
        balancer = Balancer(registry, nginx, free_port, "lb_test")
        try:
            yield balancer
        finally:
            balancer.close()
            if registry.pid("mysql") is None:
                registry.ctl("mysql", "start")
            os.kill(registry.pid("mysql"), signal.SIGCONT)
        problems = nginx.problems()
        assert not problems, "\n".join(problems)
        assert not processes_using(directory)


@pytest.fixture
def server(lb, free_port):
    """A scripted MySQL server in place of the registry; `lb.url` leads to it."""
    with FakeMysql(free_port()) as fake:
        lb.url = fake.url()
        yield fake
        lb.nginx.stop()
