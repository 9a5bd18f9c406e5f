#!/bin/bash
# The sqlite3 shell: a workload of 100,000 rows.
# timeout: 120
. tests/real/real.inc

workload() {
    real_agent sqlite3 "$1/db" <<'SQL'
CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, v REAL, grp INTEGER);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO t SELECT i, printf('name-%06d', (i * 7919) % 100003), (i * 37 % 1000) / 10.0, i % 97 FROM n;
COMMIT;
CREATE INDEX t_name ON t (name);
CREATE INDEX t_grp ON t (grp, v);
SELECT count(*), sum(v), min(name), max(name) FROM t;
SELECT grp, count(*), round(avg(v), 4), group_concat(substr(name, 6), '') IS NOT NULL FROM t GROUP BY grp ORDER BY 3 DESC LIMIT 5;
UPDATE t SET v = v * 2 WHERE name LIKE '%77%';
DELETE FROM t WHERE id % 3 = 0;
SELECT a.grp, count(*) FROM t a JOIN t b ON b.id = a.id + 1 GROUP BY a.grp ORDER BY 2 DESC, 1 LIMIT 5;
SELECT json_group_array(x) FROM (SELECT json_object('n', name, 'v', v) AS x FROM t ORDER BY name LIMIT 20);
VACUUM;
PRAGMA integrity_check;
SELECT count(*), round(total(v), 3) FROM t;
SQL
}
real_run sqlite3 workload
exit $failed
