"""A real mail server in a process of its own: STARTTLS and TLS from the first byte, sign-in asked for, a self-made CA.

    smtp.py FOLDER

Writes FOLDER/ca.pem, then says on standard output, one JSON object a line, where it listens and what it sees. Standard
input, a line each: what to do with the next conversations, in order, as a JSON list; without a plan it takes the mail.

    take     takes the mail
    refuse   550 to the recipient
    grey     451 to the recipient, which means: later
    drop     cuts the line when it has heard the recipient
    lose     takes the mail and cuts the line without a word
    echo     refuses the mail and repeats the link in it
    silent   never says a word
    slow     greets a byte at a time and never comes to an end

It ends with its standard input.
"""

import asyncio
import email
import email.policy
import json
import logging
import pathlib
import re
import ssl
import sys
import threading
import warnings

import trustme
from aiosmtpd.smtp import SMTP, AuthResult

USER, PASSWORD = b"skep@post", b"mail pass/word"

# What it sees is told in events alone.
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
plan = []


def say(**event):
    print(json.dumps(event), flush=True)


def sign_in(server, session, envelope, mechanism, login):
    good = (login.login, login.password) == (USER, PASSWORD)
    return AuthResult(success=good, handled=False)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if server.how == "refuse":
            return "550 5.1.1 nobody of that name here"
        if server.how == "grey":
            return "451 4.7.1 greylisted, come again"
        if server.how == "drop":
            server.transport.abort()
            return "421 never heard"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        raw = envelope.original_content
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        parts = {
            part.get_content_type(): part.get_content()
            for part in mail.walk()
            if not part.is_multipart()
        }
        say(
            event="mail",
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            tls=session.ssl is not None or server.is_wrapped,
            headers={name.lower(): str(value) for name, value in mail.items()},
            type=mail.get_content_type(),
            defects=[str(defect) for defect in mail.defects],
            parts=parts,
        )
        if server.how == "echo":
            return "554 5.7.1 no such links: " + re.search(r"https?://\S+", parts["text/plain"])[0]
        if server.how == "lose":
            server.transport.abort()
        return "250 2.0.0 kept"


class Server(SMTP):
    how = "take"
    is_wrapped = False

    async def _handle_client(self):
        self.how = plan.pop(0) if plan else "take"
        say(event="conversation", how=self.how)
        if self.how == "silent":
            await self._reader.read()
        elif self.how == "slow":
            while not self.transport.is_closing():
                self._writer.write(b"2")
                await asyncio.sleep(0.02)
        else:
            await super()._handle_client()


class Wrapped(Server):
    is_wrapped = True


def context(authority, name):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(made)
    return made


async def main(folder):
    authority = trustme.CA()
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    right = context(authority, "localhost")
    other_name = context(authority, "elsewhere.example")
    loop = asyncio.get_running_loop()
    terms = dict(hostname="post.test", authenticator=sign_in, auth_required=True)

    def upgraded(tls):
        return lambda: Server(Handler(), require_starttls=True, tls_context=tls, **terms)

    def wrapped():
        return Wrapped(Handler(), auth_require_tls=False, **terms)

    ports = {}
    for name, make, tls in [
        ("starttls", upgraded(right), None),
        ("other_name", upgraded(other_name), None),
        ("tls", wrapped, right),
    ]:
        server = await loop.create_server(make, "127.0.0.1", 0, ssl=tls)
        ports[name] = server.sockets[0].getsockname()[1]
    say(event="ready", ports=ports)

    over = asyncio.Event()

    def planned(line):
        plan.extend(json.loads(line))
        say(event="planned")

    def listen():
        for line in sys.stdin:
            loop.call_soon_threadsafe(planned, line)
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=listen, daemon=True).start()
    await over.wait()


asyncio.run(main(pathlib.Path(sys.argv[1])))
