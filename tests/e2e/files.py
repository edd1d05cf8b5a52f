"""A client of the HTTP API that removes what it stored, and what tests of the API have in common."""

import contextlib
import hashlib
import http.client
import itertools
import json
import os
import random
import re
import socket
import subprocess
import threading

import pytest

from stack import Client, request

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
FILE_SIZE_MAX = 5 * GIB  # unless --max-file-size says otherwise
BODY_SIZE_MAX = FILE_SIZE_MAX + 64 * KIB

_numbers = itertools.count(1)
_unreserved = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


def encode(name, keep=b"/"):
    """Percent-encodes a name, given as text or as bytes, as the service itself does."""
    name = name.encode() if isinstance(name, str) else name
    return "".join(chr(byte) if byte in _unreserved or byte in keep else f"%{byte:02X}"
                   for byte in name)


def target_of(name):
    return "/objects/" + encode(name)


def content(size, seed=0):
    """The same bytes for the same size and seed, and others for others."""
    return random.Random(f"{size} {seed}").randbytes(size)


def digest(data):
    """What is compared in the place of large bodies, which a failing assertion would print."""
    return len(data), hashlib.sha256(data).hexdigest()


def is_problem(response, status, slug=None, detail=None):
    """Asserts that a response is a problem in the form that all problems have."""
    assert response.status == status, response
    assert response.header("Content-Type") == "application/problem+json", response
    problem = json.loads(response.body)
    assert problem["status"] == status
    assert problem["type"].startswith("urn:ceph-lb:problem:")
    assert problem["title"]
    if slug is not None:
        assert problem["type"] == f"urn:ceph-lb:problem:{slug}"
    if detail is not None:
        assert re.search(detail, problem["detail"]), problem
    return True


class Files:
    """A user of the service at `port`. Its files begin with a prefix of their own by default."""

    def __init__(self, port, label="test"):
        self.port = port
        self.prefix = f"{label}-{os.getpid()}-{next(_numbers)}/"
        self.client = Client(port)
        self._stored = set()

    def name(self, rest=""):
        """A name below the prefix; text or bytes, as `rest` is."""
        return self.prefix.encode() + rest if isinstance(rest, bytes) else self.prefix + rest

    def remember(self, *names):
        """Names to be deleted at the end, which were stored in another way than by put()."""
        self._stored.update(names)

    def put(self, name, body=b"", headers=None):
        self.remember(name)
        return self.client.put(target_of(name), body, headers)

    def get(self, name, headers=None):
        return self.client.get(target_of(name), headers)

    def head(self, name, headers=None):
        return self.client.request("HEAD", target_of(name), headers=headers)

    def delete(self, name, headers=None):
        return self.client.delete(target_of(name), headers)

    def listing(self, query="", headers=None):
        return self.client.get("/objects" + (f"?{query}" if query else ""), headers)

    def names(self, prefix=None):
        """The names below the prefix, in the order in which they are listed."""
        prefix = self.prefix if prefix is None else prefix
        answer = self.listing(f"limit=10000&prefix={encode(prefix)}")
        assert answer.status == 200, answer
        return [entry["name"] for entry in json.loads(answer.body)["objects"]]

    def check(self, name, body):
        """Asserts that the file is there with this content."""
        answer = self.get(name)
        assert answer.status == 200, answer
        assert answer.header("Content-Length") == str(len(body))
        assert digest(answer.body) == digest(body)
        return answer

    def close(self):
        names = list(self._stored)
        for name in names[:20]:
            self.client.delete(target_of(name))
        in_parallel(4, names[20:], lambda client, name: client.delete(target_of(name)), self.port)
        self.client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def in_parallel(threads, items, work, port):
    """Calls work(client, item) for every item, in some threads with a client each. The results, in order."""
    items = list(items)
    results = [None] * len(items)
    todo = iter(range(len(items)))
    errors = []

    def run():
        with Client(port) as client:
            try:
                for number in todo_next():
                    results[number] = work(client, items[number])
            except BaseException as error:  # Reported in the test's own thread.
                errors.append(error)

    lock = threading.Lock()

    def todo_next():
        while True:
            with lock:
                number = next(todo, None)
            if number is None or errors:
                return
            yield number

    workers = [threading.Thread(target=run) for _ in range(min(threads, len(items)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return results


def at_once(actions):
    """Calls all actions at the same moment, each in its own thread. The results, in order."""
    results = [None] * len(actions)
    errors = []
    barrier = threading.Barrier(len(actions))

    def run(number):
        barrier.wait(30)
        try:
            results[number] = actions[number]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


# --- connections of which a test wants to see each byte ---------------------------------------------

class Wire:
    """A connection on which a test writes and reads bytes as it likes."""

    def __init__(self, port, timeout=30, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.rest = b""

    def send(self, data):
        self.socket.sendall(data)

    def _more(self):
        data = self.socket.recv(256 * KIB)
        if not data:
            raise ConnectionError("the peer has closed")
        self.rest += data

    def take(self, count):
        pieces = [self.rest[:count]]
        self.rest = self.rest[count:]
        missing = count - len(pieces[0])
        while missing:
            data = self.socket.recv(min(missing, 256 * KIB))
            if not data:
                raise ConnectionError("the peer has closed")
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    def head(self):
        """Reads the head of a response; its status and its fields by their lower-case names."""
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = dict((key.strip().lower(), value.strip())
                      for key, _, value in (line.partition(":") for line in lines))
        assert first.startswith("HTTP/1.1 "), first
        return int(first.split()[1]), fields

    def response(self):
        """Reads a response with a Content-Length: status, fields and body."""
        status, fields = self.head()
        return status, fields, self.take(int(fields["content-length"]))

    def closed(self):
        """Reads to the end; true once the peer has closed, whether in order or by a reset."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(256 * KIB):
                pass
        return True

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def head_of(method, target, *fields):
    """The head of a request with the given lines."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: test", *fields, "", ""]).encode("latin-1")


def send_chunked(port, method, target, pieces, headers=None):
    """A request whose body has no length beforehand."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("Transfer-Encoding", "chunked")
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders(iter(pieces), encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


# --- forms ------------------------------------------------------------------------------------------

def part(disposition, data, media_type=None, *lines):
    """One part of a form, from its Content-Disposition and its content."""
    head = [f"Content-Disposition: {disposition}".encode()]
    if media_type is not None:
        head.append(f"Content-Type: {media_type}".encode())
    head += [line.encode() for line in lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + data


def file_part(name, data, media_type=None):
    """A part that is a file, its name written as browsers do."""
    name = name.encode() if isinstance(name, str) else name
    name = name.replace(b"\r", b"%0D").replace(b"\n", b"%0A").replace(b'"', b"%22")
    head = b'Content-Disposition: form-data; name="file"; filename="' + name + b'"\r\n'
    if media_type is not None:
        head += f"Content-Type: {media_type}\r\n".encode()
    return head + b"\r\n" + data


def form(*parts, boundary="test-boundary"):
    """The body of a form."""
    line = b"--" + boundary.encode()
    return b"".join(line + b"\r\n" + each + b"\r\n" for each in parts) + line + b"--\r\n"


def post(port, body, content_type="multipart/form-data; boundary=test-boundary", headers=None,
         target="/objects"):
    return request(port, "POST", target, body, {"Content-Type": content_type, **(headers or {})})


# --- fixtures, for the files of tests that import them ----------------------------------------------

@pytest.fixture
def files(stack):
    """A user of the load balancer."""
    with Files(stack.port) as user:
        yield user


@pytest.fixture(params=["balancer", "backend"])
def everywhere(stack, request):
    """The same test through the load balancer, and without it."""
    port = stack.port if request.param == "balancer" else stack.backend_ports[0]
    with Files(port, request.param) as user:
        yield user


def command_bytes(stack, *words):
    """A `rados` or `ceph` command's output, which need not be UTF-8."""
    return subprocess.run(words, env=stack.cluster_environment(), timeout=60, check=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout


def objects_of_pool(stack):
    """How many RADOS objects the pool holds: files, stripes and the service's own, as its quota counts them."""
    return len(command_bytes(stack, "rados", "-p", stack.env["CEPH_POOL"], "--all", "ls").splitlines())
