#!/usr/bin/python3
"""killer.py SUPERVISOR HELPER SEED PERIOD BEGUN: ends a worker of HELPER every PERIOD seconds, until it gets SIGTERM.

Where a worker takes longer than PERIOD to be replaced (an emulated machine under load) it does so as often as workers come, or nobody
would be left to serve: a lane makes one worker at a time. It makes the file BEGUN when it knows.

The victim is any confined worker below the process SUPERVISOR, serving or spare, and the way one of SIGKILL, SIGSEGV, SIGABRT and SIGSTOP,
each once in every four in random order; both by a generator of SEED. One that was stopped is not touched again: its deadline is to end it. A tick without a victim is counted.
Meanwhile it looks at the memory of SUPERVISOR, of what else of the daemon runs when it begins, and at the supervisor's open files.
Whom it stopped and nobody missed it lets go on at the end.

At the end it prints one JSON object: its `period`, kills by signal, `missed` ticks, `rss` as [most kB in the second quarter of the run, most in the
last quarter], `files` the same.
"""
import json
import os
import random
import signal
import sys
import time

supervisor, helper, seed, period = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
WAYS = [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGSTOP]
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
dice, over, deck = random.Random(seed), False, []
kills, missed, stopped, rss, files = {way.name: 0 for way in WAYS}, 0, set(), [], []


def end(*_):
    global over
    over = True


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # gone meanwhile
        return b""


def family(pid):
    """pid and all below it, with their command lines."""
    yield pid, read(f"/proc/{pid}/cmdline").rstrip(b"\0").split(b"\0")
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for task in tasks:
        for child in read(f"/proc/{pid}/task/{task}/children").split():
            yield from family(int(child))


def filters(pid):
    """How many seccomp filters a process has: all of them once it is confined."""
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith(b"Seccomp_filters:"):
            return int(line.split()[1])
    return 0


def workers_of(which, confined=0):
    """The pids of the workers that have so many filters, launchers not among them."""
    for pid, command in family(supervisor):
        named = os.path.basename(command[0]) in (b"fragile", b"cthelper-worker") and which in (None, command[-1])
        if named and filters(pid) >= confined:
            yield pid


def look():
    """Takes the figures; gives the pids of the helper's workers."""
    rss.append(sum(int((read(f"/proc/{pid}/statm").split() or [0, 0])[1]) * PAGE_KB for pid in staff))
    try:
        files.append(len(os.listdir(f"/proc/{supervisor}/fd")))
    except OSError:
        pass
    return list(workers_of(helper.encode(), sealed))


def quarters(series):
    quarter = len(series) // 4
    return [max(series[quarter : 2 * quarter], default=0), max(series[3 * quarter :], default=0)]


signal.signal(signal.SIGTERM, end)
staff = {pid for pid, _ in family(supervisor)}
time.sleep(0.5)
staff &= {pid for pid, _ in family(supervisor)} - set(workers_of(None))


def rebirth():
    """Ends one worker; seconds until there are as many as before, all confined, at most 5."""
    before = list(workers_of(helper.encode(), sealed))
    start = time.monotonic()
    os.kill(before[0], signal.SIGKILL)
    while time.monotonic() < start + 5:
        after = list(workers_of(helper.encode(), sealed))
        if before[0] not in after and len(after) >= len(before):
            break
        time.sleep(0.02)
    return time.monotonic() - start


sealed = max(filters(pid) for pid in workers_of(helper.encode()))
kills["SIGKILL"] += 1
period = max(period, rebirth())
with open(sys.argv[5], "w", encoding="utf-8"):
    pass
tick = time.monotonic()
while not over:
    tick = max(tick + period, time.monotonic())
    workers = look()
    stopped &= set(workers)
    victims = [pid for pid in workers if pid not in stopped]
    time.sleep(max(0, tick - time.monotonic()))
    if not victims:
        missed += 1
        continue
    deck = deck or dice.sample(WAYS, len(WAYS))
    victim, way = dice.choice(victims), deck.pop()
    try:
        os.kill(victim, way)
    except ProcessLookupError:
        missed += 1
        continue
    kills[way.name] += 1
    if way == signal.SIGSTOP:
        stopped.add(victim)
for pid in stopped & set(workers_of(None)):
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
print(json.dumps({"period": round(period, 3), "kills": kills, "missed": missed, "rss": quarters(rss), "files": quarters(files)}))
