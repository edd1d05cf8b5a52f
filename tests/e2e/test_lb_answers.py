"""What MySQL servers may say, wrong and right: scripted ones stand in for the registry."""

import os
import queue
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fake_mysql
from fake_mysql import COLUMNS, list_rows, lists, says, says_after_rows
from load import Load
from stack import raw, wait_for

TIMEOUT = 1  # seconds, as configured for these tests
HANGS = 20   # a request that takes so long did not have its time-out

# MiB that a worker may take for an answer. A sanitizer keeps what was freed for a while.
MEMORY = 100 if os.environ.get("SANITIZE") != "1" else 600

MISBEHAVIOUR = [
    # when, the script, what the log says
    ("greet", fake_mysql.silent, "is unreachable: .*no answer within 900ms"),
    ("greet", fake_mysql.hang_up, "is unreachable: Lost connection"),
    ("greet", fake_mysql.speak_http, "is unreachable: a packet of more than 4 MiB"),
    ("greet", fake_mysql.speak_an_old_protocol, "is unreachable: Protocol mismatch"),
    ("greet", fake_mysql.too_many_connections, "is unreachable: Too many connections"),
    ("greet", fake_mysql.refuse_the_user, "is unreachable: Access denied"),
    ("greet", fake_mysql.half_a_greeting_then_silence, "is unreachable: .*no answer within 900ms"),
    ("greet", fake_mysql.half_a_greeting_then_the_end, "is unreachable: Lost connection"),
    ("greet", fake_mysql.mute_after_the_password, "is unreachable: .*no answer within 900ms"),
    ("greet", fake_mysql.mute_after_the_greeting, "is unreachable: .*no answer within 900ms"),
    ("answer", fake_mysql.silent, "is unreachable: no answer within 1000ms"),
    ("answer", fake_mysql.hang_up, "is unreachable: Lost connection"),
    ("answer", fake_mysql.half_a_packet_then_silence, "is unreachable: no answer within 1000ms"),
    ("answer", fake_mysql.half_a_packet_then_the_end, "is unreachable: Lost connection"),
    ("answer", fake_mysql.reset_among_the_rows, "is unreachable: Lost connection"),
    ("answer", fake_mysql.a_packet_of_nothing, "is unreachable: Lost connection"),
    ("answer", fake_mysql.an_endless_column, "gives no list: a packet of more than 4 MiB"),
    ("answer", fake_mysql.endless_rows, "gives no list: more than 100000 rows"),
    ("answer", fake_mysql.endless_long_rows, "gives no list: more than 16 MiB"),
    ("answer", fake_mysql.too_short_a_row, "gives no list: what the server says makes no sense"),
    ("answer", fake_mysql.fewer_columns_than_announced, "gives no list: what the server says makes no sense"),
    ("answer", fake_mysql.many_columns, "gives no list: more than 64 columns"),
    ("answer", fake_mysql.no_rows_but_ok, "gives no list: the query returns no table"),
    ("answer", fake_mysql.ask_for_a_file, "gives no list: no file came"),
    ("answer", lists([], ["port"]), 'gives no list: the answer has no column "address"'),
    ("answer", says(1146, "Table 'x.t' doesn't exist", "42S02"), "gives no list: Table 'x.t' doesn't exist"),
    ("answer", says(1064, "You have an error near 'FROM\r\n\tx'", "42000"), "error near 'FROM   x'; "),
    ("answer", says(1047, "WSREP has not yet prepared node", "08S01"), "gives no list: WSREP has not yet"),
    ("answer", says(1053, "Server shutdown in progress", "08S01"), "is unreachable: Server shutdown"),
    ("answer", says_after_rows(1030, "Got error 5 from storage engine"), "gives no list: Got error 5"),
]


def names():
    return [f"{when}-{getattr(script, '__name__', 'script')}-{number}"
            for number, (when, script, _) in enumerate(MISBEHAVIOUR)]


def backend(lb, server):
    """A backend that the scripted server lists."""
    one = lb.backend(row=False)
    server.rows.append((one.address, one.port, 1, "up", 0, 0, None))
    return one


def complaints(lb, level="error"):
    return [line for line in lb.nginx.log().splitlines() if f"[{level}]" in line and "ceph_lb: " in line]


def most_memory(lb):
    """The most memory that the worker had so far, in MiB."""
    worker, = lb.nginx.workers()
    status = Path(f"/proc/{worker}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


def timed(lb):
    """One request, which must not hang."""
    begun = time.monotonic()
    response = lb.get()
    assert time.monotonic() - begun < HANGS, response
    # Within the time-out, by nginx's own clock; what it is late is the machine's.
    assert float(response.header("X-Wait")) < TIMEOUT + 2, response
    return response


# --- misbehaviour -----------------------------------------------------------------------------------

@pytest.mark.parametrize("when, script, named", MISBEHAVIOUR, ids=names())
def test_from_the_beginning(lb, server, when, script, named):
    """503 in time, one line that says what is wrong, and a list as soon as there is one."""
    one = backend(lb, server)
    server.misbehave(script, when)
    lb.start(parameters=f"timeout={TIMEOUT}s")
    for _ in range(3):
        response = timed(lb)
        assert (response.status, response.header("Retry-After")) == (503, "1"), response
    line, = complaints(lb)
    assert re.search(named, line) and "there is no list, answering 503" in line, line
    server.behave()
    lb.wait_fresh()
    assert lb.answering(3) == {one.name: 3}
    assert complaints(lb) == [line]


@pytest.mark.parametrize("when, script, named", MISBEHAVIOUR, ids=names())
def test_after_a_good_list(lb, server, when, script, named):
    """The last list, in time; nothing grows; all is well as soon as the server is."""
    one = backend(lb, server)
    lb.start(parameters=f"timeout={TIMEOUT}s")
    lb.wait_fresh()
    before = most_memory(lb)
    server.misbehave(script, when)

    def stale():
        response = timed(lb)
        assert response.status == 200, response
        return response.header("X-Stale") == "1"
    wait_for(stale, what="a stale list")
    for _ in range(3):
        assert timed(lb).status == 200
    line, = complaints(lb)
    assert re.search(named, line) and "serving the last list (1 backends)" in line, line
    server.behave()
    lb.wait_fresh()
    assert lb.answering(3) == {one.name: 3}
    assert complaints(lb) == [line]
    assert most_memory(lb) - before < MEMORY


@pytest.mark.parametrize("script", [fake_mysql.endless_rows, fake_mysql.endless_long_rows])
def test_others_are_served_while_rows_pour_in(lb, server, script):
    """An endless answer does not keep the worker from its other work."""
    port = lb.free_port()
    backend(lb, server)
    server.answer = script
    lb.start(parameters=f"timeout={TIMEOUT}s",
             http=f'server {{ listen 127.0.0.1:{port}; return 200 "here"; }}')
    with Load(port, threads=2) as load:
        for _ in range(5):
            assert timed(lb).status == 503
            count = load.count()
            wait_for(lambda: load.count() > count + 20, what="answers of the other server")
    assert not load.failed(), load.failed()[:5]


def test_no_file_is_given_away(lb, server):
    """To LOAD DATA LOCAL, which no query of ours asks for, the answer is an empty packet."""
    backend(lb, server)
    server.answer = fake_mysql.ask_for_a_file
    lb.start(parameters=f"timeout={TIMEOUT}s")
    assert timed(lb).status == 503
    wait_for(lambda: hasattr(server, "stolen"), what="the answer to the server's wish")
    assert server.stolen == b""


def test_connections_that_end_one_after_another(lb, server):
    """A request whose query is lost goes on to one that still answers, loses it there too, and has its list."""
    asked, let_in = queue.Queue(), threading.Event()

    def ask(peer):
        """Each query is answered as the test says."""
        reply = queue.Queue()
        asked.put(reply)
        reply.get(timeout=HANGS)(peer)

    def slow_greeting(peer):
        assert let_in.wait(HANGS)
        fake_mysql.greet(peer)

    backend(lb, server)
    lb.start(parameters=f"timeout={HANGS}s connections=3", extra="ceph_lb_stale off;")
    lb.wait_fresh()
    server.answer = ask
    with ThreadPoolExecutor(3) as clients:
        losing = clients.submit(lb.get)
        first = asked.get(timeout=HANGS)
        other = clients.submit(lb.get)
        asked.get(timeout=HANGS).put(list_rows)
        assert other.result().status == 200
        other = clients.submit(lb.get)
        second = asked.get(timeout=HANGS)
        server.greet = slow_greeting
        opened = server.connections
        first.put(fake_mysql.hang_up)
        wait_for(lambda: server.connections > opened, what="a third connection")
        second.put(list_rows)
        assert other.result().status == 200
        asked.get(timeout=HANGS).put(fake_mysql.hang_up)
        let_in.set()
        asked.get(timeout=HANGS).put(list_rows)
        assert losing.result().status == 200


def test_a_connection_outlives_an_error(lb, server):
    """An error instead of rows, or after some, costs its request the list, and no connection."""
    backend(lb, server)
    lb.start(parameters=f"timeout={TIMEOUT}s connections=1")
    lb.wait_fresh()
    connections = server.connections
    for script in (says(1146, "no such table"), says_after_rows(1030, "broken")):
        server.answer = script
        assert timed(lb).header("X-Stale") == "1"
        server.behave()
        assert timed(lb).header("X-Stale") == "0"
    assert server.connections == connections


# --- odd, but of use --------------------------------------------------------------------------------

def rows_of(*backends, **values):
    """A row for each backend, with these values in place of the usual ones."""
    usual = {"address": None, "port": None, "weight": 1, "state": "up", "backup": 0, "max_conns": 0,
             "zone": None}
    return [[{**usual, "address": one.address, "port": one.port, **values}[name] for name in COLUMNS]
            for one in backends]


def start_with(lb, server, *answer):
    server.answer = lists(*answer)
    lb.start(parameters=f"timeout={TIMEOUT}s", extra="ceph_lb_zone backends 4m;")
    lb.wait_fresh()


def warnings(lb):
    return complaints(lb, "warn")


@pytest.mark.parametrize("kind", [fake_mysql.LONG, fake_mysql.DOUBLE, fake_mysql.BLOB, fake_mysql.STRING])
def test_types_of_columns_do_not_matter(lb, server, kind):
    """What counts is the text of a value, which all values have in this protocol."""
    one = lb.backend(row=False)
    start_with(lb, server, rows_of(one), COLUMNS, [kind] * len(COLUMNS))
    assert lb.answering(3) == {one.name: 3}
    assert not warnings(lb)


@pytest.mark.parametrize("values, named", [
    ({"port": "80.0"}, "the port is not a number from 1 to 65535"),
    ({"port": "8e3"}, "the port is not a number"),
    ({"port": "0"}, "the port is not a number"),
    ({"port": "65536"}, "the port is not a number"),
    ({"port": ""}, "the port is not a number"),
    ({"weight": "-1"}, "the weight is not a number"),
    ({"weight": "1.5"}, "the weight is not a number"),
    ({"weight": "heavy"}, "the weight is not a number"),
    ({"weight": "1e9"}, "the weight is not a number"),
    ({"state": "UNKNOWN"}, "the state is not one of up, drain, down"),
    ({"backup": "yes"}, 'the column "backup" is not a number'),
    ({"max_conns": "-1"}, 'the column "max_conns" is not a number'),
    ({"address": b"\x7f\x00\x00\x01"}, "holds a zero byte"),
    ({"address": "x" * 300}, "a value is too long"),
    ({"address": "localhost"}, r'address "localhost"\): not an IP address'),
    ({"address": "127.0.0.1:80"}, "not an IP address"),
    *(({name: None}, "a column is NULL") for name in COLUMNS if name != "zone"),
])
def test_a_value_of_no_use_costs_its_row(lb, server, values, named):
    good, bad = lb.backend(row=False), lb.backend(row=False)
    start_with(lb, server, rows_of(bad, **values) + rows_of(good))
    assert lb.answering(4) == {good.name: 4}
    line, = warnings(lb)
    assert "row 1 " in line and re.search(named, line), line


def test_an_address_that_comes_twice_counts_once(lb, server):
    one, other = lb.backend(row=False), lb.backend(row=False)
    start_with(lb, server, rows_of(one) + rows_of(other) + rows_of(one, weight=100))
    assert lb.answering(6) == {one.name: 3, other.name: 3}
    line, = warnings(lb)
    assert "row 3 " in line and "same address" in line


def test_a_weight_of_a_milliard(lb, server):
    """As heavy as numbers get: the light one has its turn once in so many requests."""
    light, heavy = lb.backend(row=False), lb.backend(row=False)
    start_with(lb, server, rows_of(light) + rows_of(heavy, weight=1_000_000_000))
    assert lb.answering(50) == {heavy.name: 50}
    assert not warnings(lb)


def test_a_column_that_comes_twice(lb, server):
    """The first counts, and the second is a column like any that is not known."""
    one = lb.backend(row=False)
    start_with(lb, server, [(one.address, one.port, "no address", "no port")],
               ("address", "port", "address", "PORT"))
    assert lb.answering(3) == {one.name: 3}
    assert not warnings(lb)


@pytest.mark.parametrize("count, told", [(10_000, False), (10_001, True), (20_000, True)])
def test_very_many_rows(lb, server, count, told):
    """Ten thousand are a list; of more, so many, and the log tells."""
    one = lb.backend(row=False)
    others = [(f"127.{n // 62500 + 1}.{n // 250 % 250}.{n % 250 + 1}", 9, 1, "down", 0, 0, None)
              for n in range(count - 1)]
    start_with(lb, server, rows_of(one) + others)
    before = most_memory(lb)
    for _ in range(3):
        assert lb.answering(2) == {one.name: 2}
    assert most_memory(lb) - before < MEMORY
    assert [line for line in warnings(lb) if "beyond the limit" in line] == warnings(lb)
    assert len(warnings(lb)) == told


# --- how often a server is tried --------------------------------------------------------------------

def pauses(server, since=0):
    return [later - earlier for earlier, later in zip(server.attempts[since:], server.attempts[since + 1:])]


def test_attempts_become_rare_and_uneven(lb, server):
    """However many requests come: one attempt at a time, soon at most two a second, not all alike."""
    backend(lb, server)
    server.greet = fake_mysql.hang_up
    lb.start(parameters=f"timeout={TIMEOUT}s")
    with Load(lb.port, threads=4) as load:
        wait_for(lambda: len(server.attempts) >= 12, 60, "attempts")
    assert all(record.status == 503 for record in load.records)
    assert load.count() > len(server.attempts)
    # 50 ms, doubled each time, is a second from the sixth attempt on, of which half may be taken off.
    rare = pauses(server, 6)
    assert min(rare) > 0.45, rare
    assert max(rare) - min(rare) > 0.01, rare
    # Bounded above as well: it is never given up. A second, and what the machine adds.
    assert max(rare) < 10, rare
    server.behave()
    lb.wait_fresh()


@pytest.mark.parametrize("workers", [1, 2])
def test_one_attempt_at_a_time(lb, server, workers):
    """Also with many requests that wait, and while each attempt takes its whole time."""
    backend(lb, server)
    server.greet = fake_mysql.silent
    lb.start(parameters=f"timeout={TIMEOUT}s connections=8", workers=workers)
    with Load(lb.port, threads=16) as load:
        wait_for(lambda: server.connections >= 3 * workers, 60, "attempts")
    assert all(record.status == 503 for record in load.records)
    assert server.most_open <= workers


@pytest.mark.parametrize("stale, status", [("", 200), ("ceph_lb_stale 1h;", 200), ("ceph_lb_stale off;", 503)])
def test_a_hung_server_costs_each_request_its_timeout_once(lb, server, stale, status):
    """Those who are there wait, for `timeout` at most; whoever comes later does not wait at all."""
    backend(lb, server)
    lb.start(parameters=f"timeout={TIMEOUT}s connections=2", extra=stale)
    lb.wait_fresh()
    server.misbehave(fake_mysql.silent, "answer")
    with Load(lb.port, threads=8) as load:
        wait_for(lambda: complaints(lb), what="the hang to be noticed")
        count = load.count()
        wait_for(lambda: load.count() > count + 50, what="requests that do not wait")
    assert {record.status for record in load.records[-50:]} == {status}
    waits = [float(re.search(r"wait=([\d.]+)", line).group(1)) for line in lb.nginx.access_log(load.count())]
    assert max(waits) < TIMEOUT + 2
    assert len([wait for wait in waits if wait >= TIMEOUT / 2]) <= 8
    response = lb.get()
    assert (response.status, response.header("X-Wait")) == (status, "0.000")
    if status == 200:
        assert response.header("X-Stale") == "1"
        assert " stale=1 " in lb.nginx.access_log()[-1]
    server.behave()
    server.cut()
    lb.wait_fresh()


def test_a_hang_right_after_an_answer(lb, server):
    """An answer counts as a sign of life only for requests that were there before it, to the millisecond."""
    lb.start(parameters=f"timeout={TIMEOUT}s connections=1")
    assert lb.get().status == 503  # The list is empty, so that no backend takes time.
    server.answer = fake_mysql.by_turns(fake_mysql.list_rows, fake_mysql.silent)
    both = raw(lb.port, b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert both.count(b"HTTP/1.1 503") == 2
    assert lb.get().header("X-Wait") == "0.000"


def test_a_stale_list_ends_while_a_server_hangs(lb, server):
    backend(lb, server)
    lb.start(parameters=f"timeout={TIMEOUT}s", extra="ceph_lb_stale 3s;")
    lb.wait_fresh()
    server.misbehave(fake_mysql.silent, "answer")
    response = timed(lb)
    assert (response.status, response.header("X-Stale")) == (200, "1"), response
    response = wait_for(lambda: lb.get() if lb.get().status == 503 else None, what="the end of the list")
    assert (response.header("X-Wait"), response.header("Retry-After")) == ("0.000", "1")
    assert [line for line in complaints(lb) if "the last list is older than 3s" in line]


def test_a_server_that_hangs_up_after_each_answer(lb, server):
    """Each request has its list, and in between the server is not connected to without a pause."""
    backend(lb, server)
    server.answer = fake_mysql.answers_and_hangs_up
    lb.start(parameters=f"timeout={TIMEOUT}s")
    wait_for(lambda: pauses(server) and pauses(server)[-1] > 0.45, 60, "a pause")
    assert len(server.attempts) < 30
    for _ in range(10):
        response = timed(lb)
        assert response.status == 200 and response.header("X-Stale") == "0", response


def test_a_server_that_lets_in_only_one(lb, server):
    """Further connections are tried ever more seldom, and nobody fails for it."""
    backend(lb, server)
    server.greet = fake_mysql.by_turns(fake_mysql.greet, fake_mysql.too_many_connections)

    def slowly(peer):
        time.sleep(0.01)
        fake_mysql.list_rows(peer)
    server.answer = slowly
    lb.start(parameters=f"timeout={10 * TIMEOUT}s connections=4")
    with Load(lb.port, threads=8) as load:
        wait_for(lambda: len(server.attempts) > 6 and pauses(server)[-1] > 0.45, 60, "a pause")
    assert not load.failed(), load.failed()[:5]
    assert len(server.attempts) < 30
    line, = warnings(lb)
    assert "Too many connections" in line
