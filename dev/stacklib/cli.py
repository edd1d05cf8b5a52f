"""The command line: verbs, the lock, and the order in which things come up and go down."""

import argparse
import contextlib
import fcntl
import os
import resource
import shlex
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from .backends import Backends, answers_200
from .balancer import Balancer
from .ceph import Ceph
from .console import Failure, report, say
from .registry import Registry
from .settings import DEFAULTS, Settings

PARTS = ("ceph", "mysql", "backends", "nginx")

DESCRIPTION = """\
A whole ceph-lb on this machine: three Ceph monitors, a manager, three OSDs, a private MariaDB,
the backends, and nginx with the module. All of it listens on loopback and lies below STACK_DIR.
"""

VERBS = """\
verbs:
  up [--only PARTS]       start what does not run yet (PARTS: ceph,mysql,backends,nginx)
  down                    stop everything; what was stored is kept
  status                  say what runs; exit status 0 if all of it does
  env                     shell assignments for scripts: eval "$(dev/stack env)"
  clean-data              forget what was stored (only when the stack is down)
  logs                    the paths of the logs

  backend N ACTION        N is 1, 2, ...
  osd N ACTION            N is 0, 1 or 2
  mon N ACTION            N is a, b or c (or 1, 2, 3)
  mgr ACTION
  mysql ACTION            ACTION is start, stop, kill (SIGKILL), pause (SIGSTOP) or continue
  nginx ACTION            as above, or reload

environment (what a stack was started with is remembered in STACK_DIR/settings.json):
  STACK_DIR               where everything lies; default ./run
  BUILD_DIR               where the binaries are; default ./build
  SANITIZE=1              the binaries with sanitizers, from ./build/sanitize
  BACKEND_OPTIONS         further options for every backend that is started
"""


class Stack:
    def __init__(self, settings):
        self.settings = settings
        self.ceph = Ceph(settings)
        self.registry = Registry(settings)
        self.backends = Backends(settings)
        self.balancer = Balancer(settings)

    def daemons(self):
        return [*self.ceph.daemons(), self.registry.daemon, *self.backends.daemons,
                self.balancer.daemon]

    def up(self, parts):
        changed = self.settings.changed()
        if changed and any(daemon.pid() for daemon in self.daemons()):
            raise Failure("the stack runs with other settings (" + "; ".join(changed)
                          + "): dev/stack down first")
        if self.ceph.made.exists() and any(entry.startswith("MON_PORT") for entry in changed):
            raise Failure("monitors keep their ports for life (" + "; ".join(changed)
                          + "): dev/stack clean-data forgets the cluster")
        # Before anything is started: a port that is taken is known at once then.
        for name, part in zip(PARTS, (self.ceph, self.registry, self.backends, self.balancer)):
            if name in parts:
                part.require_ports()
        self.settings.make_dirs()
        self.settings.save()
        say(f"stack in {self.settings.dir}")
        with ThreadPoolExecutor() as pool:
            steps = []
            if "ceph" in parts:
                steps.append(pool.submit(self.ceph.up))
            if "mysql" in parts:
                steps.append(pool.submit(self.registry.up))
        for step in steps:
            step.result()
        if "backends" in parts:
            self.backends.up()
        if "nginx" in parts:
            self.balancer.up()
        if "ceph" in parts:
            say(f"Ceph: {self.ceph.health(15)}")

    def down(self):
        running = [daemon for daemon in self.daemons() if daemon.pid()]
        if not running:
            say("nothing runs")
            return
        for name, stop in (("nginx", self.balancer.stop), ("backends", self.backends.down),
                           ("MariaDB", self.registry.stop), ("Ceph", self.ceph.down)):
            stop()
            say(f"{name}: stopped")

    def status(self):
        """Prints a line for each daemon; true if all run and the way through nginx is open."""
        complete = True
        for daemon in self.daemons():
            pid = daemon.pid()
            print(f"{daemon.name:<12}{'running, pid ' + str(pid) if pid else 'stopped'}")
            complete = complete and pid is not None
        if any(daemon.pid() for daemon in self.ceph.mons):
            try:
                print(f"{'Ceph':<12}{self.ceph.health(0)}")
            except Failure as failure:
                print(f"{'Ceph':<12}{failure}")
                complete = False
        if self.balancer.daemon.pid():
            answers = answers_200(self.settings.lb_port, "/status")
            print(f"{'service':<12}{self.settings.lb_url} "
                  f"{'answers' if answers else 'does not answer'}")
            complete = complete and answers
        return complete

    def clean_data(self):
        running = [daemon.name for daemon in self.daemons() if daemon.pid()]
        if running:
            raise Failure(f"{', '.join(running)} still run: dev/stack down first")
        if not self.settings.dir.exists():
            say(f"there is no {self.settings.dir}")
            return
        # Never a directory that only happens to be named by STACK_DIR.
        if not self.settings.file.exists():
            raise Failure(f"{self.settings.dir} has no settings.json: it is not a stack's")
        for name in ("ceph", "mysql", "nginx", "log", "pid", "spool", "sanitizer"):
            shutil.rmtree(self.settings.dir / name, ignore_errors=True)
        self.settings.file.unlink()
        say(f"{self.settings.dir}: forgotten")

    def one(self, kind, name, action):
        daemon, start, stop = self._component(kind, name)
        if action == "start":
            start()
        elif action == "stop":
            if daemon.pid() is None:
                say(f"{daemon.name}: already stopped")
                return
            stop()
            say(f"{daemon.name}: stopped")
        elif action == "kill":
            daemon.kill()
            say(f"{daemon.name}: killed")
        elif action == "reload" and kind == "nginx":
            self.balancer.reload()
            say("nginx: reloading")
        elif action in ("pause", "continue"):
            daemon.send(signal.SIGSTOP if action == "pause" else signal.SIGCONT)
            say(f"{daemon.name}: {'paused' if action == 'pause' else 'continues'}")
        else:
            raise Failure(f"{kind}: there is no action {action}")

    def _component(self, kind, name):
        if kind == "mysql":
            return self.registry.daemon, self.registry.start, self.registry.stop
        if kind == "nginx":
            return self.balancer.daemon, self.balancer.start, self.balancer.stop
        if kind == "backend":
            number = int(name) if name.isdigit() else 0
            daemon = self.backends.find(number)
            return daemon, lambda: self.backends.start_one(number), lambda: daemon.stop(40)
        daemon = self.ceph.mgr if kind == "mgr" else self.ceph.find(kind, name)
        return daemon, lambda: self.ceph.start_one(daemon), lambda: daemon.stop(20)

    def hints(self):
        url = self.settings.lb_url
        return f"""
Try it:
  curl -F file=@README.md {url}/objects        # store a file
  curl {url}/objects                           # list the files
  curl {url}/objects/README.md                 # fetch it
  curl -X DELETE {url}/objects/README.md       # remove it
  curl -H 'Accept: text/plain' {url}/status    # how the cluster is
Look at it: http://127.0.0.1:{self.settings.status_port}/ is the load balancer's status page.
Stop it: make stop    Forget what was stored: make clean-data
"""


@contextlib.contextmanager
def lock(settings, seconds=0):
    """One change at a time. The descriptor is not inherited: a daemon would keep the lock."""
    settings.dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(settings.dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Failure(f"another dev/stack is at work in {settings.dir}") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def parse(arguments):
    defaults = "".join(f"  {name:<24}default {value}\n" for name, value in DEFAULTS.items())
    parser = argparse.ArgumentParser(
        prog="dev/stack", description=DESCRIPTION, epilog=VERBS + defaults,
        formatter_class=argparse.RawDescriptionHelpFormatter, usage="dev/stack VERB ...",
        allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, help="see below")
    up = verbs.add_parser("up", add_help=False)
    up.add_argument("--only", default=",".join(PARTS), metavar="PARTS")
    for verb in ("down", "status", "env", "clean-data", "logs"):
        verbs.add_parser(verb, add_help=False)
    actions = ["start", "stop", "kill", "pause", "continue"]
    for verb in ("backend", "osd", "mon"):
        one = verbs.add_parser(verb, add_help=False)
        one.add_argument("name", metavar="N")
        one.add_argument("action", choices=actions)
    for verb in ("mgr", "mysql", "nginx"):
        one = verbs.add_parser(verb, add_help=False)
        one.add_argument("action", choices=actions + ["reload"] * (verb == "nginx"))
    return parser.parse_args(arguments)


def parse_parts(text):
    parts = text.split(",")
    for part in parts:
        if part not in PARTS:
            raise Failure(f"--only {part}: the parts are {', '.join(PARTS)}")
    return parts


def carry_out(options):
    settings = Settings()
    stack = Stack(settings)
    # The daemons get this program's limits: many descriptors are for the taking, few are the default.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    verb = options.verb
    if verb == "env":
        for name, value in settings.shell().items():
            print(f"{name}={shlex.quote(str(value))}")
    elif verb == "logs":
        for path in sorted(settings.log_dir.glob("*")):
            print(path)
    elif verb == "status":
        return 0 if stack.status() else 1
    elif verb == "up":
        parts = parse_parts(options.only)
        with lock(settings):
            stack.up(parts)
        if "nginx" in parts:
            print(stack.hints(), end="")
    elif verb == "down":
        with lock(settings, 60):
            stack.down()
    elif verb == "clean-data":
        with lock(settings):
            stack.clean_data()
    elif options.action in ("kill", "pause", "continue"):
        # Faults come when they come: also while another command waits for something.
        stack.one(verb, getattr(options, "name", ""), options.action)
    else:
        with lock(settings, 60):
            stack.one(verb, getattr(options, "name", ""), options.action)
    return 0


def main(arguments):
    # Debian keeps servers in directories that an ordinary user's PATH leaves out.
    os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    options = parse(arguments)
    try:
        return carry_out(options)
    except Failure as failure:
        report(failure)
        return 1
    except KeyboardInterrupt:
        print("dev/stack: interrupted; dev/stack down stops what was started", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
