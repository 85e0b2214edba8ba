#!/usr/bin/python3
"""account.py rest HELPER EXPECTATIONS <STATUS    packets == verdicts, a serving worker, at least so many expectations
account.py deaths AUDIT HELPER KILLS CAUSE...   each cause is among the audited ends, and as many ends as kills were audited
account.py flat KILLS GROWTH_KB             neither memory nor open files of the daemon grew

What is wrong goes to stdout, figures to stderr. Nothing on stdout = right.
"""
import collections
import json
import sys


def rest(helper, expectations):
    try:
        status = json.load(sys.stdin)
    except ValueError:
        return "no status"
    of = [h for h in status["helpers"] if h["name"] == helper][0]
    if of["state"] != "serving" or not any(not w["spare"] for w in of["workers"]):
        return f"is {of['state']}, workers {of['workers']}"
    if not of["packets"] == of["verdicts"] > 0:
        return f"{of['packets']} packets, {of['verdicts']} verdicts"
    if of["expectations"] < int(expectations):
        return f"{of['expectations']} expectations, {expectations} wanted"
    return ""


def ends(audit, helper):
    """(event, crash) of each worker of the helper that ended."""
    with open(audit, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if record.get("helper") == helper and record["event"] in ("worker_crashed", "worker_hung", "circuit_opened", "worker_out_of_turn"):
                yield record["event"], record


def deaths(audit, helper, kills_file, *wanted):
    with open(kills_file, encoding="utf-8") as file:
        account = json.load(file)
    causes, in_flight, panics = collections.Counter(), 0, 0
    for event, crash in ends(audit, helper):
        if event in ("circuit_opened", "worker_out_of_turn"):
            return f"{event}: {crash}"
        cause = "hung" if event == "worker_hung" else " ".join(w for w in crash["cause"].split() if w.startswith("SIG")) or crash["cause"]
        causes[cause] += 1
        in_flight += crash["in_flight"] > 0
        panics += bool(crash.get("panic"))
    causes["panic"] = panics
    kills = sum(count for way, count in account["kills"].items() if way != "SIGSTOP")
    print(f"{helper}: a kill every {account['period']} s, {account['kills']}, {account['missed']} ticks without a victim; ends: {dict(causes)}, {in_flight} with packets in flight", file=sys.stderr)
    if missing := [cause for cause in wanted if not causes[cause]]:
        return f"nobody ended by {', '.join(missing)}"
    if not in_flight:
        return "no worker had packets in flight"
    recorded = sum(causes.values()) - panics
    if recorded < kills * 0.95:
        return f"{recorded} ends audited, {kills} workers killed"
    return ""


def flat(kills_file, growth):
    with open(kills_file, encoding="utf-8") as file:
        account = json.load(file)
    (early, late), (files_early, files_late) = account["rss"], account["files"]
    print(f"daemon without its workers: {early} kB, later {late} kB; {files_early} open files, later {files_late}", file=sys.stderr)
    if not 0 < late <= early + int(growth):
        return f"{early} kB became {late} kB"
    if files_late > files_early + 4:
        return f"{files_early} open files became {files_late}"
    return ""


said = {"rest": rest, "deaths": deaths, "flat": flat}[sys.argv[1]](*sys.argv[2:])
if said:
    print(said)
