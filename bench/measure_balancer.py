"""What the choice by a table costs: nginx with the module, beside the same nginx with the same backends as `server` lines."""

import operator
import re
import tempfile
from pathlib import Path

from balancer_stack import ROWS, BalancerStack
from clients import wrk
from open_loop import open_loop
from processor_time import nanoseconds_of
from running_stack import MIB, Failure, say
from table import median, paired, verdict

# Least ratio of requests/s, by clients.
RATE_LEAST = {16: 0.75, 64: 0.9, 256: 0.97}
LARGE_TABLE_LEAST = 0.9
LATENCY_MORE_US_MOST = 50
P99_MOST = 1.3
PROCESSOR_MOST = 1.15
PROCESSOR_CLIENTS = 64
MEMORY_MORE_MOST = MIB
MEMORY_REQUESTS = 1000000
MEMORY_CHANGES = 1000


def measure_balancer(first_port, rounds, seconds):
    with BalancerStack(first_port) as stack:
        say(f"lb: {rounds} rounds of {', '.join(_static_first(stack.sides))}")
        small = [name for name in stack.sides if not name.endswith("rows")]
        for side in stack.sides.values():  # Connections to the backends are opened, and memory is taken.
            wrk(side.url, max(RATE_LEAST), seconds)
        runs = {clients: {name: [] for name in stack.sides} for clients in (1, *RATE_LEAST)}
        for number in range(rounds):
            for clients in runs:
                for name in _in_turn(small if clients == 1 else stack.sides, number):
                    runs[clients][name].append(_turn(stack, stack.sides[name], clients, seconds))
        _print_rates(runs)
        _print_latency(runs[1], small)
        _print_processor_time(runs[PROCESSOR_CLIENTS])
        full_rate = median(runs[PROCESSOR_CLIENTS]["module"], "rate")
        _measure_half_rate(stack, small, full_rate / 2, rounds, seconds)
        _measure_memory(stack, [name for name in small if name != "static"], full_rate)


def _in_turn(names, number):
    """The other way round every other time: nobody always comes after the same one."""
    return list(names)[::-1 if number % 2 else 1]


def _turn(stack, side, clients, seconds):
    worker = side.worker()
    selects, nanoseconds = stack.selects(), nanoseconds_of(worker)
    run = wrk(side.url, clients, seconds)
    run["processor_us"] = (nanoseconds_of(worker) - nanoseconds) / 1000 / run["units"]
    run["queries"] = stack.selects() - selects
    run["seconds"] = run["units"] / run["rate"]
    return run


def _static_first(names):
    return sorted(names, key=lambda name: (name != "static", "rows" in name))


def _failed(results):
    return sum(run["failed"] for run in results)


def _print_rates(runs):
    print("\nrequests/s, one nginx worker, three backends; a ratio is the median of the rounds' own ratios")
    print(f"{'clients':>7} {'':23} {'requests/s':>10} {'of static':>9} {'p50 ms':>7} {'p99 ms':>7} {'queries/s':>9} "
          f"{'requests/query':>14} {'failed':>6}  target")
    for clients, least in RATE_LEAST.items():
        there = runs[clients]
        for name in _static_first(there):
            results = there[name]
            cells = f"{clients:7d} {name:23} {median(results, 'rate'):10.0f} "
            cells += f"{paired(results, there['static'], 'rate'):9.2f} " if name != "static" else f"{'':10}"
            cells += f"{median(results, 'p50'):7.2f} {median(results, 'p99'):7.2f} "
            queries = sum(run["queries"] for run in results)
            cells += (f"{queries / sum(run['seconds'] for run in results):9.0f} "
                      f"{sum(run['units'] for run in results) / queries:14.1f} " if name != "static" else f"{'':25}")
            base = name.removesuffix(f" {ROWS} rows") if name.endswith("rows") else "static"
            wanted = least if base == "static" else LARGE_TABLE_LEAST
            reached = paired(results, there[base], "rate")
            cells += f"{_failed(results):6d}"
            if name != "static":
                cells += "  " + verdict(f"{wanted:g} of {base}", reached, reached >= wanted, ".3f")
            print(cells.rstrip())


def _print_latency(runs, names):
    print(f"\none client\n{'':23} {'p50 µs':>8} {'above static':>12}  target")
    for name in _static_first(names):
        cells = f"{name:23} {median(runs[name], 'p50') * 1000:8.0f} "
        if name != "static":
            more = paired(runs[name], runs["static"], "p50", operator.sub) * 1000
            cells += f"{more:12.0f}  " + verdict(f"at most {LATENCY_MORE_US_MOST} µs", more,
                                                 more <= LATENCY_MORE_US_MOST, ".0f")
        print(cells.rstrip())


def _print_processor_time(runs):
    print(f"\nprocessor time of the nginx worker, {PROCESSOR_CLIENTS} clients\n"
          f"{'':23} {'µs a request':>12} {'of static':>9}  target")
    for name in _static_first(runs):
        cells = f"{name:23} {median(runs[name], 'processor_us'):12.2f} "
        if name != "static":
            reached = paired(runs[name], runs["static"], "processor_us")
            cells += f"{reached:9.2f}  "
            if not name.endswith("rows"):
                cells += verdict(f"at most {PROCESSOR_MOST:g}", reached, reached <= PROCESSOR_MOST)
        print(cells.rstrip())


def _measure_half_rate(stack, names, rate, rounds, seconds):
    runs = {name: [] for name in names}
    for number in range(rounds):
        for name in _in_turn(names, number):
            runs[name].append(open_loop(stack.sides[name].port, rate, seconds, PROCESSOR_CLIENTS, number))
    print(f"\nhalf of the module's full rate, at random moments: {rate:.0f} requests/s, {PROCESSOR_CLIENTS} connections\n"
          f"{'':23} {'requests/s':>10} {'p50 ms':>7} {'p99 ms':>7} {'of static':>9} {'failed':>6}  target")
    for name in _static_first(names):
        results = runs[name]
        cells = f"{name:23} {median(results, 'rate'):10.0f} {median(results, 'p50'):7.2f} {median(results, 'p99'):7.2f} "
        reached = paired(results, runs["static"], "p99")
        cells += f"{reached:9.2f} " if name != "static" else f"{'':10}"
        cells += f"{_failed(results):6d}"
        if name != "static":
            cells += "  " + verdict(f"at most {P99_MOST:g}", reached, reached <= P99_MOST)
        print(cells.rstrip())


def _measure_memory(stack, names, rate):
    print(f"\nmemory of the nginx worker (RssAnon): {MEMORY_REQUESTS} requests, {MEMORY_CHANGES} changes of the list\n"
          f"{'':23} {'before MiB':>10} {'after MiB':>9} {'requests':>9} {'failed':>6}  target")
    for name in names:
        side = stack.sides[name]
        _requests_and_changes(stack, side, MEMORY_REQUESTS // 10, MEMORY_CHANGES // 10, rate)
        before = _own_memory(side.worker())
        requests, failed = _requests_and_changes(stack, side, MEMORY_REQUESTS, MEMORY_CHANGES, rate)
        after = _own_memory(side.worker())
        more = (after - before) / MIB
        print(f"{name:23} {before / MIB:10.2f} {after / MIB:9.2f} {requests:9d} {failed:6d}  "
              + verdict(f"at most {MEMORY_MORE_MOST / MIB:g} MiB more", more, after - before <= MEMORY_MORE_MOST))


def _requests_and_changes(stack, side, requests_least, changes, rate):
    """Both at once until there were enough of both.

    The pauses between the changes take half of the time that the requests ought to, the changes themselves the rest.
    """
    fourth, first = stack.backend_ports[-1], stack.backend_ports[0]
    cycle = (f"INSERT INTO addresses (address, port) VALUES ('127.0.0.1', {fourth})",
             f"UPDATE addresses SET weight = 3 WHERE port = {first}",
             f"UPDATE addresses SET weight = 1 WHERE port = {first}",
             f"DELETE FROM addresses WHERE port = {fourth}")
    pause = requests_least / rate / changes / 2
    requests = failed = 0
    with tempfile.TemporaryFile("w+") as statements:
        for number in range(changes):
            # Each is committed when it is done, and only then comes the next one.
            statements.write(f"{cycle[number % len(cycle)]}; DO SLEEP({pause:.6f});\n")
        statements.seek(0)
        writer = stack.client(statements)
        try:
            while requests < requests_least or writer.poll() is None:
                run = wrk(side.url, PROCESSOR_CLIENTS, 1)
                requests += run["units"]
                failed += run["failed"]
        finally:
            writer.kill()
            writer.wait()
    if writer.returncode != 0:
        raise Failure("the table could not be changed: mariadb says why above")
    return requests, failed


def _own_memory(pid):
    return int(re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M).group(1)) * 1024
