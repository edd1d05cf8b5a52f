"""The clients that measure: wrk, `rados bench` and curl. Each returns a run: a dictionary of figures."""

import os
import re
import subprocess
import time

from running_stack import MIB, Failure

BENCH = os.path.dirname(os.path.abspath(__file__))


def seconds_of(text):
    number, unit = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def wrk(url, connections, duration, script=None, arguments=()):
    """Requests per second, p50 and p99 in milliseconds, and the responses that were not 2xx."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{duration}s", "--latency", url]
    if script:
        command[1:1] = ["-s", os.path.join(BENCH, script)]
        command += ["--", *(str(argument) for argument in arguments)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise Failure(f"{' '.join(command)} failed: {result.stderr.strip() or result.stdout.strip()}")
    text = result.stdout
    failed = sum(int(number) for line in re.findall(r"(?:Non-2xx or 3xx responses|Socket errors):(.*)", text)
                 for number in re.findall(r"\b\d+\b", line))
    return {
        "rate": float(re.search(r"Requests/sec:\s+([0-9.]+)", text).group(1)),
        "p50": seconds_of(re.search(r"^\s+50%\s+(\S+)", text, re.M).group(1)) * 1000,
        "p99": seconds_of(re.search(r"^\s+99%\s+(\S+)", text, re.M).group(1)) * 1000,
        "units": int(re.search(r"(\d+) requests in", text).group(1)),
        "failed": failed,
    }


class RadosBench:
    """`rados bench` in a pool of its own, made as ours is."""

    POOL = "bench"

    def __init__(self, stack):
        self.stack = stack

    def __enter__(self):
        self.stack.make_pool(self.POOL, 32, "bench")
        return self

    def __exit__(self, *_):
        self.stack.remove_pool(self.POOL)

    def run(self, mode, in_flight, duration, *options):
        """`rate` and `units` count operations. It knows no percentiles: p50 is the mean here, p99 the most."""
        text = self.stack.run("rados", "-p", self.POOL, "bench", str(duration), mode, "-t", str(in_flight), *options)

        def number(label):
            return float(re.search(rf"^{re.escape(label)}:\s+([0-9.]+)", text, re.M).group(1))
        operations = number("Total writes made" if mode == "write" else "Total reads made")
        # What it calls MB are MiB.
        mib_per_s = number("Bandwidth (MB/sec)")
        return {"rate": number("Average IOPS"), "mib_per_s": mib_per_s, "failed": 0,
                "p50": number("Average Latency(s)") * 1000, "p99": number("Max latency(s)") * 1000,
                "units": operations, "mib": mib_per_s * number("Total time run")}

    def clean_up(self):
        self.stack.run("rados", "-p", self.POOL, "cleanup")


def transfer(commands, bytes_each):
    """Runs curls side by side: MiB/s from the first's start to the last's end. A Failure if one does not succeed.

    `commands` holds each one's arguments, and `bytes_each` is what each moves.
    """
    begun = time.perf_counter()
    children = [subprocess.Popen(["curl", "--silent", "--show-error", "--fail", "--write-out",
                                  "%{http_code} %{size_upload} %{size_download}\n", *command],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands]
    outputs = [child.communicate() for child in children]
    elapsed = time.perf_counter() - begun
    for child, command, (out, err) in zip(children, commands, outputs):
        # One line a transfer; the answer to an upload is a few bytes long.
        moved = sum(max(int(up), int(down)) for _, up, down in (line.split() for line in out.splitlines()))
        if child.returncode != 0 or moved != bytes_each:
            raise Failure(f"curl {' '.join(command)}: {err.strip() or f'{moved} bytes of {bytes_each} moved'}")
    mib = len(commands) * bytes_each / MIB
    return {"mib_per_s": mib / elapsed, "mib": mib, "failed": 0}


def upload(url, paths, file):
    """Sends the file to each of the paths, all at once. `Expect:` is left out: it would only add a wait."""
    size = os.path.getsize(file)
    return transfer([["--header", "Expect:", "--output", "/dev/null", "--upload-file", file, url + path]
                     for path in paths], size)


def download(url, paths, size, times):
    """Fetches all of the paths at once, each so many times, one after the other on one connection."""
    return transfer([["--output", "/dev/null", url + path] * times for path in paths], size * times)
