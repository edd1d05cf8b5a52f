"""Random changes through three backends at once, compared with a dictionary; then what lies in RADOS, compared with it too."""

import json
import os
import random
import threading

import pytest

from files import MIB, content, digest, encode, target_of
from pool import STRIPE, own_pool
from stack import Client

SIZES = (0, 1, 4096, 1 * MIB, 4 * MIB, 4 * MIB + 1, 9 * MIB)
NAMES = ("a", "a/b", "a/b/c", "a//b", "b", "b/1", "b/2", "c d", "e+f")
STEPS = int(os.environ.get("MODEL_STEPS", "150"))


class Model:
    """What one writer stored: names below a prefix of its own, so that it knows what has to be there."""

    def __init__(self, ports, number):
        self.dice = random.Random(f"model {number}")
        self.clients = [Client(port) for port in ports]
        self.prefix = f"{number}/"
        self.files = {}  # name → (content, etag)
        self.versions = 0

    def client(self):
        return self.dice.choice(self.clients)

    def close(self):
        for client in self.clients:
            client.close()

    def name(self):
        return self.prefix + self.dice.choice(NAMES)

    def stored_name(self):
        return self.dice.choice(sorted(self.files)) if self.files else None

    def new_content(self):
        self.versions += 1
        return content(self.dice.choice(SIZES), f"{self.prefix}{self.versions}")

    # ---- steps ----

    def put(self):
        name, body = self.name(), self.new_content()
        answer = self.client().put(target_of(name), body)
        assert answer.status == (200 if name in self.files else 201), (name, answer)
        self.files[name] = body, answer.header("ETag")

    def put_if_match(self):
        name, body = self.name(), self.new_content()
        right = self.dice.random() < 0.5
        etag = self.files[name][1] if name in self.files and right else '"other"'
        answer = self.client().put(target_of(name), body, {"If-Match": etag})
        if name in self.files and right:
            assert answer.status == 200, answer
            self.files[name] = body, answer.header("ETag")
        else:
            assert answer.status == 412, answer

    def put_if_new(self):
        name, body = self.name(), self.new_content()
        answer = self.client().put(target_of(name), body, {"If-None-Match": "*"})
        if name in self.files:
            assert answer.status == 412, answer
        else:
            assert answer.status == 201, answer
            self.files[name] = body, answer.header("ETag")

    def upload_in_parts(self):
        """The parts go through any backends, in any order."""
        name, body = self.name(), self.new_content()
        answer = self.client().request("POST", f"/uploads?name={encode(name, keep=b'')}")
        assert answer.status == 201, answer
        upload = json.loads(answer.body)["id"]
        numbers = list(range(-(-len(body) // STRIPE)))
        self.dice.shuffle(numbers)
        if numbers and self.dice.random() < 0.2:
            put = self.client().put(f"/uploads/{upload}/{numbers[0]}", body[numbers[0] * STRIPE:][:STRIPE])
            assert put.status == 204 and self.client().delete(f"/uploads/{upload}").status == 204
            return
        for number in numbers:
            assert self.client().put(f"/uploads/{upload}/{number}", body[number * STRIPE:][:STRIPE]).status == 204
        answer = self.client().request("POST", f"/uploads/{upload}", json.dumps({"size": len(body)}).encode())
        assert answer.status == (200 if name in self.files else 201), (name, answer)
        self.files[name] = body, answer.header("ETag")

    def copy(self):
        source, name = self.stored_name(), self.name()
        if source is None or source == name:
            return
        answer = self.client().put(target_of(name), b"", {"X-Copy-From": target_of(source)})
        assert answer.status == (200 if name in self.files else 201), (source, name, answer)
        self.files[name] = self.files[source][0], answer.header("ETag")

    def rename(self):
        source, name = self.stored_name(), self.name()
        if source is None or source == name:
            return
        answer = self.client().request("POST", f"{target_of(source)}?rename={encode(name, keep=b'')}")
        assert answer.status == (200 if name in self.files else 201), (source, name, answer)
        self.files[name] = self.files.pop(source)[0], answer.header("ETag")

    def delete_some(self):
        names = self.dice.sample(NAMES, 3)
        answer = self.client().request("POST", "/objects?delete", json.dumps([self.prefix + name for name in names]).encode())
        assert answer.status == 200, answer
        for name, result in zip(names, json.loads(answer.body)["results"]):
            assert result["status"] == (204 if self.files.pop(self.prefix + name, None) else 404), (name, result)

    def delete(self):
        name = self.name()
        answer = self.client().delete(target_of(name))
        assert answer.status == (204 if name in self.files else 404), (name, answer)
        self.files.pop(name, None)

    def get(self):
        name = self.name()
        answer = self.client().get(target_of(name))
        if name not in self.files:
            assert answer.status == 404, answer
        else:
            body, etag = self.files[name]
            assert answer.status == 200 and digest(answer.body) == digest(body), (name, answer.status)
            assert answer.header("ETag") == etag

    def get_range(self):
        name = self.stored_name()
        if name is None or not self.files[name][0]:
            return
        body = self.files[name][0]
        first = self.dice.randrange(len(body))
        last = self.dice.randrange(first, min(len(body), first + 5 * MIB))
        answer = self.client().get(target_of(name), {"Range": f"bytes={first}-{last}"})
        assert answer.status == 206 and digest(answer.body) == digest(body[first:last + 1]), (name, first, last)

    def list(self):
        """By pages of a random size, each from another backend."""
        found, after, limit = [], "", self.dice.choice((1, 2, 5, 1000))
        while after is not None:
            answer = self.client().get(f"/objects?limit={limit}&prefix={encode(self.prefix)}&after={encode(after)}")
            assert answer.status == 200, answer
            page = json.loads(answer.body)
            assert len(page["objects"]) <= limit
            found += [(one["name"], one["size"], one["etag"]) for one in page["objects"]]
            after = page["next"]
        assert found == [(name, len(body), etag) for name, (body, etag) in
                         sorted(self.files.items(), key=lambda item: item[0].encode())]

    def list_folded(self):
        answer = self.client().get(f"/objects?delimiter=/&prefix={encode(self.prefix)}")
        page = json.loads(answer.body)
        rests = [name[len(self.prefix):] for name in self.files]
        assert page["prefixes"] == sorted({self.prefix + rest.split("/")[0] + "/" for rest in rests if "/" in rest})
        assert [one["name"] for one in page["objects"]] == sorted(self.prefix + rest for rest in rests if "/" not in rest)

    STEPS = (put, put, put, put_if_match, put_if_new, upload_in_parts, copy, rename, delete, delete, delete_some, get, get,
             get_range, list, list_folded)

    def run(self, count):
        for _ in range(count):
            self.dice.choice(self.STEPS)(self)


@pytest.fixture(scope="module")
def pool(stack, work_dir, free_port):
    with own_pool(stack, work_dir, free_port) as some:
        yield some


def test_random_changes(pool):
    models = [Model(pool.ports, number) for number in range(4)]
    problems = []

    def run(model):
        try:
            model.run(STEPS)
        except Exception as error:  # noqa: it is told below, with the writer it happened to
            problems.append(f"{model.prefix}: {error!r}")

    threads = [threading.Thread(target=run, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models:
        model.close()
    assert not problems, "\n".join(problems)
    pool.wait_settled({name: len(body) for model in models for name, (body, _) in model.files.items()})
