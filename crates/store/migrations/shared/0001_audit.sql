-- The chain: `hash` covers every column and `prev_hash`, as written in src/audit/encoding.rs.
CREATE TABLE audit (
    seq          INTEGER PRIMARY KEY,
    at_ms        INTEGER NOT NULL,
    actor        TEXT NOT NULL,
    event        TEXT NOT NULL,
    sandbox_id   TEXT,
    execution_id TEXT,
    detail       TEXT NOT NULL,
    prev_hash    BLOB NOT NULL,
    hash         BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_sandbox ON audit (sandbox_id, seq) WHERE sandbox_id IS NOT NULL;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'the audit chain is append-only'); END;
CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'the audit chain is append-only'); END;
-- INSERT OR REPLACE deletes without firing the trigger above.
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE seq >= NEW.seq)
BEGIN SELECT raise(ABORT, 'the audit chain is append-only'); END;

-- The end of the chain, in a place of its own: rows cut off the end of `audit` leave it pointing into the void.
CREATE TABLE audit_head (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq  INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_head (only, seq, hash) VALUES (1, 0, zeroblob(32));
