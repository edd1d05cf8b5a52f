"""Backends for what nginx passes requests on with besides HTTP: FastCGI, SCGI, uwsgi, memcached, gRPC.

Each answers every request with its own name; each knows just enough of its protocol for that.
"""

import contextlib
import socket
import struct
import threading

import http2


class TalkingBackend:
    """Accepts connections and has `talk(backend, peer)` hold the conversation on each of them."""

    def __init__(self, port, talk):
        self.address = "127.0.0.1"
        self.port = port
        self.name = f"{self.address}:{port}"
        self.seen = []  # the bodies, or what stands for one
        self._talk = talk
        self._open = set()
        self._listener = socket.create_server((self.address, port), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        for peer in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(peer)
            threading.Thread(target=self._converse, args=(peer,), daemon=True).start()

    def _converse(self, peer):
        with peer, contextlib.suppress(OSError):
            peer.settimeout(60)
            self._talk(self, peer)
        self._open.discard(peer)


def fastcgi(backend, peer):
    """FastCGI 1.0, one request a connection."""
    body, begin, stdin, stdout, end = b"", 1, 5, 6, 3
    request = kind = length = None
    while kind != stdin or length:
        _, kind, request, length, padding, _ = struct.unpack(">BBHHBB", _exactly(peer, 8))
        content = _exactly(peer, length)
        _exactly(peer, padding)
        if kind == stdin:
            body += content
        assert kind != begin or content[:2] == b"\0\1"  # the role of a responder
    backend.seen.append(body)
    answer = _cgi_answer(backend)
    for kind, content in ((stdout, answer), (stdout, b""), (end, bytes(8))):
        peer.sendall(struct.pack(">BBHHBB", 1, kind, request, len(content), 0, 0) + content)


def scgi(backend, peer):
    digits = b""
    while not digits.endswith(b":"):
        digits += _exactly(peer, 1)
    fields = _exactly(peer, int(digits[:-1]) + 1).rstrip(b",").split(b"\0")
    length = int(fields[fields.index(b"CONTENT_LENGTH") + 1] or 0)
    backend.seen.append(_exactly(peer, length))
    peer.sendall(_cgi_answer(backend))


def uwsgi(backend, peer):
    _, size, _ = struct.unpack("<BHB", _exactly(peer, 4))
    block, fields = _exactly(peer, size), []
    while block:
        length = struct.unpack("<H", block[:2])[0]
        fields.append(block[2:2 + length])
        block = block[2 + length:]
    length = int(fields[fields.index(b"CONTENT_LENGTH") + 1] or 0)
    backend.seen.append(_exactly(peer, length))
    peer.sendall(_cgi_answer(backend))


def memcached(backend, peer):
    line = b""
    while not line.endswith(b"\r\n"):
        line += _exactly(peer, 1)
    key = line.split()[1]
    backend.seen.append(key)
    value = backend.name.encode()
    peer.sendall(b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(value), value))


def grpc(backend, peer):
    """HTTP/2 as far as nginx needs it."""
    frames, bodies = http2.Frames(peer), {}
    frames.read_bytes(len(http2.PREFACE))
    frames.send(http2.SETTINGS, 0, 0)
    while True:
        kind, flags, stream, payload = frames.read()
        if kind in (http2.HEADERS, http2.DATA):
            bodies[stream] = bodies.get(stream, b"") + (payload if kind == http2.DATA else b"")
            if kind == http2.DATA and payload:
                frames.send(http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload)))
            if flags & http2.END_STREAM:
                backend.seen.append(bodies.pop(stream))
                head = b"\x88" + http2.literal("content-type", "application/grpc")
                frames.send(http2.HEADERS, http2.END_HEADERS, stream, head)
                frames.send(http2.DATA, http2.END_STREAM, stream, backend.name.encode())


def echo(backend, peer):
    """Gives back what it gets, its own name first."""
    peer.sendall(backend.name.encode())
    while data := peer.recv(65536):
        backend.seen.append(data)
        peer.sendall(data)


def _cgi_answer(backend):
    return b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n" + backend.name.encode()


def _exactly(peer, count):
    data = b""
    while len(data) < count:
        chunk = peer.recv(count - len(data))
        if not chunk:
            raise ConnectionError("the peer has closed the connection")
        data += chunk
    return data
