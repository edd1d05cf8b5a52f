"""A pool of a test's own with backends of its own, and what has to lie in it: exactly what a model says, and nothing else."""

import contextlib
import itertools
import struct

import rados

from backend import Backend
from stack import wait_for

STRIPE = 4 * 1024 * 1024
# As short as they may be: what is of no use is to be gone while the test waits.
GRACES = ("--collect-interval", 1, "--download-grace", 1, "--upload-grace", 4, "--scrub-interval", 1,
          "--scrub-rate", 10000, "--op-timeout", 5)

_numbers = itertools.count(1)


class Pool:
    def __init__(self, stack, directory, free_port, options=(), environments=({}, {}, {}), program=None):
        self.stack = stack
        self.name = f"own-{next(_numbers)}"
        stack.command("ceph", "osd", "pool", "create", self.name, "8", "8", "replicated")
        stack.command("ceph", "osd", "pool", "application", "enable", self.name, "rados")
        self.backends = [
            Backend(stack, directory, free_port(), "--ceph-name", "client.admin", "--pool", self.name, *GRACES, *options,
                    environment=environment, program=program)
            for environment in environments
        ]
        self.cluster = rados.Rados(conffile=stack.env["CEPH_CONF"], name="client.admin")
        self.cluster.connect(timeout=30)

    @property
    def ports(self):
        return [backend.port for backend in self.backends]

    def start(self):
        for backend in self.backends:
            backend.launch()
        for backend in self.backends:
            backend.start_waiting()
        return self

    def close(self):
        """All of it, also when one of the backends has something to tell."""
        with contextlib.ExitStack() as ends:
            ends.callback(self.stack.command, "ceph", "osd", "pool", "rm", self.name, self.name,
                          "--yes-i-really-really-mean-it")
            ends.callback(self.cluster.shutdown)
            for backend in self.backends:
                ends.callback(backend.close)

    # ---- what lies there ----

    @contextlib.contextmanager
    def ioctx(self, namespace=""):
        with self.cluster.open_ioctx(self.name) as ioctx:
            ioctx.set_namespace(namespace)
            yield ioctx

    def objects(self, namespace=""):
        with self.ioctx(namespace) as ioctx:
            return sorted(item.key for item in ioctx.list_objects())

    def heads(self):
        """name → its xattrs."""
        found = {}
        with self.ioctx() as ioctx:
            for name in self.objects():
                with contextlib.suppress(rados.ObjectNotFound):  # It went after it had been listed.
                    found[name] = dict(ioctx.get_xattrs(name))
        return found

    def stripes(self):
        """uid → the numbers of its stripes."""
        found = {}
        for name in self.objects("stripe"):
            uid, number = name.rsplit(".", 1)
            found.setdefault(uid, []).append(int(number))
        return {uid: sorted(numbers) for uid, numbers in found.items()}

    def omap(self, namespace, object_name):
        values = {}
        with self.ioctx(namespace) as ioctx, rados.ReadOpCtx() as operation:
            after = ""
            while True:
                entries, _ = ioctx.get_omap_vals(operation, after, "", 1000)
                try:
                    ioctx.operate_read_op(operation, object_name)
                except rados.ObjectNotFound:
                    return values
                page = dict(entries)
                values.update(page)
                if len(page) < 1000:
                    return values
                after = max(page)

    def log_entries(self):
        return {key: value for shard in self.objects("gc") for key, value in self.omap("gc", shard).items()}

    def index(self):
        """name → (kind, size, etag), of the entries with the highest versions; tombstones too. And the journals' length."""
        found, journaled = {}, 0
        for name in self.objects("index"):
            if name.startswith("journal."):
                for value in self.omap("index", name).values():
                    length, = struct.unpack_from("<H", value)
                    self._take(found, value[2:2 + length].decode(), value[2 + length:])
                    journaled += 1
            elif name.startswith("index."):
                for key, value in self.omap("index", name).items():
                    self._take(found, key, value)
        return {name: entry[1:] for name, entry in found.items()}, journaled

    @staticmethod
    def _take(found, name, value):
        version, magic, kind, _, size, _, length = struct.unpack_from(">Q2sc", value) + struct.unpack_from("<QQQB", value, 11)
        assert magic == b"I\x01"
        entry = (version, kind.decode(), size, value[36:36 + length].decode())
        if name not in found or found[name][0] < version:
            found[name] = entry

    # ---- what has to ----

    def difference(self, sizes):
        """What is not as it has to be when exactly the files in `sizes` (name → bytes) are stored. "": nothing."""
        problems = []
        heads, stripes = self.heads(), self.stripes()
        if set(heads) != set(sizes):
            problems.append(f"heads: {sorted(set(heads) ^ set(sizes))} too many or missing")
        wanted = {}
        for name, xattrs in heads.items():
            pending = [key for key in xattrs if key.startswith("pending.")]
            if pending:
                problems.append(f"{name}: {pending}")
            if "uid" in xattrs:
                wanted[xattrs["uid"].decode()] = -(-sizes.get(name, 0) // STRIPE)
        if {uid: list(range(count)) for uid, count in wanted.items() if count} != stripes:
            problems.append(f"stripes: {sorted(stripes)} where {wanted} belong")
        log = self.log_entries()
        if log:
            problems.append(f"log: {log}")
        index, journaled = self.index()
        if journaled:
            problems.append(f"{journaled} entries still in the journals")
        told = {name: size for name, (kind, size, _) in index.items() if kind == "f"}
        if told != sizes:
            problems.append(f"index: {sorted(set(told.items()) ^ set(sizes.items()))}")
        tombstones = [name for name, (kind, _, _) in index.items() if kind != "f"]
        if tombstones:
            problems.append(f"tombstones: {tombstones[:10]}")
        for name, (kind, _, etag) in index.items():
            if kind == "f" and name in heads and etag != f'"{heads[name]["tag"].decode()}"':
                problems.append(f"index: {name} has the tag {etag}")
        for namespace in ("upload",):
            if self.objects(namespace):
                problems.append(f"{namespace}: {self.objects(namespace)}")
        return "; ".join(problems)

    def wait_settled(self, sizes, seconds=90):
        """Waits until the pool holds exactly these files, and nothing that is of no use."""
        last = [""]

        def settled():
            last[0] = self.difference(sizes)
            return not last[0]

        try:
            wait_for(settled, seconds, "the pool to hold what it has to, and nothing else", 0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}: {last[0]}") from None


@contextlib.contextmanager
def own_pool(stack, directory, free_port, **settings):
    pool = Pool(stack, directory, free_port, **settings)
    try:
        yield pool.start()
    finally:
        pool.close()
