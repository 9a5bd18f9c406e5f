#!/bin/sh
# Not a test by itself: makes a recording by hand, from the schema and rows of known sums.
# usage: mk_recording.sh FILE
# Two processes, the first with two snapshots. No image exists on any machine, so nothing has symbols.
set -eu
[ $# = 1 ] || exit 77
rm -f "$1"
sqlite3 "$1" <<SQL
$(cat agent/contract/schema.sql)
BEGIN;
INSERT INTO process VALUES (1, 1234, 1, 1700000000000000000, 5000000000, '/opt/app/server', 'server' || char(31) || '--port' || char(31) || '80', 'web1', '0.1.0', 4096);
INSERT INTO process VALUES (2, 1240, 1234, 1700000060000000000, 65000000000, '/opt/app/server', 'worker ' || char(27) || '[31mred', 'web1', '0.1.0', 4096);
INSERT INTO image VALUES (1, '/opt/app/server', 'aa00000000000000000000000000000000000001');
INSERT INTO image VALUES (2, '/opt/app/libjob.so.2.1', 'aa00000000000000000000000000000000000002');
INSERT INTO image VALUES (3, '/opt/lib/libc.so.6', 'aa00000000000000000000000000000000000003');
INSERT INTO mapping VALUES (1, 1, 93824992231424, 93824992301056, 4096, 93824992227328, 0);
INSERT INTO mapping VALUES (1, 2, 140737340000256, 140737340069888, 0, 140737340000256, 1);
INSERT INTO mapping VALUES (1, 3, 140737350000640, 140737351639040, 0, 140737350000640, 0);
INSERT INTO mapping VALUES (2, 1, 93824992231424, 93824992301056, 4096, 93824992227328, 0);
INSERT INTO frame VALUES (1, 3, 600000), (2, 1, 4660), (3, 1, 8192), (4, 2, 512), (5, NULL, 47244640256);
-- libc <- server+0x1234 <- server+0x2000
INSERT INTO stack VALUES (1, 1001, x'010000000200000003000000');
-- libc <- libjob+0x200 <- server+0x2000
INSERT INTO stack VALUES (2, 1002, x'010000000400000003000000');
-- server+0x2000
INSERT INTO stack VALUES (3, 1003, x'03000000');
-- generated code
INSERT INTO stack VALUES (4, 1004, x'05000000');
INSERT INTO snapshot VALUES (1, 1, 1, 'interval', 'warm', 1700000010000000000, 15000000000, 800000, 2000000, 9000000, 524288, 2, 0, 1000, 10485760, 0, 0, 0, 0);
INSERT INTO snapshot VALUES (2, 1, 2, 'exit', '', 1700000100000000000, 105000000000, 900000, 2500000, 11000000, 524288, 2, 0, 3000, 31457280, 400, 4194304, 2, 1024);
INSERT INTO snapshot VALUES (3, 2, 1, 'exit', '', 1700000090000000000, 95000000000, 700000, 1500000, 8000000, 1, 1, 1, 10, 4096, 0, 0, 0, 0);
INSERT INTO stat VALUES (2, 'rss', 41943040), (2, 'heap_inuse', 33554432), (2, 'mallocs', 123456);
INSERT INTO rss VALUES (2, 'heap-in-use', '', 33554432, 0, 33554432), (2, 'heap-lazy-free', '', 4194304, 4194304, 4194304),
                       (2, 'image', '/opt/app/server', 4063232, 0, 8388608), (2, 'file', '/opt/lib/libc.so.6', 131072, 0, 1638400);
INSERT INTO heap VALUES (1, 1, 1024, 20, 20000, 10, 10000, 0, 0, 0, 0);
INSERT INTO heap VALUES (1, 2, 1048576, 3, 3145728, 1, 1048576, 0, 0, 0, 0);
INSERT INTO heap VALUES (2, 1, 1024, 50, 50000, 12, 12000, 5, 5000, 0, 0);
INSERT INTO heap VALUES (2, 1, 4096, 8, 32768, 0, 0, 2, 8192, 1, 4096);
INSERT INTO heap VALUES (2, 2, 1048576, 9, 9437184, 2, 2097152, 4, 4194304, 0, 0);
INSERT INTO heap VALUES (2, 4, 64, 1, 60, 1, 60, 0, 0, 0, 0);
INSERT INTO heap VALUES (3, 3, 512, 8, 4000, 0, 0, 0, 0, 0, 0);
INSERT INTO task VALUES (2, 'thread', 1234, 'server', 'waiting', 'system call', 1, 1000000, 1, 1, 65536, 2048, 0, 5000000, 'live');
INSERT INTO task VALUES (2, 'coro', 7, '', 'waiting', 'chan send', 0, 60000000000, 3, 2, 8192, 640, 3, 1000, 'leaked');
INSERT INTO task VALUES (2, 'coro', 8, '', 'waiting', 'chan send', 0, 30000000000, 3, 2, 8192, 640, 3, 1000, 'leaked');
INSERT INTO task VALUES (2, 'coro', 9, '', 'runnable', '', 0, 0, 3, 3, 8192, 640, 3, 1000, 'live');
INSERT INTO finding VALUES (1, 2, 'unreachable-memory', 'proven', 1, NULL, '', 7, 13192, 2570.9, 2632000.4, 1, 80000000000, '{"direct":5,"indirect":2}');
INSERT INTO finding VALUES (2, 2, 'unreachable-memory', 'proven', 2, NULL, '', 4, 4194304, 4.626, 4850000.0, 1, 70000000000, '{"direct":4,"indirect":0}');
INSERT INTO finding VALUES (3, 2, 'stuck-send', 'proven', 3, 2, 'chan send', 2, 16384, 2, 16384, 0, 60000000000, '{"kept_objects":3,"kept_bytes":19293798}');
INSERT INTO finding VALUES (4, 2, 'unreachable-interior', 'info', 1, NULL, '', 1, 4096, 128.5, 526336, 1, 1000000, '{}');
INSERT INTO finding VALUES (5, 3, 'unreachable-memory', 'likely', 3, NULL, '', 1, 512, 1, 512, 0, 1000000, '{"no_proof":"1 thread was not stopped"}');
INSERT INTO event VALUES (1, 1, 1700000101000000000, 'exit', 'exit 0');
COMMIT;
SQL
