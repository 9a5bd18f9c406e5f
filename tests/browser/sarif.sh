#!/bin/sh
# The SARIF of `seep gate` is valid by the published schema (as @microsoft/jest-sarif ships it): with and without baseline, suppressions,
# stacks, retention paths, and of a gate that could judge nothing.
set -eu
command -v sqlite3 >/dev/null || { echo "sqlite3 is not installed"; exit 77; }
modules=$(tools/npm.sh tests/browser) || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sh tests/golden/mk_recording.inc "$work/r.seep"
sh tests/golden/mk_series.inc "$work/series.seep"
sqlite3 "$work/r.seep" "INSERT INTO finding VALUES (20, 2, 'subslice-retention', 'likely', 1, NULL, '', 1, 65536, 1, 65536, 0, 0,
    '{\"retained_bytes\":65536,\"used_bytes\":64,\"path\":[{\"at\":\"global\",\"module\":\"/opt/app/server\",\"offset\":64},
    {\"at\":\"block\",\"bytes\":32,\"offset\":8,\"module\":\"/opt/app/server\",\"site\":4660},{\"at\":\"block\",\"bytes\":65536}]}')"
cp "$work/r.seep" "$work/none.seep"
sqlite3 "$work/none.seep" "DELETE FROM snapshot"
gate() { # name, expected exit code, options…
    name=$1 want=$2 rc=0
    shift 2
    "$BUILD/seep" gate --sarif "$work/$name.sarif" "$@" >/dev/null 2>&1 || rc=$?
    [ $rc = "$want" ] || { echo "$name: exit $rc"; exit 1; }
}
id=$("$BUILD/seep" leaks "$work/r.seep" | grep -o '^\[[0-9a-f]*' | sed -n 1p | tr -d '[')
echo "{\"seep_baseline\": 1, \"findings\": [{\"id\": \"$id\"}]}" >"$work/base.json"
printf 'leak:libjob\n' >"$work/supp"
gate plain 1 --fail-on likely "$work/r.seep"
gate known 1 --baseline "$work/base.json" --suppress "$work/supp" "$work/r.seep"
gate growing 1 --fail-on growing "$work/series.seep"
gate none 3 "$work/none.seep"
node - "$modules" "$work" <<'EOS'
const [modules, work] = process.argv.slice(2), fs = require("fs"), path = require("path");
const { createRequire } = require("module"), at = path.join(modules, "@microsoft/jest-sarif/lib");
const Ajv = createRequire(path.join(at, "x.js"))("ajv"), ajv = new Ajv({ schemaId: "id", unknownFormats: "ignore", allErrors: true, meta: false, validateSchema: false, logger: false });
ajv.addMetaSchema(createRequire(path.join(at, "x.js"))("ajv/lib/refs/json-schema-draft-04.json"));
const schema = path.join(at, "schemas", fs.readdirSync(path.join(at, "schemas")).find(f => /^sarif-2\.1\.0/.test(f)));
const valid = ajv.compile(JSON.parse(fs.readFileSync(schema)));
let bad = 0, flows = 0, results = 0;
const check = (ok, what) => { if (!ok) { bad = 1; console.log(what); } };
for (const name of ["plain", "known", "growing", "none"]) {
  const log = JSON.parse(fs.readFileSync(path.join(work, name + ".sarif")));
  check(valid(log), name + ": " + JSON.stringify(valid.errors));
  for (const run of log.runs) {
    check(run.results.every(r => r.ruleIndex === undefined || run.tool.driver.rules[r.ruleIndex].id === r.ruleId), name + ": ruleIndex");
    results += run.results.length;
    flows += run.results.filter(r => (r.codeFlows || []).some(f => f.threadFlows[0].locations.some(l => /^global /.test(l.location.message.text)))).length;
  }
  check(!valid({ ...log, version: "2.0.0" }) && !valid({ ...log, runs: [{ results: [{}] }] }), "the schema accepts anything");
}
check(results > 8, "only " + results + " results");
check(flows === 2, "the retention path is in " + flows + " logs");
process.exit(bad);
EOS
