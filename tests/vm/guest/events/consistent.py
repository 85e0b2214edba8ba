"""consistent.py EVENTS IDS: whether one who read EVENTS (JSON, with resync) knows just the connections in IDS, and every gap was made good.
Says what is wrong."""
import json
import sys

known, complete, shown = set(), False, None
for line in open(sys.argv[1]):
    event = json.loads(line)
    notice, what = event.get("notice"), event.get("event")
    if notice == "gap":
        complete = False
    elif notice == "lost":
        complete = False
    elif notice == "resync-begin":
        shown, ended = set(), set()
    elif notice == "resync-end":
        known, complete, shown = shown, True, None
    elif what == "destroy":
        known.discard(event["id"])
        if shown is not None:
            shown.discard(event["id"])
            ended.add(event["id"])
    elif what in ("new", "dump"):
        if what == "new":
            known.add(event["id"])
        if shown is not None and event["id"] not in ended:
            shown.add(event["id"])
kernel = {int(line) for line in open(sys.argv[2])}
if not complete:
    print("the last gap was not followed by a resync")
elif known != kernel:
    print(f"{len(known - kernel)} too many, {len(kernel - known)} missing of {len(kernel)}")
