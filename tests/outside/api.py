"""Every check of schemathesis against /openapi.json, with the real binary on a fresh file.

Usage: api.py SKEP_BINARY [more arguments for schemathesis, for looking into one thing]

The file is filled first, by a server that may send: runs that completed, failed, wait and were cancelled; deliveries
that arrived and that failed. Then a server that sends nothing takes its place, so that no generated URL is ever
asked for. Its admin key is a setting: nothing that is asked of the API can revoke it.
"""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import jsonschema_rs
from openapi_spec_validator import validate

ADMIN = "fhk_outside-admin-key-0123456789abcdef"
PATIENCE = 30
HERE = os.path.dirname(os.path.abspath(__file__))
PLACE = "/v1/deployments/{deployment}/variants/{variant}"
CALLS = {"steps": [{"id": "call", "http": {"method": "GET", "url": "RECEIVER/step"}}]}
FAILS = {"steps": [{"id": "call", "http": {"method": "GET", "url": "RECEIVER/down"}}]}
WAITS = {"steps": [{"id": "pause", "delay": "30d"}]}
ASKS = {"steps": [{"id": "ask", "human": {"mode": "approval", "question": "Publish it?", "channel": "none"}}]}
# What a webhook calls.
OPEN = {"inputs": {"name": {"type": "text", "default": "world"}}, "steps": [{"id": "a", "set": {"x": 1}}]}
PLAIN = {"steps": [{"id": "a", "set": {"x": 1}}]}


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers 200, but 500 below /down; the body of /bytes is not UTF-8."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer()

    def answer(self):
        body = b"\xff\xfe" if self.path == "/bytes" else b'{"ok": true}'
        self.send_response(500 if self.path == "/down" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server:
    def __init__(self, binary, folder, *settings):
        self.log = os.path.join(folder, "log.txt")
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "SKEP_ADMIN_KEY": ADMIN}
        arguments = ["serve", "--data", "skep.db", "--listen", "127.0.0.1:0", *settings]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [binary, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = self.process.stdout.readline()
        prefix = "listening on "
        if not line.startswith(prefix):
            self.process.kill()
            raise SystemExit(f"the server did not start: {line!r}\n{open(self.log).read()}")
        self.url = line[len(prefix):].strip()

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, method=method, data=data)
        request.add_header("Authorization", f"Bearer {ADMIN}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.terminate()
        code = self.process.wait(timeout=PATIENCE)
        if kind is not None:
            sys.stderr.write(open(self.log).read()[-8000:])
        elif code != 0:
            raise SystemExit(f"the server ended with {code}\n{open(self.log).read()[-8000:]}")


def until(what, look):
    """Looks until there is something to see."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.05)
    raise SystemExit(f"waited in vain until {what}")


def furnish(server, receiver):
    """One of everything that can be shown. Answers the webhook of `open`: its ids and secret."""
    body = server.call("GET", "/openapi.json")["paths"][PLACE]["put"]["requestBody"]
    hello = body["content"]["application/json"]["examples"]["hello"]["value"]
    for name, definition in [("hello", hello), ("calls", CALLS), ("fails", FAILS), ("waits", WAITS), ("asks", ASKS), ("open", OPEN)]:
        text = json.dumps(definition).replace("RECEIVER", receiver)
        hook = server.call("PUT", f"/v1/deployments/{name}/variants/prod", json.loads(text))
    server.call("PUT", "/v1/deployments/hello/variants/prod", {**hello, "name": "hello, again"})
    for name in ["fails", "open", "calls"]:
        server.call(
            "PATCH", f"/v1/deployments/{name}",
            {"callback_url": receiver + "/in", "retry_schedule": ["0s", "10ms"], "exchange_deadline": "5s"},
        )
    server.call("POST", "/v1/workflow/invoke", {"deployment": "hello", "metadata": {"plan": "pro"}, "user": "u-17"})
    for deployment, path in [
        ("calls", "/in"), ("fails", "/in"), ("calls", "/down"), ("calls", "/bytes"), ("asks", "/in"), ("waits", "/in"), ("waits", "/in")
    ]:
        answer = server.call(
            "POST", "/v1/workflow/invoke",
            {"deployment": deployment, "async": {"enabled": True, "callback_url": receiver + path}},
        )
    server.call("POST", f"/v1/workflow_runs/{answer['run_id']}/cancel", {"reason": "no longer needed"})
    until("a run waits", lambda: server.call("GET", "/v1/workflow_runs?status=waiting")["data"])
    until("a question waits", lambda: server.call("GET", "/v1/approvals?status=pending")["data"])
    until(
        "all deliveries have ended",
        lambda: len(server.call("GET", "/v1/deliveries?status=delivered,dead")["data"]) == 5,
    )
    server.call("POST", "/v1/deliveries/redeliver", {"filter": {"status": "gone"}})
    server.call("POST", "/v1/members", {"name": "Bob"})
    server.call("POST", "/v1/members", {"name": "Ana, before", "email": "ana@example.org"})
    server.call("POST", "/v1/keys", {"name": "ci", "scope": "deploy"})
    server.call("PUT", "/v1/secrets/STOCK_TOKEN", {"value": "s3cr3t-token", "hosts": ["stock.example"]})
    return hook


def keep_busy(server, receiver):
    """A run that ended and owes a delivery: figures begin with the process, and problems are to be shown as well."""
    call = {"enabled": True, "callback_url": receiver + "/in"}
    server.call("POST", "/v1/workflow/invoke", {"deployment": "open", "async": call})
    until(
        "figures tell of a run",
        lambda: any(span["run_duration"] for span in server.call("GET", "/v1/stats")["hour"]["spans"]),
    )
    if not server.call("GET", "/v1/system")["problems"]:
        raise SystemExit("a delivery is owed and nothing is sent, but that is no problem")


def check_examples(document):
    """Each example is as its schema says."""
    count = 0

    def check(schema, example, place):
        nonlocal count
        count += 1
        whole = {"components": document["components"], "allOf": [schema]}
        problems = [error.message for error in jsonschema_rs.Draft202012Validator(whole).iter_errors(example)]
        if problems:
            raise SystemExit(f"the example at {place} is not as its schema says: {problems}")

    def walk(value, place):
        if isinstance(value, dict):
            if "schema" in value and "example" in value:
                check(value["schema"], value["example"], place)
            if "schema" in value and "examples" in value:
                for name, example in value["examples"].items():
                    check(value["schema"], example["value"], f"{place}/{name}")
            for name, member in value.items():
                if name not in ("example", "examples"):
                    walk(member, f"{place}/{name}")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, f"{place}/{index}")

    walk(document["paths"], "")
    walk(document["components"]["responses"], "")
    print(f"{count} examples are as their schemas say")


def brought_to_life(server, document):
    """The document with examples that are in the file, so that more than 404 comes of them; and with a definition whose
    parts do not refer to each other, so that each can be changed alone."""
    runs = server.call("GET", "/v1/workflow_runs?deployment=calls&status=completed")["data"]
    deliveries = server.call("GET", "/v1/deliveries?status=delivered")["data"]
    keys = server.call("GET", "/v1/keys")["data"]
    approval = server.call("GET", "/v1/approvals?status=pending")["data"][0]["id"]
    job = server.call("GET", "/v1/jobs")["data"][0]["id"]
    member = server.call("GET", "/v1/members")["data"][0]["id"]
    link = server.call("POST", f"/v1/approvals/{approval}/link", {"ttl": "1d"})["url"]
    text = json.dumps(document)
    for path, real in [
        ("/v1/workflow_runs/{id}", runs[0]["request_id"]),
        ("/v1/public/requests/{request_id}", runs[0]["request_id"]),
        ("/v1/deliveries/{id}", deliveries[0]["id"]),
        ("/v1/keys/{id}", keys[0]["id"]),
        ("/v1/approvals/{id}", approval),
        ("/v1/jobs/{id}", job),
        ("/v1/members/{id}", member),
        ("/approve/{token}", link.rsplit("/", 1)[1]),
    ]:
        operation = next(iter(document["paths"][path].values()))
        text = text.replace(operation["parameters"][0]["example"], real)
    document = json.loads(text)
    for media in document["paths"][PLACE]["put"]["requestBody"]["content"].values():
        media["examples"] = {"plain": {"value": PLAIN}}
    return document


def configuration(hook):
    """Where the webhook is, and what calls it: the generator cannot guess a secret."""
    return f"""
[auth.openapi.key]
bearer = "{ADMIN}"

[auth.openapi.webhookSecret]
api_key = "{hook['webhook_secret']}"

[[operations]]
include-operation-id = "trigger"
parameters = {{ "path.endpoint_id" = "{hook['endpoint_id']}", "path.variant_id" = "{hook['variant_id']}" }}
"""


def schemathesis(url, document, folder, hook, arguments):
    config, schema = os.path.join(folder, "schemathesis.toml"), os.path.join(folder, "openapi.json")
    with open(config, "w") as file:
        file.write(configuration(hook))
    # From a file, because the path that it was asked at would not be tested.
    with open(schema, "w") as file:
        json.dump(document, file)
    command = [
        os.path.join(os.path.dirname(sys.executable), "schemathesis"), "--config-file", config, "run", schema,
        "--url", url,
        "--checks", "all",
        "--phases", "examples,coverage,fuzzing,stateful",
        "--max-examples", "30",
        "--generation-deterministic",  # the same requests every time
        "--request-timeout", "30",
        "--workers", "1",
        # Its answer does not end, and the tool waits for the end of each: tests/events.rs listens to it.
        "--exclude-operation-id", "listen",
        "--no-color",
        *arguments,
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": os.path.join(HERE, "api_hooks.py"), "PYTHONPATH": HERE}
    return subprocess.run(command, cwd=folder, env=environment, timeout=900).returncode


def main(binary, *arguments):
    binary = os.path.abspath(binary)
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{receiver.server_port}"
    # Memory, where there is such a folder: thousands of requests, and it is not durability that is tested.
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        allowed = ["--allow-outbound", "127.0.0.1/32"]
        with Server(binary, folder, *allowed) as server:
            hook = furnish(server, url)
        with Server(binary, folder, *allowed, "--senders", "0", "--direct-timeout", "5s") as server:
            keep_busy(server, url)
            document = server.call("GET", "/openapi.json")
            validate(document)
            check_examples(document)
            document = brought_to_life(server, document)
            code = schemathesis(server.url, document, folder, hook, arguments)
        if code != 0:
            raise SystemExit(f"schemathesis ended with {code}")


if __name__ == "__main__":
    main(*sys.argv[1:])
