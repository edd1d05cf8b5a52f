"""The registry: its schema, its two users, and what backends write into it."""

import re
import socket
import subprocess
import threading

import pytest

from backend import backend
from proxy import Proxy
from stack import ROOT, SQLError, request, wait_for

# What the load balancer makes of its own query, see docs/load-balancer.md.
DEFAULT_QUERY = """
    SELECT address, port, weight, state, backup, max_conns, zone FROM addresses
    WHERE seen IS NULL OR (seen > NOW(6) - INTERVAL 60 SECOND
                           AND seen >= (SELECT MAX(seen) FROM addresses) - INTERVAL 5 SECOND)
"""


def script(name, database):
    """One of sql/'s scripts, for another database."""
    text = (ROOT / "sql" / name).read_text()
    return re.sub(r"\bipaddresses\b", database, text)


def columns(stack, database):
    return stack.sql("SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, COLUMN_KEY, EXTRA,"
                     " COLUMN_COMMENT FROM information_schema.COLUMNS WHERE TABLE_NAME = 'addresses'"
                     f" AND TABLE_SCHEMA = '{database}' ORDER BY ORDINAL_POSITION")


# --- the scripts ------------------------------------------------------------------------------------

def test_schema_can_be_run_again(stack):
    with stack.database("schema_twice"):
        stack.sql(script("schema.sql", "schema_twice"), database=None)
        stack.sql("INSERT INTO addresses VALUES ('252.3.219.108', '172.16.3.219')",
                  database="schema_twice")
        stack.sql(script("schema.sql", "schema_twice"), database=None)
        assert stack.sql("SELECT * FROM addresses", database="schema_twice") == \
            [["252.3.219.108", "172.16.3.219"]]


def test_two_values_by_position(stack):
    """The original service's statement, and what the other columns are then."""
    with stack.database("by_position"):
        stack.sql(script("schema.sql", "by_position"), database=None)
        stack.sql('INSERT INTO addresses VALUES ("252.3.219.108", "172.16.3.219")',
                  database="by_position")
        assert stack.sql(DEFAULT_QUERY, database="by_position") == \
            [["172.16.3.219", "8080", "1", "up", "0", "0", "NULL"]]


def test_addresses_of_both_kinds_and_several_ports(stack):
    longest = "2001:0db8:85a3:0000:0000:8a2e:255.255.255.255"
    with stack.database("addresses_of_both_kinds"):
        stack.sql(script("schema.sql", "addresses_of_both_kinds"), database=None)
        stack.sql(f"INSERT INTO addresses (address, port) VALUES ('::1', 1), ('::1', 65535),"
                  f" ('{longest}', 8080)", database="addresses_of_both_kinds")
        assert stack.sql("SELECT address, port FROM addresses ORDER BY port",
                         database="addresses_of_both_kinds") == \
            [["::1", "1"], [longest, "8080"], ["::1", "65535"]]
        with pytest.raises(SQLError, match="Duplicate"):
            stack.sql("INSERT INTO addresses (address, port) VALUES ('::1', 1)",
                      database="addresses_of_both_kinds", check=False)


@pytest.mark.parametrize("original", [
    "CREATE TABLE addresses (containerAddress VARCHAR(20), address VARCHAR(20))",
    "CREATE TABLE addresses (containerAddress CHAR(15) NOT NULL, address CHAR(15) NOT NULL) ENGINE=MyISAM",
    "CREATE TABLE addresses (containerAddress VARCHAR(15), address VARCHAR(15), KEY (address))",
])
def test_upgrade_of_the_original_table(stack, original):
    with stack.database("upgraded", original), stack.database("fresh"):
        stack.sql("INSERT INTO addresses VALUES ('252.3.219.108', '172.16.3.219'),"
                  "('252.3.219.109', '172.16.3.220'), ('252.3.219.108', '172.16.3.219'),"
                  "('252.3.219.110', '172.16.3.219')", database="upgraded")
        stack.sql(script("upgrade.sql", "upgraded"), database=None)
        expected = [["252.3.219.108", "172.16.3.219"], ["252.3.219.109", "172.16.3.220"]]
        assert stack.sql("SELECT * FROM addresses ORDER BY address", database="upgraded") == expected

        stack.sql(script("schema.sql", "fresh"), database=None)
        assert columns(stack, "upgraded") == columns(stack, "fresh")

        # Again: nothing changes, not even in rows that use the new columns by now.
        stack.sql("UPDATE addresses SET port = 9000, weight = 3 WHERE address = '172.16.3.220'",
                  database="upgraded")
        stack.sql(script("upgrade.sql", "upgraded"), database=None)
        assert stack.sql("SELECT address, port, weight FROM addresses ORDER BY address",
                         database="upgraded") == \
            [["172.16.3.219", "8080", "1"], ["172.16.3.220", "9000", "3"]]


def test_upgrade_drops_what_cannot_be_a_backend(stack):
    original = "CREATE TABLE addresses (containerAddress VARCHAR(20), address VARCHAR(20))"
    with stack.database("upgraded_nulls", original):
        stack.sql("INSERT INTO addresses VALUES ('a', NULL), (NULL, '172.16.3.219'), ('b', '')",
                  database="upgraded_nulls")
        stack.sql(script("upgrade.sql", "upgraded_nulls"), database=None)
        assert stack.sql("SELECT * FROM addresses", database="upgraded_nulls") == [["", "172.16.3.219"]]


def test_upgrade_goes_on_where_it_was_interrupted(stack):
    """The script's statements one by one, each time followed by the whole script."""
    original = "CREATE TABLE addresses (containerAddress VARCHAR(20), address VARCHAR(20));" \
               "INSERT INTO addresses VALUES ('a', '10.0.0.1'), ('a', '10.0.0.1'), ('b', '10.0.0.2')"
    whole = script("upgrade.sql", "upgraded_partly")
    parts = whole.split("DEALLOCATE PREPARE step;")
    assert len(parts) > 5
    for count in range(1, len(parts)):
        with stack.database("upgraded_partly", original):
            stack.sql("DEALLOCATE PREPARE step;".join(parts[:count]), database=None)
            stack.sql(whole, database=None)
            assert stack.sql("SELECT * FROM addresses ORDER BY address", database="upgraded_partly") == \
                [["a", "10.0.0.1"], ["b", "10.0.0.2"]]


# --- the users --------------------------------------------------------------------------------------

@pytest.mark.parametrize("statement", [
    "INSERT INTO addresses VALUES ('', '127.0.0.8')",
    "UPDATE addresses SET weight = 0",
    "DELETE FROM addresses",
    "DROP TABLE addresses",
    "CREATE TABLE another (a INT)",
    "SELECT * FROM mysql.global_priv",
])
def test_the_load_balancer_can_only_read(stack, statement):
    assert stack.sql("SELECT COUNT(*) FROM addresses", user="lb") == [["3"]]
    with pytest.raises(SQLError, match="denied"):
        stack.sql(statement, user="lb", check=False)


@pytest.mark.parametrize("statement", [
    "DROP TABLE addresses",
    "ALTER TABLE addresses DROP COLUMN seen",
    "TRUNCATE addresses",
    "CREATE TABLE another (a INT)",
    "CREATE DATABASE another",
    "SELECT * FROM mysql.global_priv",
    "GRANT SELECT ON addresses TO 'lb'@'%'",
])
def test_a_backend_can_only_keep_rows(stack, statement):
    stack.sql("INSERT INTO addresses (address, port) VALUES ('127.0.0.8', 9);"
              "UPDATE addresses SET weight = 2 WHERE port = 9;"
              "DELETE FROM addresses WHERE port = 9", user="backend")
    with pytest.raises(SQLError, match="denied"):
        stack.sql(statement, user="backend", check=False)


def test_new_users_have_no_way_in(stack):
    """As schema.sql makes them, before somebody sets a password."""
    text = (ROOT / "sql" / "schema.sql").read_text()
    create = next(line for line in text.splitlines() if line.startswith("CREATE USER") and "'lb'" in line)
    stack.sql(create.replace("'lb'", "'lb_new'"), database=None)
    try:
        result = subprocess.run(["mariadb", "--no-defaults", f"--socket={stack.env['MYSQL_SOCKET']}",
                                 "--user=lb_new", "-e", "SELECT 1"], capture_output=True, text=True,
                                timeout=60, check=False)
        assert result.returncode != 0 and "locked" in result.stderr
    finally:
        stack.sql("DROP USER 'lb_new'@'%'", database=None)


# --- what backends announce -------------------------------------------------------------------------

def row(stack, number, what="state"):
    """A column of a backend's row, or None where there is no row."""
    port = stack.backend_ports[number - 1]
    found = stack.sql(f"SELECT {what} FROM addresses WHERE address = '127.0.0.1' AND port = {port}")
    return found[0][0] if found else None


def listed(stack):
    """The ports that the load balancer's own query gives."""
    return {int(line[1]) for line in stack.sql(DEFAULT_QUERY, user="lb")}


def test_backends_announce_themselves(stack):
    assert listed(stack) == set(stack.backend_ports)
    assert [row(stack, n) for n in (1, 2, 3)] == ["up", "up", "up"]


def test_seen_is_renewed(stack):
    first = row(stack, 1, "seen")
    assert first != "NULL"
    second = wait_for(lambda: row(stack, 1, "seen") > first and row(stack, 1, "seen"), 10,
                      "a sign of life")
    wait_for(lambda: row(stack, 1, "seen") > second, 10, "another sign of life")


def test_weight_that_an_operator_set_is_kept(stack):
    """The backend renews its sign of life and its state, nothing else."""
    port = stack.backend_ports[0]
    stack.sql(f"UPDATE addresses SET weight = 7, zone = 'east', backup = 1 WHERE port = {port}")
    first = row(stack, 1, "seen")
    wait_for(lambda: row(stack, 1, "seen") > first, 10, "a sign of life")
    assert row(stack, 1, "CONCAT(weight, zone, backup)") == "7east1"
    stack.sql(f"UPDATE addresses SET weight = 1, zone = NULL, backup = 0 WHERE port = {port}")


def test_a_stopping_backend_drains_then_leaves(stack):
    """SIGTERM: `drain` while a request is under way, which is finished; then no row."""
    port = stack.backend_ports[0]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
        slow.sendall(b"PUT /objects/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf")
        stopping = _in_background(lambda: stack.ctl("backend", 1, "stop"))
        wait_for(lambda: row(stack, 1) == "drain", 10, "the state drain")
        assert stack.pid("backend.1") is not None
        slow.sendall(b"done")
        answer = slow.recv(65536)
        assert answer.startswith(b"HTTP/1.1 201 "), answer
    stopping.join(60)
    assert row(stack, 1) is None
    assert stack.pid("backend.1") is None
    assert request(stack.port, "GET", "/objects/slow").body == b"halfdone"
    stack.ctl("backend", 1, "start")
    assert row(stack, 1) == "up"
    request(stack.port, "DELETE", "/objects/slow")


def test_a_killed_backend_leaves_the_list_by_itself(stack):
    stack.ctl("backend", 2, "kill")
    assert row(stack, 2) == "up"
    gone = stack.backend_ports[1]
    wait_for(lambda: listed(stack) == set(stack.backend_ports) - {gone}, 20,
             "the list without the dead backend")
    assert row(stack, 2) == "up"
    stack.ctl("backend", 2, "start")
    assert listed(stack) == set(stack.backend_ports)


@pytest.mark.backend_errors("registry|announce|MySQL|MariaDB")
def test_rows_come_back_when_the_database_does(stack):
    stack.ctl("mysql", "kill")
    stack.ctl("mysql", "start")
    begun = stack.sql("SELECT NOW(6)")[0][0]
    wait_for(lambda: all(row(stack, n, "seen") > begun for n in (1, 2, 3)), 30,
             "a sign of life of every backend")
    assert listed(stack) == set(stack.backend_ports)


def test_announcing_to_several_servers(stack, tmp_path, free_port):
    """The first is not there, the second is lost later on: the row is kept by another each time, and removed."""
    target = ("127.0.0.1", int(stack.env["MYSQL_PORT"]))
    dead, port = free_port(), free_port()
    with Proxy(("127.0.0.1", free_port()), target) as second, Proxy(("127.0.0.1", free_port()), target) as third:
        hosts = ",".join(f"127.0.0.1:{one}" for one in (dead, second.listen[1], third.listen[1]))

        def seen():
            return stack.sql(f"SELECT seen FROM addresses WHERE port = {port} AND state = 'up'")
        with backend(stack, tmp_path, port, "--announce", f"mysql://backend@{hosts}/ipaddresses",
                     "--announce-password-file", stack.env["MYSQL_BACKEND_PASSWORD_FILE"]) as one:
            before = wait_for(seen, what="its row")
            one.wait_log(rf"backend@127\.0\.0\.1:{dead}/ipaddresses: cannot connect: .*\n(.*\n)*.*registry is back")
            assert third.connections == 0
            second.refuse()
            second.cut()
            wait_for(lambda: third.connections and seen() > before, what="a sign of life by the third")
        assert f"backend@127.0.0.1:{second.listen[1]}/ipaddresses: cannot " in one.log
        assert "left the registry" in one.log
        assert seen() == []


def test_what_an_operator_removes_or_sets_stays_so(stack):
    """A backend does not argue: without its row it gets no request, until the row is there again."""
    port = stack.backend_ports[2]
    stack.sql(f"DELETE FROM addresses WHERE port = {port}")
    wait_for(lambda: "somebody removed the row" in stack.log("backend.3"), 15, "the backend to notice")
    assert row(stack, 3) is None
    assert request(port, "GET", "/healthz?ready").status == 200
    stack.sql(f"INSERT INTO addresses (address, port, state) VALUES ('127.0.0.1', {port}, 'down')")
    wait_for(lambda: row(stack, 3, "seen") != "NULL", 15, "its sign of life")
    assert row(stack, 3) == "down"
    stack.sql(f"UPDATE addresses SET state = 'up' WHERE port = {port}")


def test_a_restarted_registry_never_shows_an_empty_list(stack):
    """All signs of life are old then, and all equally old. They go on counting for a minute."""
    with stack.database("restarted"):
        stack.sql(script("schema.sql", "restarted"), database=None)
        stack.sql("INSERT INTO addresses (address, port, seen) VALUES"
                  " ('10.0.0.1', 1, NOW(6) - INTERVAL 30 SECOND),"
                  " ('10.0.0.2', 2, NOW(6) - INTERVAL 31 SECOND),"
                  " ('10.0.0.3', 3, NOW(6) - INTERVAL 45 SECOND)", database="restarted")
        assert {line[1] for line in stack.sql(DEFAULT_QUERY, database="restarted")} == {"1", "2"}
        stack.sql("UPDATE addresses SET seen = seen - INTERVAL 31 SECOND", database="restarted")
        assert stack.sql(DEFAULT_QUERY, database="restarted") == []


def _in_background(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread
