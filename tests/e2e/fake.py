"""Backends that do what a test tells them: answer, wait, refuse, hang up."""

import contextlib
import http.server
import os
import socket
import struct
import threading
import time


class Seen:
    """One request as it arrived: the target exactly as sent, and when its body was complete."""

    def __init__(self, method, target, headers, body, connection):
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.connection = connection
        self.at = time.monotonic()


class FakeBackend:
    """An HTTP/1.1 server in threads. Every answer has X-Backend, as those of real backends.

    `answer(handler, seen)` may be replaced: it writes the whole answer, or raises HangUp. So may
    `on_request(handler)`, which is called when a request's first byte is there and nothing is read yet.
    `tls` is a context for a server that speaks TLS.
    """

    def __init__(self, port, address="127.0.0.1", tls=None):
        self.address = address
        self.port = port
        self.tls = tls
        self.begun = []  # the targets of requests, as soon as their headers are there
        self.seen = []   # complete ones
        self.cut = []    # the targets of those whose peer left before the body was complete
        self.connections = 0
        self.status = 200
        self.answer = self.plain_answer
        self.on_request = None
        self._server = None
        self.start()

    @property
    def name(self):
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    def start(self):
        backend = self

        class Handler(_Handler):
            owner = backend

        class Server(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request, client_address):
                pass  # A peer that leaves is what many tests are about.

        self._open = set()
        self._server = Server((self.address, self.port), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        """As a process that dies: its connections end too."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def plain_answer(self, handler, seen):
        handler.reply(self.status, {"X-Backend": self.name, "X-Target": seen.target},
                      f"{self.name}\n".encode())


class HangUp(Exception):
    """Raised by an `answer`: the connection ends without one."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner = None

    def setup(self):
        super().setup()
        self.owner.connections += 1
        self.number = self.owner.connections
        self.owner._open.add(self.connection)

    def finish(self):
        self.owner._open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    # --- what an answer can do ------------------------------------------------------------------

    def send(self, data):
        self.wfile.write(data)

    def wait_until_left(self, seconds=60):
        """Says nothing until the peer has closed the connection, then ends it here too."""
        self.connection.settimeout(seconds)
        with contextlib.suppress(OSError):
            while self.connection.recv(65536):
                pass
        raise HangUp

    def reset(self):
        """Ends the connection so that the peer gets an error instead of an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        raise HangUp

    def reply(self, status, headers, body):
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["Connection: close"] if self.close_connection else []
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        self.wfile.write(head + (b"" if self.command == "HEAD" else body))

    # --- requests -------------------------------------------------------------------------------

    def handle_one_request(self):
        try:
            if self.owner.on_request is not None and self.connection.recv(1, socket.MSG_PEEK):
                self.owner.on_request(self)
            super().handle_one_request()
        except HangUp:
            self.close_connection = True

    def _handle(self):
        # Not self.path: the library takes away what it thinks is one slash too many.
        target = self.requestline.split(" ")[1]
        self.owner.begun.append(target)
        body = self._body()
        if body is None:
            self.owner.cut.append(target)
            raise HangUp
        seen = Seen(self.command, target, self.headers, body, self.number)
        self.owner.seen.append(seen)
        self.owner.answer(self, seen)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _body(self):
        """The request's body, or None if the peer left before its end."""
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            return self._chunks()
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def _chunks(self):
        body = b""
        while True:
            line = self.rfile.readline()
            if not line.endswith(b"\n"):
                return None
            size = int(line, 16)
            data = self.rfile.read(size)
            if len(data) < size or not self.rfile.readline().endswith(b"\n"):
                return None
            if size == 0:
                return body
            body += data

    def log_message(self, *_):
        pass
