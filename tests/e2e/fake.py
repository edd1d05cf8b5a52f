"""Backends that do what a test tells them: answer, wait, refuse, hang up."""

import contextlib
import http.server
import socket
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

    `answer(handler, seen)` may be replaced: it writes the whole answer, or raises HangUp.
    """

    def __init__(self, port, address="127.0.0.1"):
        self.address = address
        self.port = port
        self.seen = []
        self.connections = 0
        self.status = 200
        self.answer = self.plain_answer
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

    def reply(self, status, headers, body):
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        self.wfile.write(head + (b"" if self.command == "HEAD" else body))

    def _handle(self):
        # Not self.path: the library takes away what it thinks is one slash too many.
        target = self.requestline.split(" ")[1]
        seen = Seen(self.command, target, self.headers, self._body(), self.number)
        self.owner.seen.append(seen)
        try:
            self.owner.answer(self, seen)
        except HangUp:
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _body(self):
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            body = b""
            while True:
                size = int(self.rfile.readline(), 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, *_):
        pass
