"""radosgw, Ceph's own gateway, on the stack's cluster for the time of a benchmark.

It has pools of its own with as many copies as ours. One bucket is open to everybody, so that the clients of
both sides send the same plain requests and no signature is made or checked.
"""

import base64
import email.utils
import hashlib
import hmac
import json

from running_stack import Daemon, Failure, connect, say, wait_until

NAME = "client.rgw.bench"
USER = {"uid": "bench", "display-name": "bench", "access-key": "benchbenchbenchbench", "secret-key": "bench"}
BUCKET = "bench"
# Data and index have as many placement groups as our pool; the others hold next to nothing.
POOLS = {"default.rgw.buckets.data": 32, "default.rgw.buckets.index": 32, ".rgw.root": 4, "default.rgw.log": 4,
         "default.rgw.control": 4, "default.rgw.meta": 4, "default.rgw.buckets.non-ec": 4}


class Radosgw:
    def __init__(self, stack, port):
        self.stack = stack
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.keyring = stack.dir / "radosgw.keyring"
        self.daemon = Daemon("radosgw", stack.dir / "radosgw.pid", stack.dir / "radosgw.log",
                             ["radosgw", stack.settings.ceph_conf])

    def start(self):
        self.daemon.stop()  # Of a run that was killed.
        for pool, pg_num in POOLS.items():
            self.stack.make_pool(pool, pg_num, "rgw")
        self._write_keyring()
        self._make_user()
        data = self.stack.dir / "radosgw"
        data.mkdir(exist_ok=True)
        self.daemon.start(
            ["radosgw", "-f", "--conf", self.stack.settings.ceph_conf, "--name", NAME, "--keyring", self.keyring,
             f"--rgw-data={data}", f"--rgw-frontends=beast endpoint=127.0.0.1:{self.port}"],
            self.stack.settings.environment())
        try:
            self.daemon.wait_ready(self._answers, 120, "an answer")
            self._make_bucket()
        except BaseException:
            self.daemon.stop()
            raise
        say(f"radosgw: listening on 127.0.0.1:{self.port}")

    def stop(self):
        self.daemon.stop()
        say("radosgw: stopped")

    def forget(self):
        """Removes its pools with all that it stored. Only when it is stopped."""
        for pool in self.stack.pools():
            if pool == ".rgw.root" or pool.startswith("default.rgw."):
                self.stack.remove_pool(pool)

    def collect_garbage(self):
        """What was deleted would otherwise stay for two hours."""
        self.stack.run("radosgw-admin", "gc", "process", "--include-all")

    def _write_keyring(self):
        answer = self.stack.command("auth get-or-create", entity=NAME,
                                    caps=["mon", "allow rw", "mgr", "allow rw", "osd", "allow rwx"])
        self.keyring.touch(mode=0o600)
        self.keyring.write_text(f"[{NAME}]\n\tkey = {answer[0]['key']}\n")

    def _make_user(self):
        users = json.loads(self.stack.run("radosgw-admin", "user", "list"))
        if USER["uid"] not in users:
            self.stack.run("radosgw-admin", "user", "create", *(f"--{name}={value}" for name, value in USER.items()))

    def _answers(self):
        connection = connect(self.url, seconds=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _make_bucket(self):
        # Right after its start it may still be about to make its zone's pools, and says 500. 409: it is there already.
        wait_until(lambda: self._signed_put(f"/{BUCKET}", b"") in (200, 409), 60, "radosgw cannot make a bucket yet",
                   self.daemon.log, interval=0.5)
        everybody = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": "*",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]}]}
        status = self._signed_put(f"/{BUCKET}?policy", json.dumps(everybody).encode())
        if status not in (200, 204):
            raise Failure(f"radosgw: opening the bucket to everybody answered {status}", self.daemon.log)

    def _signed_put(self, path, body):
        """As the bucket's owner, signed in the old way (AWS version 2), which is short."""
        date = email.utils.formatdate(usegmt=True)
        signature = base64.b64encode(hmac.digest(USER["secret-key"].encode(), f"PUT\n\n\n{date}\n{path}".encode(),
                                                 hashlib.sha1)).decode()
        connection = connect(self.url)
        try:
            connection.request("PUT", path, body=body,
                               headers={"Date": date, "Authorization": f"AWS {USER['access-key']}:{signature}"})
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()
