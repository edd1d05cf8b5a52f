"""The backend as a process: its options, its start, and its end."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading

import pytest

from backend import Backend, backend, backend_environment, binary
from files import KIB, MIB, Files, Wire, content, digest, head_of, is_problem, send_chunked, target_of
from stack import Client, is_up, request, wait_for


def run(stack, *options, environment=None, seconds=30):
    """A backend that is expected to end by itself."""
    return subprocess.run([str(binary()), *map(str, options)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env={**backend_environment(stack), **(environment or {})}, timeout=seconds, check=False)


def metric(port, name):
    text = request(port, "GET", "/metrics").text
    return int(re.search(rf"^ceph_lb_backend_{name} (\d+)$", text, re.MULTILINE).group(1))


# --- options ----------------------------------------------------------------------------------------

OPTIONS = ["listen", "threads", "workers", "pool", "ceph-conf", "ceph-name", "op-timeout", "max-file-size", "memory",
           "spool-dir", "access-log", "log-level", "announce", "announce-password-file", "announce-ssl-ca",
           "announce-address", "drain-timeout", "pid-file", "connections", "request-timeout", "send-timeout",
           "data-pool", "upload-grace", "download-grace", "collect-interval", "scrub-interval", "scrub-rate"]


def test_help_and_version(stack):
    result = run(stack, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    for name in OPTIONS:
        assert f"--{name} " in result.stdout
    result = run(stack, "--version")
    assert result.returncode == 0
    assert re.fullmatch(r"ceph-lb-backend \d+\.\d+\.\d+\n", result.stdout)
    # Wherever they stand, and whatever else is wrong.
    assert run(stack, "--threads", "x", "--help").returncode == 0


WRONG = [("threads", "x"), ("threads", "-1"), ("threads", "257"), ("threads", ""), ("threads", "1.5"), ("threads", "1 "),
         ("workers", "0"), ("workers", "65"), ("connections", "0"), ("connections", "1000001"),
         ("memory", "16"), ("memory", "15MiB"), ("memory", "16MB"), ("memory", "16 MiB"), ("memory", "MiB"),
         ("memory", "99999999999999999999"), ("memory", "18446744073709551615GiB"), ("max-file-size", "0"),
         ("max-file-size", "6GiB"), ("max-file-size", "5368709121"), ("max-file-size", "-1"), ("op-timeout", "0"),
         ("op-timeout", "3601"), ("op-timeout", "10s"), ("drain-timeout", "-1"), ("drain-timeout", "86401"),
         ("request-timeout", "0"), ("send-timeout", "0"), ("send-timeout", "soon"), ("access-log", "yes"),
         ("access-log", "ON"), ("log-level", "verbose"), ("log-level", "INFO"), ("pool", ""), ("spool-dir", ""),
         ("listen", ""), ("upload-grace", "1"), ("scrub-interval", "0"), ("scrub-rate", "0"), ("download-grace", "0"), ("collect-interval", "0"), ("data-pool", "")]


def test_wrong_options_are_named(stack):
    for name, value in WRONG:
        result = run(stack, f"--{name}", value)
        assert result.returncode == 2, (name, value, result)
        assert f"--{name}" in result.stderr and (not value or value in result.stderr), (name, value, result)
        assert result.stdout == "" and len(result.stderr.splitlines()) == 1
        assert run(stack, f"--{name}={value}").returncode == 2
        # In the environment the variable is what the person wrote.
        variable = "CEPH_LB_" + name.upper().replace("-", "_")
        result = run(stack, environment={variable: value})
        assert result.returncode == 2, (variable, value, result)
        assert variable in result.stderr, result
    for arguments, what in ((["--unknown"], "--unknown"), (["--unknown=1"], "--unknown"), (["word"], "word"), (["-x"], "-x"),
                            (["--threads"], "--threads"), (["--listen=127.0.0.1:1", "--pool"], "--pool"),
                            (["--Threads", "1"], "--Threads"), (["--thread", "1"], "--thread"), (["--"], "--"), ([""], '""')):
        result = run(stack, *arguments)
        assert result.returncode == 2, (arguments, result)
        assert what in result.stderr, (arguments, result)


def test_an_address_that_is_none(stack):
    """It is refused and named like any wrong value, and nobody listens on some other port instead."""
    wrong = []
    for address in ("nonsense", "8080", ":8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-5", "127.0.0.1:99999",
                    "127.0.0.1:65536", "localhost:8080", "[::1]", "[::1:8080", "::1:8080x"):
        try:
            result = run(stack, "--listen", address, seconds=2)
        except subprocess.TimeoutExpired:
            wrong.append(f"{address}: it starts")
        else:
            if result.returncode != 2 or address not in result.stderr:
                wrong.append(f"{address}: exit status {result.returncode}, {result.stderr}")
    assert not wrong, "\n".join(wrong)


def test_what_is_missing_is_named(stack, tmp_path, free_port):
    for option, value in (("--spool-dir", tmp_path / "nowhere"), ("--spool-dir", "/dev/null"),
                          ("--pid-file", tmp_path / "nowhere" / "pid")):
        result = run(stack, "--listen", f"127.0.0.1:{free_port()}", option, value)
        assert result.returncode == 1, (option, value, result)
        assert option in result.stderr and str(value) in result.stderr
    (tmp_path / "empty").touch()
    registry = ["--announce", "mysql://backend@127.0.0.1:1/x", "--announce-password-file"]
    for value in (tmp_path / "nowhere", tmp_path / "empty"):
        result = run(stack, "--listen", f"127.0.0.1:{free_port()}", *registry, value)
        assert result.returncode in (1, 2) and str(value) in result.stderr, result
    for url in ("nonsense", "http://backend@127.0.0.1/x", "mysql://127.0.0.1/x", "mysql://backend@127.0.0.1"):
        result = run(stack, "--listen", f"127.0.0.1:{free_port()}", "--announce", url)
        assert result.returncode in (1, 2) and "--announce" in result.stderr and url in result.stderr, result


def test_the_command_line_wins_over_the_environment(stack, tmp_path, free_port):
    other, port = free_port(), free_port()
    environment = {"CEPH_LB_LISTEN": f"127.0.0.1:{other}", "CEPH_LB_MAX_FILE_SIZE": "10",
                   "CEPH_LB_ACCESS_LOG": "on", "CEPH_LB_THREADS": "1"}
    with backend(stack, tmp_path, port, environment=environment) as one:
        assert not is_up(other)
        assert is_problem(request(port, "PUT", "/objects/x", bytes(11)), 413, "too-large")
        assert "1 event loops" in one.log
        one.wait_log(r'access "PUT /objects/x" 413')
    with backend(stack, tmp_path, other, "--max-file-size=1KiB", environment=environment):
        with Files(other) as user:
            assert user.put(user.name("x"), bytes(1024)).status == 201
            assert user.put(user.name("x"), bytes(1025)).status == 413


def test_the_greatest_file_size_bounds_the_body_too(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port, "--max-file-size", "100KiB"):
        with Wire(port) as wire:
            wire.send(head_of("PUT", "/objects/x", f"Content-Length: {165 * KIB}"))
            assert wire.response()[0] == 413
        with Files(port) as user:
            status, _, _ = send_chunked(port, "PUT", target_of(user.name("x")), [bytes(50 * KIB)] * 2)
            assert status == 201
            user.remember(user.name("x"))
            user.check(user.name("x"), bytes(100 * KIB))


# --- the start --------------------------------------------------------------------------------------

def test_a_port_that_is_taken(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port):
        result = run(stack, "--listen", f"127.0.0.1:{port}")
        assert result.returncode == 1
        assert f"127.0.0.1:{port}" in result.stderr and "in use" in result.stderr
        assert is_up(port)


def test_the_log_of_a_start(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port, "--pid-file", tmp_path / "pid") as one:
        fsid = json.loads(stack.command("ceph", "fsid", "-f", "json"))["fsid"]
        assert f"listening on 127.0.0.1:{port}" in one.log
        assert f"connected to Ceph cluster {fsid}, pool {stack.env['CEPH_POOL']}" in one.log
        for line in one.log.splitlines():
            assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn |info |debug) \S", line), line
        assert (tmp_path / "pid").read_text() == f"{one.process.pid}\n"
    assert one.process.returncode == 0
    assert not (tmp_path / "pid").exists()
    assert one.log.splitlines()[-1].endswith("ended")


def test_log_levels(stack, tmp_path, free_port):
    with backend(stack, tmp_path, free_port(), "--log-level", "warn") as one:
        pass
    assert one.log == ""


def test_the_access_log(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port, "--access-log", "on") as one, Files(port) as user:
        user.put(user.name("a b"), b"12345")
        user.get(user.name("a b"))
        user.get(user.name("nothing"))
        target = re.escape(target_of(user.name("a b")))
        one.wait_log(rf'access "PUT {target}" 201 received=5 ')
        one.wait_log(rf'access "GET {target}" 200 received=0 sent=5 seconds=\d+\.\d+')
        one.wait_log(r'access "GET \S+nothing" 404 ')
    # What a client writes cannot make lines of its own.
    assert all(re.match(r"\d{4}-", line) for line in one.log.splitlines())


def test_ipv6(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port) as one:
        one.close()
    one = Backend(stack, tmp_path, port, "--listen", f"[::1]:{port}")
    try:
        one.launch()
        one.wait_log(re.escape(f"listening on [::1]:{port}"))
        with Client(port, host="::1") as client:
            answer = client.get("/healthz")
            assert (answer.status, answer.header("X-Backend")) == (200, f"[::1]:{port}")
    finally:
        one.close()


def test_the_spool_directory_is_used_and_left_empty(stack, tmp_path, free_port):
    port = free_port()
    spool = tmp_path / "spool"
    spool.mkdir()
    body = content(3 * MIB)
    with backend(stack, tmp_path, port, "--spool-dir", spool) as one, Files(port) as user:
        with Wire(port) as wire:
            wire.send(head_of("PUT", target_of(user.name("x")), f"Content-Length: {len(body)}") + body[:2 * MIB])
            links = f"/proc/{one.process.pid}/fd"
            wait_for(lambda: any(str(spool) in link for link in _links(links)), what="a file in the spool directory")
            assert list(spool.iterdir()) == []  # It has no name: nothing is left, however the process ends.
            wire.send(body[2 * MIB:])
            assert wire.response()[0] == 201
        user.remember(user.name("x"))
        user.check(user.name("x"), body)
        wait_for(lambda: not any(str(spool) in link for link in _links(links)), what="its file to be closed")


def _links(directory):
    found = []
    for name in os.listdir(directory):
        try:
            found.append(os.readlink(f"{directory}/{name}"))
        except OSError:
            continue
    return found


# --- limits -----------------------------------------------------------------------------------------

def test_the_number_of_connections_is_bounded(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port, "--connections", 2, "--threads", 1) as one:
        wait_for(lambda: metric(port, "connections_open") == 1, what="the start's own connections to be closed")
        with contextlib.ExitStack() as open_ones:
            first = open_ones.enter_context(Client(port))
            assert first.get("/healthz").status == 200
            second = open_ones.enter_context(Wire(port))
            second.send(head_of("GET", "/healthz"))
            assert second.response()[0] == 200
            third = open_ones.enter_context(Wire(port))
            third.send(head_of("GET", "/healthz"))
            one.wait_log("2 connections are open, which is the most")
            open_now = re.search(r"^ceph_lb_backend_connections_open (\d+)$", first.get("/metrics").text, re.MULTILINE)
            assert open_now.group(1) == "2"
            # A place becomes free, and the one that waits is served.
            second.close()
            assert third.response()[0] == 200


def test_a_client_that_takes_nothing_is_cut_off(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port, "--send-timeout", 1) as one, Files(port) as user:
        body = content(16 * MIB)
        user.put(user.name("large"), body)
        with Wire(port, receive_buffer=8 * KIB, timeout=60) as wire:
            wire.send(head_of("GET", target_of(user.name("large"))))
            one.wait_log("took nothing for 1 seconds", 60)
            with pytest.raises(ConnectionError):
                wire.head()
                wire.take(len(body))
        wait_for(lambda: metric(port, "requests_active") == 1, what="its request to end")
        # Who takes it slowly, but takes it, is left in peace.
        user.check(user.name("large"), body)


def test_a_request_that_does_not_come_to_its_end_is_cut_off(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port, "--request-timeout", 1):
        with Wire(port) as idle, Wire(port) as slow, Wire(port) as body:
            slow.send(b"GET /healthz HTTP/1.1\r\nHost:")
            body.send(head_of("PUT", "/objects/x", "Content-Length: 100") + b"some")
            assert idle.closed() and slow.closed() and body.closed()
        assert request(port, "GET", "/objects/x").status == 404


def test_little_memory_is_enough(stack, tmp_path, free_port):
    """Large files and many clients at a time, with the least budget there is."""
    port = free_port()
    with backend(stack, tmp_path, port, "--memory", "16MiB", "--threads", 2), Files(port) as user:
        body = content(64 * MIB)
        assert user.put(user.name("largest"), body).status == 201
        user.check(user.name("largest"), body)
        names = [user.name(str(number)) for number in range(12)]

        def work(name):
            data = content(5 * MIB, seed=name)
            with Client(port) as client:
                assert client.put(target_of(name), data).status == 201
                assert digest(client.get(target_of(name)).body) == digest(data)
        user.remember(*names)
        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert user.names() == sorted([*names, user.name("largest")])
        # Downloads that were broken off give back what they held.
        for _ in range(60):
            with Wire(port, receive_buffer=8 * KIB) as wire:
                wire.send(head_of("GET", target_of(user.name("largest"))))
                wire.head()
        wait_for(lambda: metric(port, "requests_active") == 1, what="the broken downloads to end")
        user.check(names[0], content(5 * MIB, seed=names[0]))


# --- the end ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_backend_ends_at_once(stack, tmp_path, free_port, number):
    port = free_port()
    with backend(stack, tmp_path, port) as one, Client(port) as idle, Wire(port) as silent:
        idle.get("/healthz")
        one.signal(number)
        assert one.wait() == 0
        assert one.refuses()
        assert silent.closed()
        assert one.log.count("draining") == 1


def test_what_runs_is_finished_after_sigterm(stack, tmp_path, free_port):
    """A slow download, a slow upload and a request that has just begun; new connections are refused."""
    port = free_port()
    down, up = content(16 * MIB), content(3 * MIB, seed="up")
    with Files(stack.port) as elsewhere, backend(stack, tmp_path, port) as one:
        elsewhere.put(elsewhere.name("down"), down)
        elsewhere.remember(elsewhere.name("up"), elsewhere.name("head"))
        with (Wire(port, receive_buffer=8 * KIB) as download, Wire(port) as upload, Wire(port) as beginning,
              Wire(port) as idle):
            download.send(head_of("GET", target_of(elsewhere.name("down"))))
            status, fields = download.head()
            assert (status, fields["content-length"]) == (200, str(len(down)))
            got = download.take(100_000)
            upload.send(head_of("PUT", target_of(elsewhere.name("up")), f"Content-Length: {len(up)}") + up[:MIB])
            beginning.send(b"PUT " + target_of(elsewhere.name("head")).encode() + b" HTTP/1.1\r\nHost: x\r\n")
            wait_for(lambda: metric(port, "connections_open") >= 5, what="all to be accepted")

            one.signal()
            wait_for(one.refuses, what="new connections to be refused")
            assert one.process.poll() is None

            upload.send(up[MIB:])
            status, fields, _ = upload.response()
            assert (status, fields["connection"]) == (201, "close")
            assert upload.closed()
            beginning.send(b"Content-Length: 4\r\n\r\ndone")
            assert beginning.response()[0] == 201
            assert one.process.poll() is None
            got += download.take(len(down) - len(got))
            assert digest(got) == digest(down)
            assert one.wait() == 0
            assert idle.closed()
        elsewhere.check(elsewhere.name("up"), up)
        elsewhere.check(elsewhere.name("head"), b"done")


def test_a_draining_backend_is_not_ready(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port) as one, Wire(port) as wire:
        first = head_of("PUT", "/objects/never", "Content-Length: 10")
        wire.send(first + b"12345")
        with Wire(port) as other:
            # Two requests on one connection: the second is read only after the signal.
            other.send(head_of("GET", "/healthz?ready") + b"GET /healthz?ready HT")
            assert other.response()[0] == 200
            one.signal()
            one.wait_log("draining")
            other.send(b"TP/1.1\r\nHost: x\r\n\r\n")
            status, fields, body = other.response()
            assert (status, fields["retry-after"].isdigit(), fields["connection"]) == (503, True, "close")
            assert json.loads(body)["type"] == "urn:ceph-lb:problem:draining"
        wire.close()
        assert one.wait() == 0


def test_a_second_signal_ends_it_at_once(stack, tmp_path, free_port):
    port = free_port()
    pid_file = tmp_path / "pid"
    with backend(stack, tmp_path, port, "--pid-file", pid_file) as one, Wire(port) as upload:
        upload.send(head_of("PUT", "/objects/never", "Content-Length: 10") + b"12345")
        wait_for(lambda: metric(port, "connections_open") >= 2, what="the upload to be accepted")
        one.signal()
        wait_for(one.refuses, what="new connections to be refused")
        assert one.process.poll() is None
        one.signal()
        assert one.wait() == 1
        assert "second signal" in one.log
        assert upload.closed()
        assert not pid_file.exists()
    assert request(stack.port, "GET", "/objects/never").status == 404


def test_what_takes_too_long_is_cut_off(stack, tmp_path, free_port):
    port = free_port()
    with backend(stack, tmp_path, port, "--drain-timeout", 1) as one, Wire(port) as upload:
        upload.send(head_of("PUT", "/objects/never", "Content-Length: 10") + b"12345")
        wait_for(lambda: metric(port, "connections_open") >= 2, what="the upload to be accepted")
        one.signal()
        assert one.wait() == 1
        assert re.search(r"1 requests? (is|are) still under way after --drain-timeout", one.log)
        assert upload.closed()


def test_ending_under_load(stack, tmp_path, free_port):
    """Every request that was accepted is answered whole; then connections are refused or closed before an answer."""
    port = free_port()
    body = content(20_000)
    with Files(stack.port) as elsewhere:
        elsewhere.put(elsewhere.name("x"), body)
        for turn in range(3):
            with backend(stack, tmp_path, port, "--threads", 2) as one:
                answers, refused = [], []

                def work():
                    while True:
                        try:
                            answers.append(request(port, "GET", target_of(elsewhere.name("x"))))
                        except ConnectionRefusedError:
                            return
                        except ConnectionError as error:
                            refused.append(error)
                threads = [threading.Thread(target=work) for _ in range(8)]
                for thread in threads:
                    thread.start()
                wait_for(lambda: len(answers) > 50, what="some load")
                one.signal()
                assert one.wait() == 0
                for thread in threads:
                    thread.join()
            assert all(answer.status == 200 and answer.body == body for answer in answers)


def test_starts_and_ends_leave_nothing(stack, tmp_path, free_port):
    """No process, no port, no file; and the cluster does not mind."""
    port = free_port()
    for _ in range(5):
        one = Backend(stack, tmp_path, port).launch()
        one.wait_log("listening on")
        # Also while it is still connecting to Ceph.
        one.signal()
        assert one.wait() == 0
        one.close()
    assert [path.name for path in tmp_path.iterdir()] == [f"backend-{port}.log"]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
