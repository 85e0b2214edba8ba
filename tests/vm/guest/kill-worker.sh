#!/bin/bash
# kill-worker.sh SIGNAL [SECONDS]: kills the worker that serves FTP, then lets SECONDS pass. A worker
# that is still there after the signal is a failure: "killed by any signal" means any.
. "$REPO/tests/vm/guest/sources.sh"
pid=$(ours_worker)
[ -n "$pid" ] || { echo "no worker found"; exit 1; }
kill -"$1" "$pid"
wait_for 20 _gone "$pid" || { echo "worker $pid survives SIG$1"; kill -KILL "$pid"; exit 1; }
sleep "${2:-0}"
