"""PUT and GET of 256 MiB: the store through the balancer, beside `rados bench` with 4 MiB and radosgw."""

import os
import time

from clients import RadosBench, download, upload
from processor_time import ProcessorTime
from running_stack import MIB, POOL, say
from sides import Gateway, Store
from table import print_table

FOLDER = "bench-large/"
SIZE = 256 * MIB
# One fetch alone would be over in less than a second.
FETCHES = 4


def make_file(path, size):
    """Of random bytes, so that nothing on the way can make less of it."""
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))


def targets(operation, clients):
    if operation == "GET":
        return {"rados": 0.75, "radosgw": 1.3}
    return {"rados": 0.75 if clients == 1 else 0.9, "radosgw": 1}


def stripes(stack):
    return stack.run("rados", "-p", POOL, "-N", "stripe", "ls").count("\n")


def remove_files(stack, gateway, sides, stripes_before):
    """Deletes them, and waits for their content to go: the next round is not to share the disk with that."""
    for side in sides.values():
        side.remove(FOLDER)
    gateway.collect_garbage()
    deadline = time.monotonic() + 20
    while stripes(stack) > stripes_before:
        if time.monotonic() > deadline:
            say("the deleted files' content is still there: start the stack with a short --download-grace")
            return
        time.sleep(0.5)


def measure_large(stack, gateway, rounds, duration, all_clients):
    sides = {"balancer": Store(stack.balancer), "radosgw": Gateway(gateway.url)}
    times = ProcessorTime(stack, gateway)
    content = str(stack.dir / "content")
    stripes_before = stripes(stack)
    make_file(content, SIZE)
    try:
        with RadosBench(stack) as rados:
            for clients in all_clients:
                candidates = {
                    "PUT": {"rados": lambda: rados.run("write", 16, duration, "-b", "4M", "--no-cleanup")},
                    "GET": {"rados": lambda: rados.run("seq", 16, duration)},
                }
                for label, side in sides.items():
                    paths = [side.path_of(f"{FOLDER}{number}") for number in range(clients)]
                    candidates["PUT"][label] = lambda side=side, paths=paths: upload(side.url, paths, content)
                    candidates["GET"][label] = lambda side=side, paths=paths: download(side.url, paths, SIZE, FETCHES)
                runs = {operation: {label: [] for label in there} for operation, there in candidates.items()}
                for _ in range(rounds):
                    # Ours, radosgw's, and what rados bench may write meanwhile.
                    stack.require_room(2 * clients * SIZE + duration * 200 * MIB)
                    for operation, there in candidates.items():
                        for label, run in there.items():
                            runs[operation][label].append(in_mib(times.measured(run)))
                    rados.clean_up()
                    remove_files(stack, gateway, sides, stripes_before)
                for operation, results in runs.items():
                    print_table(f"{operation} of 256 MiB, {clients} client{'s' if clients > 1 else ''}; "
                                "rados: 16 times 4 MiB in flight; client: curl",
                                results, figure="mib_per_s", unit="MiB/s", ratios=["rados", "radosgw"],
                                targets={"balancer": targets(operation, clients)}, per="MiB")
    finally:
        os.unlink(content)
        for side in sides.values():
            side.remove(FOLDER)


def in_mib(run):
    """For a run of large files, processor time counts by the MiB, and single latencies mean nothing."""
    return {"mib_per_s": run["mib_per_s"], "failed": run["failed"], "units": run["mib"], "processor": run["processor"]}
