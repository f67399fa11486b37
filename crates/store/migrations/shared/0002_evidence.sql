-- Heads of the chain that were signed, as src/audit/sign.rs says.
CREATE TABLE audit_signed_head (
    seq        INTEGER PRIMARY KEY,
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    at_ms      INTEGER NOT NULL,
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    signature  BLOB NOT NULL CHECK (length(signature) = 64)
) STRICT;
CREATE TRIGGER audit_signed_head_is_not_changed BEFORE UPDATE ON audit_signed_head
BEGIN SELECT raise(ABORT, 'signed heads are append-only'); END;
CREATE TRIGGER audit_signed_head_is_not_removed BEFORE DELETE ON audit_signed_head
BEGIN SELECT raise(ABORT, 'signed heads are append-only'); END;
CREATE TRIGGER audit_signed_head_is_of_the_chain BEFORE INSERT ON audit_signed_head
WHEN NOT EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq AND hash = NEW.hash)
    OR EXISTS (SELECT 1 FROM audit_signed_head WHERE seq >= NEW.seq)
BEGIN SELECT raise(ABORT, 'a signed head is a newer entry of the chain'); END;

-- What was cut off the beginning: entries up to `seq`, which are in the file with the digest `export_sha256`.
CREATE TABLE audit_checkpoint (
    seq           INTEGER PRIMARY KEY,
    hash          BLOB NOT NULL CHECK (length(hash) = 32),
    entries       INTEGER NOT NULL CHECK (entries > 0),
    first_at_ms   INTEGER NOT NULL,
    last_at_ms    INTEGER NOT NULL,
    export_sha256 BLOB NOT NULL CHECK (length(export_sha256) = 32),
    at_ms         INTEGER NOT NULL,
    public_key    BLOB NOT NULL CHECK (length(public_key) = 32),
    signature     BLOB NOT NULL CHECK (length(signature) = 64)
) STRICT;
CREATE TRIGGER audit_checkpoint_is_not_changed BEFORE UPDATE ON audit_checkpoint
BEGIN SELECT raise(ABORT, 'checkpoints are append-only'); END;
CREATE TRIGGER audit_checkpoint_is_not_removed BEFORE DELETE ON audit_checkpoint
BEGIN SELECT raise(ABORT, 'checkpoints are append-only'); END;
-- The last entry stays, whatever is pruned.
CREATE TRIGGER audit_checkpoint_is_of_the_chain BEFORE INSERT ON audit_checkpoint
WHEN NOT EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq AND hash = NEW.hash)
    OR NOT EXISTS (SELECT 1 FROM audit WHERE seq > NEW.seq)
    OR EXISTS (SELECT 1 FROM audit_checkpoint WHERE seq >= NEW.seq)
BEGIN SELECT raise(ABORT, 'a checkpoint is an entry of the chain before its last'); END;

DROP TRIGGER audit_is_not_shortened;
CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
WHEN NOT EXISTS (SELECT 1 FROM audit_checkpoint WHERE seq >= OLD.seq)
BEGIN SELECT raise(ABORT, 'the audit chain is append-only'); END;
