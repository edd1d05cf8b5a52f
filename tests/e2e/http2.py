"""HTTP/2 as frames: a client that can leave in the middle of anything, and a server for gRPC.

Header blocks are written as literals, and of those that come only the status is looked at: that needs no
table and no Huffman code.
"""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
CANCEL = 8
# The one-byte header fields `:status: …` of HPACK's static table.
STATUSES = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}


class Frames:
    """One end of a connection. Both have sent their settings once the first frame has been read."""

    def __init__(self, peer):
        self.peer = peer
        self._in = b""

    def send(self, kind, flags, stream, payload=b""):
        length = struct.pack(">I", len(payload))[1:]
        self.peer.sendall(length + struct.pack(">BBI", kind, flags, stream) + payload)

    def read(self):
        """The next frame as (kind, flags, stream, payload). Answers settings and pings by itself."""
        head = self.read_bytes(9)
        length = int.from_bytes(head[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = self.read_bytes(length)
        if kind in (SETTINGS, PING) and not flags & ACK:
            self.send(kind, ACK, 0, payload if kind == PING else b"")
        return kind, flags, stream, payload

    def read_bytes(self, count):
        while len(self._in) < count:
            chunk = self.peer.recv(65536)
            if not chunk:
                raise ConnectionError("the peer has closed the connection")
            self._in += chunk
        data, self._in = self._in[:count], self._in[count:]
        return data

    def close(self):
        self.peer.close()


class Http2Client(Frames):
    """A client that knows beforehand that the server speaks HTTP/2. Bodies stay below its windows."""

    def __init__(self, port, timeout=30):
        super().__init__(socket.create_connection(("127.0.0.1", port), timeout=timeout))
        self.peer.sendall(PREFACE)
        self.send(SETTINGS, 0, 0)
        self._next = 1
        self._pings = 0  # on their way
        self._answers = {}  # stream -> [status, body, whether it is complete]

    def begin(self, method, path, end=True, **fields):
        """Sends a request's header and returns its stream. `end=False`: a body follows."""
        names = {":method": method, ":scheme": "http", ":path": path, ":authority": "x", **fields}
        block = b"".join(literal(name, value) for name, value in names.items())
        stream, self._next = self._next, self._next + 2
        self._answers[stream] = [None, b"", False]
        self.send(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)
        return stream

    def data(self, stream, data, end=False):
        self.send(DATA, END_STREAM if end else 0, stream, data)

    def reset(self, stream):
        self.send(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))

    def ping(self):
        """Returns when all that was sent has arrived and been looked at."""
        self._pings += 1
        self.send(PING, 0, 0, b"reached?")
        self._read_until(lambda: self._pings == 0)

    def answer(self, stream):
        """Waits for the answer on a stream; returns its status and its body."""
        self._read_until(lambda: self._answers[stream][2])
        return tuple(self._answers[stream][:2])

    def beginning(self, stream, count):
        """Waits for so many bytes of an answer's body."""
        self._read_until(lambda: len(self._answers[stream][1]) >= count)
        return self._answers[stream][1]

    def get(self, path):
        return self.answer(self.begin("GET", path))

    def _read_until(self, condition):
        while not condition():
            kind, flags, stream, payload = self.read()
            if kind == GOAWAY:
                raise ConnectionError(f"GOAWAY: {payload!r}")
            if kind == RST_STREAM:
                raise ConnectionError(f"stream {stream} was reset: {payload!r}")
            if kind == PING and flags & ACK:
                self._pings -= 1
            if kind == HEADERS:
                self._answers[stream][0] = _status(payload)
            if kind == DATA:
                self._answers[stream][1] += payload
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                self._answers[stream][2] = True


def literal(name, value):
    """A header field as HPACK's "literal without indexing"."""
    return b"\0" + _string(name) + _string(value)


def _string(text):
    data = text.encode()
    length, head = len(data), b""
    if length < 127:
        return bytes([length]) + data
    head, length = b"\x7f", length - 127
    while length >= 128:
        head, length = head + bytes([length % 128 | 128]), length // 128
    return head + bytes([length]) + data


def _status(block):
    """nginx writes the status first, in one byte or with its three digits."""
    while block[0] & 0xE0 == 0x20:  # a new size of the table
        block = block[1:]
    return STATUSES.get(block[0]) or int(block[2:5])
