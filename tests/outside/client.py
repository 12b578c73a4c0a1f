"""The published Python client of the system that Skep implements, against a real server, unchanged but for its
base URL; and every callback that arrives meanwhile, verified by the published `standardwebhooks` package; and its
metrics, read by the strict parser of the published `prometheus_client`.

Usage: client.py SKEP_BINARY CAPTURES.json METRICS.txt     (they go on to verify.mjs and to promtool)
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import urllib.request

from fetch_hive_sdk import FetchHive
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

ADMIN = "fhk_outside-admin-key-0123456789abcdef"
PATIENCE = 30
FLOW = """
inputs: {topic: {type: text, required: true}, fail: {type: text, default: ""}}
steps:
  - {id: made, set: {topic: "{{ topic }}", text: "café 💐 \\u2028 {{ topic }}"}}
  - {id: call, http: {method: GET, url: "RECEIVER/step{{ fail }}"}}
output: "{{ made.output }}"
"""


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps every callback. Fails the first two of each on /flaky, and the step on /step-down."""

    protocol_version = "HTTP/1.1"
    captured = queue.Queue()
    seen = {}

    def do_GET(self):
        self.answer(500 if self.path == "/step-down" else 200)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.captured.put({"path": self.path, "headers": headers, "body": base64.b64encode(body).decode()})
        count = self.seen[headers["webhook-id"]] = self.seen.get(headers["webhook-id"], 0) + 1
        self.answer(503 if self.path == "/flaky" and count <= 2 else 200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def start_server(binary, folder):
    log = open(os.path.join(folder, "log.txt"), "w")
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "SKEP_ADMIN_KEY": ADMIN}
    arguments = ["serve", "--data", "skep.db", "--listen", "127.0.0.1:0", "--allow-outbound", "127.0.0.1/32"]
    server = subprocess.Popen(
        [binary, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
    )
    line = server.stdout.readline()
    prefix = "listening on "
    if not line.startswith(prefix):
        server.kill()
        raise SystemExit(f"the server did not start: {line!r}\n{open(log.name).read()}")
    return server, line[len(prefix):].strip()


def call(url, method, path, body, content_type="application/json"):
    request = urllib.request.Request(url + path, method=method, data=body.encode())
    request.add_header("Authorization", f"Bearer {ADMIN}")
    request.add_header("Content-Type", content_type)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def refuses(verify, what):
    try:
        verify()
    except WebhookVerificationError:
        return
    raise SystemExit(f"standardwebhooks accepted {what}")


def verify(secret, capture):
    body = base64.b64decode(capture["body"])
    headers = capture["headers"]
    Webhook(secret).verify(body, headers)
    by_hand = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-fetch-hive-signature"] == by_hand, "X-Fetch-Hive-Signature"
    refuses(lambda: Webhook(secret).verify(body + b" ", headers), "a longer body")
    refuses(lambda: Webhook(secret).verify(body, {**headers, "webhook-id": "evt_other"}), "another id")
    stale = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}
    refuses(lambda: Webhook(secret).verify(body, stale), "an old timestamp")
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    refuses(lambda: Webhook(other).verify(body, headers), "another secret")


def figures(url, metrics):
    """Both formats, by a parser that takes neither a duplicate nor a bucket that falls."""
    def scrape(accept):
        request = urllib.request.Request(url + "/metrics", headers={"Accept": accept})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    kind, text = scrape("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text"), kind
    families = {family.name: family for family in openmetrics(text)}
    kind, text = scrape("text/plain")
    assert kind.startswith("text/plain; version=0.0.4"), kind
    assert {family.name for family in plain(text)} == set(families), "both formats have the same families"
    assert families["skep_runs_ended"].type == "counter"
    ended = sum(sample.value for sample in families["skep_runs_ended"].samples if sample.name.endswith("_total"))
    assert ended > 0, families["skep_runs_ended"]
    with open(metrics, "w") as out:
        out.write(text)
    return len(families)


def direct(client):
    answer = client.invoke_workflow(
        deployment="flow", variant="prod", inputs={"topic": "bees"}, user="u-1", metadata={"order": 7}
    )
    assert answer["run_status"] == answer["status"] == "completed", answer
    assert answer["output"]["topic"] == "bees", answer
    assert answer["run_id"], answer
    request = client.get_request(answer["request_id"])
    assert request["request_id"] == answer["request_id"], request
    assert request["status"] == "completed", request
    assert request["user_metadata"] == {"order": 7}, request
    # The client may leave the variant out.
    assert client.invoke_workflow(deployment="flow", inputs={"topic": "x"})["status"] == "completed"
    failed = client.invoke_workflow(deployment="flow", inputs={"topic": "x", "fail": "-down"})
    assert failed["status"] == "failed" and failed["output"] is None and failed["error"], failed


def callbacks(client, base):
    """Starts one run for each kind of event and way; how many callbacks each will bring, by request id."""
    expected = {}
    secret = None
    for path, inputs, attempts, status in [
        ("/hook", {"topic": "bees"}, 1, "completed"),
        ("/hook", {"topic": "x" * 100_000}, 1, "completed"),
        ("/hook", {"topic": "x", "fail": "-down"}, 1, "failed"),
        ("/flaky", {"topic": "bees"}, 3, "completed"),
    ]:
        answer = client.invoke_workflow(
            deployment="flow", variant="prod", inputs=inputs, async_mode=True, callback_url=base + path,
            tool_approval="policy",
        )
        assert answer["run_status"] in ("running", "queued"), answer
        secret = answer["webhook_secret"]
        expected[answer["request_id"]] = (attempts, status)
    return secret, expected


def main(binary, captures, metrics):
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{receiver.server_port}"
    with tempfile.TemporaryDirectory() as folder:
        server, url = start_server(os.path.abspath(binary), folder)
        try:
            flow = FLOW.replace("RECEIVER", base)
            call(url, "PUT", "/v1/deployments/flow/variants/prod", flow, "application/yaml")
            call(url, "PATCH", "/v1/deployments/flow", json.dumps({"retry_schedule": ["0s", "50ms", "50ms"]}))
            client = FetchHive(api_key=ADMIN, base_url=url + "/v1")
            direct(client)
            secret, expected = callbacks(client, base)
            count = sum(attempts for attempts, _ in expected.values())
            captured = [Receiver.captured.get(timeout=PATIENCE) for _ in range(count)]
            arrivals = {}
            for capture in captured:
                verify(secret, capture)
                event = json.loads(base64.b64decode(capture["body"]))
                arrivals.setdefault(event["request_id"], []).append(event)
            for request_id, (attempts, status) in expected.items():
                events = arrivals[request_id]
                assert len(events) == attempts and all(event == events[0] for event in events), events
                assert events[0]["event_type"] == f"workflow.{status}", events
                assert client.get_request(request_id)["status"] == status
            families = figures(url, metrics)
        except BaseException:
            sys.stderr.write(open(os.path.join(folder, "log.txt")).read()[-8000:])
            raise
        finally:
            server.terminate()
            code = server.wait(timeout=PATIENCE)
        assert code == 0, f"the server ended with {code}"
    with open(captures, "w") as out:
        json.dump({"secret": secret, "captures": captured}, out)
    print(f"prometheus_client: {families} metrics, in both formats")
    print("fetch-hive-sdk: direct and callback invokes, requests read back")
    print(f"standardwebhooks (Python): {len(captured)} of {count} captured callbacks verified")


if __name__ == "__main__":
    main(*sys.argv[1:])
