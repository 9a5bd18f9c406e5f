#!/bin/bash
# The demo does what it says and leaves its recordings and exports behind (the runner sees to it that no server stays).
# timeout: 120
set -euo pipefail
DEMO_OUT=$TMPDIR/out tools/demo.sh >"$TMPDIR/log" 2>&1 || { cat "$TMPDIR/log"; exit 1; }
for f in redis.seep redis.pb.gz jobd.seep jobd.pb.gz lost_block.seep; do
    [ -s "$TMPDIR/out/$f" ] || { cat "$TMPDIR/log"; echo "$f is missing"; exit 1; }
done
# Nothing of redis-server is proven leaked: neither after the load nor at any other snapshot.
[ "$(sqlite3 "$TMPDIR/out/redis.seep" "SELECT count(*) FROM finding WHERE confidence = 'proven'")" = 0 ] ||
    { cat "$TMPDIR/log"; echo "a proven leak in redis-server"; exit 1; }
# pprof's total of the export is ours to the byte.
theirs=$(go tool pprof -unit=B -top -sample_index=inuse_space "$TMPDIR/out/redis.pb.gz" 2>/dev/null | sed -n 's/.* of \([0-9]*\)B total.*/\1/p')
ours=$("$BUILD/seep" top "$TMPDIR/out/redis.seep" --snapshot after-load --json |
    /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["total"]["inuse_bytes"])')
[ "${ours:-0}" -gt 0 ] && [ "$ours" = "$theirs" ] || { echo "pprof says $theirs bytes, seep top $ours"; exit 1; }
