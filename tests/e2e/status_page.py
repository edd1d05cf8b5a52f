"""The load balancer's status page, in each of its formats, read by parsers that forgive nothing."""

import html.parser
import json
import re

from stack import Client, request

VOID = {"meta", "link", "br", "hr", "img", "input"}
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf'({NAME})(?:\{{(.*)\}})? (-?[0-9]+(?:\.[0-9]+)?)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


class StatusPage:
    """Where the page is. `server` is the block that makes it, for the http block of a test."""

    def __init__(self, port):
        self.port = port
        self.server = (f"server {{ listen 127.0.0.1:{port}; location = / {{ ceph_lb_status; }} "
                       "location = /metrics { set $args format=prometheus; ceph_lb_status; } }")

    def get(self, target="/", **headers):
        return request(self.port, "GET", target, headers=headers)

    def json(self):
        response = self.get("/?format=json")
        assert response.status == 200 and response.header("Content-Type") == "application/json"
        return json.loads(response.body.decode(), parse_constant=_no_number)

    def upstream(self, name="backends"):
        found, = (upstream for upstream in self.json()["upstreams"] if upstream["name"] == name)
        return found

    def backend(self, backend):
        """What is said of a fake backend."""
        found, = (row for row in self.upstream()["backends"] if row["address"] == backend.name)
        return found

    def metrics(self, target="/metrics"):
        response = self.get(target)
        assert response.status == 200
        assert response.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        return Metrics(response.body.decode())

    def html(self):
        response = self.get()
        assert response.status == 200
        assert response.header("Content-Type") == "text/html; charset=utf-8"
        return Page(response.body.decode())

    def of_each_worker(self, count):
        """What each worker says, on connections that are opened until every one has answered."""
        found = {}
        clients = []
        try:
            while len(found) < count:
                assert len(clients) < 500, f"only {list(found)} answer"
                client = Client(self.port)
                clients.append(client)  # Open, so that the other worker gets the next one.
                said = json.loads(client.get("/?format=json").body)
                found[said["worker_pid"]] = said
        finally:
            for client in clients:
                client.close()
        return found


def _no_number(text):
    raise AssertionError(f"{text} is not JSON")


class Metrics:
    """Prometheus' text format, version 0.0.4."""

    def __init__(self, text):
        self.types = {}
        self.samples = {}
        assert text.endswith("\n")
        current = None
        helped = set()
        for line in text[:-1].split("\n"):
            match = re.fullmatch(rf"# HELP ({NAME}) (\S.*)", line)
            if match:
                current = match.group(1)
                assert current not in helped, f"{current} comes twice"
                helped.add(current)
                continue
            match = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge)", line)
            if match:
                assert match.group(1) == current and current not in self.types, line
                self.types[current] = match.group(2)
                assert current.endswith("_total") == (match.group(2) == "counter"), line
                continue
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, labels, value = match.groups()
            assert name == current and name in self.types, f"not with its head: {line}"
            key = (name, frozenset(_labels(labels or "").items()))
            assert key not in self.samples, f"twice: {line}"
            self.samples[key] = float(value)

    def get(self, name, **labels):
        """The one sample of this name that has these labels, whatever others it has; None: there is none."""
        found = [value for (its_name, its_labels), value in self.samples.items()
                 if its_name == name and its_labels >= set(labels.items())]
        assert len(found) <= 1, found
        return found[0] if found else None

    def labels(self, name, **labels):
        """All labels of that sample."""
        found, = (dict(its_labels) for its_name, its_labels in self.samples
                  if its_name == name and its_labels >= set(labels.items()))
        return found


def _labels(text):
    found = {}
    at = 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, text
        name, value = match.groups()
        assert name not in found
        found[name] = re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), value)
        at = match.end()
    return found


class Page(html.parser.HTMLParser):
    """A well-formed page without anything from outside. Its parts are texts, as somebody reads them."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.text = text
        self.attributes = []  # (tag, attributes) of each element
        self.notes = []       # (class, text)
        self.tables = []      # of dictionaries, by the texts of the columns
        self.facts = []       # a dictionary for each upstream
        self.headings = []
        self._open = []
        self._parts = []
        assert text.startswith("<!DOCTYPE html>\n")
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"
        self._nothing_from_outside()

    def rows(self):
        table, = self.tables
        return {row["Backend"]: row for row in table}

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), "an attribute comes twice"
        assert all(value is not None for _, value in attributes), "an attribute without a value"
        attributes = dict(attributes)
        self.attributes.append((tag, attributes))
        if tag in VOID:
            return
        self._open.append((tag, attributes))
        self._parts.append("")
        if tag == "table":
            self.tables.append([])
            self._columns = []
        elif tag == "h2":
            self.facts.append({})
        elif tag == "tr":
            self._cells = []
        elif tag == "th":
            assert attributes.get("scope") in ("col", "row")

    def handle_endtag(self, tag):
        assert self._open and self._open[-1][0] == tag, f"</{tag}> closes {self._open[-1:]}"
        _, attributes = self._open.pop()
        text = self._parts.pop()
        if self._parts:
            self._parts[-1] += text
        if tag == "li":
            self.notes.append((attributes["class"], text))
        elif tag == "h2":
            self.headings.append(text)
        elif tag == "th" and attributes["scope"] == "col":
            self._columns.append(text)
        elif tag in ("th", "td"):
            self._cells.append(text)
        elif tag == "tr" and self._cells:
            assert len(self._cells) == len(self._columns)
            self.tables[-1].append(dict(zip(self._columns, self._cells)))
        elif tag == "dt":
            self._term = text
        elif tag == "dd":
            assert self._term not in self.facts[-1], f"{self._term} comes twice"
            self.facts[-1][self._term] = text

    def handle_data(self, data):
        if self._parts:
            self._parts[-1] += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def unknown_decl(self, data):
        raise AssertionError(f"a declaration: {data}")

    def _nothing_from_outside(self):
        tags = {tag for tag, _ in self.attributes}
        assert not tags & {"script", "img", "iframe", "object", "embed", "base", "form"}
        for tag, attributes in self.attributes:
            assert not [name for name in attributes if name.startswith("on") or name == "src"]
            if "href" in attributes:
                assert attributes["href"] in ("data:,", "?format=json", "?format=prometheus"), (tag, attributes)
        style = self.text[self.text.index("<style>"):self.text.index("</style>")]
        assert "url(" not in style and "@import" not in style
        assert style.count("{") == style.count("}")
