"""huey for scripts/compare: with_huey.py FILE JOBS CALLERS. Prints its rate, and what was in force."""

import json
import os
import sys
import threading
import time
from importlib.metadata import version

from huey import SqliteHuey

# Consumer threads: Python runs one at a time, and huey commits each job alone; more served it no better here.
WORKERS = 2
PATIENCE = 300

file, jobs, callers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
queue = SqliteHuey(filename=file, fsync=True, results=False, utc=True)
body = "x" * 167
lock, done = threading.Lock(), 0


@queue.task()
def nothing(to, body):
    global done
    with lock:
        done += 1


def call():
    for _ in range(jobs // callers):
        nothing("a@example.com", body)


pragma = queue.storage.conn.execute
journal = pragma("PRAGMA journal_mode").fetchone()[0]
level = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}[pragma("PRAGMA synchronous").fetchone()[0]]

consumer = queue.create_consumer(
    workers=WORKERS, initial_delay=0.001, max_delay=0.05, check_worker_health=False
)
consumer.start()
begun = time.perf_counter()
threads = [threading.Thread(target=call) for _ in range(callers)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
every = jobs // callers * callers
while done < every:
    if time.perf_counter() - begun > PATIENCE:
        sys.exit(f"{done} of {every} after {PATIENCE} s")
    time.sleep(0.002)
rate = every / (time.perf_counter() - begun)
print(json.dumps({"rate": rate, "in_force": f"{version('huey')}: {journal.upper()}, {level}"}), flush=True)
# Its threads have nothing left to do, and take their time to see it.
os._exit(0)
