#!/usr/bin/env python3
"""Writes tests/front/corpus.txt: the raw requests, what is expected of Skep, and why.

    tests/front/corpus.py           writes the table, keeping the columns of other servers
    tests/front/corpus.py --others  asks nginx and Node again, and writes those columns too

The table is read by tests/front/corpus.rs. A case is changed here, never in the table.

Escapes in a request: \\r \\n \\t \\\\ \\xNN; \\{KEY} is an Authorization header with a key that opens every door;
\\{TEXT*N} is TEXT, N times; \\. is a pause, so that what follows comes in a packet of its own; \\z at the end: the
client says that nothing more will come.

An expectation is the statuses of all final answers in order (`h200` to a HEAD: without a body; `200*9` nine times), then what becomes of
the connection: `open` (the next request is answered as if nothing had been) or `close`. Where two things happen at
once, `or` stands between what may be seen.
"""

import os
import re
import sys

from cases import CASES as cases

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "corpus.txt")

def decode(text):
    """A request's packets, and whether the client ends its side."""
    key = "Authorization: Bearer fhk_test-admin-key-0123456789abcdef\r\n"
    packets, out, ends, at = [], bytearray(), False, 0
    while at < len(text):
        char = text[at]
        if char != "\\":
            out += char.encode("latin-1")
            at += 1
            continue
        kind = text[at + 1]
        at += 2
        if kind in "rnt\\":
            out += {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}[kind]
        elif kind == "x":
            out.append(int(text[at : at + 2], 16))
            at += 2
        elif kind == ".":
            packets.append(bytes(out))
            out = bytearray()
        elif kind == "z":
            ends = True
        elif kind == "{":
            end = text.index("}", at)
            inside = text[at:end]
            at = end + 1
            if inside == "KEY":
                out += key.encode()
            else:
                what, times = inside.rsplit("*", 1)
                out += decode(what)[0][0] * int(times)
        else:
            raise ValueError(f"\\{kind} in {text!r}")
    packets.append(bytes(out))
    return packets, ends


def read_table():
    """The columns of other servers, by the name of the case."""
    known, name = {}, None
    if os.path.exists(TABLE):
        for line in open(TABLE, encoding="utf-8"):
            if line.startswith("["):
                name = line.strip()[1:-1]
            match = re.match(r"(nginx|node): +(.*)", line)
            if match:
                known.setdefault(name, {})[match[1]] = match[2].strip()
    return known


def write_table(known):
    names = [c["name"] for c in cases]
    assert len(names) == len(set(names)), [n for n in names if names.count(n) > 1]
    lines = [
        "# Raw requests, and what becomes of them. Written by corpus.py; the forms are explained there.",
        f"# {len(cases)} cases. `gets` is checked against the real server; `nginx` and `node` say how nginx 1.22 and",
        "# Node 20 answered the same bytes when they were last asked.",
        "",
    ]
    last = None
    for c in cases:
        if c["group"] != last:
            last = c["group"]
            lines += [f"## {last}", ""]
        lines.append(f"[{c['name']}]")
        lines.append(f"send:  {c['send']}")
        lines.append(f"gets:  {c['gets']}")
        for other in ("nginx", "node"):
            if other in known.get(c["name"], {}):
                lines.append(f"{other + ':':6} {known[c['name']][other]}")
        lines.append(f"why:   {c['why']}")
        lines.append("")
    with open(TABLE, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


if __name__ == "__main__":
    known = read_table()
    if "--others" in sys.argv[1:]:
        from others import ask_all

        known = ask_all([(c["name"], decode(c["send"])) for c in cases])
    write_table(known)
    print(f"{len(cases)} cases")
