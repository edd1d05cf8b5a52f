"""A given list of requests, each sent once over some connections, and each answer's status looked at.

wrk measures for a time; this is for making and removing files, where each of them counts.
"""

import asyncio
import re

from running_stack import Failure, say

LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.I)
CLOSES = re.compile(rb"\r\nconnection: *close", re.I)


async def _exchange(reader, writer, host, method, path, body):
    """One request. Returns the status and whether the connection is still of use."""
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    length = LENGTH.search(head)
    if length:
        await reader.readexactly(int(length.group(1)))
    return status, (length or status == 204) and not CLOSES.search(head)


async def _send(url, requests, connections, statuses, progress):
    host = url.removeprefix("http://")
    address, port = host.split(":")
    remaining = iter(requests)
    done = 0

    async def work():
        nonlocal done
        writer = None
        for method, path, body in remaining:
            if writer is None:
                reader, writer = await asyncio.open_connection(address, int(port))
            status, stays_open = await _exchange(reader, writer, host, method, path, body)
            if status not in statuses:
                raise Failure(f"{method} {url}{path} answered {status}")
            if not stays_open:
                writer.close()
                writer = None
            done += 1
            if progress and done % progress == 0:
                say(f"  {done}")
        if writer is not None:
            writer.close()

    tasks = [asyncio.ensure_future(work()) for _ in range(connections)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def send_all(url, requests, connections=64, statuses=(200, 201, 204), progress=0):
    """`requests` are (method, path, body), the path percent-encoded. `progress`: a line after each so many."""
    try:
        asyncio.run(_send(url, requests, connections, statuses, progress))
    except (OSError, EOFError) as error:
        raise Failure(f"{url}: the connection broke: {error}") from None
