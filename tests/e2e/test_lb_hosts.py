"""A registry of several MySQL servers: which one is asked, when another is, and what the log says."""

import contextlib
import re
import threading
import time

import pytest

import fake_mysql
from fake_mysql import FakeMysql, says
from load import Load
from proxy import Proxy
from stack import wait_for


@pytest.fixture
def servers(lb, free_port):
    """Three scripted servers, each with a backend of its own, whose answers tell who was asked."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(3):
            one = lb.backend(row=False)
            rows = [(one.address, one.port, 1, "up", 0, 0, None)]
            server = stack.enter_context(FakeMysql(free_port(), rows))
            server.backend = one.name
            found.append(server)
        lb.url = found[0].url(*found[1:])
        yield found
        lb.nginx.stop()


def asked(lb):
    """The backend that one server lists, by a fresh list."""
    response = lb.get()
    assert response.status == 200 and response.header("X-Stale") == "0", response
    return response.header("X-Backend")


def notices(lb):
    return [line for line in lb.nginx.log().splitlines() if "is served by" in line]


def complaints(lb):
    return [line for line in lb.nginx.log().splitlines() if "[error]" in line and "ceph_lb: " in line]


def test_the_first_is_asked(lb, servers):
    lb.start()
    for _ in range(3):
        assert asked(lb) == servers[0].backend
    assert [server.connections for server in servers[1:]] == [0, 0]
    assert not notices(lb) and not complaints(lb)


def test_another_when_the_first_is_not_there(lb, servers):
    """No request notices, and the log says once who serves instead, and why."""
    servers[0].stop()
    lb.start()
    for _ in range(3):
        assert asked(lb) == servers[1].backend
    line, = notices(lb)
    assert "[notice]" in line
    assert re.search(f"is served by {servers[1].name}; {servers[0].name}: Can't connect", line), line
    assert servers[2].connections == 0 and not complaints(lb)


def test_one_that_dies_is_replaced_within_the_request(lb, servers):
    lb.start(parameters="connections=1")
    for number in range(2):
        assert asked(lb) == servers[number].backend
        servers[number].stop()
        assert asked(lb) == servers[number + 1].backend
    assert len(notices(lb)) == 2 and not complaints(lb)


def test_the_one_that_worked_last_comes_first(lb, servers):
    """A server that is back is not returned to while another serves; when that dies, it is."""
    lb.start(parameters="connections=1")
    asked(lb)
    servers[0].stop()
    assert asked(lb) == servers[1].backend
    servers[0].start()
    before = servers[0].connections
    servers[1].cut()
    assert asked(lb) == servers[1].backend
    assert servers[0].connections == before
    servers[1].stop()
    servers[2].stop()
    assert asked(lb) == servers[0].backend
    line = notices(lb)[-1]
    assert f"is served by {servers[0].name}; " in line
    assert all(f"{server.name}: Can't connect" in line for server in servers[1:]), line


def test_all_of_them_are_away(lb, servers):
    """One line names each, and why; and one that comes back serves at once, whichever it is."""
    servers[0].stop()
    servers[1].greet = fake_mysql.refuse_the_user
    servers[2].greet = fake_mysql.hang_up
    lb.start()
    assert lb.get().status == 503
    line, = complaints(lb)
    why = (f"is unreachable: {servers[0].name}: Can't connect .*; {servers[1].name}: Access denied .*;"
           f" {servers[2].name}: Lost connection .*; there is no list, answering 503")
    assert re.search(why, line), line
    servers[2].behave()
    lb.wait_fresh()
    assert asked(lb) == servers[2].backend


@pytest.mark.parametrize("silent", [1, 2])
def test_all_are_tried_within_the_timeout(lb, servers, silent):
    """Servers that take a connection and say nothing leave time for the one that answers."""
    for server in servers[:silent]:
        server.greet = fake_mysql.silent
    lb.start(parameters="timeout=3s")
    assert asked(lb) == servers[silent].backend
    line, = notices(lb)
    shares = {1: ["900ms"], 2: ["900ms", "900ms"]}[silent]
    assert re.findall(r"no answer within (\w+)", line) == shares
    assert not complaints(lb)


def test_each_silent_server_is_named(lb, servers):
    for server in servers:
        server.greet = fake_mysql.silent
    lb.start(parameters="timeout=3s")
    response = lb.get()
    assert (response.status, response.header("Retry-After")) == (503, "1")
    assert float(response.header("X-Wait")) < 5
    line, = complaints(lb)
    for server in servers:
        assert re.search(f"{server.name}: [^;]*no answer within 900ms", line), line


@pytest.mark.parametrize("script", [
    fake_mysql.hang_up, fake_mysql.silent, fake_mysql.reset_among_the_rows, fake_mysql.too_short_a_row,
    says(1047, "WSREP has not yet prepared node for application use", "08S01")],
    ids=["hangs-up", "silent", "resets", "makes-no-sense", "not-ready"])
def test_one_that_lets_in_and_is_of_no_use(lb, servers, script):
    """Being connected is not enough: who gives no list is left for another."""
    servers[0].answer = script
    lb.start(parameters="timeout=1s connections=1")
    lb.wait_fresh()
    assert asked(lb) == servers[1].backend
    assert f"is served by {servers[1].name}" in notices(lb)[0]
    servers[0].behave()
    assert asked(lb) == servers[1].backend


def test_a_node_that_is_cut_off_from_its_cluster(lb, servers):
    """It refuses every query from one moment to the next. The request has its list from another."""
    lb.start(parameters="connections=1")
    assert asked(lb) == servers[0].backend
    servers[0].answer = says(1047, "WSREP has not yet prepared node for application use", "08S01")
    for _ in range(3):
        assert asked(lb) == servers[1].backend
    assert not complaints(lb)


def test_a_query_that_is_wrong_is_wrong_everywhere(lb, servers):
    """The server is not left for it: the line names it, and others are not troubled."""
    servers[0].answer = says(1146, "Table 'x.addresses' doesn't exist", "42S02")
    lb.start()
    for _ in range(3):
        assert lb.get().status == 503
    line, = complaints(lb)
    assert f"gives no list: {servers[0].name}: Table 'x.addresses' doesn't exist" in line
    assert servers[1].connections == 0


def test_a_name_that_does_not_resolve_and_an_ipv6_address(lb, free_port):
    one = lb.backend(row=False)
    rows = [(one.address, one.port, 1, "up", 0, 0, None)]
    with FakeMysql(free_port(), rows, address="::1") as six:
        lb.start(url=f"mysql://lb@no-such-host.invalid,{six.name}/x", parameters="timeout=20s")
        lb.wait_fresh()
        assert asked(lb) == one.name
        assert f"is served by {six.name}; no-such-host.invalid:3306: Unknown" in notices(lb)[0]
        lb.nginx.stop()


def test_queries_that_are_lost_together(lb, servers):
    """A server dies with two of them under way. Each request has its list from the next, even without a stale one."""
    def slowly(peer):
        time.sleep(0.05)
        fake_mysql.list_rows(peer)
    servers[0].answer = slowly
    lb.start(parameters="timeout=20s connections=2", extra="ceph_lb_stale off;")
    with Load(lb.port, threads=4) as load:
        wait_for(lambda: servers[0].open == 2 and load.count() > 20, what="two connections at work")
    assert not load.failed()

    servers[0].answer = fake_mysql.silent
    answers = []
    waiting = [threading.Thread(target=lambda: answers.append(lb.get())) for _ in range(2)]
    for thread in waiting:
        queries = servers[0].queries
        thread.start()
        wait_for(lambda: servers[0].queries > queries, what="the query")
    servers[0].stop()
    for thread in waiting:
        thread.join(30)
    assert [(one.status, one.header("X-Backend")) for one in answers] == [(200, servers[1].backend)] * 2
    assert not complaints(lb)


def test_a_server_dies_under_load(lb, free_port):
    """Two ways to one MariaDB: no request fails, or gets an old list, when one way is closed."""
    lb.backend()
    target = ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))
    with Proxy(("127.0.0.1", free_port()), target) as first, \
            Proxy(("127.0.0.1", free_port()), target) as second:
        lb.start(url=f"mysql://lb@127.0.0.1:{first.listen[1]},127.0.0.1:{second.listen[1]}/{lb.database}",
                 parameters="connections=4", extra="keepalive 16; ceph_lb_stale off;", workers=2)
        with Load(lb.port, threads=8) as load:
            for here, there in ((first, second), (second, first), (first, second)):
                count = load.count()
                wait_for(lambda: load.count() > count + 200, what="load")
                before = there.connections
                here.refuse()
                wait_for(lambda: here.cut() or there.connections >= before + 2,
                         what="both workers to change over")
                here.open()
        lb.nginx.stop()
    assert not load.failed(), load.failed()[:5]
    assert not complaints(lb)


def test_tls_to_the_second(lb, free_port):
    """The certificate must name the host that is connected to, not the first."""
    lb.backend()
    target = ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))
    with Proxy(("127.0.0.2", free_port()), target) as wrong, \
            Proxy(("127.0.0.1", free_port()), target) as right:
        lb.start(url=f"mysql://lb@127.0.0.2:{wrong.listen[1]},localhost:{right.listen[1]}/{lb.database}",
                 parameters=f"ssl_ca={lb.registry.env['MYSQL_SSL_CA']} timeout=10s")
        assert lb.get().status == 200
        assert wrong.connections > 0
        assert re.search(rf"is served by localhost:\d+; 127\.0\.0\.2:\d+: .*(SSL|TLS|[Cc]ertificate)",
                         notices(lb)[0]), notices(lb)
        lb.nginx.stop()
