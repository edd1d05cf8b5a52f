"""`nginx -t` finds every mistake in a configuration, names it, and connects nowhere."""

import re
import socket
import threading

import pytest

URL = "mysql://lb@127.0.0.1:{port}/ipaddresses"


class Listener:
    """Something that listens where the registry is said to be, and notes who comes."""

    def __init__(self, port):
        self.port = port
        self.visits = []
        self._server = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            self.visits.append(peer)

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._server.close()
        for peer in self.visits:
            peer.close()


@pytest.fixture
def listener(lb, free_port):
    lb.nginx.expected.append(r"\[emerg\]")  # Mistakes are what these tests are about.
    listener = Listener(free_port())
    yield listener
    listener.close()


def check(lb, listener, upstream, server=""):
    """`nginx -t` of a server that uses an upstream block with this content."""
    upstream = upstream.replace("URL", URL.format(port=listener.port))
    upstream = upstream.replace("PASSWORD", str(lb.password_file))
    lb.nginx.write(f"upstream backends {{ {upstream} }}\n"
                   f"server {{ listen 127.0.0.1:{lb.port}; {server}\n"
                   "location / { proxy_pass http://backends; } }")
    return lb.nginx.check()


@pytest.mark.parametrize("upstream", [
    "ceph_lb URL;",
    "ceph_lb URL password_file=PASSWORD connections=1 timeout=500ms;",
    "ceph_lb URL connections=64 timeout=30s; ceph_lb_stale off;",
    "ceph_lb_stale 5m; ceph_lb URL;",
    "ceph_lb URL; keepalive 16; keepalive_timeout 30s;",
    'ceph_lb URL "query=SELECT address FROM addresses";',
    'ceph_lb URL "version_query=SELECT version FROM addresses_version";',
    "ceph_lb mysql://lb@unix:/run/mysqld/mysqld.sock:/ipaddresses;",
    "ceph_lb mysql://lb@[::1]:3306/ipaddresses;",
    "ceph_lb mysql://lb@no-such-host.invalid/ipaddresses;",
    "ceph_lb mysql://lb@localhost/ipaddresses ssl_ca=CA;",
    "ceph_lb mysql://lb@db1,db2:3307,[2001:db8::7],10.0.0.1:1/ipaddresses;",
    "ceph_lb mysql://lb@a,b,c,d,e,f,g,h/ipaddresses ssl_ca=CA;",
])
def test_what_is_right(lb, listener, upstream):
    status, output = check(lb, listener, upstream.replace("CA;", lb.registry.env["MYSQL_SSL_CA"] + ";"))
    assert status == 0, output
    assert not listener.visits


@pytest.mark.parametrize("upstream, named", [
    # the URL, each of its parts
    ("ceph_lb;", "number of arguments"),
    ("ceph_lb postgres://lb@127.0.0.1/ipaddresses;", "mysql://"),
    ("ceph_lb http://127.0.0.1/ipaddresses;", "mysql://"),
    ("ceph_lb mysql://127.0.0.1/ipaddresses;", "USER"),
    ("ceph_lb mysql://@127.0.0.1/ipaddresses;", "user"),
    ("ceph_lb mysql://lb:secret@127.0.0.1/ipaddresses;", "password"),
    ("ceph_lb mysql://lb@/ipaddresses;", "host"),
    ("ceph_lb mysql://lb@127.0.0.1:0/ipaddresses;", "port"),
    ("ceph_lb mysql://lb@127.0.0.1:65536/ipaddresses;", "port"),
    ("ceph_lb mysql://lb@127.0.0.1:x/ipaddresses;", "port"),
    ("ceph_lb mysql://lb@[::1/ipaddresses;", "]"),
    ("ceph_lb mysql://lb@[1::2::3]/ipaddresses;", "IPv6"),
    ("ceph_lb mysql://lb@127.0.0.1;", "database"),
    ("ceph_lb mysql://lb@127.0.0.1/;", "database"),
    ("ceph_lb mysql://lb@unix:run/mysqld.sock:/ipaddresses;", "socket"),
    ("ceph_lb mysql://lb@unix:/run/mysqld.sock;", "socket|database"),
    ("ceph_lb mysql://lb@db1,/ipaddresses;", "no host after \",\""),
    ("ceph_lb mysql://lb@,db2/ipaddresses;", "no host after \"@\""),
    ("ceph_lb mysql://lb@db1,,db2/ipaddresses;", "no host after \",\""),
    ("ceph_lb mysql://lb@db1,db2:65536/ipaddresses;", "port .* from 1 to 65535"),
    ("ceph_lb mysql://lb@a,b,c,d,e,f,g,h,i/ipaddresses;", "more than 8 hosts"),
    ("ceph_lb mysql://lb@db1,unix:/run/mysqld.sock:/ipaddresses;", "beside a unix socket"),
    ("ceph_lb mysql://lb@unix:/run/mysqld.sock:,db2/ipaddresses;", "beside a unix socket"),
    # parameters
    ("ceph_lb URL password_file=/no/such/file;", "/no/such/file"),
    ("ceph_lb URL password_file=/dev/null;", "/dev/null"),
    ("ceph_lb URL password_file=;", "password_file"),
    ("ceph_lb URL connections=0;", "connections"),
    ("ceph_lb URL connections=65;", "connections"),
    ("ceph_lb URL connections=many;", "connections"),
    ("ceph_lb URL timeout=0;", "timeout"),
    ("ceph_lb URL timeout=soon;", "timeout"),
    ("ceph_lb URL query=;", "query"),
    ("ceph_lb URL version_query=;", "version_query"),
    ("ceph_lb URL ssl_ca=/no/such/file;", "/no/such/file"),
    ("ceph_lb mysql://lb@unix:/run/mysqld.sock:/ipaddresses ssl_ca=/etc/hostname;", "ssl_ca"),
    ("ceph_lb URL connections=2 connections=2;", "connections"),
    ("ceph_lb URL colour=blue;", "colour"),
    # beside it
    ("ceph_lb URL; ceph_lb URL;", "duplicate"),
    ("ceph_lb URL; ceph_lb_stale soon;", "ceph_lb_stale|soon"),
    ("ceph_lb URL; ceph_lb_stale 1s; ceph_lb_stale 2s;", "duplicate"),
    ("server 127.0.0.1:1; ceph_lb_stale 1s;", "ceph_lb"),
    ("ceph_lb URL; server 127.0.0.1:1;", "server"),
    ("server 127.0.0.1:1; ceph_lb URL;", "server"),
    ("ceph_lb URL; zone shared 64k;", "zone"),
    ("zone shared 64k; ceph_lb URL;", "zone"),
    ("ceph_lb URL; ip_hash;", "ip_hash|balanc|method"),
    ("ip_hash; ceph_lb URL;", "ip_hash|balanc|method"),
    ("ceph_lb URL; random;", "random|balanc|method"),
    ("random; ceph_lb URL;", "random|balanc|method"),
    ("ceph_lb URL; hash $uri;", "hash|balanc|method"),
    ("ceph_lb URL; least_conn;", "least_conn|balanc|method"),
    ("keepalive 16; ceph_lb URL;", "keepalive"),
])
def test_each_mistake_is_named(lb, listener, upstream, named):
    status, output = check(lb, listener, upstream)
    assert status != 0, output
    # nginx also names a directive of its own in its own messages; ours come as one of these levels.
    message = "\n".join(line for line in output.splitlines() if "[emerg]" in line)
    assert re.search(named, message), output
    assert not listener.visits


@pytest.mark.parametrize("place", ["http", "server", "location"])
def test_directives_belong_in_an_upstream(lb, listener, place):
    directive = URL.format(port=listener.port)
    blocks = {"http": f"ceph_lb {directive};", "server": f"server {{ ceph_lb {directive}; }}",
              "location": f"server {{ location / {{ ceph_lb {directive}; }} }}"}
    lb.nginx.write(blocks[place])
    status, output = lb.nginx.check()
    assert status != 0 and '"ceph_lb" directive is not allowed here' in output


def test_several_upstreams(lb, listener):
    """Each with a registry of its own; nothing is shared that must not be."""
    url = URL.format(port=listener.port)
    lb.nginx.write(f"upstream one {{ ceph_lb {url}; }} upstream two {{ ceph_lb {url} connections=1; }}"
                   "upstream plain { server 127.0.0.1:1; }"
                   f"server {{ listen 127.0.0.1:{lb.port}; location /1 {{ proxy_pass http://one; }}"
                   "location /2 { proxy_pass http://two; } location /3 { proxy_pass http://plain; } }")
    status, output = lb.nginx.check()
    assert status == 0, output
    assert not listener.visits


def test_the_password_stands_in_no_message(lb, listener, work_dir):
    secret = work_dir / "secret.password"
    secret.write_text("a-secret-word\n")
    status, output = check(lb, listener, f"ceph_lb URL password_file={secret} colour=blue;")
    assert status != 0
    assert "a-secret-word" not in output + lb.nginx.log()
