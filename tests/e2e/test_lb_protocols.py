"""What nginx speaks with the backends: every directive that passes requests on has its list as `proxy_pass` has."""

import os
import socket
import ssl
import subprocess

import pytest

import fake_protocols
from fake import FakeBackend
from fake_protocols import TalkingBackend
from stack import read_until

PARAMS = "_param CONTENT_LENGTH $content_length; {0}_param REQUEST_METHOD $request_method; {0}_pass backends;"
PASSING = {
    "fastcgi": "fastcgi" + PARAMS.format("fastcgi"),
    "scgi": "scgi" + PARAMS.format("scgi"),
    "uwsgi": "uwsgi" + PARAMS.format("uwsgi"),
    "memcached": "set $memcached_key $uri; memcached_pass backends;",
    "grpc": "grpc_pass grpc://backends;",
}


@pytest.mark.parametrize("protocol", PASSING)
def test_another_protocol_than_http(lb, protocol):
    first, second = (talking(lb, getattr(fake_protocols, protocol)) for _ in range(2))
    lb.add(first)
    lb.add(second)
    lb.start(server=f"location /x {{ {PASSING[protocol]} }}")
    answers = [lb.get("/x") for _ in range(10)]
    assert {answer.status for answer in answers} == {200}, answers
    assert [answer.text for answer in answers] == [first.name, second.name] * 5
    for leaving, staying in ((first, second), (second, first)):
        lb.remove(leaving)
        assert [lb.get("/x").text for _ in range(4)] == [staying.name] * 4
        lb.add(leaving)
    lb.sql("DELETE FROM addresses")
    assert lb.get("/x").status == 503


# What gRPC has is always streaming. SCGI streams with a length that is not the body's, whatever the upstream.
@pytest.mark.parametrize("protocol, buffering", [
    ("fastcgi", "on"), ("fastcgi", "off"), ("uwsgi", "on"), ("uwsgi", "off"), ("scgi", "on"), ("grpc", None)])
def test_an_upload_by_another_protocol(lb, protocol, buffering):
    backend = talking(lb, getattr(fake_protocols, protocol))
    lb.add(backend)
    how = f"{protocol}_request_buffering {buffering};" if buffering else ""
    lb.start(server=f"location /x {{ {how} {PASSING[protocol]} }}")
    body = os.urandom(50_000)
    with lb.client() as client:
        for _ in range(3):
            assert client.put("/x", body).text == backend.name
            assert backend.seen[-1] == body


@pytest.mark.parametrize("keepalive", ["", "keepalive 4;"])
def test_tls_to_the_backends(lb, keepalive):
    first, second = secure(lb), secure(lb)
    lb.add(first)
    lb.start(extra=keepalive, server="location /secure { proxy_pass https://backends; }")
    with lb.client() as client:
        assert [client.get("/secure").header("X-Backend") for _ in range(5)] == [first.name] * 5
        lb.add(second)
        assert {client.get("/secure").header("X-Backend") for _ in range(6)} == {first.name, second.name}
        lb.remove(first)
        assert [client.get("/secure").header("X-Backend") for _ in range(5)] == [second.name] * 5


def test_a_tunnel(lb):
    """CONNECT, for which nginx has had `tunnel_pass` since 1.31."""
    first, second = talking(lb, fake_protocols.echo), talking(lb, fake_protocols.echo)
    port = lb.free_port()
    lb.nginx.expected = ['unknown directive "tunnel_pass"']
    lb.nginx.write(lb.conf(http=f"server {{ listen 127.0.0.1:{port}; tunnel_pass backends; }}"))
    if "unknown directive" in lb.nginx.check()[1]:
        pytest.skip("this nginx has no tunnels")
    lb.nginx.start()
    for backend in (first, second):
        lb.add(backend)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
            peer.sendall(b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n")
            read_until(peer, backend.name.encode())
            lb.remove(backend)
            peer.sendall(b"hello")
            assert read_until(peer, b"hello") == b"hello"


def talking(lb, talk):
    backend = TalkingBackend(lb.free_port(), talk)
    lb.backends.append(backend)
    return backend


def secure(lb):
    """A backend with a certificate that nobody vouches for."""
    file = lb.nginx.dir / "backend.pem"
    if not file.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-subj", "/CN=backend", "-keyout", str(file), "-out", str(file) + ".cert"],
                       check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(file) + ".cert", str(file))
    backend = FakeBackend(lb.free_port(), tls=context)
    lb.backends.append(backend)
    return backend
