-- `sealed` is a nonce of 24 bytes and XChaCha20-Poly1305 over the value, with owner, name, version and binding as
-- associated data: a row with another of these does not open. Nothing is sealed in a revoked one.
CREATE TABLE secret (
    name          TEXT NOT NULL,
    origin        TEXT NOT NULL CHECK (origin IN ('operator', 'client')),
    sandbox_id    TEXT CHECK ((sandbox_id IS NOT NULL) = (origin = 'client')),
    version       INTEGER NOT NULL,
    sealed        BLOB CHECK ((sealed IS NULL) = (revoked_at_ms IS NOT NULL)),
    fingerprint   TEXT NOT NULL,
    binding       TEXT NOT NULL CHECK (json_valid(binding)),
    created_at_ms INTEGER NOT NULL,
    rotated_at_ms INTEGER,
    revoked_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX secret_by_name ON secret (name, ifnull(sandbox_id, ''));
CREATE INDEX secret_by_sandbox ON secret (sandbox_id) WHERE sandbox_id IS NOT NULL;

-- The text is sealed, with the other columns as associated data; its hash is what it is found by. It outlives the
-- secret, so that the gate still knows what it sees.
CREATE TABLE placeholder (
    text_sha256   BLOB PRIMARY KEY CHECK (length(text_sha256) = 32),
    sandbox_id    TEXT NOT NULL,
    secret        TEXT NOT NULL,
    secret_origin TEXT NOT NULL CHECK (secret_origin IN ('operator', 'client')),
    sealed        BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (sandbox_id, secret, secret_origin)
) STRICT, WITHOUT ROWID;

CREATE TABLE policy (
    sandbox_id    TEXT PRIMARY KEY,
    policy        TEXT NOT NULL CHECK (json_valid(policy)),
    version       INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `id` is the number of the audit entry that records the decision. The columns after `reason` are known when it is over.
CREATE TABLE decision (
    id          INTEGER PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    sandbox_id  TEXT NOT NULL,
    protocol    TEXT NOT NULL CHECK (protocol IN ('dns', 'tcp', 'tls', 'http', 'ws', 'udp')),
    host        TEXT,
    address     TEXT,
    port        INTEGER NOT NULL,
    method      TEXT,
    path        TEXT,
    rule        TEXT,
    secrets     TEXT NOT NULL CHECK (json_valid(secrets)),
    verdict     TEXT NOT NULL CHECK (verdict IN ('allow', 'refuse')),
    reason      TEXT CHECK ((reason IS NOT NULL) = (verdict = 'refuse')),
    status      INTEGER,
    bytes_up    INTEGER,
    bytes_down  INTEGER,
    duration_ms INTEGER
) STRICT;
CREATE INDEX decision_by_sandbox ON decision (sandbox_id, id);

-- Counted along, because decisions are pruned and what a sandbox did in all is asked for often.
CREATE TABLE total (
    sandbox_id      TEXT PRIMARY KEY,
    requests        INTEGER NOT NULL,
    refused         INTEGER NOT NULL,
    bytes_up        INTEGER NOT NULL,
    bytes_down      INTEGER NOT NULL,
    forgotten_at_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX total_forgotten ON total (forgotten_at_ms) WHERE forgotten_at_ms IS NOT NULL;

