"""Writes the fuzzer's first inputs, from what the repository has to say: `corpus.py FOLDER`."""

import json
import pathlib
import re
import sys

root = pathlib.Path(__file__).parents[2]
target = pathlib.Path(sys.argv[1])


def put(kind, texts):
    folder = target / kind
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(sorted(set(texts))):
        (folder / str(number)).write_bytes(text.encode())


readme = (root / "README.md").read_text()
sources = [path.read_text() for path in sorted(root.glob("src/**/*.rs"))]
definitions = [path.read_text() for path in sorted(root.glob("examples/workflows/*"))]
definitions += re.findall(r"```yaml\n(.*?)```", readme, re.S)
# What the tests deploy.
tested = (root / "src/flow/tests").glob("*.rs")
for text in [path.read_text() for path in sorted(tested)] + [
    (root / "src/loops/tests/simulation/script.rs").read_text()
]:
    definitions += re.findall(r'r#"(.*?)"#', text, re.S)
    definitions += [
        found.replace('\\"', '"').replace("\\n", "\n")
        for found in re.findall(r'"((?:[^"\\]|\\.)*steps:(?:[^"\\]|\\.)*)"', text, re.S)
    ]
put("definition", definitions)
put("template", re.findall(r"\{\{[^{}\n]{1,200}\}\}", "\n".join(sources + definitions)))

place = {"async": {"callback_url": "https://receiver.example/hook"}}
put("webhook_body", [json.dumps(body) for body in (
    place,
    {**place, "topic": "x", "n": 1},
    {**place, "inputs": {"topic": "x", "n": 3, "flag": True, "list": [1], "object": {}}, "metadata": {"a": 1}},
    {"inputs": {}, "user": "u", "tool_approval": {"mode": "auto"}, "async": {"enabled": True}},
    {"inputs": None, "async": None, "metadata": {"k": "v", "x": None}},
    {"n": 2, "flag": "no", "list": {}, "object": [], "async": {"callback_url": "ftp://x"}},
)])

table = (root / "src/api/table.rs").read_text()
routes = re.findall(r'row\("([A-Z]+)", (?:"([^"]+)"|(\w[\w:]*))', table)
requests = []
for method, path, name in routes:
    path = path or "/v1/deployments/{deployment}/variants/{variant}"
    path = re.sub(r"\{\w+\}", "a%20b", path)
    requests.append(f"{method} {path}?limit=5&status=queued,running&metadata[k]=v HTTP/1.1\r\nHost: a.example:80\r\n\r\n")
requests += [
    "GET http://a.example/healthz HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nX-Forwarded-For: 198.51.100.1, 10.0.0.2\r\nForwarded: for=x\r\n\r\n",
    "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
]
put("request_line", requests)
