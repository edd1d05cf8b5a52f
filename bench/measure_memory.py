"""The resident memory of one backend with many large uploads and downloads at once."""

import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clients import download, upload
from measure_large import make_file
from running_stack import MIB, Failure, say
from sides import Store

FOLDER = "bench-memory/"
UNITS = {"": 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}
# What may come on top of --memory.
MARGIN = 128 * MIB


class Watch:
    """Samples a process until it is told to stop. `peak`: the most that was seen of each, in bytes."""

    INTERVAL_S = 0.02

    def __init__(self, pid):
        self.status = Path(f"/proc/{pid}/status")
        self.peak = {"RssAnon": 0, "RssFile": 0, "VmHWM": 0}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        # The kernel's own peak, VmHWM, begins anew: what happened before is not meant.
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        self.at_first = self._sample()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _sample(self):
        found = dict(re.findall(r"^(\w+):\s+(\d+) kB", self.status.read_text(), re.M))
        return {name: int(found[name]) * 1024 for name in self.peak}

    def _watch(self):
        while True:
            for name, now in self._sample().items():
                self.peak[name] = max(self.peak[name], now)
            if self._stop.wait(self.INTERVAL_S):
                return


def memory_option(pid):
    """What --memory of that backend is."""
    arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    text = arguments[arguments.index("--memory") + 1] if "--memory" in arguments else "256MiB"
    number, unit = re.fullmatch(r"(\d+)(\w*)", text).groups()
    return int(number) * UNITS[unit]


def require_disk(stack, clients, size):
    """Room for the bodies on their way, whose files grow by doubling, and for the OSDs' files."""
    wanted = 2 * clients * size + 2 * (clients + 1) * size
    free = shutil.disk_usage(stack.dir).free
    if free < wanted:
        raise Failure(f"{stack.dir}: {free // MIB} MiB are free, {wanted // MIB} may be needed: take a smaller --size")
    stack.require_room((clients + 1) * size)


def measure_memory(stack, clients, size):
    pid = int((stack.settings.pid_dir / "backend.1.pid").read_text())
    store = Store(stack.backend)
    content = str(stack.dir / "content")
    require_disk(stack, clients, size)
    try:
        make_file(content, size)
        upload(store.url, [store.path_of(FOLDER + "get")], content)
        with Watch(pid) as watch, ThreadPoolExecutor(2) as pool:
            say(f"{clients} uploads and {clients} downloads of {size // MIB} MiB on one backend")
            uploads = pool.submit(upload, store.url,
                                  [store.path_of(f"{FOLDER}{number}") for number in range(clients)], content)
            # The downloads are the faster ones: they begin anew until the uploads are done.
            fetched = 0
            while True:
                fetched += download(store.url, [store.path_of(FOLDER + "get")] * clients, size, 1)["mib"]
                if uploads.done():
                    break
            sent = uploads.result()
    finally:
        if os.path.exists(content):
            os.unlink(content)
        store.remove(FOLDER)
    limit = memory_option(pid) + MARGIN
    print(f"\nresident memory of one backend: {clients} uploads and {clients} downloads of {size // MIB} MiB at once "
          f"({sent['mib_per_s']:.0f} MiB/s up, {fetched / (sent['mib'] / sent['mib_per_s']):.0f} MiB/s down)")
    print(f"{'':8} {'before':>8} {'peak':>8}")
    for name, meaning in (("RssAnon", "memory of its own"), ("RssFile", "mapped files: the program, bodies on their way"),
                          ("VmHWM", "both at once, as the kernel has it")):
        print(f"{name:8} {watch.at_first[name] / MIB:8.0f} {watch.peak[name] / MIB:8.0f} MiB  {meaning}")
    reached = watch.peak["VmHWM"]
    print(f"target: VmHWM at most --memory and {MARGIN // MIB} MiB, {limit // MIB} MiB: "
          f"{'ok' if reached <= limit else 'short'} ({reached / limit:.2f} of it)")
