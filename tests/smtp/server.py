"""aiosmtpd with scripted failures: each recipient is met with the next of its failures, named in its address
(`greylist.full.lost.ada@example.com`), before its message is kept. Each message that is kept, and each failure, is a
line of JSON on standard output."""

import asyncio
import json
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP

REFUSALS = {"greylist": "451 4.7.1 come back later", "nobody": "550 5.1.1 no such user"}


def tell(**what):
    print(json.dumps(what), flush=True)


def part(message, kind):
    body = message.get_body((kind,))
    return body.get_content() if body else None


class Moody:
    def __init__(self):
        self.met = {}

    def next_failure(self, address):
        *failures, _ = address.split("@")[0].split(".")
        met = self.met.setdefault(address, 0)
        return failures[met] if met < len(failures) else None

    def fail(self, address, failure):
        self.met[address] += 1
        tell(to=address, failed=failure)

    async def handle_RCPT(self, server, session, envelope, address, options):
        failure = self.next_failure(address)
        if failure in REFUSALS:
            self.fail(address, failure)
            return REFUSALS[failure]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        (address,) = envelope.rcpt_tos
        failure = self.next_failure(address)
        if failure:
            self.fail(address, failure)
        if failure == "full":
            return "452 4.3.1 no room"
        if failure == "lost":
            server.transport.abort()
            return "421 gone"
        message = message_from_bytes(envelope.original_content, policy=policy.default)
        tell(
            to=address,
            subject=message["subject"],
            message_id=message["message-id"],
            text=part(message, "plain"),
            html=part(message, "html"),
            defects=[repr(defect) for each in message.walk() for defect in each.defects],
        )
        return "250 OK"


async def main(port):
    moody = Moody()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(moody, hostname="sink.example"), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
