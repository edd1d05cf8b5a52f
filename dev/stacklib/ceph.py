"""The Ceph cluster: three monitors, a manager, three OSDs on sparse files, and the pool.

The cluster is made once, below STACK_DIR/ceph. Keys are written by this program, so that no
`ceph auth` call is needed: whatever stands in the keyring that the monitors are made from, they know.
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import struct
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from .console import Failure, say, wait_until
from .daemon import Daemon, run
from .settings import POOL, require_free_port

MON_IDS = ("a", "b", "c")
OSD_IDS = (0, 1, 2)
MGR_ID = "x"

# A file that is as large as this only in its directory entry: it takes the room that is used.
OSD_SIZE = 12 * 1024**3

CLIENT = "client.ceph-lb"
CLIENT_CAPS = {"mon": "allow r", "osd": f"allow rwx pool={POOL}"}

CONF = """\
# Written by dev/stack at each start: a change here is lost.
[global]
fsid = {fsid}
mon host = {mon_host}
mon initial members = a, b, c
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
ms bind ipv6 = false
ms bind msgr1 = false
ms bind port min = {port_min}
ms bind port max = {port_max}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
run dir = {dir}/asok
crash dir = {dir}/crash
admin socket = {admin_socket}
log file = {log_dir}/$name.log
log to stderr = false
err to stderr = true

# Two copies of everything, on three OSDs, and one copy is enough to go on: so any one OSD may
# die while the service runs. A cluster that matters has size 3 and min_size 2 instead: with
# min_size 1 a second failure can lose what was written after the first.
osd pool default size = 2
osd pool default min size = 1
osd pool default pg num = 32
osd pool default pgp num = 32
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0

# A dead OSD is noticed within seconds; a refused connection reports it at once anyway.
osd heartbeat interval = 2
osd heartbeat grace = 8
mon osd min down reporters = 1
mon osd adjust heartbeat grace = false
mon osd adjust down out interval = false

# All daemons share one disk, and how full that is says nothing about this cluster.
mon data avail warn = 1
mon data avail crit = 1

[mon]
keyring = {dir}/mon.keyring
mon data = {dir}/mon.$id
mon cluster log file = {log_dir}/cluster.log
mon cluster log to syslog = false
mon allow pool delete = true
mon mgr beacon grace = 10

[mgr]
keyring = {dir}/mgr.$id/keyring
mgr data = {dir}/mgr.$id
mgr stats period = 1
mgr initial modules =

[osd]
keyring = {dir}/osd.$id/keyring
osd data = {dir}/osd.$id
osd objectstore = bluestore
bluestore block size = {osd_size}
bluestore cache autotune = false
bluestore cache size = 67108864
osd memory target = 939524096
osd max backfills = 1
# Else Ceph takes the files for slow disks and pauses after each object that it copies.
osd recovery sleep hdd = 0
osd recovery sleep hybrid = 0
osd client watch timeout = 15

[client]
keyring = {dir}/$name.keyring
admin socket =
log file =
"""


class Ceph:
    def __init__(self, settings):
        self.settings = settings
        self.dir = settings.ceph_dir
        self.made = self.dir / "made"
        self.fsid_file = self.dir / "fsid"
        self.mons = [self._daemon("mon", name) for name in MON_IDS]
        self.mgr = self._daemon("mgr", MGR_ID)
        self.osds = [self._daemon("osd", number) for number in OSD_IDS]

    def _daemon(self, kind, identity):
        name = f"{kind}.{identity}"
        words = [f"ceph-{kind}", "--id", identity, self.settings.ceph_conf]
        return Daemon(name, self.settings.pid_dir / f"{name}.pid",
                      self.settings.log_dir / f"{name}.out", words)

    def daemons(self):
        return [*self.mons, self.mgr, *self.osds]

    def require_ports(self):
        """The manager and the OSDs take what is free in their range."""
        for number, mon in enumerate(self.mons):
            if not mon.pid():
                require_free_port(self.settings.mon_port + number, "MON_PORT", f"monitor {MON_IDS[number]}")

    # --- up and down ------------------------------------------------------------------------

    def up(self):
        if all(daemon.pid() for daemon in self.daemons()) and self.made.exists():
            say("Ceph: already running")
            return
        if not self.made.exists():
            self._forget()
            self._make_files()
        self._write_conf()
        self._start_mons()
        with self.admin() as cluster:
            self._first_settings(cluster)
            manager_is_active = self._start_mgr(cluster)
            self._start_osds(cluster)
            self._make_pool(cluster)
            self.mgr.wait_ready(manager_is_active, 60, "being active")
            say("manager: active")
            self._wait_usable(cluster)
        self.made.touch()

    def down(self):
        """OSDs first: without monitors they would try to tell somebody that they leave."""
        for tier in (self.osds, [self.mgr], self.mons):
            stopping = [daemon for daemon in tier if daemon.ask_to_stop()]
            for daemon in stopping:
                daemon.wait_gone(20)

    def _forget(self):
        """Takes away what an interrupted first start left. Nothing can be stored there yet."""
        if self.fsid_file.exists():
            say("Ceph: the first start was interrupted, making the cluster anew")
            self.down()
        shutil.rmtree(self.dir)
        self.dir.mkdir()

    # --- making the cluster -----------------------------------------------------------------

    def _make_files(self):
        self.fsid_file.write_text(f"{uuid.uuid4()}\n")
        entities = {
            "mon.": {"mon": "allow *"},
            "client.admin": {"mon": "allow *", "mgr": "allow *", "osd": "allow *", "mds": "allow *"},
            f"mgr.{MGR_ID}": {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"},
            CLIENT: CLIENT_CAPS,
        }
        keys = {entity: _new_key() for entity in entities}
        everyone = "".join(_keyring(entity, keys[entity], caps) for entity, caps in entities.items())
        _write_private(self.dir / "initial.keyring", everyone)
        _write_private(self.dir / "mon.keyring", _keyring("mon.", keys["mon."], entities["mon."]))
        for entity in ("client.admin", CLIENT):
            _write_private(self.dir / f"{entity}.keyring", _keyring(entity, keys[entity], {}))
        mgr_dir = self.dir / f"mgr.{MGR_ID}"
        mgr_dir.mkdir()
        entity = f"mgr.{MGR_ID}"
        _write_private(mgr_dir / "keyring", _keyring(entity, keys[entity], {}))
        self._write_conf()
        self._make_mons()
        (self.dir / "initial.keyring").unlink()

    def _write_conf(self):
        asok_dir = self.dir / "asok"
        asok_dir.mkdir(exist_ok=True)
        (self.dir / "crash").mkdir(exist_ok=True)
        addresses = [f"v2:127.0.0.1:{self.settings.mon_port + n}" for n in range(len(MON_IDS))]
        # The admin sockets are a convenience: where the path is too long for them, there are none.
        fits = len(os.fsencode(str(asok_dir / "osd.0.asok"))) <= 107
        text = CONF.format(
            fsid=self.fsid_file.read_text().strip(), mon_host=",".join(f"[{a}]" for a in addresses),
            port_min=self.settings.ceph_port_min, port_max=self.settings.ceph_port_max,
            dir=self.dir, log_dir=self.settings.log_dir, osd_size=OSD_SIZE,
            admin_socket=asok_dir / "$name.asok" if fits else "",
        )
        temporary = self.settings.ceph_conf.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(self.settings.ceph_conf)

    def _make_mons(self):
        monmap = self.dir / "monmap"
        argv = ["monmaptool", "--create", "--clobber", "--fsid", self.fsid_file.read_text().strip()]
        for number, name in enumerate(MON_IDS):
            argv += ["--addv", name, f"[v2:127.0.0.1:{self.settings.mon_port + number}]"]
        self._run([*argv, monmap], "writing the monitors' map", "monmaptool")

        def make(name):
            (self.dir / f"mon.{name}").mkdir()
            self._run(
                ["ceph-mon", "--mkfs", "--id", name, "--conf", self.settings.ceph_conf,
                 "--monmap", monmap, "--keyring", self.dir / "initial.keyring"],
                f"making monitor {name}", f"mon.{name}",
            )
        _in_parallel(make, MON_IDS)

    def _run(self, argv, what, log_name, input_text=None):
        run(argv, self.settings.environment(), what, self.settings.log_dir / f"{log_name}.out",
            input_text)

    # --- starting daemons -------------------------------------------------------------------

    def _argv(self, daemon):
        kind, _, identity = daemon.name.partition(".")
        return [f"ceph-{kind}", "-f", "--id", identity, "--conf", self.settings.ceph_conf]

    def _start_mons(self):
        stopped = [mon for mon in self.mons if not mon.pid()]
        for mon in stopped:
            mon.start(self._argv(mon), self.settings.environment())
        for mon in stopped:
            self._wait_in_quorum(mon)
        say(f"monitors: {len(MON_IDS)} in quorum")

    def _wait_in_quorum(self, mon):
        """Asks this very monitor. What the others know of it may be from before it died."""
        name = mon.name.partition(".")[2]
        address = f"v2:127.0.0.1:{self.settings.mon_port + MON_IDS.index(name)}"

        def in_quorum():
            try:
                with self.admin(f"[{address}]", seconds=2) as cluster:
                    return name in _command(cluster, "quorum_status")["quorum_names"]
            except Failure:
                return False
        mon.wait_ready(in_quorum, 60, "being in the quorum")

    def _start_mgr(self, cluster):
        """Starts it and returns what tells when it is active: not its predecessor's last word."""
        if self.mgr.pid():
            return lambda: _command(cluster, "mgr stat")["available"]
        before = _command(cluster, "mgr dump")["active_gid"]
        self.mgr.start(self._argv(self.mgr), self.settings.environment())

        def is_active():
            now = _command(cluster, "mgr dump")
            return now["available"] and now["active_gid"] != before
        return is_active

    def _start_osds(self, cluster):
        known = {osd["osd"] for osd in _command(cluster, "osd dump")["osds"]}
        missing = [number for number in OSD_IDS if number not in known]
        # The numbers are given in this order, so these calls come one after another.
        for number in missing:
            self._announce_osd(cluster, number)
        _in_parallel(self._make_osd, missing)
        stopped = [osd for osd in self.osds if not osd.pid()]
        conditions = [self._start_osd(cluster, osd) for osd in stopped]
        for osd, is_up in zip(stopped, conditions):
            osd.wait_ready(is_up, 60, "being marked up")
        say(f"OSDs: {len(OSD_IDS)} up")

    def _announce_osd(self, cluster, number):
        directory = self.dir / f"osd.{number}"
        directory.mkdir()
        identity = str(uuid.uuid4())
        key = _new_key()
        (directory / "uuid").write_text(identity + "\n")
        _write_private(directory / "keyring", _keyring(f"osd.{number}", key, {}))
        given = _command(cluster, "osd new", json.dumps({"cephx_secret": key}),
                         uuid=identity, id=number)
        if given["osdid"] != number:
            raise Failure(f"the monitors gave number {given['osdid']} to OSD {number}")

    def _make_osd(self, number):
        directory = self.dir / f"osd.{number}"
        self._run(
            ["ceph-osd", "--mkfs", "--id", number, "--conf", self.settings.ceph_conf,
             "--osd-uuid", (directory / "uuid").read_text().strip()],
            f"making OSD {number}", f"osd.{number}",
        )

    def _start_osd(self, cluster, osd):
        """Starts it and returns what tells when it is up: since a later epoch than the last time."""
        number = int(osd.name.partition(".")[2])

        def state():
            states = {entry["osd"]: entry for entry in _command(cluster, "osd dump")["osds"]}
            return states.get(number, {"up": 0, "up_from": 0})
        before = state()["up_from"]
        osd.start(self._argv(osd), self.settings.environment())

        def is_up():
            now = state()
            return now["up"] == 1 and now["up_from"] > before
        return is_up

    # --- settings and readiness -------------------------------------------------------------

    @contextlib.contextmanager
    def admin(self, mon_host=None, seconds=30):
        """A connection as client.admin, in this process: a `ceph` command takes half a second."""
        import rados  # Only here, so that `dev/stack --help` works before dev/deps has run.
        cluster = rados.Rados(conffile=str(self.settings.ceph_conf), name="client.admin")
        if mon_host is not None:
            cluster.conf_set("mon_host", mon_host)
        cluster.conf_set("client_mount_timeout", str(seconds))
        cluster.conf_set("rados_mon_op_timeout", "10")
        cluster.conf_set("rados_osd_op_timeout", "10")
        try:
            cluster.connect(timeout=seconds)
        except rados.Error as error:
            raise Failure(f"the monitors do not answer: {error}", self.mons[0].log) from None
        try:
            yield cluster
        finally:
            cluster.shutdown()

    def _first_settings(self, cluster):
        if self.made.exists():
            return
        # Else the manager makes a pool of its own for the health of disks that are only files here.
        _command(cluster, "config set", who="mgr",
                 name="mgr/devicehealth/enable_monitoring", value="false", force=True)

    def _make_pool(self, cluster):
        if POOL in cluster.list_pools():
            return
        _command(cluster, "osd pool create", pool=POOL, pg_num=32)
        _command(cluster, "osd pool application enable", pool=POOL, app="ceph-lb")

    def _wait_usable(self, cluster):
        """Ready means that the first write came back."""
        import rados
        def all_active():
            groups = _command(cluster, "status")["pgmap"]
            active = sum(entry["count"] for entry in groups["pgs_by_state"]
                         if "active" in entry["state_name"].split("+"))
            return groups["num_pgs"] > 0 and active == groups["num_pgs"]
        wait_until(all_active, 60, "placement groups are still inactive", self.osds[0].log)
        begun = time.monotonic()
        try:
            with cluster.open_ioctx(POOL) as pool:
                pool.set_namespace("dev-stack")
                pool.write_full("first-write", b"x")
                pool.remove_object("first-write")
        except rados.Error as error:
            raise Failure(f"the first write failed: {error}", self.osds[0].log) from None
        say(f"pool {POOL}: the first write came back in {(time.monotonic() - begun) * 1000:.0f} ms")

    def health(self, seconds):
        """Waits a while for HEALTH_OK, and returns what the health is then, with its checks."""
        with self.admin() as cluster:
            deadline = time.monotonic() + seconds
            while True:
                health = _command(cluster, "health")
                if health["status"] == "HEALTH_OK" or time.monotonic() >= deadline:
                    checks = ", ".join(sorted(health["checks"]))
                    return health["status"] + (f" ({checks})" if checks else "")
                time.sleep(0.2)

    # --- one daemon at a time ---------------------------------------------------------------

    def start_one(self, daemon):
        if daemon.pid():
            say(f"{daemon.name}: already running")
            return
        if not self.made.exists():
            raise Failure("there is no cluster yet: dev/stack up")
        if daemon in self.mons:
            daemon.start(self._argv(daemon), self.settings.environment())
            self._wait_in_quorum(daemon)
        else:
            with self.admin() as cluster:
                if daemon in self.osds:
                    daemon.wait_ready(self._start_osd(cluster, daemon), 60, "being marked up")
                else:
                    daemon.wait_ready(self._start_mgr(cluster), 60, "being active")
        say(f"{daemon.name}: running")

    def find(self, kind, name):
        """The daemon that a person means by `osd 1` or `mon b` (monitors are 1 to 3 as well)."""
        if kind == "osd":
            names = {str(number): osd for number, osd in zip(OSD_IDS, self.osds)}
        else:
            names = dict(zip(MON_IDS, self.mons))
            names.update({str(n + 1): mon for n, mon in enumerate(self.mons)})
        if name not in names:
            raise Failure(f"there is no {kind} {name}; there are {', '.join(names)}")
        return names[name]


def _command(cluster, prefix, input_text="", **arguments):
    """A monitor's command; returns its parsed answer."""
    request = json.dumps({"prefix": prefix, "format": "json", **arguments})
    code, answer, message = cluster.mon_command(request, input_text.encode(), timeout=10)
    if code != 0:
        raise Failure(f"ceph {prefix}: {message or os.strerror(-code)}")
    return json.loads(answer) if answer.strip() else {}


def _new_key():
    """A cephx key: type 1 (AES), the time of its making, the length, sixteen random bytes."""
    return base64.b64encode(struct.pack("<hiih", 1, int(time.time()), 0, 16)
                            + os.urandom(16)).decode()


def _keyring(entity, key, caps):
    lines = [f"[{entity}]", f"\tkey = {key}"]
    lines += [f'\tcaps {service} = "{cap}"' for service, cap in caps.items()]
    return "\n".join(lines) + "\n"


def _write_private(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _in_parallel(function, items):
    with ThreadPoolExecutor(max_workers=max(1, len(items))) as pool:
        list(pool.map(function, items))
