"""PUT and GET of 4 KiB: the store on one backend and through the balancer, beside `rados bench` and radosgw."""

from clients import RadosBench, wrk
from many import send_all
from processor_time import ProcessorTime
from sides import Gateway, Store
from table import print_table

FOLDER = "bench-small/"
FILES_TO_GET = 2000
SIZE = 4096


def targets(operation, clients):
    """What the balancer is to reach of the others."""
    if operation == "GET":
        return {"rados": 0.7, "radosgw": 8}
    return {"rados": 0.6 if clients < 64 else 0.75, "radosgw": 3}


def measure_small(stack, gateway, rounds, duration, all_clients):
    sides = {"backend": Store(stack.backend), "balancer": Store(stack.balancer), "radosgw": Gateway(gateway.url)}
    times = ProcessorTime(stack, gateway)
    try:
        for label in ("balancer", "radosgw"):
            side = sides[label]
            send_all(side.url, [("PUT", side.path_of(f"{FOLDER}get/{number}"), b"x" * SIZE)
                                for number in range(FILES_TO_GET)])
        with RadosBench(stack) as rados:
            for clients in all_clients:
                candidates = {
                    "PUT": {"rados": lambda: rados.run("write", clients, duration, "-b", str(SIZE), "--no-cleanup")},
                    "GET": {"rados": lambda: rados.run("rand", clients, duration)},
                }
                for label, side in sides.items():
                    candidates["PUT"][label] = lambda side=side: wrk(
                        side.url, clients, duration, "put.lua", [side.path_of(FOLDER + "put/")])
                    candidates["GET"][label] = lambda side=side: wrk(
                        side.url, clients, duration, "get.lua", [side.path_of(FOLDER + "get/"), FILES_TO_GET])
                runs = {operation: {label: [] for label in there} for operation, there in candidates.items()}
                for _ in range(rounds):
                    for operation, there in candidates.items():
                        for label, run in there.items():
                            runs[operation][label].append(times.measured(run))
                    rados.clean_up()
                for operation, results in runs.items():
                    print_table(f"{operation} of 4 KiB, {clients} clients (of rados, p50 is the mean and p99 the most)",
                                results, figure="rate", unit="per second", ratios=["rados", "radosgw"],
                                targets={"balancer": targets(operation, clients)}, per="request")
    finally:
        for label in ("balancer", "radosgw"):
            sides[label].remove(FOLDER)
