"""The promise: a request goes only to a backend that stood in the table after the request arrived.

One clock is used, this process's. A row counts as gone from the moment at which the statement that
removed it has returned until the moment before the one that adds it again is sent. A request that was
sent and answered within such a time, and was answered by that backend, breaks the promise.
"""

import time

import pytest

from load import Load
from proxy import Proxy
from stack import wait_for


@pytest.mark.parametrize("workers, delay, keepalive", [
    (1, 0.0, ""), (1, 0.005, "keepalive 32;"), (2, 0.02, "keepalive 32;")])
def test_a_removed_row_never_gets_a_request(lb, free_port, workers, delay, keepalive):
    constant, changing = lb.backend(), lb.backend()
    target = ("127.0.0.1", int(lb.registry.env["MYSQL_PORT"]))
    gone = []
    with Proxy(("127.0.0.1", free_port()), target) as between:
        between.delay = delay
        lb.start(url=f"mysql://lb@127.0.0.1:{between.listen[1]}/{lb.database}", workers=workers,
                 extra=keepalive, parameters="connections=4")
        with Load(lb.port, threads=16) as load:
            wait_for(lambda: load.count() > 200, 60, "load")
            begun = load.count()
            while load.count() < begun + 4000:
                lb.remove(changing)
                since = time.monotonic()
                count = load.count()
                wait_for(lambda: load.count() > count + 150, 60, "load without the row")
                until = time.monotonic()
                gone.append((since, until))
                lb.add(changing)
                count = load.count()
                wait_for(lambda: load.count() > count + 100, 60, "load with the row")
        lb.nginx.stop()
    assert not load.failed(), load.failed()[:5]

    within = [record for record in load.records
              if any(since <= record.sent and record.answered <= until for since, until in gone)]
    assert len(within) >= 1000, "the load was too thin to tell anything"
    broken = [record for record in within if record.backend != constant.name]
    assert not broken, f"{len(broken)} of {len(within)}: {broken[:5]}"

    # The test can tell: with the row there, that backend was used all the time.
    used = [record for record in load.records if record.backend == changing.name]
    assert len(used) > 300


def test_a_request_does_not_join_a_query_that_runs_already(lb, free_port):
    """What that query answers may be from before the request. Seen with a query of half a second."""
    leaving, staying = lb.backend(), lb.backend()
    lb.start(parameters="connections=1 timeout=10s \"query=SELECT address, port, SLEEP(0.25) AS pause "
                        "FROM addresses\"")
    assert lb.get().status == 200
    for _ in range(3):
        with Load(lb.port, threads=1) as load:
            # One request after the other keeps a query running nearly all the time.
            wait_for(lambda: load.count() >= 1, 30, "a request")
            lb.remove(leaving)
            removed = time.monotonic()
            assert set(lb.answering(3)) == {staying.name}
        late = [record for record in load.records if record.sent >= removed]
        assert {record.backend for record in late} <= {staying.name}
        lb.add(leaving)
