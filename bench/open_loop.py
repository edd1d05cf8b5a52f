"""A client that sends when it is time to, whatever has become of the requests before: an open loop.

h2load --rps is no such client: all its connections send in the same moment, once in 10 ms, and a percentile says how long
such a crowd takes. wrk knows pauses of whole milliseconds only, bombardier and hey wait for answers.
"""

import ctypes
import random
import select
import socket
import time

from running_stack import Failure

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
PR_SET_TIMERSLACK = 29


def open_loop(port, rate, seconds, connections, seed):
    """Requests at random, independent moments, `rate` of them a second in the mean; the same ones for the same seed.

    A latency begins when the request is sent, or was due if all connections were in use then. In milliseconds.
    """
    # The kernel may end a pause 50 µs late otherwise, which is longer than that between two requests.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(1000), 0, 0, 0)
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    try:
        return _run(port, sockets, _schedule(rate, seconds, seed), seconds)
    finally:
        for connection in sockets:
            connection.close()


def _schedule(rate, seconds, seed):
    lots = random.Random(seed)
    moments = []
    moment = lots.expovariate(rate)
    while moment < seconds:
        moments.append(moment)
        moment += lots.expovariate(rate)
    return moments


def _run(port, sockets, schedule, seconds):
    clock = time.perf_counter
    epoll = select.epoll()
    for connection in sockets:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        epoll.register(connection, select.EPOLLIN)
    idle = list(sockets)
    busy = {}  # descriptor → connection, when its request began
    latencies = []
    sent = failed = 0
    behind = False
    start = clock()
    while len(latencies) < len(schedule):
        now = clock() - start
        if now > seconds + 10:
            raise Failure(f"of {len(schedule)} requests {len(latencies)} are answered after {now:.0f} s")
        pause = max(0.0, schedule[sent] - now) if sent < len(schedule) and idle else 1.0
        # A pause of epoll itself would be one of whole milliseconds.
        select.select([epoll], [], [], pause)
        for descriptor, _ in epoll.poll(0):
            connection, begun = busy.pop(descriptor, (None, 0))
            answer = connection.recv(4096) if connection else b""
            if not answer:
                raise Failure(f"port {port} closed a connection")
            latencies.append((clock() - start - begun) * 1000)
            # The answer is so short that it comes in one piece.
            if not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\nok\n")):
                failed += 1
            idle.append(connection)
        while sent < len(schedule) and schedule[sent] <= clock() - start:
            if not idle:
                behind = True
                break
            connection = idle.pop()
            busy[connection.fileno()] = (connection, schedule[sent] if behind else clock() - start)
            connection.sendall(REQUEST)
            sent += 1
        else:
            behind = False
    elapsed = clock() - start
    epoll.close()
    latencies.sort()
    return {"rate": len(latencies) / elapsed, "units": len(latencies), "failed": failed,
            "p50": latencies[len(latencies) // 2], "p99": latencies[len(latencies) * 99 // 100]}
