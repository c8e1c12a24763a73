"""prober.py PORT RATE SECONDS: asks for the ping at this pace and prints the milliseconds of each answer.

A request is counted from when it was due, so that one slow answer does not hide those that would have followed.
"""

import socket
import sys
import time


def read_answer(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("closed")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    missing = int(length.split(b":")[1]) - len(body)
    while missing > 0:
        missing -= len(connection.recv(65536))
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())


def main(port, rate, seconds):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = b"GET /api/v1/ping HTTP/1.1\r\nhost: localhost\r\n\r\n"
    began = time.perf_counter()
    for number in range(rate * seconds):
        due = began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.sendall(request)
        read_answer(connection)
        print((time.perf_counter() - due) * 1000)


main(*map(int, sys.argv[1:]))
