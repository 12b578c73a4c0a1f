"""Asks nginx and Node what they make of the corpus. Needs both installed; used by corpus.py --others alone."""

import os
import re
import socket
import subprocess
import tempfile
import time

NGINX = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; client_max_body_size 1m; client_body_buffer_size 2m;
  client_header_buffer_size 1k; large_client_header_buffers 2 16k; keepalive_timeout 5s; client_header_timeout 5s;
  client_body_timeout 3s; lingering_timeout 1s;
  server {{
    listen 127.0.0.1:{port};
    location = /healthz {{ return 200 "ok"; }}
    location = /readyz {{ return 200 "ok"; }}
    location = /sink {{ return 204; }}
    location / {{ proxy_pass http://127.0.0.1:{back}/; proxy_http_version 1.1; }}
  }}
}}
"""

# Reads every body to its end, then answers.
NODE = """
require('http').createServer({ maxHeaderSize: 16384, headersTimeout: 5000 }, (q, s) => {
  const up = ['/healthz', '/readyz'].includes(q.url.split('?')[0]);
  let size = 0;
  q.on('data', part => { size += part.length; });
  q.on('end', () => {
    s.statusCode = size > 1 << 20 ? 413 : up ? (/GET|HEAD/.test(q.method) ? 200 : 405) : 404;
    s.end('answer');
  });
}).listen(PORT, '127.0.0.1');
"""

PROBE = b"DELETE /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(data):
    """The statuses of the final answers in these bytes."""
    found, at = [], 0
    while True:
        match = re.compile(rb"HTTP/1\.[01] (\d{3})").search(data, at)
        if not match:
            return found
        status = int(match[1])
        end = data.find(b"\r\n\r\n", match.end())
        if end < 0:
            return found + [status]
        fields = data[match.end() : end].lower()
        length = re.search(rb"\r\ncontent-length: *(\d+)", fields)
        at = end + 4
        # The answer to a HEAD has a length and no body.
        if length and not data.startswith(b"HTTP/1.", at):
            at += int(length[1])
        if status >= 200:
            found.append(status)


def shown(statuses):
    """`200 200 200` as `200*3`, beyond five."""
    if len(statuses) > 5 and len(set(statuses)) == 1:
        return f"{statuses[0]}*{len(statuses)}"
    return " ".join(map(str, statuses))


def ask(port, packets, ends):
    def hear(seconds):
        s.settimeout(seconds)
        got = b""
        try:
            while True:
                part = s.recv(65536)
                if not part:
                    return got, True
                got += part
                s.settimeout(0.15)
        except TimeoutError:
            return got, False
        except OSError:
            return got, True

    with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for number, packet in enumerate(packets):
                if number:
                    time.sleep(0.05)
                s.sendall(packet)
            if ends:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        got, closed = hear(0.4)
        if closed:
            return shown(answers(got)) + " close"
        first = answers(got)
        try:
            s.sendall(PROBE)
        except OSError:
            pass
        more, closed = hear(0.6)
        rest = answers(more)
        # The probe's answer is one more, and the connection ends after it.
        if len(rest) == 1 and closed and (first or rest[0] in (405, 200)):
            return shown(first) + " open"
        return shown(first + rest) + (" desync" if rest else " waits")


def ask_all(cases):
    known = {}
    with tempfile.TemporaryDirectory() as folder:
        ports = {"nginx": free_port()}
        ports["node"] = free_port()
        conf = os.path.join(folder, "nginx.conf")
        with open(conf, "w") as file:
            file.write(NGINX.format(dir=folder, port=ports["nginx"], back=ports["node"]))
        servers = [
            subprocess.Popen(["node", "-e", NODE.replace("PORT", str(ports["node"]))]),
            subprocess.Popen(["nginx", "-p", folder, "-c", conf]),
        ]
        try:
            time.sleep(1)
            for name, (packets, ends) in cases:
                for other, port in ports.items():
                    known.setdefault(name, {})[other] = ask(port, packets, ends).strip()
        finally:
            for server in servers:
                server.terminate()
                server.wait()
    return known
