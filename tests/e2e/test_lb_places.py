"""Wherever nginx can pass a request on from, the list is fresh; and how it retries."""

import threading

import pytest

from fake import HangUp
from stack import wait_for


# --- the ways into a location -----------------------------------------------------------------------

def test_auth_request(lb):
    """A subrequest to the upstream decides about the main request, which goes there too."""
    backend = lb.backend()

    def judge(handler, seen):
        if seen.target == "/auth" and "X-Forbidden" in seen.headers:
            handler.reply(403, {}, b"")
        else:
            backend.plain_answer(handler, seen)
    backend.answer = judge
    lb.start(server="""
        location = /auth { internal; proxy_pass http://backends; proxy_pass_request_body off;
                           proxy_set_header Content-Length ""; }
        location /guarded { auth_request /auth; proxy_pass http://backends; }
    """)
    assert lb.get("/guarded").status == 200
    assert [seen.target for seen in backend.seen] == ["/auth", "/guarded"]
    assert lb.get("/guarded", headers={"X-Forbidden": "1"}).status == 403
    lb.remove(backend)
    assert lb.get("/guarded").status >= 500


def test_auth_request_before_a_file(lb):
    """Only the subrequest goes to the upstream; what is served comes from the disk."""
    backend = lb.backend()
    (lb.nginx.dir / "html").mkdir()
    (lb.nginx.dir / "html" / "page").write_text("a page")
    lb.start(server=f"""
        location = /auth {{ internal; proxy_pass http://backends; }}
        location = /page {{ auth_request /auth; root {lb.nginx.dir}/html; }}
    """)
    assert lb.get("/page").body == b"a page"
    assert [seen.target for seen in backend.seen] == ["/auth"]
    lb.remove(backend)
    assert lb.get("/page").status >= 500


def test_auth_request_before_an_upload(lb):
    """The body is not the subrequest's, and is there for the main request."""
    backend = lb.backend()
    lb.start(server="""
        location = /auth { internal; proxy_pass http://backends; proxy_pass_request_body off;
                           proxy_set_header Content-Length ""; }
        location /guarded { auth_request /auth; proxy_pass http://backends; }
    """)
    with lb.client() as client:
        assert client.put("/guarded", b"a body").status == 200
    assert [(seen.target, seen.body) for seen in backend.seen] == [("/auth", b""), ("/guarded", b"a body")]


def test_mirror(lb):
    main, copy = lb.backend(), lb.backend(state="down")
    lb.start(server=f"""
        location /mirrored {{ mirror /copy; proxy_pass http://backends; }}
        location = /copy {{ internal; proxy_pass http://backends$request_uri; }}
        location = /copy2 {{ internal; proxy_pass http://{copy.name}; }}
    """)
    # A copy that fails (here: proxy_pass with a variable) is not the client's affair.
    assert lb.get("/mirrored").status == 200
    lb.nginx.write(lb.conf(server="""
        location /mirrored { mirror /copy; proxy_pass http://backends; }
        location = /copy { internal; proxy_pass http://backends; }
    """))
    lb.nginx.reload()
    before = len(main.seen)
    wait_for(lambda: lb.get("/mirrored").status == 200 and len(main.seen) >= before + 2,
             what="the request and its copy")


@pytest.mark.parametrize("body_too", [True, False])
def test_mirror_of_an_upload(lb, body_too):
    """Without the body, the upload may even stream through."""
    backend = lb.backend()
    more = "" if body_too else """proxy_pass_request_body off; proxy_set_header Content-Length "";"""
    main = "" if body_too else "mirror_request_body off; proxy_request_buffering off;"
    lb.start(server=f"""
        client_max_body_size 0;
        location /mirrored {{ mirror /copy; {main} proxy_pass http://backends; }}
        location = /copy {{ internal; {more} proxy_pass http://backends/copy; }}
    """)
    body = bytes(range(256)) * 2000
    with lb.client() as client:
        assert client.put("/mirrored", body).status == 200
        wait_for(lambda: len(backend.seen) == 2, what="the request and its copy")
        # The connection is there for the next request once the copy has been answered.
        assert client.get("/").status == 200
    bodies = {seen.target: seen.body for seen in backend.seen}
    assert bodies == {"/mirrored": body, "/copy": body if body_too else b"", "/": b""}


def test_ssi_includes(lb):
    """Several subrequests at once, each with its own wait for the list."""
    backend = lb.backend()

    def page(handler, seen):
        if seen.target == "/page":
            body = b"".join(b'<!--#include virtual="/part/%d" -->' % n for n in range(5))
            handler.reply(200, {"Content-Type": "text/html"}, body)
        else:
            handler.reply(200, {"Content-Type": "text/html"}, seen.target.encode() + b";")
    backend.answer = page
    lb.start(location="ssi on;")
    assert lb.get("/page").body == b"/part/0;/part/1;/part/2;/part/3;/part/4;"


def test_ssi_includes_wait_together(lb):
    """None of the parts is answered before all have arrived, those inside of parts included."""
    backend = lb.backend()
    outer, inner = threading.Barrier(4), threading.Barrier(4)

    def page(handler, seen):
        _, kind, *number = seen.target.split("/")
        body = f"{kind}{''.join(number)};".encode()
        if kind == "page":
            body = b"".join(b'<!--#include virtual="/outer/%d" -->' % n for n in range(4))
        elif kind == "outer":
            outer.wait(30)
            body += b'<!--#include virtual="/inner/%s" -->' % number[0].encode()
        else:
            inner.wait(30)
        handler.reply(200, {"Content-Type": "text/html"}, body)
    backend.answer = page
    lb.start(location="ssi on;")
    for _ in range(3):
        assert lb.get("/page").body == b"".join(b"outer%d;inner%d;" % (n, n) for n in range(4))


def test_ssi_without_a_list(lb):
    """The page is from the disk; its parts fail, it does not."""
    lb.nginx.dir.joinpath("page.html").write_text('before <!--#include virtual="/part" --> after')
    lb.start(server=f"location = /page.html {{ root {lb.nginx.dir}; ssi on; }}")
    response = lb.get("/page.html")
    assert response.status == 200
    assert response.body.startswith(b"before ") and response.body.endswith(b" after")
    assert b"503" in response.body


def test_parts_before_and_after_a_body(lb):
    backend = lb.backend()
    backend.answer = lambda handler, seen: handler.reply(200, {"Content-Type": "text/html"},
                                                         seen.target.encode())
    lb.start(location="add_before_body /before; add_after_body /after;")
    assert lb.get("/page").body == b"/before/page/after"


def test_named_location_and_try_files(lb):
    backend = lb.backend()
    lb.nginx.write(lb.upstream() + f"""
        server {{ listen 127.0.0.1:{lb.port}; root {lb.nginx.dir};
                  location / {{ try_files $uri.txt @backends; }}
                  location @backends {{ proxy_pass http://backends; }} }}""")
    (lb.nginx.dir / "static.txt").write_text("from the disk")
    lb.nginx.start()
    assert lb.get("/static").body == b"from the disk"
    assert lb.get("/dynamic").header("X-Backend") == backend.name


def test_error_page_leads_to_the_backends(lb):
    backend = lb.backend()
    lb.start(server="""
        location /broken { error_page 404 = /instead; return 404; }
        location = /instead { proxy_pass http://backends; }
    """)
    response = lb.get("/broken")
    assert (response.status, response.header("X-Backend")) == (200, backend.name)


def test_error_page_leads_to_a_named_location(lb):
    """The backend's own error sends the request on: a second pass, with a list of its own."""
    first, second = lb.backend(), lb.backend(row=False)

    def fail_and_leave(handler, seen):
        lb.remove(first)
        lb.add(second)
        handler.reply(500, {}, b"broken")
    first.answer = fail_and_leave
    lb.start(location="proxy_intercept_errors on; error_page 500 = @again;",
             server="location @again { proxy_pass http://backends; }")
    with lb.client() as client:
        response = client.put("/x", b"a body")
    assert (response.status, response.header("X-Backend")) == (200, second.name)
    assert [seen.body for seen in first.seen + second.seen] == [b"a body"] * 2


def test_post_action(lb):
    """A request that nginx sends on its own account after the client's one, to a changed list."""
    first, second = lb.backend(), lb.backend(row=False)

    def leave(handler, seen):
        lb.remove(first)
        lb.add(second)
        first.plain_answer(handler, seen)
    first.answer = leave
    lb.start(location="post_action @after;",
             server="location @after { proxy_method POST; proxy_pass http://backends; }")
    assert lb.get().header("X-Backend") == first.name
    wait_for(lambda: second.seen, what="the request after the request")
    assert second.seen[0].method == "POST"


def test_a_delayed_request_has_a_list_from_after_the_delay(lb):
    first, second = lb.backend(), lb.backend(row=False)
    lb.start(http="limit_req_zone $server_port zone=delayed:1m rate=20r/m;",
             location="limit_req zone=delayed burst=5; limit_req_log_level notice;")
    assert lb.get().header("X-Backend") == first.name
    answers = []
    delayed = threading.Thread(target=lambda: answers.append(lb.get("/delayed")))
    delayed.start()
    wait_for(lambda: "delaying request" in lb.nginx.log(), what="the delay")
    lb.remove(first)
    lb.add(second)
    delayed.join(30)
    assert answers[0].header("X-Backend") == second.name


def test_an_answer_that_redirects_inside(lb):
    """X-Accel-Redirect: a second pass through the upstream, with a list of its own."""
    first, second = lb.backend(), lb.backend(row=False)

    def redirect(handler, seen):
        lb.remove(first)
        lb.add(second)
        handler.reply(200, {"X-Accel-Redirect": "/inside/x"}, b"")
    first.answer = redirect
    lb.start(server="location /inside/ { internal; proxy_pass http://backends; }")
    response = lb.get("/outside")
    assert (response.status, response.header("X-Backend")) == (200, second.name)


def test_rewrite_inside(lb):
    backend = lb.backend()
    lb.start(server="""
        location /old/ { rewrite ^/old/(.*)$ /new/$1 last; }
        location /new/ { proxy_pass http://backends; }
    """)
    assert lb.get("/old/x").header("X-Backend") == backend.name


def test_two_upstreams(lb):
    """Each request has the list of the upstream that it goes to."""
    one, two = lb.backend(), lb.backend(row=False)
    lb.sql(f"CREATE TABLE others LIKE addresses;"
           f"INSERT INTO others (address, port) VALUES ('127.0.0.1', {two.port})")
    other = f"""upstream others {{ ceph_lb {lb.url} password_file={lb.password_file}
                "query=SELECT address, port FROM others"; }}"""
    lb.start(http=other, server="location /others { proxy_pass http://others; }")
    for _ in range(3):
        assert lb.get("/").header("X-Backend") == one.name
        assert lb.get("/others").header("X-Backend") == two.name


def test_proxy_pass_with_a_variable(lb):
    """Which upstream it will be is not known in time. That is said, not guessed."""
    lb.backend()
    lb.start(server="location /variable { set $name backends; proxy_pass http://$name; }")
    assert lb.get("/variable").status == 500
    assert any("[error]" in line and "variable" in line for line in lb.nginx.log().splitlines())
    assert lb.get("/").status == 200


def test_if_and_limit_except(lb):
    backend = lb.backend()
    lb.start(server="""
        location /methods { limit_except GET { deny all; } proxy_pass http://backends; }
    """)
    assert lb.get("/methods").header("X-Backend") == backend.name
    with lb.client() as client:
        assert client.delete("/methods").status == 403
    assert len(backend.seen) == 1


# --- connections to backends ------------------------------------------------------------------------

def test_keepalive(lb):
    backend = lb.backend()
    lb.start(extra="keepalive 4;")
    assert lb.answering(50) == {backend.name: 50}
    assert backend.connections == 1


def test_without_keepalive(lb):
    backend = lb.backend()
    lb.start(location='proxy_set_header Connection "close";')
    lb.answering(5)
    assert backend.connections == 5


def test_a_kept_connection_of_a_row_that_left(lb):
    """The connection may still be open; the request must go elsewhere all the same."""
    first, second = lb.backend(), lb.backend()
    lb.start(extra="keepalive 8;")
    assert len(lb.answering(10)) == 2
    lb.remove(first)
    count = len(first.seen)
    assert lb.answering(10) == {second.name: 10}
    assert len(first.seen) == count


# --- the next backend -------------------------------------------------------------------------------

def test_a_dead_backend_is_passed_over(lb):
    dead, alive = lb.backend(), lb.backend()
    lb.start()
    dead.stop()
    assert lb.answering(20) == {alive.name: 20}


def test_a_dead_backend_that_returns(lb):
    first, second = lb.backend(), lb.backend()
    lb.start()
    first.stop()
    assert lb.answering(6) == {second.name: 6}
    first.start()
    wait_for(lambda: first.name in lb.answering(2), 30, "the returned backend to be used")


def test_a_lonely_backend_is_always_tried(lb):
    """What failed a moment ago is better than nothing."""
    only = lb.backend()
    lb.start()
    only.stop()
    assert lb.get().status == 502
    only.start()
    assert lb.answering(3) == {only.name: 3}


def test_no_backend_is_tried_twice(lb):
    """All refuse by 503: each is asked once, and the client has the last one's answer."""
    backends = [lb.backend() for _ in range(4)]
    for backend in backends:
        backend.status = 503
    lb.start(location="proxy_next_upstream error timeout http_503;")
    for number in range(1, 6):
        assert lb.get().status in (502, 503)
        assert [len(backend.seen) for backend in backends] == [number] * 4
    tried = lb.nginx.access_log(5)[-1].split("upstream=")[1].split(", ")
    assert len(tried) == len(set(tried)) == 4


def test_three_backends_of_which_one_works(lb):
    """One does not listen, one hangs up: each is tried once, and then passed over."""
    refusing, hanging_up, working = (lb.backend() for _ in range(3))
    refusing.stop()

    def hang_up(handler, seen):
        raise HangUp
    hanging_up.answer = hang_up
    lb.start()
    assert lb.answering(30) == {working.name: 30}
    tried = [line.split("upstream=")[1].split(", ") for line in lb.nginx.access_log(30)]
    counts = {name: sum(names.count(name) for names in tried)
              for name in (refusing.name, hanging_up.name, working.name)}
    assert counts == {refusing.name: 1, hanging_up.name: 1, working.name: 30}


def test_no_more_tries_than_allowed(lb):
    backends = [lb.backend() for _ in range(3)]
    for backend in backends:
        backend.status = 503
    lb.start(location="proxy_next_upstream error timeout http_503; proxy_next_upstream_tries 2;")
    assert lb.get().status in (502, 503)
    assert sorted(len(backend.seen) for backend in backends) == [0, 1, 1]


def test_backups_come_after_all_others(lb):
    backends = [lb.backend() for _ in range(2)]
    backup = lb.backend(backup=1)
    for backend in backends:
        backend.status = 503
    lb.start(location="proxy_next_upstream error timeout http_503;")
    assert lb.answering(1) == {backup.name: 1}
    assert [len(backend.seen) for backend in backends] == [1, 1]
    # They have failed a moment ago, so the backup may be asked before them now.
    assert lb.answering(5) == {backup.name: 5}


@pytest.mark.parametrize("method, tries", [("GET", 2), ("PUT", 2), ("DELETE", 2), ("POST", 1)])
def test_what_may_be_sent_again(lb, method, tries):
    """The first one dies in the middle: what can be repeated is, a POST is not."""
    backends = [lb.backend() for _ in range(2)]
    dying = []

    def die_once(handler, seen):
        if not dying:
            dying.append(seen)
            raise HangUp
        handler.reply(200, {"X-Backend": "the other"}, seen.body)
    for backend in backends:
        backend.answer = die_once
    lb.start()
    with lb.client() as client:
        response = client.request(method, "/x", b"a body" if method in ("PUT", "POST") else None)
    assert sum(len(backend.seen) for backend in backends) == tries
    assert all(len(backend.seen) <= 1 for backend in backends)
    assert response.status == (200 if tries == 2 else 502)
    if method == "PUT":
        assert response.body == b"a body"


def test_the_next_one_when_time_is_over(lb):
    slow, quick = lb.backend(), lb.backend()
    lb.start(location="proxy_read_timeout 500ms;")

    def hang(handler, seen):
        wait_for(lambda: quick.seen, 20, "the other backend's turn")
        raise HangUp
    slow.answer = hang
    counts = lb.answering(2)
    assert counts == {quick.name: 2}
