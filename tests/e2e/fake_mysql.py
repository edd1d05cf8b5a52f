"""MySQL servers that do what a test tells them: as much of the protocol as a client needs, and its faults.

A script is a function of a `Peer`, the connection of one client. `FakeMysql.greet` plays the beginning of a
connection, `FakeMysql.answer` what follows the query for the list; when it returns, the next query is awaited.
Either may be replaced at any time; `Gone` ends the connection.
"""

import contextlib
import itertools
import socket
import struct
import threading
import time

# CLIENT_LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH
CAPABILITIES = 0x1 | 0x4 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000
AUTOCOMMIT = 2

COM_QUIT = 1
COM_QUERY = 3

# Types of columns.
LONG, DOUBLE, BLOB, STRING = 3, 5, 252, 254

COLUMNS = ("address", "port", "weight", "state", "backup", "max_conns", "zone")


class Gone(Exception):
    """The connection is to end, or has ended."""


# --- packets ----------------------------------------------------------------------------------------

def packet(number, payload):
    return struct.pack("<I", len(payload))[:3] + bytes([number % 256]) + payload


def text(value):
    """A value with its length before it; None is NULL."""
    if value is None:
        return b"\xfb"
    data = value if isinstance(value, bytes) else str(value).encode()
    if len(data) < 251:
        return bytes([len(data)]) + data
    return b"\xfd" + struct.pack("<I", len(data))[:3] + data


def greeting(version="8.0.99-fake"):
    return (b"\x0a" + version.encode() + b"\0" + struct.pack("<I", 7) + b"abcdefgh\0"
            + struct.pack("<HBHH", CAPABILITIES & 0xffff, 45, AUTOCOMMIT, CAPABILITIES >> 16)
            + bytes([21]) + bytes(10) + b"ijklmnopqrst\0" + b"mysql_native_password\0")


def ok():
    return b"\0\0\0" + struct.pack("<HH", AUTOCOMMIT, 0)


def eof():
    return b"\xfe" + struct.pack("<HH", 0, AUTOCOMMIT)


def error(code, message, state="HY000"):
    return b"\xff" + struct.pack("<H", code) + b"#" + state.encode() + message.encode()


def column(name, kind=STRING):
    return (text("def") + text("x") + text("t") + text("t") + text(name) + text(name) + b"\x0c"
            + struct.pack("<HIBHBH", 45, 1024, kind, 0, 0, 0))


def row(values):
    return b"".join(text(value) for value in values)


def table(rows, columns=COLUMNS, kinds=None):
    """The packets of an answer, from the number of columns to the end of the rows."""
    kinds = kinds or [STRING] * len(columns)
    return [bytes([len(columns)]), *(column(name, kind) for name, kind in zip(columns, kinds)), eof(),
            *(row(values) for values in rows), eof()]


# --- the server -------------------------------------------------------------------------------------

class Peer:
    """A connection of a client. Packets are numbered as the protocol wants it."""

    def __init__(self, server, connection):
        self.server = server
        self.connection = connection
        self.number = 0

    def send(self, *payloads):
        """Packets, numbered from the last one on."""
        data = bytearray()
        for payload in payloads:
            data += packet(self.number, payload)
            self.number += 1
        self.send_raw(bytes(data))

    def send_raw(self, data):
        try:
            self.connection.sendall(data)
        except OSError as end:
            raise Gone from end

    def receive(self):
        """The payload of the next packet of the client."""
        head = self._exactly(4)
        payload = self._exactly(int.from_bytes(head[:3], "little"))
        self.number = head[3] + 1
        return payload

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            try:
                more = self.connection.recv(count - len(data))
            except OSError as end:
                raise Gone from end
            if not more:
                raise Gone
            data += more
        return data

    def silence(self):
        """Nothing more, until the client goes."""
        with contextlib.suppress(OSError):
            while self.connection.recv(65536):
                pass
        raise Gone

    def reset(self):
        """The connection ends with a reset instead of in order."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    def for_ever(self, data):
        """Sends this again and again until the client goes."""
        while True:
            self.send_raw(data)


class FakeMysql:
    """Listens on loopback until `stop`. It behaves at first, and lists the rows that it is given."""

    def __init__(self, port, rows=(), address="127.0.0.1"):
        self.address = address
        self.port = port
        self.rows = list(rows)
        self.connections = 0
        self.queries = 0       # for the list
        self.versions = 0      # queries for its version
        self.version = "1"     # a value, or None for NULL
        self.attempts = []     # when connections came, by time.monotonic
        self.open = 0          # now
        self.most_open = 0
        self.greet = greet
        self.answer = list_rows
        self._lock = threading.Lock()
        self._peers = set()
        self._listener = None
        self.start()

    @property
    def name(self):
        """As it stands in a URL, and in the log."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def url(self, *others):
        return f"mysql://lb@{','.join(server.name for server in (self, *others))}/x"

    def behave(self):
        self.greet = greet
        self.answer = list_rows

    def misbehave(self, script, when):
        """`when` is the phase, "greet" or "answer", in which the script is played from now on."""
        self.behave()
        setattr(self, when, script)
        if when == "greet":
            self.cut()

    def start(self):
        if self._listener is not None:
            return
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self.address, self.port))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self):
        """New connections are refused, existing ones stay."""
        if self._listener is not None:
            _end(self._listener)
            self._listener = None

    def cut(self):
        """Ends all connections; new ones are accepted."""
        with self._lock:
            connections = list(self._peers)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self):
        """As a server that is killed."""
        self.refuse()
        self.cut()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self.attempts.append(time.monotonic())
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                self._peers.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(Gone):
            peer = Peer(self, connection)
            self.greet(peer)
            while True:
                self._obey(peer, peer.receive())
        with self._lock:
            self._peers.discard(connection)
            self.open -= 1
        connection.close()

    def _obey(self, peer, command):
        if command[0] == COM_QUIT:
            raise Gone
        if command[0] != COM_QUERY or command[1:].startswith(b"SET "):
            # As MySQL, to which one of the variables that are set is unknown.
            peer.send(error(1193, "Unknown system variable") if b"wsrep" in command else ok())
            return
        if b"version" in command:
            self.versions += 1
            peer.send(*table([(self.version,)], ["version"]))
            return
        self.queries += 1
        self.answer(peer)


def _end(peer):
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)
    peer.close()


# --- scripts that behave ----------------------------------------------------------------------------

def greet(peer):
    peer.send(greeting())
    peer.receive()
    peer.send(ok())


def list_rows(peer):
    peer.send(*table(peer.server.rows))


def lists(rows, columns=COLUMNS, kinds=None):
    """An `answer` with this table instead of the server's rows."""
    payloads = table(rows, columns, kinds)
    return lambda peer: peer.send(*payloads)


# --- scripts that do not, for `greet` ---------------------------------------------------------------

def silent(peer):
    peer.silence()


def hang_up(peer):
    raise Gone


def speak_http(peer):
    peer.send_raw(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def speak_an_old_protocol(peer):
    peer.send(b"\x09" + greeting()[1:])
    peer.silence()


def too_many_connections(peer):
    peer.send(error(1040, "Too many connections", "08004"))


def refuse_the_user(peer):
    peer.send(greeting())
    peer.receive()
    peer.send(error(1045, "Access denied for user 'lb'@'localhost' (using password: YES)", "28000"))


def half_a_greeting_then_silence(peer):
    peer.send_raw(packet(0, greeting())[:20])
    peer.silence()


def half_a_greeting_then_the_end(peer):
    peer.send_raw(packet(0, greeting())[:20])


def mute_after_the_password(peer):
    peer.send(greeting())
    peer.receive()
    peer.silence()


def mute_after_the_greeting(peer):
    """Lets in, and says nothing to the first statement."""
    greet(peer)
    peer.silence()


# --- scripts that do not, for `answer` --------------------------------------------------------------

def some_rows(peer):
    """Everything but the last packet of the answer."""
    peer.send(*table(peer.server.rows)[:-1])


def half_a_packet_then_silence(peer):
    some_rows(peer)
    peer.send_raw(packet(peer.number, row(["127.0.0.1"] * len(COLUMNS)))[:9])
    peer.silence()


def half_a_packet_then_the_end(peer):
    some_rows(peer)
    peer.send_raw(packet(peer.number, row(["127.0.0.1"] * len(COLUMNS)))[:9])
    raise Gone


def reset_among_the_rows(peer):
    some_rows(peer)
    peer.reset()


def an_endless_column(peer):
    """A packet of 16 MiB is announced, and then another, for ever."""
    some_rows(peer)
    number = peer.number
    body = b"\xfe" + struct.pack("<Q", 1 << 60) + bytes((1 << 20) - 9)
    while True:
        peer.send_raw(b"\xff\xff\xff" + bytes([number % 256]))
        for _ in range(16):
            peer.send_raw(body)
        number += 1


def endless_rows(peer):
    some_rows(peer)
    values = row(["127.0.0.1"] * len(COLUMNS))
    peer.for_ever(b"".join(packet(number, values) for number in range(256)) * 64)


def endless_long_rows(peer):
    some_rows(peer)
    peer.for_ever(packet(peer.number, row([bytes(1 << 20)] + [""] * (len(COLUMNS) - 1))))


def too_short_a_row(peer):
    some_rows(peer)
    peer.send(text("127.0.0.1"), eof())


def fewer_columns_than_announced(peer):
    peer.send(bytes([9]), column("address"), column("port"), eof(), eof())


def a_packet_of_nothing(peer):
    peer.send(b"")
    peer.silence()


def many_columns(peer):
    peer.send(*table([], [f"column{number}" for number in range(65)]))


def ask_for_a_file(peer):
    """LOAD DATA LOCAL: a server that wants to read what the client can read."""
    peer.send(b"\xfb/etc/hostname")
    answer = peer.receive()
    peer.server.stolen = answer
    peer.send(error(1105, "no file came"))


def no_rows_but_ok(peer):
    peer.send(ok())


def says(code, message, state="HY000"):
    return lambda peer: peer.send(error(code, message, state))


def says_after_rows(code, message):
    def script(peer):
        some_rows(peer)
        peer.send(error(code, message))
    return script


def answers_and_hangs_up(peer):
    list_rows(peer)
    raise Gone


def by_turns(*scripts):
    """The first script for the first client, and so on; the last for all others."""
    turns = itertools.chain(scripts, itertools.repeat(scripts[-1]))
    return lambda peer: next(turns)(peer)
