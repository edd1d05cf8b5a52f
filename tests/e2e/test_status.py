"""/status, /healthz and /metrics, and what is said of paths and methods that there are not."""

import json
import re

from files import Files, everywhere, files, is_problem, objects_of_pool, target_of
from stack import Client, request, wait_for


def status(port):
    answer = request(port, "GET", "/status")
    assert answer.status == 200, answer
    assert answer.header("Content-Type") == "application/json"
    return json.loads(answer.body)


def ceph(stack, *words):
    return json.loads(stack.command("ceph", *words, "-f", "json"))


def agrees(told, asked, what):
    """Waits until both say the same: the cluster reports its figures once a second."""
    def both():
        mine, theirs = told(), asked()
        both.last = (mine, theirs)
        return mine == theirs
    both.last = None
    try:
        wait_for(both, 20, what, interval=0.2)
    except AssertionError:
        raise AssertionError(f"{what}: {both.last}") from None


# --- /status ----------------------------------------------------------------------------------------

def test_status_has_these_fields(everywhere):
    told = status(everywhere.port)
    assert set(told) == {"fsid", "health", "monitors", "quorum", "quorum_leader", "osds", "placement_groups", "capacity",
                         "pool", "backend"}
    assert set(told["health"]) == {"status", "checks"}
    assert [set(monitor) for monitor in told["monitors"]] == [{"name", "address", "in_quorum"}] * 3
    assert set(told["osds"]) == {"total", "up", "in"}
    assert set(told["placement_groups"]) == {"total", "by_state"}
    assert set(told["capacity"]) == {"total_bytes", "used_bytes", "available_bytes"}
    assert set(told["pool"]) == {"name", "objects", "bytes", "reads", "writes", "available_bytes"}
    assert set(told["backend"]) == {"name", "version", "uptime_seconds", "requests", "requests_active", "server_errors",
                                    "connections_open", "bytes_received", "bytes_sent", "rados_operations",
                                    "rados_operations_failed", "damaged", "index"}
    assert set(told["backend"]["index"]) == {"entries_moved", "repairs", "scrubs", "scrub_heads", "scrub_steps_done",
                                             "scrub_steps"}


def test_status_says_what_ceph_says(everywhere, stack):
    port, pool = everywhere.port, stack.env["CEPH_POOL"]
    everywhere.put(everywhere.name("some content"), bytes(12345))
    there = ceph(stack, "-s")
    told = status(port)
    assert told["fsid"] == there["fsid"]
    assert told["pool"]["name"] == pool
    assert (told["health"]["status"], told["health"]["checks"]) == ("HEALTH_OK", [])

    dump = ceph(stack, "mon", "dump")
    assert told["monitors"] == [{"name": mon["name"], "address": mon["public_addr"],
                                 "in_quorum": mon["name"] in there["quorum_names"]} for mon in dump["mons"]]
    assert told["quorum"] == there["quorum_names"]
    assert told["quorum_leader"] == ceph(stack, "quorum_status")["quorum_leader_name"]
    osds = there["osdmap"]
    assert told["osds"] == {"total": osds["num_osds"], "up": osds["num_up_osds"], "in": osds["num_in_osds"]}

    def groups():
        here = ceph(stack, "-s")["pgmap"]
        return {"total": here["num_pgs"],
                "by_state": {state["state_name"]: state["count"] for state in here["pgs_by_state"]}}
    agrees(lambda: status(port)["placement_groups"], groups, "the placement groups")

    def capacity():
        here = ceph(stack, "df")["stats"]
        return {"total_bytes": here["total_bytes"], "used_bytes": here["total_used_raw_bytes"],
                "available_bytes": here["total_avail_bytes"]}
    agrees(lambda: status(port)["capacity"], capacity, "the capacity")

    def of_the_pool():
        [here] = [each for each in ceph(stack, "df", "detail")["pools"] if each["name"] == pool]
        [used] = [each for each in json.loads(stack.command("rados", "df", "-f", "json"))["pools"]
                  if each["name"] == pool]
        return {"name": pool, "objects": here["stats"]["objects"], "reads": used["read_ops"],
                "writes": used["write_ops"], "available_bytes": here["stats"]["max_avail"]}

    def told_of_the_pool():
        return {key: value for key, value in status(port)["pool"].items() if key != "bytes"}
    agrees(told_of_the_pool, of_the_pool, "the pool's figures")


def test_the_bytes_of_the_pool_are_those_of_its_files(files, stack):
    """What was stored, as `ceph df` has it: not what it takes up on all OSDs together."""
    port = files.port
    files.put(files.name("some content"), bytes(12345))

    def there():
        [here] = [each for each in ceph(stack, "df", "detail")["pools"] if each["name"] == stack.env["CEPH_POOL"]]
        return here["stats"]["stored"]
    agrees(lambda: status(port)["pool"]["bytes"], there, "the pool's bytes")


def test_status_follows_what_is_stored(files, stack):
    port = files.port

    def pool():
        """What is told of the pool once it tells of all its objects: the figures come a little later."""
        def there():
            told = status(port)["pool"]
            return told if told["objects"] == objects_of_pool(stack) else None
        return wait_for(there, 30, "all objects to be counted", 0.2)

    before = pool()
    for number in range(100):
        assert files.put(files.name(str(number)), bytes(1000)).status == 201
    after = pool()
    # The backends' own objects come and go besides: journals, and the log of what is to be collected.
    assert abs(after["objects"] - before["objects"] - 100) <= 30
    assert after["writes"] > before["writes"]


def test_status_tells_of_health_checks(everywhere, stack):
    port = everywhere.port
    stack.command("ceph", "osd", "set", "noout")
    try:
        wait_for(lambda: status(port)["health"]["status"] == "HEALTH_WARN", 30, "a warning", 0.1)
        there = ceph(stack, "-s")["health"]["checks"]
        assert status(port)["health"]["checks"] == [
            {"name": name, "severity": check["severity"], "message": check["summary"]["message"]}
            for name, check in there.items()]
        assert "OSDMAP_FLAGS" in there
    finally:
        stack.command("ceph", "osd", "unset", "noout")
    wait_for(lambda: status(port)["health"]["status"] == "HEALTH_OK", 30, "HEALTH_OK", 0.1)


def test_status_tells_of_this_backend(stack):
    port = stack.backend_ports[1]
    before = status(port)["backend"]
    assert before["name"] == f"127.0.0.1:{port}"
    assert re.fullmatch(r"\d+\.\d+\.\d+", before["version"])
    assert before["requests_active"] == 1  # The one that asks.
    with Files(port) as user:
        user.put(user.name("counted"), bytes(50_000))
        user.get(user.name("counted"))
    after = status(port)["backend"]
    assert after["requests"] >= before["requests"] + 4  # PUT, GET, DELETE and the status before.
    assert after["bytes_received"] >= before["bytes_received"] + 50_000
    assert after["bytes_sent"] >= before["bytes_sent"] + 50_000
    assert after["rados_operations"] >= before["rados_operations"] + 3
    assert after["uptime_seconds"] >= before["uptime_seconds"]
    assert after["server_errors"] == before["server_errors"]


def test_status_as_text(everywhere):
    answer = everywhere.client.get("/status", {"Accept": "text/plain"})
    assert answer.status == 200
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"
    lines = dict(line.split(" : ", 1) for line in answer.text.splitlines())
    told = status(everywhere.port)

    def leaves(node, path):
        if isinstance(node, dict):
            for key, value in node.items():
                yield from leaves(value, path + [key])
        elif isinstance(node, list):
            for number, value in enumerate(node):
                yield from leaves(value, path + [str(number)])
        else:
            yield ".".join(path), node
    expected = dict(leaves(told, []))
    assert set(lines) == set(expected)
    for key in ("fsid", "health.status", "monitors.0.name", "quorum_leader", "osds.up", "pool.name", "backend.version"):
        assert lines[key] == str(expected[key])
    assert lines["monitors.2.in_quorum"] == "true"


def test_head_of_what_is_read(everywhere):
    for target in ("/status", "/healthz", "/healthz?ready", "/metrics"):
        get, head = everywhere.client.get(target), everywhere.client.request("HEAD", target)
        assert (head.status, head.body) == (200, b"")
        assert head.header("Content-Type") == get.header("Content-Type")
        assert int(head.header("Content-Length")) > 0


# --- /healthz and /metrics --------------------------------------------------------------------------

def test_healthz(everywhere):
    for target in ("/healthz", "/healthz?ready"):
        answer = everywhere.client.get(target)
        assert (answer.status, answer.body) == (200, b"ok\n")
        assert answer.header("Content-Type").startswith("text/plain")
        assert answer.header("Cache-Control") == "no-store"
    for query in ("ready=1", "x", "Ready", "ready&x", ""):
        assert is_problem(everywhere.client.get("/healthz?" + query), 400, "bad-query", "ready")


SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)+)\})? (-?[0-9.e+]+|NaN|[+-]Inf)( \d+)?')


def metrics(port):
    """What /metrics says, as {name and labels: value}; every line has to be in Prometheus' text format."""
    answer = request(port, "GET", "/metrics")
    assert answer.status == 200
    assert answer.header("Content-Type").startswith("text/plain; version=0.0.4")
    assert answer.body.endswith(b"\n")
    types, helped, values = {}, set(), {}
    for line in answer.text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped and line.split(" ", 3)[3]
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types and kind in ("counter", "gauge", "histogram", "summary")
            types[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            name = found.group(1)
            assert name in types and name in helped, line
            assert (types[name] == "counter") == name.endswith("_total"), line
            key = name + ("{" + found.group(2) + "}" if found.group(2) else "")
            assert key not in values, line
            values[key] = float(found.group(3))
    assert set(types) == {key.split("{")[0] for key in values}
    return values


def test_metrics_move(stack):
    port = stack.backend_ports[2]
    name = "ceph_lb_backend_"
    before = metrics(port)
    assert before[name + "ceph_connected"] == 1
    assert before[name + "draining"] == 0
    assert before[name + "requests_active"] == 1
    assert [key for key in before if key.startswith(name + "info{version=")]
    with Files(port) as user:
        user.put(user.name("a"), bytes(10_000))
        user.get(user.name("a"))
        user.get(user.name("nothing"))
        user.head(user.name("a"))
        user.client.request("POST", "/objects", b"")
        user.client.request("PATCH", "/objects", b"")
        with Client(port) as other:
            other.get("/healthz")
            assert metrics(port)[name + "connections_open"] >= 3
    after = metrics(port)
    for key, more in (('requests_total{method="GET"}', 3), ('requests_total{method="HEAD"}', 1),
                      ('requests_total{method="PUT"}', 1), ('requests_total{method="POST"}', 1),
                      ('requests_total{method="DELETE"}', 1), ('requests_total{method="other"}', 1),
                      ('responses_total{class="2xx"}', 5), ('responses_total{class="4xx"}', 3),
                      ("connections_accepted_total", 3), ("received_bytes_total", 10_000),
                      ("sent_bytes_total", 10_000), ("rados_operations_total", 4),
                      ("rados_written_bytes_total", 10_000), ("rados_read_bytes_total", 10_000)):
        assert after[name + key] >= before[name + key] + more, key
    assert after[name + 'responses_total{class="5xx"}'] == before[name + 'responses_total{class="5xx"}']
    assert after[name + "rados_operations_failed_total"] == before[name + "rados_operations_failed_total"]
    for key, value in before.items():
        if "_total" in key:
            assert after[key] >= value, key


def test_what_is_open_and_active_goes_back(stack):
    port = stack.backend_ports[2]
    clients = [Client(port) for _ in range(10)]
    for client in clients:
        client.get("/healthz")
    assert metrics(port)["ceph_lb_backend_connections_open"] >= 11
    for client in clients:
        client.close()
    wait_for(lambda: metrics(port)["ceph_lb_backend_connections_open"] < 11, what="the connections to be closed")
    assert metrics(port)["ceph_lb_backend_requests_active"] == 1


# --- paths and methods ------------------------------------------------------------------------------

def test_paths_that_there_are_not(everywhere):
    for path in ("/", "/nothing", "/object", "/objectsx", "/Objects", "/OBJECTS/x", "/status/", "/status/x", "/metrics/",
                 "/healthz/", "//objects", "/%6fbjects", "/index.html", "/favicon.ico"):
        for method in ("GET", "PUT", "POST", "DELETE", "OPTIONS"):
            answer = everywhere.client.request(method, path, b"" if method in ("PUT", "POST") else None)
            assert is_problem(answer, 404, "no-such-resource"), (method, path)


def test_methods_that_cannot_be_used(everywhere):
    for target, allowed in (("/objects", {"GET", "HEAD", "POST"}), ("/objects/x", {"GET", "HEAD", "PUT", "POST", "DELETE"}),
                            ("/status", {"GET", "HEAD"}), ("/healthz", {"GET", "HEAD"}), ("/metrics", {"GET", "HEAD"}),
                            ("/healthz?ready", {"GET", "HEAD"})):
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "MOVE", "Get", "FOO"):
            if method in allowed:
                continue
            if method == "Get" and everywhere.prefix.startswith("balancer"):
                continue  # nginx knows methods in capitals only: see the malformed requests.
            answer = everywhere.client.request(method, target, b"x" if method in ("PUT", "POST", "PATCH") else None)
            assert is_problem(answer, 405, "method-not-allowed"), (method, target)
            assert {each.strip() for each in answer.header("Allow").split(",")} == allowed, (method, target)


def test_errors_in_text(everywhere):
    for target, code, what in (("/nothing", 404, "nothing under this path"), (target_of(everywhere.name("x")), 404, "no such file"),
                               ("/objects?limit=0", 400, "limit")):
        answer = everywhere.client.get(target, {"Accept": "text/plain"})
        assert answer.status == code
        assert answer.header("Content-Type") == "text/plain; charset=utf-8"
        assert what in answer.text and answer.text.endswith("\n") and "{" not in answer.text


def test_every_response_says_who_answered(stack):
    address = stack.backend_address(1)
    with Files(stack.backend_ports[0]) as user:
        name = user.name("x")
        version = status(user.port)["backend"]["version"]
        for answer in (user.put(name, b"x"), user.get(name), user.head(name), user.get(user.name("nothing")),
                       user.get(name, {"Range": "bytes=0-0"}), user.get(name, {"Range": "bytes=9-"}),
                       user.put(name, b"x", {"If-None-Match": "*"}), user.listing(), user.client.get("/status"),
                       user.client.get("/healthz"), user.client.get("/metrics"), user.client.get("/nothing"),
                       user.client.request("PATCH", "/status"), user.delete(name)):
            assert answer.header("X-Backend") == address, answer
            assert answer.header("Server") == f"ceph-lb/{version}", answer
    with Client(stack.port) as client:
        seen = {client.get("/healthz").header("X-Backend") for _ in range(12)}
    assert seen == {stack.backend_address(number) for number in (1, 2, 3)}
