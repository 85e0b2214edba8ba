#!/bin/bash
# kill-worker.sh SIGNAL [SECONDS]: kills the worker that serves FTP, then lets SECONDS pass.
. "$REPO/tests/vm/guest/sources.sh"
pid=$(ours_worker)
[ -n "$pid" ] || { echo "no worker found" >&2; exit 1; }
kill -"$1" "$pid" && sleep "${2:-0}"
