"""A page of a listing out of many files: the store beside radosgw."""

import statistics
import time

from many import send_all
from processor_time import ProcessorTime
from running_stack import Failure, connect, say
from sides import PAGE, Gateway, Store
from table import print_table

TREE = "bench-list/"
FILES_PER_FOLDER = 1000
PAGES_PER_RUN = 30
CONTENT = b"sixteen bytes..."


def names_of(count):
    return [f"{TREE}folder-{number // FILES_PER_FOLDER:04}/file-{number % FILES_PER_FOLDER:04}"
            for number in range(count)]


def fill(label, side, names):
    """Makes the files that are not there yet, removes what another run with more files left, and looks again."""
    there, wanted = side.names(TREE), set(names)
    say(f"{label}: {len(there & wanted)} files are there, {len(wanted - there)} to be made, "
        f"{len(there - wanted)} to be removed")
    send_all(side.url, [("PUT", side.path_of(name), CONTENT) for name in sorted(wanted - there)], progress=20000)
    send_all(side.url, [("DELETE", side.path_of(name), b"") for name in sorted(there - wanted)], progress=20000)
    if side.names(TREE) != wanted:
        raise Failure(f"{label}: the files below {TREE} are not those that were made")


def questions(names):
    """What is asked for: label, the page's parameters, how many files and folders the answer has."""
    folders = (len(names) + FILES_PER_FOLDER - 1) // FILES_PER_FOLDER
    middle = folders // 2
    in_folder = min(FILES_PER_FOLDER, len(names) - middle * FILES_PER_FOLDER)
    half = len(names) // 2
    return [
        ("first page", {}, min(PAGE, len(names)), 0),
        ("page from the middle", {"after": names[half]}, min(PAGE, len(names) - half - 1), 0),
        ("folders of the root", {"delimiter": "/"}, 0, min(PAGE, folders)),
        ("files of one folder", {"prefix": f"{TREE}folder-{middle:04}/", "delimiter": "/"}, in_folder, 0),
    ]


def run_pages(side, path, expected):
    """PAGES_PER_RUN pages, one after another on one connection: the median of their times in milliseconds."""
    connection = connect(side.url)
    times = []
    try:
        for _ in range(PAGES_PER_RUN):
            begun = time.perf_counter()
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            times.append((time.perf_counter() - begun) * 1000)
            if response.status != 200:
                raise Failure(f"GET {side.url}{path} answered {response.status}")
    finally:
        connection.close()
    names, folders = side.parse(body)
    if (len(names), len(folders)) != expected:
        raise Failure(f"GET {side.url}{path}: {len(names)} files and {len(folders)} folders where {expected} were due")
    return {"p50": statistics.median(times), "p99": sorted(times)[-1], "units": PAGES_PER_RUN, "failed": 0}


def measure_listing(stack, gateway, rounds, files, keep):
    names = names_of(files)
    sides = {"balancer": Store(stack.balancer), "radosgw": Gateway(gateway.url)}
    for label, side in sides.items():
        fill(label, side, names)
    times = ProcessorTime(stack, gateway)
    try:
        for what, parameters, file_count, folder_count in questions(names):
            runs = {label: [] for label in sides}
            for _ in range(rounds):
                for label, side in sides.items():
                    path = side.page(**{"prefix": TREE, **parameters})
                    runs[label].append(times.measured(lambda: run_pages(side, path, (file_count, folder_count))))
            print_table(
                f"{what}: {file_count} files, {folder_count} folders, out of {files} files; one client",
                runs, figure="p50", unit="p50 ms", less_is_better=True, per="page",
                ratios=["radosgw"], targets={"balancer": {"radosgw": 3.0}})
    finally:
        if not keep:
            sides["balancer"].remove(TREE)  # radosgw's go with its pools.
