#!/bin/sh
# The speedscope export is valid by speedscope's own schema, and its weights are the totals of `seep top`.
set -eu
command -v sqlite3 >/dev/null || { echo "sqlite3 is not installed"; exit 77; }
modules=$(tools/npm.sh tests/browser) || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sh tests/golden/mk_recording.inc "$work/r.seep"
"$BUILD/seep" export --speedscope -o "$work/heap.json" "$work/r.seep"
"$BUILD/seep" export --speedscope --tasks -o "$work/tasks.json" "$work/r.seep"
"$BUILD/seep" top --json "$work/r.seep" >"$work/top.json"
node - "$modules" "$work" <<'EOF'
const [modules, work] = process.argv.slice(2), fs = require("fs"), path = require("path");
const Ajv = require(path.join(modules, "ajv")).default;
const read = f => JSON.parse(fs.readFileSync(path.join(work, f)));
const schema = JSON.parse(fs.readFileSync(path.join(modules, "speedscope/dist/release/file-format-schema.json")));
const valid = new Ajv({ strict: false }).compile(schema);
let bad = 0;
const check = (ok, what) => { if (!ok) { bad = 1; console.log(what); } };
for (const f of ["heap.json", "tasks.json"]) {
  const s = read(f);
  check(valid(s), f + ": " + JSON.stringify(valid.errors));
  check(!valid({ ...s, profiles: [{ type: "sampled" }] }), "the schema accepts anything");
  for (const p of s.profiles) {
    check(p.weights.length === p.samples.length, p.name + ": a weight for each sample");
    check(p.samples.flat().every(i => i < s.shared.frames.length), p.name + ": frames are there");
    check(p.weights.reduce((a, b) => a + b, 0) === p.endValue, p.name + ": the end is the sum");
  }
}
const sum = name => read("heap.json").profiles.find(p => p.name === name).endValue, total = read("top.json").total;
check(sum("inuse_space") === total.inuse_bytes && sum("alloc_space") === total.alloc_bytes, "totals differ from `seep top`");
check(read("tasks.json").profiles[0].endValue === 4, "tasks");
process.exit(bad);
EOF
