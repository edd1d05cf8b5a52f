"""What users see while MySQL is slow, gone or wrong, and over each way to reach it."""

import os
import signal
import threading
import time

import pytest

from balancer import other_authority
from load import Load
from proxy import Proxy
from stack import request, wait_for


def mysql_address(lb):
    return ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))


@pytest.fixture
def proxy(lb, free_port):
    """Between nginx and MariaDB; `lb.url` leads through it."""
    with Proxy(("127.0.0.1", free_port()), mysql_address(lb)) as between:
        lb.url = f"mysql://lb@127.0.0.1:{between.listen[1]}/{lb.database}"
        yield between
        lb.nginx.stop()


# --- gone -------------------------------------------------------------------------------------------

def test_mysql_killed_under_load(lb):
    """Nobody notices: the last list serves. And once MySQL is back, changes are seen at once."""
    first, second = lb.backend(), lb.backend()
    lb.start(extra="keepalive 16;")
    with Load(lb.port, threads=8) as load:
        wait_for(lambda: load.count() > 200, what="load")
        lb.registry.ctl("mysql", "kill")
        wait_for(lambda: lb.get().header("X-Stale") == "1", what="a stale list")
        count = load.count()
        wait_for(lambda: load.count() > count + 500, what="load during the outage")
        lb.registry.ctl("mysql", "start")
        lb.wait_fresh()
        count = load.count()
        wait_for(lambda: load.count() > count + 200, what="load afterwards")
    assert not load.failed(), load.failed()[:5]
    assert {record.backend for record in load.records} == {first.name, second.name}
    lb.remove(first)
    assert set(lb.answering(4)) == {second.name}
    log = lb.nginx.log()
    assert len([line for line in log.splitlines() if "[error]" in line and "ceph_lb" in line]) == 1
    assert "is back" in log


def test_fresh_from_the_first_request_after_the_return(lb, proxy):
    """What changed during the outage is seen once the log says that the registry is back."""
    first, second = lb.backend(), lb.backend()
    lb.start()
    assert len(lb.answering(4)) == 2
    proxy.refuse()
    proxy.cut()
    wait_for(lambda: lb.get().header("X-Stale") == "1", what="a stale list")
    lb.remove(first)
    assert first.name in lb.answering(4)
    proxy.open()
    wait_for(lambda: "is back" in lb.nginx.log(), what="the registry's return")
    assert lb.answering(4) == {second.name: 4}


def test_stale_list_has_an_end(lb, proxy):
    lb.backend()
    lb.start(extra="ceph_lb_stale 2s;")
    assert lb.get().status == 200
    proxy.refuse()
    proxy.cut()
    response = wait_for(lambda: stale(lb), what="a stale answer")
    assert float(response.header("X-Age")) < 10
    refused = wait_for(lambda: answer(lb, 503), what="the end of the stale list")
    assert refused.header("Retry-After") == "1"
    proxy.open()
    lb.wait_fresh()


def test_stale_off(lb, proxy):
    lb.backend()
    lb.start(extra="ceph_lb_stale off;")
    assert lb.get().status == 200
    proxy.refuse()
    proxy.cut()
    for _ in range(10):
        assert lb.get().status == 503
    proxy.open()
    lb.wait_fresh()


def test_mysql_was_never_there(lb, proxy):
    """503 at once, for all of many: nobody waits for a database that refuses connections."""
    backend = lb.backend()
    proxy.refuse()
    lb.start(parameters="timeout=5s")
    wait_for(lambda: lb.get().status == 503, what="a refusal")
    begun = time.monotonic()
    for _ in range(50):
        response = lb.get()
        assert response.status == 503 and response.header("Retry-After") == "1"
    assert time.monotonic() - begun < 50 * 5 / 2  # Fifty waits for the time-out would take 250 s.
    proxy.open()
    lb.wait_fresh()
    assert lb.answering(2) == {backend.name: 2}


def test_mysql_hangs(lb, proxy):
    """Requests wait for their time-out, then have the last list. The hung connection is replaced."""
    lb.backend()
    lb.start(parameters="timeout=1s connections=2")
    assert lb.get().status == 200
    proxy.stall()
    with Load(lb.port, threads=4) as load:
        wait_for(lambda: any(record.status == 200 for record in load.records), what="an answer")
        wait_for(lambda: load.count() >= 12, 60, "answers during the hang")
    assert not load.failed(), load.failed()[:5]
    assert stale(lb)
    proxy.cut()
    proxy.resume()
    lb.wait_fresh()


def test_a_slow_mysql_is_waited_for(lb, proxy):
    lb.backend()
    lb.start()
    assert lb.get().status == 200
    proxy.delay = 0.2
    response = lb.get()
    assert response.status == 200 and response.header("X-Stale") == "0"
    # Two of three decimals: the proxy's sleep is exact, nginx's clock is cut to milliseconds.
    assert float(response.header("X-Wait")) >= 0.19


def test_connections_are_cut(lb, proxy):
    """A firewall that forgets: each cut is made good with a new connection."""
    lb.backend()
    lb.start()
    assert lb.get().status == 200
    for _ in range(5):
        proxy.cut()
        assert lb.get().status == 200
        lb.wait_fresh()


def test_an_idle_connection_that_mysql_ended(lb):
    """As after wait_timeout. No request fails, none gets an old list for it."""
    lb.backend()
    lb.start()
    assert lb.get().status == 200

    def connections():
        return [row[0] for row in lb.registry.sql(
            "SELECT id FROM information_schema.PROCESSLIST WHERE user = 'lb'", database=None)]
    for _ in range(5):
        wait_for(connections, what="a connection")
        for connection in connections():
            lb.registry.sql(f"KILL HARD CONNECTION {connection}", database=None)
        response = lb.get()
        assert response.status == 200 and response.header("X-Stale") == "0", response


def test_few_connections_however_many_requests(lb, proxy):
    lb.backend()
    lb.start(parameters="connections=3")
    with Load(lb.port, threads=24) as load:
        wait_for(lambda: load.count() > 500, 60, "load")
        rows = lb.registry.sql("SELECT COUNT(*) FROM information_schema.PROCESSLIST"
                               " WHERE user = 'lb'", database=None)
    assert 1 <= int(rows[0][0]) <= 3
    assert not load.failed()
    assert proxy.connections <= 3


def test_requests_share_queries(lb, proxy):
    """Many that arrive during one query have their list from the next one, together."""
    lb.backend()
    lb.start(parameters="connections=1")
    assert lb.get().status == 200

    def queries():
        return int(lb.registry.sql("SHOW GLOBAL STATUS LIKE 'Com_select'", database=None)[0][1])
    proxy.delay = 0.3
    before = queries()
    threads = [threading.Thread(target=lb.get) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert queries() - before <= 10  # Not thirty.
    assert len([line for line in lb.nginx.access_log(31) if " 200 " in line]) == 31


def test_mysql_stopped_by_a_signal(lb):
    """SIGSTOP: the kernel still accepts connections, nothing is ever answered."""
    lb.backend()
    lb.start(parameters="timeout=1s")
    assert lb.get().status == 200
    os.kill(lb.registry.pid("mysql"), signal.SIGSTOP)
    try:
        for _ in range(3):
            assert lb.get().status == 200
        assert stale(lb)
    finally:
        os.kill(lb.registry.pid("mysql"), signal.SIGCONT)
    lb.wait_fresh()


# --- the ways to reach it ---------------------------------------------------------------------------

def test_unix_socket(lb):
    lb.backend()
    assert "unix:" in lb.url
    lb.start()
    assert lb.get().header("X-Stale") == "0"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tcp(lb, host):
    lb.backend()
    lb.start(url=f"mysql://lb@{host}:{mysql_address(lb)[1]}/{lb.database}")
    assert lb.get().header("X-Stale") == "0"


def test_tls(lb):
    """With ssl_ca the connection is encrypted, and it is the server that the authority vouches for."""
    lb.backend()
    lb.registry.sql("ALTER USER 'lb'@'%' REQUIRE SSL", database=None)
    try:
        lb.start(url=f"mysql://lb@localhost:{mysql_address(lb)[1]}/{lb.database}",
                 parameters=f"ssl_ca={lb.registry.env['MYSQL_SSL_CA']}")
        assert lb.get().header("X-Stale") == "0"
    finally:
        lb.registry.sql("ALTER USER 'lb'@'%' REQUIRE NONE", database=None)


def test_tls_with_another_authority(lb, work_dir):
    lb.backend()
    lb.start(url=f"mysql://lb@localhost:{mysql_address(lb)[1]}/{lb.database}",
             parameters=f"ssl_ca={other_authority(work_dir)}")
    assert lb.get().status == 503
    assert any(word in lb.nginx.log().lower() for word in ("certificate", "ssl", "tls"))


def test_tls_with_another_name(lb, free_port):
    """The right authority, but the certificate is for localhost and 127.0.0.1."""
    lb.backend()
    with Proxy(("127.0.0.2", free_port()), mysql_address(lb)) as between:
        lb.start(url=f"mysql://lb@127.0.0.2:{between.listen[1]}/{lb.database}",
                 parameters=f"ssl_ca={lb.registry.env['MYSQL_SSL_CA']}")
        assert lb.get().status == 503
        assert between.connections > 0
        lb.nginx.stop()


def test_a_wrong_password(lb, work_dir):
    lb.backend()
    wrong = work_dir / "wrong.password"
    wrong.write_text("not the password\n")
    lb.password_file = wrong
    lb.start()
    assert lb.get().status == 503
    assert "Access denied" in lb.nginx.log()
    assert "not the password" not in lb.nginx.log()


def test_a_name_that_does_not_resolve(lb):
    """Resolving blocks a thread, never the requests that another upstream serves."""
    lb.backend()
    port = lb.free_port()
    lb.start(url=f"mysql://lb@no-such-host.invalid:3306/{lb.database}",
             http=f'server {{ listen 127.0.0.1:{port}; return 200 "here"; }}')
    waiting = threading.Thread(target=lb.get)
    waiting.start()
    begun = time.monotonic()
    assert request(port, "GET", "/").body == b"here"
    assert time.monotonic() - begun < 10
    waiting.join(60)
    assert lb.get().status == 503


def test_a_mute_server_blocks_nobody(lb, free_port):
    """It accepts and says nothing, not even a greeting: the connecting thread waits, nobody else."""
    other = lb.free_port()
    with Proxy(("127.0.0.1", free_port()), mysql_address(lb)) as between:
        between.stall()
        lb.start(url=f"mysql://lb@127.0.0.1:{between.listen[1]}/{lb.database}",
                 parameters="timeout=1s",
                 http=f'server {{ listen 127.0.0.1:{other}; return 200 "here"; }}')
        waiting = threading.Thread(target=lb.get)
        waiting.start()
        for _ in range(20):
            assert request(other, "GET", "/", timeout=5).body == b"here"
        waiting.join(30)
        assert not waiting.is_alive()
        assert lb.get().status == 503
        between.cut()
        between.resume()
        lb.nginx.stop()


def stale(lb):
    response = lb.get()
    return response if response.status == 200 and response.header("X-Stale") == "1" else None


def answer(lb, status):
    response = lb.get()
    return response if response.status == status else None
