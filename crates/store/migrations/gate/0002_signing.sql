-- In whose way the gate signed what was allowed.
ALTER TABLE decision ADD COLUMN signed TEXT;

-- The highest nonce that was given for a key of an exchange. `key` is a hash, so that nobody reads here whose keys there are.
-- It outlives the secret: an exchange remembers its keys' nonces as well.
CREATE TABLE nonce (
    key  BLOB PRIMARY KEY CHECK (length(key) = 32),
    last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
