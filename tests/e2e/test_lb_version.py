"""A list that is read again only when its version has changed: `version_query`, and `sql/version.sql` for it."""

import contextlib
import subprocess
import time

import pytest

from balancer import VERSION_QUERY, schema
from fake_mysql import FakeMysql
from stack import wait_for

CHANGES = ("state = 'drain'", "state = 'down'", "weight = 0")


@pytest.fixture
def versioned(lb):
    lb.registry.sql(schema(lb.database, "version.sql"), database=None)
    return lb


def listed(lb, server):
    """A new backend, the only one that the scripted server lists."""
    one = lb.backend(row=False)
    server.rows[:] = [(one.address, one.port, 1, "up", 0, 0, None)]
    return one


def version(lb):
    (value,), = lb.sql("SELECT version FROM addresses_version")
    return int(value)


# --- the module -------------------------------------------------------------------------------------

def test_the_list_is_read_again_when_its_version_has_changed(lb, server):
    first = listed(lb, server)
    lb.start(parameters=VERSION_QUERY, extra="ceph_lb_stale off;")
    begun = time.monotonic()
    assert lb.answering(50) == {first.name: 50}
    # And once a second all the same, by whatever clock: a turn of a second may begin and end within it.
    assert server.queries <= 2 + time.monotonic() - begun
    assert server.versions >= 50
    for number in range(2, 10):
        backend = listed(lb, server)
        server.version = str(number)
        assert lb.answering(2) == {backend.name: 2}


def test_the_list_is_read_again_after_a_second(lb, server):
    listed(lb, server)
    lb.start(parameters=VERSION_QUERY)
    lb.wait_fresh()
    backend = listed(lb, server)
    wait_for(lambda: lb.get().header("X-Backend") == backend.name, 10, "the new row")


def test_null_is_no_version(lb, server):
    backend = listed(lb, server)
    server.version = None
    lb.start(parameters=VERSION_QUERY)
    assert lb.answering(20) == {backend.name: 20}
    assert server.queries >= 20


def test_a_version_counts_only_on_its_connection(lb, server, free_port):
    """Another server may have come to the same version by other changes."""
    with FakeMysql(free_port()) as other:
        first = listed(lb, server)
        lb.url = server.url(other)
        second = listed(lb, other)
        lb.start(parameters=VERSION_QUERY)
        assert lb.answering(3) == {first.name: 3}
        server.stop()
        wait_for(lambda: other.queries > 0, 20, "the other server to be asked")
        lb.wait_fresh()
        assert lb.answering(3) == {second.name: 3}


def test_a_query_that_the_server_refuses(lb):
    lb.backend()
    lb.start(parameters='"version_query=SELECT version FROM nowhere"')
    assert lb.get().status == 503
    wait_for(lambda: "gives no list: Table 'lb_test.nowhere' doesn't exist" in lb.nginx.log(), 10, "a line in the log")
    lb.sql("CREATE TABLE nowhere (version INT); INSERT INTO nowhere VALUES (1)")
    lb.wait_fresh()


# --- the module and the triggers --------------------------------------------------------------------

def test_every_change_counts_for_the_next_request(versioned):
    lb = versioned
    staying, changing = lb.backend(), lb.backend()
    lb.start(parameters=VERSION_QUERY, extra="ceph_lb_stale off;")
    for number in range(30):
        assert set(lb.answering(4)) == {staying.name, changing.name}
        if number % 4 == 3:
            lb.remove(changing)
        else:
            lb.set(changing, CHANGES[number % 4])
        assert lb.answering(4) == {staying.name: 4}
        if number % 4 == 3:
            lb.add(changing)
        else:
            lb.set(changing, "state = 'up', weight = 1")


def test_one_that_is_not_seen_any_more_is_left_out(versioned):
    """That no row is changed changes no version."""
    lb = versioned
    alive, dead = lb.backend(), lb.backend()
    lb.set(alive, "seen = NOW(6)")
    lb.set(dead, "seen = NOW(6)")
    lb.start(parameters=VERSION_QUERY)
    assert set(lb.answering(4)) == {alive.name, dead.name}
    before = version(lb)
    lb.set(alive, "seen = NOW(6) + INTERVAL 8 SECOND")
    assert version(lb) == before
    wait_for(lambda: set(lb.answering(4)) == {alive.name}, 10, "one to be left out")
    lb.set(dead, "seen = NOW(6) + INTERVAL 8 SECOND")
    wait_for(lambda: set(lb.answering(4)) == {alive.name, dead.name}, 10, "it to be back")


def test_no_row_is_no_version(versioned):
    lb = versioned
    backend = lb.backend()
    lb.start(parameters='"version_query=SELECT version FROM addresses_version WHERE id = 2"',
             extra="ceph_lb_stale off;")
    for _ in range(10):
        assert lb.answering(2) == {backend.name: 2}
        lb.remove(backend)
        assert lb.get().status == 503
        lb.add(backend)


# --- the triggers -----------------------------------------------------------------------------------

@pytest.mark.parametrize("change", [
    "address = '127.0.0.9'", "port = 9", "weight = 2", "state = 'drain'", "backup = 1", "max_conns = 3",
    "zone = 'a'", "seen = NOW(6)"])
def test_what_changes_the_version(versioned, change):
    lb = versioned
    lb.backend()
    before = version(lb)
    lb.sql(f"UPDATE addresses SET {change}")
    assert version(lb) > before
    # To the same values: nothing has changed.
    before = version(lb)
    lb.sql(f"UPDATE addresses SET {change}")
    assert version(lb) == before


def test_being_seen_waits_for_nobody(versioned):
    """A transaction that changed the table, and takes its time, must not make backends look dead."""
    lb = versioned
    changed, seen = lb.backend(), lb.backend()
    lb.set(seen, "seen = NOW(6)")
    impatient = "SET innodb_lock_wait_timeout = 1; UPDATE addresses SET {} WHERE address = '127.0.0.1' AND port = {}"
    with transaction(lb, f"UPDATE addresses SET weight = 7 WHERE address = '127.0.0.1' AND port = {changed.port}"):
        lb.sql(impatient.format("seen = NOW(6) + INTERVAL 1 SECOND", seen.port))
        with pytest.raises(AssertionError, match="Lock wait timeout"):
            lb.sql(impatient.format("weight = 8", seen.port))
    lb.sql(impatient.format("weight = 8", seen.port))


@contextlib.contextmanager
def transaction(lb, statement):
    """Holds one open that has changed something; it is rolled back."""
    client = subprocess.Popen(
        ["mariadb", "--no-defaults", "--batch", "--skip-column-names", "--unbuffered",
         f"--socket={lb.registry.env['MYSQL_SOCKET']}", lb.database],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        client.stdin.write(f"START TRANSACTION; {statement}; SELECT 'changed';\n")
        client.stdin.flush()
        assert client.stdout.readline() == "changed\n"
        yield
    finally:
        client.communicate("ROLLBACK;\n", timeout=30)
    assert client.returncode == 0


def test_the_script_can_be_run_again(versioned):
    lb = versioned
    before = version(lb)
    lb.registry.sql(schema(lb.database, "version.sql"), database=None)
    assert version(lb) > before
    assert lb.sql("SELECT COUNT(*) FROM addresses_version") == [["1"]]


def test_no_version_comes_twice(versioned):
    """Not even if the table is made anew."""
    lb = versioned
    versions = []
    for _ in range(2):
        versions.append(version(lb))
        backend = lb.backend()
        for change in ("weight = 2", "weight = 1"):
            lb.set(backend, change)
            versions.append(version(lb))
        lb.sql("DROP TABLE addresses, addresses_version")
        for file in ("schema.sql", "version.sql"):
            lb.registry.sql(schema(lb.database, file), database=None)
    assert len(set(versions)) == len(versions) and versions == sorted(versions)
