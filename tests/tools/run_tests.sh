#!/bin/sh
# run_tests.sh BUILD TEST...: run every cmocka program, say which failed, fail if any did.
export GLIDE_BUILD="$1"; shift
# Threads that wait sleep instead of spinning: much faster when something else runs on the machine, the same when not.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
failed=
for t in "$@"; do
    echo "== ${t##*/}"
    "$t" || failed="$failed ${t##*/}"
done
if [ -n "$failed" ]; then echo "FAILED:$failed"; exit 1; fi
echo "all $# test programs passed"
