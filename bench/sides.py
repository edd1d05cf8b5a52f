"""The two sides of a comparison, as their clients see them: our API, and that of S3."""

import json
import urllib.parse
import xml.etree.ElementTree as ElementTree

from many import send_all
from radosgw import BUCKET
from running_stack import fetch, say

PAGE = 1000


class Side:
    """What both can do, by way of path_of(), page() and parse()."""

    def __init__(self, url):
        self.url = url

    def names(self, prefix):
        """All names that begin so, page by page."""
        found = set()
        after = ""
        while True:
            names, _ = self.parse(fetch(self.url, self.page(prefix, after)))
            found.update(names)
            if len(names) < PAGE:
                return found
            after = names[-1]

    def remove(self, prefix):
        names = sorted(self.names(prefix))
        if len(names) > 1000:
            say(f"{self.url}: removing {len(names)} files")
        send_all(self.url, [("DELETE", self.path_of(name), b"") for name in names], statuses=(204,), progress=20000)


class Store(Side):
    """ceph-lb, through the balancer or one backend."""

    def path_of(self, name):
        return "/objects/" + name

    def page(self, prefix, after="", delimiter=""):
        query = {"limit": PAGE, "prefix": prefix}
        if after:
            query["after"] = after
        if delimiter:
            query["delimiter"] = delimiter
        return "/objects?" + urllib.parse.urlencode(query)

    def parse(self, body):
        """The names of files, of those that come with size and time, and the folders."""
        page = json.loads(body)
        return [entry["name"] for entry in page["objects"] if "size" in entry and "modified" in entry], page["prefixes"]


class Gateway(Side):
    """radosgw."""

    def path_of(self, name):
        return f"/{BUCKET}/{name}"

    def page(self, prefix, after="", delimiter=""):
        query = {"list-type": 2, "max-keys": PAGE, "prefix": prefix}
        if after:
            query["start-after"] = after
        if delimiter:
            query["delimiter"] = delimiter
        return f"/{BUCKET}?" + urllib.parse.urlencode(query)

    def parse(self, body):
        """As above."""
        space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
        root = ElementTree.fromstring(body)
        names = [entry.find(f"{space}Key").text for entry in root.iter(f"{space}Contents")
                 if entry.find(f"{space}Size") is not None and entry.find(f"{space}LastModified") is not None]
        return names, [entry.find(f"{space}Prefix").text for entry in root.iter(f"{space}CommonPrefixes")]
