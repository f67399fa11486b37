-- Work that takes longer than a request and must survive a restart: sweeps, pipelines, swarms, tasks. What the columns named
-- `request`, `state` and `body` hold is JSON of the crate `research`, which alone reads it.

CREATE TABLE job (
    id            TEXT PRIMARY KEY,
    kind          TEXT NOT NULL,
    name          TEXT,
    actor         TEXT NOT NULL,
    status        TEXT NOT NULL,
    request       TEXT NOT NULL,
    state         TEXT NOT NULL DEFAULT '{}',
    created_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    ended_at_ms   INTEGER
) STRICT;

CREATE INDEX job_by_kind ON job (kind, created_at_ms);

-- The parts of a job, each written once it is done or as it stands: a run of a sweep, a stage of a pipeline, an agent of a swarm.
CREATE TABLE job_part (
    job           TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number        INTEGER NOT NULL,
    status        TEXT NOT NULL,
    body          TEXT NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
