-- Whose things are whose. What was there before there were projects belongs to the first of them.
ALTER TABLE sandbox ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
ALTER TABLE job ADD COLUMN project TEXT NOT NULL DEFAULT 'default';

-- Who may come in beside the operator. Of a token only the digest is kept: it has 256 random bits, so that nothing slower is needed.
CREATE TABLE access_token (
    id            TEXT PRIMARY KEY,
    sha256        BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('operator', 'agent', 'auditor')),
    project       TEXT,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    used_at_ms    INTEGER,
    revoked_at_ms INTEGER,
    CHECK (project IS NOT NULL OR role = 'operator')
) STRICT;
