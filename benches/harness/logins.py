"""Logins: so many in flight, or so many a second whatever happens to the ones before."""

import asyncio
import json
import time
from dataclasses import dataclass, field

from programs import PASSWORD


@dataclass
class Outcome:
    accepted: int = 0
    refused_ms: list = field(default_factory=list)
    others: dict = field(default_factory=dict)

    def count(self, status, seconds):
        if status == 200:
            self.accepted += 1
        elif status in (429, 503):
            self.refused_ms.append(seconds * 1000)
        else:
            self.others[status] = self.others.get(status, 0) + 1


class Clients:
    """Connections that are used again."""

    def __init__(self, port, emails):
        self.port, self.emails, self.sent = port, emails, 0
        self.idle, self.outcome = [], Outcome()

    async def login(self):
        email = self.emails[self.sent % len(self.emails)]
        self.sent += 1
        body = json.dumps({"email": email, "password": PASSWORD}).encode()
        head = f"POST /api/v1/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        began = time.perf_counter()
        try:
            reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = answer.split(b"content-length:")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.outcome.count(type(error).__name__, 0)
            return
        self.outcome.count(int(answer.split()[1]), time.perf_counter() - began)
        self.idle.append((reader, writer))

    def close(self):
        for _, writer in self.idle:
            writer.close()


async def _in_flight(clients, number, seconds):
    until = time.perf_counter() + seconds

    async def one():
        while time.perf_counter() < until:
            await clients.login()

    await asyncio.gather(*(one() for _ in range(number)))


async def _offered(clients, rate, seconds):
    began = time.perf_counter()
    tasks = []
    for number in range(int(rate * seconds)):
        wait = began + number / rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(clients.login()))
    await asyncio.gather(*tasks)


async def _run(port, emails, load, *how):
    clients = Clients(port, emails)
    await load(clients, *how)
    clients.close()
    return clients.outcome


def in_flight(port, emails, number, seconds):
    return asyncio.run(_run(port, emails, _in_flight, number, seconds))


def offered(port, emails, rate, seconds):
    return asyncio.run(_run(port, emails, _offered, rate, seconds))
