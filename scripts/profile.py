"""Reads `perf script -F comm,period,ip,sym` from standard input: folds the stacks into the file named, prints who took what.

Threads are told apart by kind: their names without numbers."""

import collections
import re
import sys


def kind(name):
    return re.sub(r"-?\d+$", "", name)


def function(words):
    """A symbol without its address, hash and type parameters."""
    name = words.split(" ", 1)[1] if " " in words else words
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    while re.search(r"<[^<>]*>", name):
        name = re.sub(r"<[^<>]*>", "", name)
    return name.strip(":") or "?"


def samples(lines):
    """(thread kind, period, [functions, innermost first])"""
    head, stack = None, []
    for line in lines:
        line = line.rstrip("\n")
        if not line.strip():
            if head:
                yield (*head, stack)
            head, stack = None, []
        elif head is None:
            comm, period = line.rsplit(None, 1)
            head = (kind(comm.strip()), int(period.rstrip(":")))
        else:
            stack.append(function(line.strip()))
    if head:
        yield (*head, stack)


def main(path):
    folded = collections.Counter()
    threads = collections.Counter()
    own = collections.defaultdict(collections.Counter)
    for thread, period, stack in samples(sys.stdin):
        folded[";".join([thread, *reversed(stack)])] += period
        threads[thread] += period
        own[thread][stack[0] if stack else "?"] += period
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{stack} {count}\n" for stack, count in folded.most_common())
    whole = sum(threads.values())
    for thread, count in threads.most_common(10):
        print(f"{thread:<20}{100 * count / whole:5.1f} %")
        for name, part in own[thread].most_common(8):
            print(f"    {100 * part / count:5.1f} %  {name[:80]}")


main(sys.argv[1])
