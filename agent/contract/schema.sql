-- seep recording, format version 1.
--
-- This file is the format's specification: the agent creates a recording with it and the
-- analyzer checks a recording against it. docs/schema.md explains it in prose.
--
-- Conventions
--   *_ns     nanoseconds; unix_ns counts from 1970, mono_ns is CLOCK_MONOTONIC
--   *_bytes  bytes
--   Booleans are 0 or 1. Text is UTF-8, not trusted, and never the contents of program memory.
--   "sampled" columns hold what the sampler saw, unscaled. The estimate for a row of sampled
--   objects of one size is  count / (1 - exp(-size_bytes / rate_bytes));  scale each row, then sum.
--   "exact" columns come from the marker, which visits every object.
--   One snapshot is one transaction.

PRAGMA application_id = 1936024944; -- 0x73656570, "seep"
PRAGMA user_version = 1;

-- One row for each process image: a fork or an exec begins a new row.
CREATE TABLE process (
  id            INTEGER PRIMARY KEY,
  pid           INTEGER NOT NULL,
  ppid          INTEGER NOT NULL,
  start_unix_ns INTEGER NOT NULL,          -- when the agent started in this image
  start_mono_ns INTEGER NOT NULL,
  exe           TEXT    NOT NULL,          -- path of the executable
  argv          TEXT    NOT NULL,          -- arguments, joined by U+001F
  host          TEXT    NOT NULL,
  agent_version TEXT    NOT NULL,
  page_bytes    INTEGER NOT NULL,          -- the kernel's page
  UNIQUE (pid, start_unix_ns)
);

-- An ELF file, interned: the same file in two processes is one row.
CREATE TABLE image (
  id       INTEGER PRIMARY KEY,
  path     TEXT NOT NULL,
  build_id TEXT NOT NULL,                  -- lower-case hex, '' when the file has none
  UNIQUE (path, build_id)
);

-- Where an image was mapped in a process. Rows stay when the module is unloaded.
CREATE TABLE mapping (
  process    INTEGER NOT NULL REFERENCES process (id),
  image      INTEGER NOT NULL REFERENCES image (id),
  start_addr INTEGER NOT NULL,             -- of the executable segment
  end_addr   INTEGER NOT NULL,
  file_offset INTEGER NOT NULL,
  bias       INTEGER NOT NULL,             -- run-time address minus ELF virtual address
  unloaded   INTEGER NOT NULL DEFAULT 0,   -- 1 after dlclose
  PRIMARY KEY (process, start_addr, image)
) WITHOUT ROWID;

-- A code address, interned. With an image, offset is the ELF virtual address of the call's
-- return address; without one (generated code), the absolute address.
CREATE TABLE frame (
  id     INTEGER PRIMARY KEY,
  image  INTEGER REFERENCES image (id),
  offset INTEGER NOT NULL
);
CREATE UNIQUE INDEX frame_key ON frame (ifnull(image, 0), offset);

-- Names that came with a frame, of imported profiles whose program is not at hand; such a frame's offset is a number made from them. seq 0
-- is the innermost of inlined calls. Absent in recordings of the agent, which asks for no names, and in older ones the whole table.
CREATE TABLE symbol (
  frame    INTEGER NOT NULL REFERENCES frame (id),
  seq      INTEGER NOT NULL,
  function TEXT    NOT NULL,
  file     TEXT    NOT NULL,               -- '' where it is not known
  line     INTEGER NOT NULL,               -- 0 where it is not known
  PRIMARY KEY (frame, seq)
) WITHOUT ROWID;

-- A call stack, interned by the hash of stack_key.h.
CREATE TABLE stack (
  id     INTEGER PRIMARY KEY,
  hash   INTEGER NOT NULL UNIQUE,
  frames BLOB    NOT NULL                  -- frame ids, 32-bit little endian, leaf first
);

CREATE TABLE snapshot (
  id            INTEGER PRIMARY KEY,
  process       INTEGER NOT NULL REFERENCES process (id),
  seq           INTEGER NOT NULL,          -- 1, 2, … within the process
  trigger       TEXT    NOT NULL,          -- interval, signal, control, api, exit; import: a profile of another runtime
  label         TEXT    NOT NULL DEFAULT '',
  unix_ns       INTEGER NOT NULL,
  mono_ns       INTEGER NOT NULL,
  pause_ns      INTEGER NOT NULL,          -- the program stood still for so long
  mark_ns       INTEGER NOT NULL,
  duration_ns   INTEGER NOT NULL,          -- from the stop to the end of judging
  rate_bytes    INTEGER NOT NULL,          -- sampling rate; 1: every allocation; 0: none
  threads       INTEGER NOT NULL,
  threads_missed INTEGER NOT NULL,         -- threads whose registers could not be had; > 0: no proofs
  live_objects  INTEGER NOT NULL,          -- exact: allocated
  live_bytes    INTEGER NOT NULL,
  unreachable_objects INTEGER NOT NULL,    -- exact: no pointer to any part of them
  unreachable_bytes   INTEGER NOT NULL,
  interior_objects    INTEGER NOT NULL,    -- exact: only pointers into the middle of them
  interior_bytes      INTEGER NOT NULL,
  UNIQUE (process, seq)
);

-- Allocator statistics by name (agent/contract/stats.def) in bytes or counts.
CREATE TABLE stat (
  snapshot INTEGER NOT NULL REFERENCES snapshot (id),
  name     TEXT    NOT NULL,
  value    INTEGER NOT NULL,
  PRIMARY KEY (snapshot, name)
) WITHOUT ROWID;

-- Every byte of RSS, attributed. The sum over parts is the kernel's figure ("rss" in stat).
CREATE TABLE rss (
  snapshot  INTEGER NOT NULL REFERENCES snapshot (id),
  part      TEXT    NOT NULL,              -- heap-in-use, heap-idle, heap-lazy-free, agent, stack, image, anon, file, shared …
  name      TEXT    NOT NULL,              -- image path or mapping name, '' where there is none
  rss_bytes INTEGER NOT NULL,
  lazy_free_bytes INTEGER NOT NULL DEFAULT 0,
  size_bytes INTEGER NOT NULL,
  PRIMARY KEY (snapshot, part, name)
) WITHOUT ROWID;

-- Sampled allocations since the process began, by stack and slot size.
CREATE TABLE heap (
  snapshot    INTEGER NOT NULL REFERENCES snapshot (id),
  stack       INTEGER NOT NULL REFERENCES stack (id),
  size_bytes  INTEGER NOT NULL,            -- slot size: the s in the scale factor
  allocs      INTEGER NOT NULL,            -- sampled
  alloc_bytes INTEGER NOT NULL,            -- sampled, as requested by the program
  frees       INTEGER NOT NULL,
  free_bytes  INTEGER NOT NULL,
  unreachable INTEGER NOT NULL,            -- sampled objects in use that nothing points to
  unreachable_bytes INTEGER NOT NULL,
  interior    INTEGER NOT NULL,            -- sampled objects in use with interior pointers only
  interior_bytes INTEGER NOT NULL,
  PRIMARY KEY (snapshot, stack, size_bytes)
) WITHOUT ROWID;

-- Ages of the sampled objects in use. bucket b holds ages of [2^b, 2^(b+1)) ms; 0 also younger ones.
CREATE TABLE age (
  snapshot INTEGER NOT NULL REFERENCES snapshot (id),
  stack    INTEGER NOT NULL REFERENCES stack (id),
  bucket   INTEGER NOT NULL,
  objects  INTEGER NOT NULL,
  bytes    INTEGER NOT NULL,
  PRIMARY KEY (snapshot, stack, bucket)
) WITHOUT ROWID;

-- Coroutines, threads and what other task providers report.
CREATE TABLE task (
  snapshot     INTEGER NOT NULL REFERENCES snapshot (id),
  provider     TEXT    NOT NULL,           -- coro, thread, …
  task         INTEGER NOT NULL,           -- its id within the provider
  name         TEXT    NOT NULL,
  state        TEXT    NOT NULL,           -- task.h
  wait_reason  TEXT    NOT NULL,           -- wait_reasons.def
  wakeable     INTEGER NOT NULL,           -- 1: a timer, descriptor or signal can wake it
  blocked_ns   INTEGER NOT NULL,           -- since it blocked; 0 when it is not blocked
  create_stack INTEGER REFERENCES stack (id),
  stack        INTEGER REFERENCES stack (id),
  stack_bytes  INTEGER NOT NULL,           -- committed for its stack
  live_bytes   INTEGER NOT NULL,           -- [sp, top)
  schedules    INTEGER NOT NULL,           -- times it was scheduled; of a thread: it gave its CPU up by itself
  cpu_ns       INTEGER NOT NULL,
  verdict      TEXT    NOT NULL,           -- live, leaked, unknown
  PRIMARY KEY (snapshot, provider, task)
) WITHOUT ROWID;

-- What blocked tasks wait for.
CREATE TABLE wait (
  snapshot INTEGER NOT NULL REFERENCES snapshot (id),
  provider TEXT    NOT NULL,
  task     INTEGER NOT NULL,
  seq      INTEGER NOT NULL,               -- the case of a select, from 0
  object   INTEGER NOT NULL,               -- address, 0: nil
  kind     TEXT    NOT NULL,               -- chan, mutex, …
  reached  INTEGER NOT NULL,               -- 1: something live can reach it
  PRIMARY KEY (snapshot, provider, task, seq)
) WITHOUT ROWID;

-- What the child proved or found. The analyzer adds rules that need more than one snapshot.
CREATE TABLE finding (
  id          INTEGER PRIMARY KEY,
  snapshot    INTEGER NOT NULL REFERENCES snapshot (id),
  rule        TEXT    NOT NULL,            -- rules.def
  confidence  TEXT    NOT NULL,            -- proven, likely, growing, info
  stack       INTEGER REFERENCES stack (id),   -- where it waits or was allocated
  create_stack INTEGER REFERENCES stack (id),  -- where the task was created
  wait_reason TEXT    NOT NULL DEFAULT '',
  objects     INTEGER NOT NULL,            -- tasks or blocks; sampled where sampled = 1
  bytes       INTEGER NOT NULL,            -- stacks or blocks; sampled where sampled = 1
  est_objects REAL    NOT NULL,            -- scaled estimates; equal where sampled = 0
  est_bytes   REAL    NOT NULL,
  sampled     INTEGER NOT NULL,
  oldest_ns   INTEGER NOT NULL,
  evidence    TEXT    NOT NULL             -- JSON object
);
CREATE INDEX finding_snapshot ON finding (snapshot, rule);

-- What holds a sampled block of a stack, and what the tasks that wait at a stack wait for: a path from a root to it, for the
-- stacks with the most bytes and tasks, in the snapshots that looked for them. Recordings from before them have no such table.
CREATE TABLE path (
  snapshot INTEGER NOT NULL REFERENCES snapshot (id),
  kind     TEXT    NOT NULL,               -- block: stack is the allocation's; wait: where the task waits
  stack    INTEGER NOT NULL REFERENCES stack (id),
  steps    TEXT    NOT NULL,               -- JSON array, see docs/schema.md
  PRIMARY KEY (stack, kind, snapshot)
) WITHOUT ROWID;

-- What the agent or `seep run` had to say: lost snapshots, how processes ended.
CREATE TABLE event (
  id      INTEGER PRIMARY KEY,
  process INTEGER REFERENCES process (id),
  unix_ns INTEGER NOT NULL,
  kind    TEXT    NOT NULL,                -- exit, signal, lost, warning
  detail  TEXT    NOT NULL
);
