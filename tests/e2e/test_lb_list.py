"""The list of backends, as a user sees it: which rows get requests, and from when on."""

import json

import pytest


def test_a_changed_table_takes_effect_for_the_next_request(lb):
    """No reload, no delay: each statement is seen by the request right after it."""
    always, sometimes = lb.backend(), lb.backend(row=False)
    lb.start(extra="keepalive 8;")
    for _ in range(20):
        assert set(lb.answering(2)) == {always.name}
        lb.add(sometimes)
        assert set(lb.answering(2)) == {always.name, sometimes.name}
        lb.remove(sometimes)
    lb.remove(always)
    assert lb.get().status == 503
    lb.add(sometimes)
    assert set(lb.answering(2)) == {sometimes.name}


def test_the_original_two_column_table(lb):
    """No key, no port, duplicates: as the service had it that this one replaces."""
    lb.sql("DROP TABLE addresses;"
           "CREATE TABLE addresses (containerAddress VARCHAR(20), address VARCHAR(20));"
           'INSERT INTO addresses VALUES ("252.3.219.108", "127.0.0.21"),'
           ' ("252.3.219.109", "127.0.0.22"), ("252.3.219.108", "127.0.0.21")')
    # Port 8080 is meant, where nothing of ours listens: the addresses that were tried tell.
    lb.start(parameters='"query=SELECT address FROM addresses"',
             location="proxy_connect_timeout 1s;")
    response = lb.get()
    assert response.status in (502, 504, 404, 200)
    assert response.header("X-Backends") == "2"
    upstream = lb.nginx.access_log()[-1].split("upstream=")[1]
    assert set(upstream.split(", ")) <= {"127.0.0.21:8080", "127.0.0.22:8080"}


def test_a_query_of_ones_own(lb):
    near, far = lb.backend(zone="near"), lb.backend(zone="far")
    lb.start(parameters="\"query=SELECT address, port FROM addresses WHERE zone = 'far'\"")
    assert set(lb.answering(4)) == {far.name}
    assert not near.seen


def test_columns_are_taken_by_name(lb):
    backend = lb.backend()
    lb.start(parameters='"query=SELECT 1 AS weight, \'x\' AS unknown, port AS PORT, address FROM addresses"')
    assert set(lb.answering(2)) == {backend.name}


def test_a_query_without_an_address_column(lb):
    lb.backend()
    lb.start(parameters='"query=SELECT port FROM addresses"')
    assert lb.get().status == 503
    assert "address" in lb.nginx.log()


def test_rows_take_turns(lb):
    backends = [lb.backend() for _ in range(3)]
    lb.start()
    counts = lb.answering(30)
    assert counts == {backend.name: 10 for backend in backends}


def test_weights(lb):
    one, two, five = lb.backend(weight=1), lb.backend(weight=2), lb.backend(weight=5)
    lb.start()
    assert lb.answering(80) == {one.name: 10, two.name: 20, five.name: 50}
    lb.set(five, "weight = 1")
    lb.set(two, "weight = 1")
    assert lb.answering(30) == {one.name: 10, two.name: 10, five.name: 10}


def test_turns_go_on_across_changed_lists(lb):
    """A list that is new for every request must not begin with its first row each time."""
    first, second = lb.backend(), lb.backend()
    lb.start()
    counts = {first.name: 0, second.name: 0}
    for number in range(20):
        lb.set(first, f"max_conns = {1000 + number}")
        for name, count in lb.answering(1).items():
            counts[name] += count
    assert counts == {first.name: 10, second.name: 10}


@pytest.mark.parametrize("assignment", ["state = 'drain'", "state = 'down'", "weight = 0",
                                        "seen = NOW(6) - INTERVAL 70 SECOND"])
def test_rows_that_get_no_request(lb, assignment):
    served, left_out = lb.backend(), lb.backend()
    lb.start()
    assert len(lb.answering(4)) == 2
    lb.set(left_out, assignment)
    assert lb.answering(6) == {served.name: 6}
    lb.set(left_out, "state = 'up', weight = 1, seen = NULL")
    assert len(lb.answering(4)) == 2
    lb.set(served, assignment)
    lb.set(left_out, assignment)
    assert lb.get().status == 503


def test_a_row_that_fell_behind_the_others(lb):
    """Its backend is dead; the others' signs of life go on."""
    alive, dead, by_hand = lb.backend(), lb.backend(), lb.backend()
    lb.set(alive, "seen = NOW(6)")
    lb.set(dead, "seen = NOW(6) - INTERVAL 8 SECOND")
    lb.start()
    assert set(lb.answering(6)) == {alive.name, by_hand.name}


def test_backup_only_when_no_other_can(lb):
    primary, backup = lb.backend(), lb.backend(backup=1)
    lb.start()
    assert lb.answering(5) == {primary.name: 5}
    lb.set(primary, "state = 'down'")
    assert lb.answering(5) == {backup.name: 5}
    lb.set(primary, "state = 'up'")
    assert lb.answering(5) == {primary.name: 5}
    primary.stop()
    assert lb.answering(5) == {backup.name: 5}


@pytest.mark.parametrize("bad, named", [
    ("('', 'not-an-address', 8080)", "not-an-address"),
    ("('', 'example.org', 8080)", "example.org"),
    ("('', '', 8080)", "row"),
    ("('', '127.0.0.300', 8080)", "127.0.0.300"),
    ("('', '127.0.0.66', 0)", "127.0.0.66"),
])
def test_an_unusable_row_is_skipped_and_named_once(lb, bad, named):
    good = lb.backend()
    lb.sql(f"INSERT INTO addresses (containerAddress, address, port) VALUES {bad}")
    lb.start()
    assert lb.answering(10) == {good.name: 10}
    assert lb.get().header("X-Backends") == "1"
    lines = [line for line in lb.nginx.log().splitlines() if "[warn]" in line and named in line]
    assert len(lines) == 1, lines


@pytest.mark.parametrize("expression", ["'x'", "-1", "NULL", "65536", "99999999999"])
def test_values_of_the_wrong_kind_spoil_only_their_row(lb, expression):
    """What a query of one's own may give: the good row is served all the same."""
    good, bad = lb.backend(), lb.backend()
    lb.start(parameters=f'"query=SELECT address, port FROM addresses WHERE port = {good.port} UNION ALL'
                        f' SELECT address, {expression} FROM addresses WHERE port = {bad.port}"')
    assert lb.answering(6) == {good.name: 6}


def test_an_empty_list(lb):
    lb.start()
    response = lb.get()
    assert response.status == 503
    assert response.header("Retry-After") == "1"
    assert response.header("X-Backends") == "0"


def test_an_empty_list_with_an_error_page(lb):
    """The operator's own page, and Retry-After stays."""
    lb.start(server="""
        error_page 503 @sorry;
        location @sorry { default_type text/plain; return 503 "no backend now"; }
    """)
    response = lb.get()
    assert (response.status, response.body) == (503, b"no backend now")
    assert response.header("Retry-After") == "1"


def test_no_such_table(lb):
    lb.backend()
    lb.sql("RENAME TABLE addresses TO elsewhere")
    lb.start()
    for _ in range(5):
        assert lb.get().status == 503
    lines = [line for line in lb.nginx.log().splitlines() if "doesn't exist" in line]
    assert len(lines) == 1, lines
    lb.sql("RENAME TABLE elsewhere TO addresses")
    lb.wait_fresh()


def test_ipv6(lb):
    six = lb.backend(address="::1")
    lb.start()
    assert lb.answering(3) == {six.name: 3}


def test_two_ports_of_one_address(lb):
    first, second = lb.backend(), lb.backend()
    assert first.address == second.address
    lb.start()
    assert len(lb.answering(4)) == 2


def test_a_thousand_rows(lb):
    backend = lb.backend()
    rows = ", ".join(f"('127.1.{n // 250}.{n % 250 + 1}', 9, 'down')" for n in range(1000))
    lb.sql(f"INSERT INTO addresses (address, port, state) VALUES {rows}")
    lb.start()
    assert lb.answering(20) == {backend.name: 20}


def test_variables(lb):
    lb.backend()
    lb.backend(state="drain")
    lb.start()
    response = lb.get()
    assert response.header("X-Backends") == "1"
    assert response.header("X-Stale") == "0"
    assert 0 <= float(response.header("X-Wait")) < 5
    assert 0 <= float(response.header("X-Age")) < 5
    assert "stale=0" in lb.nginx.access_log()[-1]


def test_the_table_changes_under_a_request(lb):
    """A request keeps its list to its end, also for its second try."""
    first, second = lb.backend(), lb.backend(backup=1)

    def leave_while_answering(handler, seen):
        lb.sql("DELETE FROM addresses")
        handler.reply(503, {}, b"")
    first.answer = leave_while_answering
    lb.start(location="proxy_next_upstream error timeout http_503;")
    response = lb.get()
    assert (response.status, response.header("X-Backend")) == (200, second.name)
    assert lb.get().status == 503


def test_targets_go_on_byte_for_byte(lb):
    lb.backend()
    lb.start()
    for target in ("/objects/a%2Fb", "/objects/a//b", "/objects/..", "/objects/./x", "/objects/%C3%A4",
                   "/objects?prefix=a%2Fb&limit=3", "/objects/a%20b%3Fc", "/" + "x" * 3000):
        assert lb.get(target).header("X-Target") == target


def test_bodies_go_on_byte_for_byte(lb):
    backend = lb.backend()
    lb.start(server="client_max_body_size 0;")
    body = json.dumps(list(range(200_000))).encode()
    with lb.client() as client:
        assert client.put("/objects/x", body).status == 200
    assert backend.seen[-1].body == body
