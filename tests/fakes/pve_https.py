#!/usr/bin/python3 -IB
"""PVE's API over HTTPS for tests: real TLS, the JSON of /api2/extjs, tokens, tickets, outages. The cluster is in pve_cluster.py.

Usage: pve_https.py DIRECTORY HOSTS
  DIRECTORY/cluster.json   the cluster; besides what pve_cluster.py says: dies_after {HOST: requests}, and
                           breaks_answer_of (a part of `METHOD PATH`: carried out, but its answer never comes, once),
                           outage {after: a part of `METHOD PATH`, seconds}: once such a request was answered, no host
                           answers for so long, once
  DIRECTORY/ports          written when it listens: a port for each of HOSTS hosts, which share the cluster
  DIRECTORY/log            each request: `HOST METHOD PATH PARAMS`
  DIRECTORY/unexpected     each request that PVE would not know, and why
  DIRECTORY/cluster.now    written after each change: the cluster as it is
"""

import json
import os
import secrets
import ssl
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from pve_cluster import Cluster, Refused, Schema, Unexpected

TLS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "data", "tls")


class Double:
    """All hosts and what they share."""

    def __init__(self, directory):
        self.directory = directory
        with open(os.path.join(directory, "cluster.json"), encoding="utf-8") as file:
            self.document = json.load(file)
        self.cluster = Cluster(self.document)
        self.schema = Schema()
        self.tickets = {}
        self.counts = {}
        self.silent_until = 0
        self.lock = threading.Lock()

    def note(self, name, text):
        with self.lock, open(os.path.join(self.directory, name), "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def save(self):
        with self.lock, self.cluster.lock:
            path = os.path.join(self.directory, "cluster.now")
            with open(path + ".tmp", "w", encoding="utf-8") as file:
                json.dump(self.document, file, default=str)
            os.replace(path + ".tmp", path)

    def is_dead(self, host):
        limit = self.document.get("dies_after", {}).get(str(host))
        with self.lock:
            self.counts[host] = self.counts.get(host, 0) + 1
            if time.time() < self.silent_until:
                return True
            return limit is not None and self.counts[host] > limit

    def breaks(self, request):
        with self.lock:
            part = self.document.get("breaks_answer_of")
            if part and part in request:
                self.document["breaks_answer_of"] = None
                return True
        return False

    def begin_outage(self, request):
        with self.lock:
            outage = self.document.get("outage")
            if outage and outage["after"] in request:
                self.silent_until = time.time() + outage["seconds"]
                self.document["outage"] = None

    def log_in(self, params):
        user = self.document.get("users", {}).get(params["username"])
        if user is None:
            raise Refused(401, "authentication failure\n")
        given, ticket = params["password"], None
        if params.get("tfa-challenge"):
            fits = params["tfa-challenge"] == user.get("challenge") and given == "totp:" + user["otp"]
        elif given in self.tickets:
            fits = self.is_valid(given)
        else:
            fits = given == user["password"]
            if fits and user.get("otp"):
                user["challenge"] = ticket = "PVE:!tfa!" + secrets.token_hex(4)
                return {"username": params["username"], "ticket": ticket, "NeedTFA": 1}
        if not fits:
            raise Refused(401, "authentication failure\n")
        ticket = "PVE:" + params["username"] + ":" + secrets.token_hex(8)
        self.tickets[ticket] = time.time() + self.document.get("ticket_seconds", 7200)
        return {"username": params["username"], "ticket": ticket, "CSRFPreventionToken": "csrf:" + ticket[-16:]}

    def is_valid(self, ticket):
        return self.tickets.get(ticket, 0) > time.time()

    def is_allowed(self, method, headers):
        token = headers.get("Authorization")
        if token is not None:
            return token == "PVEAPIToken=" + self.document.get("token", "")
        ticket = urllib.parse.unquote(headers.get("Cookie", "").removeprefix("PVEAuthCookie="))
        csrf = method == "GET" or headers.get("CSRFPreventionToken") == "csrf:" + ticket[-16:]
        return self.is_valid(ticket) and csrf


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    double = None
    host = 0

    def do_GET(self):
        self.handle_request("GET")

    def do_POST(self):
        self.handle_request("POST")

    def do_DELETE(self):
        self.handle_request("DELETE")

    def log_message(self, *_):
        pass

    def handle_request(self, method):
        double = self.double
        address = urllib.parse.urlsplit(self.path)
        params = dict(urllib.parse.parse_qsl(address.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        params.update(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        path = urllib.parse.unquote(address.path.removeprefix("/api2/extjs"))
        if double.is_dead(self.host):
            self.close_connection = True
            return
        shown = {} if path == "/access/ticket" else params
        double.note("log", f"{self.host} {method} {path} {urllib.parse.urlencode(shown)}".strip())
        answer = self.answer(method, path, params)
        double.save()
        double.begin_outage(f"{method} {path}")
        if double.breaks(f"{method} {path}"):
            self.close_connection = True
            return
        self.reply(*answer)

    def answer(self, method, path, params):
        double = self.double
        try:
            double.schema.check(method, path, params)
            if (method, path) == ("POST", "/access/ticket"):
                return 200, {"success": 1, "data": double.log_in(params)}
            if not double.is_allowed(method, self.headers):
                return 401, None
            return 200, {"success": 1, "data": double.cluster.request(method, path, params)}
        except Unexpected as why:
            double.note("unexpected", f"{method} {path} {params}: {why}")
            return 200, {"success": 0, "status": 400, "message": "Parameter verification failed.\n", "errors": {"x": str(why)}, "data": None}
        except Refused as why:
            if why.status in (401, 595):
                return why.status, None
            return 200, {"success": 0, "status": why.status, "message": str(why), "data": None}

    def reply(self, status, document):
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """TLS is spoken in the connection's own thread, so that nobody waits for a slow one."""

    daemon_threads = True
    request_queue_size = 128
    context = None

    def finish_request(self, request, client_address):
        try:
            with self.context.wrap_socket(request, server_side=True) as stream:
                self.RequestHandlerClass(stream, client_address, self)
        except (OSError, ssl.SSLError):
            pass

    def handle_error(self, *_):
        pass


def main():
    directory, hosts = sys.argv[1], int(sys.argv[2])
    double = Double(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(TLS, "host.pem"), os.path.join(TLS, "host.key"))
    ports = []
    for host in range(hosts):
        handler = type("Handler", (Handler,), {"double": double, "host": host})
        server = Server(("127.0.0.1", 0), handler)
        server.context = context
        ports.append(str(server.server_port))
        threading.Thread(target=server.serve_forever, daemon=True).start()
    double.save()
    path = os.path.join(directory, "ports")
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.write(" ".join(ports))
    os.replace(path + ".tmp", path)
    # The test that started us holds the other end: we end with it, however it ends.
    sys.stdin.read()


main()
