"""A proxy between two peers that a test can stall, slow down, cut and close.

It stands for a network: MariaDB behind it is alive, but what is sent arrives late or never.
"""

import contextlib
import os
import socket
import threading
import time


class Proxy:
    """Forwards connections from `listen` to `target`. Both are (host, port) or a socket's path."""

    def __init__(self, listen, target):
        self.listen = listen
        self.target = target
        self.connections = 0
        self.delay = 0.0  # seconds that each piece from the target waits before it goes on
        self._flowing = threading.Event()
        self._flowing.set()
        self._pairs = set()
        self._lock = threading.Lock()
        self._listener = None
        self.open()

    # --- what a test does with it ---------------------------------------------------------------

    def stall(self):
        """Nothing goes on in either direction; the connections stay."""
        self._flowing.clear()

    def resume(self):
        self._flowing.set()

    def cut(self):
        """Ends all connections; new ones are accepted."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for peer in pair:
                _end(peer)

    def refuse(self):
        """New connections are refused, existing ones stay."""
        if self._listener is not None:
            _end(self._listener)
            self._listener = None
            if isinstance(self.listen, str):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.listen)

    def open(self):
        if self._listener is not None:
            return
        self._listener = _socket(self.listen)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(self.listen)
        self._listener.listen(128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self):
        self.refuse()
        self.resume()
        self.cut()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- the forwarding -------------------------------------------------------------------------

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            server = _socket(self.target)
            try:
                server.connect(self.target)
            except OSError:
                _end(client)
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            for source, sink, slow in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._forward, args=(pair, source, sink, slow),
                                 daemon=True).start()

    def _forward(self, pair, source, sink, slow):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if slow and self.delay:
                    time.sleep(self.delay)
                self._flowing.wait()
                sink.sendall(data)
        except OSError:
            pass
        with self._lock:
            self._pairs.discard(pair)
        for peer in pair:
            _end(peer)


def _socket(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM)


def _end(peer):
    """shutdown wakes a thread that waits in recv or accept; close alone would not."""
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)
    peer.close()
