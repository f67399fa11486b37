CREATE TABLE sandbox (
    id            TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    template      TEXT NOT NULL,
    layers        TEXT NOT NULL CHECK (json_valid(layers)),
    status        TEXT NOT NULL
                  CHECK (status IN ('creating', 'running', 'paused', 'stopped', 'expired', 'failed', 'deleted')),
    disk          INTEGER,
    limits        TEXT NOT NULL CHECK (json_valid(limits)),
    metadata      TEXT NOT NULL CHECK (json_valid(metadata)),
    created_at_ms INTEGER NOT NULL,
    started_at_ms INTEGER,
    expires_at_ms INTEGER,
    stopped_at_ms INTEGER,
    deleted_at_ms INTEGER,
    lifetime_s    INTEGER NOT NULL,
    env_version   INTEGER NOT NULL DEFAULT 0,
    swarm_id      TEXT,
    agent_id      TEXT,
    failure       TEXT
) STRICT;
CREATE INDEX sandbox_by_name ON sandbox (name, created_at_ms);
CREATE INDEX sandbox_by_age ON sandbox (created_at_ms);
-- The rows that the engine asks for every minute are few beside those of all that ever was.
CREATE INDEX sandbox_live ON sandbox (expires_at_ms) WHERE status IN ('creating', 'running', 'paused', 'stopped');
CREATE INDEX sandbox_by_status ON sandbox (status);

-- `sealed` is a nonce of 24 bytes and XChaCha20-Poly1305 over the value, with sandbox id and name as associated data.
CREATE TABLE environment (
    sandbox_id TEXT NOT NULL REFERENCES sandbox (id),
    name       TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    version    INTEGER NOT NULL,
    PRIMARY KEY (sandbox_id, name)
) STRICT;

CREATE TABLE code (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    bytes  BLOB NOT NULL
) STRICT;

CREATE TABLE execution (
    id                TEXT NOT NULL UNIQUE,
    sandbox_id        TEXT NOT NULL REFERENCES sandbox (id),
    number            INTEGER NOT NULL,
    language          TEXT NOT NULL,
    code_sha256       BLOB NOT NULL REFERENCES code (sha256),
    status            TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'timeout', 'killed')),
    exit_code         INTEGER,
    started_at_ms     INTEGER NOT NULL,
    finished_at_ms    INTEGER,
    execution_time_us INTEGER,
    cpu_time_us       INTEGER,
    memory_peak_bytes INTEGER,
    stdout_seen_bytes INTEGER NOT NULL,
    stderr_seen_bytes INTEGER NOT NULL,
    truncated         INTEGER NOT NULL,
    interpreter       TEXT NOT NULL CHECK (interpreter IN ('parked', 'forked', 'fresh')),
    background        INTEGER NOT NULL,
    timeout_ms        INTEGER NOT NULL,
    warnings          TEXT NOT NULL CHECK (json_valid(warnings)),
    artifacts         TEXT NOT NULL CHECK (json_valid(artifacts)),
    denials           TEXT NOT NULL CHECK (json_valid(denials)),
    UNIQUE (sandbox_id, number)
) STRICT;
CREATE INDEX execution_by_age ON execution (started_at_ms);
CREATE INDEX execution_by_sandbox ON execution (sandbox_id, started_at_ms);
CREATE INDEX execution_running ON execution (started_at_ms) WHERE status = 'running';

-- Apart from `execution`, so that lists do not read past megabytes.
CREATE TABLE output (
    execution_id TEXT PRIMARY KEY REFERENCES execution (id),
    stdout       BLOB NOT NULL CHECK (length(stdout) <= 1048576),
    stderr       BLOB NOT NULL CHECK (length(stderr) <= 1048576)
) STRICT;

-- AUTOINCREMENT: a number is not given again after its row was deleted.
CREATE TABLE disk (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    sandbox_id TEXT,
    size_mib   INTEGER NOT NULL
) STRICT;

CREATE TABLE template (
    name          TEXT NOT NULL,
    version       INTEGER NOT NULL,
    layers        TEXT NOT NULL CHECK (json_valid(layers)),
    recipe        TEXT NOT NULL CHECK (json_valid(recipe)),
    packages      TEXT NOT NULL CHECK (json_valid(packages)),
    size_bytes    INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('building', 'ready', 'failed')),
    build_log     TEXT,
    error         TEXT,
    PRIMARY KEY (name, version)
) STRICT;

CREATE TABLE log (
    sandbox_id TEXT NOT NULL REFERENCES sandbox (id),
    number     INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    level      TEXT NOT NULL,
    source     TEXT NOT NULL,
    message    TEXT NOT NULL,
    PRIMARY KEY (sandbox_id, number)
) STRICT, WITHOUT ROWID;

