"""dev/stack itself: its verbs, what it promises about repeating them, and what it leaves alone."""

import os
import shlex
import socket
import subprocess
import sys
import time

import pytest

from stack import ROOT, is_ready, listening, processes_using, request, wait_for


def test_env_is_for_a_shell(stack):
    script = 'eval "$(dev/stack env)" && export CEPH_CONF CEPH_ARGS && ' \
             'ceph -s && rados -p "$CEPH_POOL" ls && printf "%s\\n" "$LB_URL" $BACKEND_URLS'
    result = subprocess.run(["bash", "-euc", script], cwd=ROOT, env=stack.environment,
                            capture_output=True, text=True, timeout=60, check=True)
    assert "HEALTH_OK" in result.stdout
    urls = [f"http://127.0.0.1:{port}" for port in (stack.port, *stack.backend_ports)]
    assert result.stdout.split()[-4:] == urls
    for name in ("CEPH_CONF", "NGINX_CONF", "MYSQL_SOCKET", "MYSQL_SSL_CA"):
        assert os.path.isabs(stack.env[name]) and os.path.exists(stack.env[name]), name


def test_env_quotes_what_a_shell_would_split(stack):
    line = next(line for line in stack.ctl("env").stdout.splitlines()
                if line.startswith("BACKEND_URLS="))
    assert len(shlex.split(line)) == 1


def test_up_on_a_running_stack_changes_nothing(stack):
    before = {name: stack.pid(name) for name in stack.daemon_names()}
    output = stack.ctl("up").stdout
    assert output.count("already running") == 4
    assert {name: stack.pid(name) for name in stack.daemon_names()} == before


def test_up_starts_only_what_is_missing(stack):
    before = {name: stack.pid(name) for name in stack.daemon_names()}
    stack.ctl("backend", 2, "kill")
    stack.ctl("osd", 1, "kill")
    assert set(stack.stopped()) == {"backend.2", "osd.1"}
    stack.ctl("up")
    after = {name: stack.pid(name) for name in stack.daemon_names()}
    assert None not in after.values()
    assert {name for name in before if before[name] != after[name]} == {"backend.2", "osd.1"}


def test_what_was_stored_outlives_down_and_up(stack):
    body = os.urandom(100_000)
    assert request(stack.port, "PUT", "/objects/kept", body).status == 201
    stack.sql("INSERT INTO addresses VALUES ('1.2.3.4', '127.0.0.9')")
    output = stack.ctl("down").stdout
    assert "killed" not in output, output
    assert stack.stopped() == stack.daemon_names()
    assert not processes_using(stack.dir)
    assert stack.ctl("down").stdout.endswith("nothing runs\n")
    assert stack.ctl("status", check=False).returncode == 1
    stack.ctl("up")
    assert request(stack.port, "GET", "/objects/kept").body == body
    assert stack.sql("SELECT containerAddress FROM addresses WHERE address = '127.0.0.9'") == [["1.2.3.4"]]
    stack.sql("DELETE FROM addresses WHERE address = '127.0.0.9'")
    assert request(stack.port, "DELETE", "/objects/kept").status == 204


def test_status_tells_what_does_not_run(stack):
    assert stack.ctl("status").returncode == 0
    stack.ctl("backend", 3, "stop")
    result = stack.ctl("status", check=False)
    assert result.returncode == 1
    assert "backend.3   stopped" in result.stdout
    stack.ctl("backend", 3, "start")
    assert stack.ctl("status").returncode == 0


@pytest.mark.parametrize("words", [("backend", 1), ("osd", 0), ("mon", "c"), ("mgr",), ("mysql",)])
def test_stop_and_start_of_one(stack, words):
    name = {"backend": "backend.1", "osd": "osd.0", "mon": "mon.c", "mgr": "mgr.x",
            "mysql": "mysql"}[words[0]]
    first = stack.pid(name)
    stack.ctl(*words, "stop")
    assert stack.stopped() == [name]
    assert "already stopped" in stack.ctl(*words, "stop").stdout
    assert stack.ctl(*words, "kill", check=False).returncode == 1
    stack.ctl(*words, "start")
    assert stack.pid(name) not in (None, first)
    assert "already running" in stack.ctl(*words, "start").stdout


def test_pause_and_continue(stack):
    stack.ctl("backend", 1, "pause")
    assert state(stack.pid("backend.1")) == "T"
    stack.ctl("backend", 1, "continue")
    wait_for(lambda: is_ready(stack.backend_ports[0]), 10, "the backend to answer again")


def test_a_paused_daemon_can_be_stopped(stack):
    stack.ctl("backend", 1, "pause")
    assert "killed" not in stack.ctl("backend", 1, "stop").stdout
    stack.ctl("backend", 1, "start")


def test_nginx_reload_takes_new_workers(stack):
    def workers():
        children = f"/proc/{stack.pid('nginx')}/task/{stack.pid('nginx')}/children"
        with open(children, encoding="ascii") as file:
            return set(file.read().split())
    before = workers()
    stack.ctl("nginx", "reload")
    wait_for(lambda: workers() and not workers() & before, 30, "new workers instead of the old ones")
    assert request(stack.port, "GET", "/status").status == 200


def test_everything_listens_on_loopback_only(stack):
    pids = list(processes_using(stack.dir))
    assert len(pids) >= len(stack.daemon_names())
    addresses = listening(pids)
    assert {stack.port, *stack.backend_ports} <= {port for _, port in addresses}
    assert {address for address, _ in addresses} == {"127.0.0.1"}
    low, high = stack.port, stack.port + 819
    assert all(low <= port <= high for _, port in addresses), addresses


def test_nothing_of_a_password_is_readable_by_others(stack):
    for name in ("mysql/lb.password", "mysql/backend.password", "mysql/tls/server.key",
                 "ceph/client.admin.keyring", "ceph/client.ceph-lb.keyring", "ceph/mon.keyring"):
        path = stack.dir / name
        assert path.stat().st_mode & 0o077 == 0, name
    for command in processes_using(stack.dir).values():
        assert (stack.dir / "mysql/backend.password").read_text().strip() not in command


def test_the_backends_key_is_for_the_pool_only(stack):
    stack.command("ceph", "osd", "pool", "create", "other", "1")
    try:
        as_backend = ["rados", "--name", "client.ceph-lb"]
        environment = {**stack.cluster_environment(), "CEPH_ARGS": ""}

        def put(pool):
            return subprocess.run([*as_backend, "-p", pool, "put", "a-try", "/etc/hostname"],
                                  env=environment, capture_output=True, timeout=60, check=False)
        assert put("data").returncode == 0
        refused = put("other")
        assert refused.returncode != 0 and b"not permitted" in refused.stderr
        stack.command("rados", "-p", "data", "rm", "a-try")
    finally:
        stack.command("ceph", "osd", "pool", "rm", "other", "other", "--yes-i-really-really-mean-it")


@pytest.mark.parametrize("variable", ["LB_PORT", "STATUS_PORT", "BACKEND_PORT", "MYSQL_PORT", "MON_PORT"])
def test_a_taken_port_is_named(small_stack, variable):
    """Before anything is started, and with the variable that chooses another one."""
    port = int(small_stack.environment[variable])
    with socket.create_server(("127.0.0.1", port)):
        result = small_stack.ctl("up", check=False)
    assert result.returncode == 1
    assert f"port {port} is taken" in result.stdout and f"{variable}=" in result.stdout
    assert not processes_using(small_stack.dir)


def test_a_refused_start_is_no_obstacle(small_stack):
    with socket.create_server(("127.0.0.1", int(small_stack.environment["MYSQL_PORT"]))):
        assert small_stack.ctl("up", "--only", "mysql", check=False).returncode == 1
    small_stack.ctl("up", "--only", "mysql")


def test_settings_are_remembered(small_stack):
    small_stack.ctl("up", "--only", "mysql")
    port = small_stack.environment["MYSQL_PORT"]
    for name in ("LB_PORT", "STATUS_PORT", "BACKEND_PORT", "MYSQL_PORT", "MON_PORT", "CEPH_PORT_MIN",
                 "CEPH_PORT_MAX"):
        del small_stack.environment[name]
    assert f"MYSQL_PORT={port}\n" in small_stack.ctl("env").stdout
    small_stack.environment["MYSQL_PORT"] = str(int(port) + 1)
    result = small_stack.ctl("up", "--only", "mysql", check=False)
    assert result.returncode == 1 and "dev/stack down first" in result.stdout
    small_stack.ctl("down")
    small_stack.ctl("up", "--only", "mysql")
    assert f"MYSQL_PORT={int(port) + 1}\n" in small_stack.ctl("env").stdout


def test_two_stacks_do_not_meet(stack, small_stack):
    before = {name: stack.pid(name) for name in stack.daemon_names()}
    small_stack.ctl("up", "--only", "mysql")
    small_stack.sql("INSERT INTO addresses VALUES ('', '127.0.0.77')")
    assert stack.sql("SELECT COUNT(*) FROM addresses WHERE address = '127.0.0.77'") == [["0"]]
    small_stack.ctl("down")
    assert {name: stack.pid(name) for name in stack.daemon_names()} == before


def test_two_ups_at_once(small_stack):
    """The second one says that the first one is at work, and does nothing."""
    small_stack.dir.mkdir(parents=True)
    first = subprocess.Popen(["flock", small_stack.dir / ".lock", "sleep", "60"])
    try:
        wait_for(lambda: locked(small_stack.dir / ".lock"), 10, "the lock")
        result = small_stack.ctl("up", "--only", "mysql", check=False)
    finally:
        subprocess.run(["kill", *children(first.pid), str(first.pid)], check=True)
        first.wait()
    assert result.returncode == 1
    assert "another dev/stack is at work" in result.stdout
    assert not processes_using(small_stack.dir)


def test_daemons_do_not_keep_the_lock(small_stack):
    small_stack.ctl("up", "--only", "mysql")
    assert not locked(small_stack.dir / ".lock")


def test_a_stale_pid_file_kills_no_stranger(small_stack):
    small_stack.ctl("up", "--only", "mysql")
    small_stack.ctl("mysql", "kill")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "mariadbd"]) as stranger:
        (small_stack.dir / "pid" / "mysql.pid").write_text(f"{stranger.pid}\n")
        assert "nothing runs" in small_stack.ctl("down").stdout
        assert small_stack.ctl("mysql", "kill", check=False).returncode == 1
        assert stranger.poll() is None
        small_stack.ctl("up", "--only", "mysql")
        assert stranger.poll() is None
        stranger.kill()


def test_an_interrupted_first_start_is_made_anew(small_stack):
    starting = subprocess.Popen([ROOT / "dev" / "stack", "up", "--only", "mysql"],
                                env=small_stack.environment, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
    wait_for(lambda: (small_stack.dir / "mysql" / "data").exists(), 30, "the database's files")
    starting.kill()
    starting.wait()
    # mariadb-install-db has no pid file: it goes on to its end by itself.
    wait_for(lambda: not processes_using(small_stack.dir), 30, "the interrupted step to end")
    small_stack.ctl("up", "--only", "mysql")
    assert small_stack.sql("SELECT COUNT(*) FROM addresses") == [["0"]]


def test_clean_data_only_when_down(small_stack):
    small_stack.ctl("up", "--only", "mysql")
    result = small_stack.ctl("clean-data", check=False)
    assert result.returncode == 1 and "mysql still run" in result.stdout
    small_stack.ctl("down")
    foreign = small_stack.dir / "not-the-stack's"
    foreign.write_text("x")
    small_stack.ctl("clean-data")
    assert {path.name for path in small_stack.dir.iterdir()} == {".lock", foreign.name}
    result = small_stack.ctl("clean-data", check=False)
    assert result.returncode == 1 and "not a stack's" in result.stdout


@pytest.mark.parametrize("words, message", [
    (("osd", 7, "kill"), "there is no osd 7"),
    (("backend", 9, "start"), "there is no backend 9"),
    (("mon", "z", "stop"), "there is no mon z"),
    (("up", "--only", "everything"), "--only everything"),
])
def test_mistakes_are_named(small_stack, words, message):
    result = small_stack.ctl(*words, check=False)
    assert result.returncode == 1 and message in result.stdout


def test_help_names_every_verb(small_stack):
    text = small_stack.ctl("--help").stdout
    for verb in ("up", "down", "status", "env", "clean-data", "logs", "backend N", "osd N", "mon N",
                 "mysql", "nginx", "LB_PORT", "STACK_DIR"):
        assert verb in text


def test_deps_is_quick_and_silent_when_all_is_there():
    begun = time.monotonic()
    result = subprocess.run([ROOT / "dev" / "deps"], capture_output=True, text=True, timeout=60,
                            check=True)
    assert result.stdout == result.stderr == ""
    assert time.monotonic() - begun < 30  # It asked no network.


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def locked(path):
    return subprocess.run(["flock", "-n", path, "true"], check=False).returncode != 0
