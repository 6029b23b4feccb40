#!/usr/bin/python3 -IB
"""A real SMTP server that keeps what it gets: STARTTLS or TLS, login wanted. Not a relay.

    smtp-sink.py DIR PORT starttls|tls USER PASSWORD-FILE

DIR holds cert.pem and key.pem; mails go to DIR/PORT.N.eml, the word `ready` to DIR/PORT.ready.
"""
import asyncio
import pathlib
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

where, port, mode, user, password_file = sys.argv[1:]
where = pathlib.Path(where)
password = pathlib.Path(password_file).read_text().splitlines()[0].encode()


class Keeper:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        if session.ssl is None and mode == "starttls":
            return "530 5.7.0 no TLS"
        self.count += 1
        text = f"X-Envelope-To: {', '.join(envelope.rcpt_tos)}\nX-Login: {session.auth_data is not None}\n".encode()
        (where / f"{port}.{self.count}.eml").write_bytes(text + envelope.content)
        return "250 kept"


def login(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and data.login == user.encode() and data.password == password
    return AuthResult(success=good, handled=False, auth_data=data if good else None)


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(where / "cert.pem", where / "key.pem")
    return made


options = {"authenticator": login, "auth_required": True, "auth_require_tls": mode == "starttls"}
if mode == "starttls":
    options |= {"tls_context": context(), "require_starttls": True}


class Sink(Controller):
    def factory(self):
        return SMTP(Keeper_, hostname="mail.lab", **options)


Keeper_ = Keeper()
sink = Sink(Keeper_, hostname="127.0.0.1", port=int(port), ssl_context=context() if mode == "tls" else None)
sink.start()
(where / f"{port}.ready").touch()
asyncio.new_event_loop().run_forever()
