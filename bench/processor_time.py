"""Which programs of the stack used how much processor time during a run."""

import os
import resource
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
KINDS = ("osd", "mon", "mgr", "backend", "nginx", "mysql", "radosgw", "client", "others")


class ProcessorTime:
    def __init__(self, stack, gateway=None):
        self.pid_dirs = [stack.settings.pid_dir] + ([stack.dir] if gateway else [])

    def measured(self, run):
        """What `run` returns, a dictionary, with "processor": seconds by kind of program.

        `client` is what runs here, wrk, curl or `rados bench`; `others` all else on this machine, which ought to be
        next to nothing: a run beside other work says little.
        """
        before = self._now()
        result = run()
        after = self._now()
        # A worker of nginx may have come or gone; nothing else does.
        result["processor"] = {kind: max(0.0, after[kind] - before[kind]) for kind in KINDS}
        return result

    def _now(self):
        seconds = dict.fromkeys(KINDS, 0.0)
        for pid_dir in self.pid_dirs:
            for file in pid_dir.glob("*.pid"):
                kind = file.name.partition(".")[0]
                if kind in seconds:
                    for pid in with_children(file.read_text().strip()):
                        seconds[kind] += _seconds_of(pid)
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        seconds["client"] = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        seconds["others"] = _busy_seconds() - sum(seconds.values())
        return seconds


def with_children(pid):
    """nginx's master does nothing, its workers do."""
    try:
        return [pid, *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def nanoseconds_of(pid):
    """Of all threads that it has now, by the scheduler's own count, which is finer than seconds in ticks."""
    return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def _seconds_of(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def _busy_seconds():
    """Of all processors together: all but idle and waiting for the disk."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK
