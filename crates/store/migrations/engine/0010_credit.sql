-- What sandboxes cost: who may spend what, a ledger of double entries, and the meters that it is filled from. Amounts are in
-- thousandths of a credit. A project without a row may spend any amount.
CREATE TABLE credit_project (
    name            TEXT PRIMARY KEY,
    granted_mc      INTEGER NOT NULL,
    balance_mc      INTEGER NOT NULL CHECK (balance_mc >= 0),
    warned_percent  INTEGER NOT NULL DEFAULT 0,
    exhausted_at_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE credit_setting (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE credit_transaction (
    id         INTEGER PRIMARY KEY,
    key        TEXT NOT NULL UNIQUE,
    at_ms      INTEGER NOT NULL,
    project    TEXT NOT NULL,
    sandbox_id TEXT
) STRICT;
CREATE INDEX credit_transaction_by_sandbox ON credit_transaction (sandbox_id) WHERE sandbox_id IS NOT NULL;
CREATE INDEX credit_transaction_by_age ON credit_transaction (at_ms);
CREATE TABLE credit_posting (
    transaction_id INTEGER NOT NULL REFERENCES credit_transaction (id),
    account        TEXT NOT NULL CHECK (account IN ('balance', 'revenue', 'grants', 'unlimited', 'written_off')),
    amount_mc      INTEGER NOT NULL CHECK (amount_mc <> 0),
    PRIMARY KEY (transaction_id, account)
) STRICT, WITHOUT ROWID;

-- One for each time that a sandbox has run. `seen_at_ms` is when it was last known to.
CREATE TABLE meter (
    sandbox_id     TEXT NOT NULL,
    number         INTEGER NOT NULL,
    project        TEXT NOT NULL,
    opened_at_ms   INTEGER NOT NULL,
    seen_at_ms     INTEGER NOT NULL,
    closed_at_ms   INTEGER,
    billed_minutes INTEGER NOT NULL,
    PRIMARY KEY (sandbox_id, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX meter_open ON meter (sandbox_id) WHERE closed_at_ms IS NULL;
CREATE INDEX meter_by_end ON meter (closed_at_ms);

-- What has passed the gate, by the day on which it was noted. The gate counts for a sandbox in all; a row is what was new.
CREATE TABLE traffic (
    sandbox_id TEXT NOT NULL,
    day        INTEGER NOT NULL,
    requests   INTEGER NOT NULL,
    refused    INTEGER NOT NULL,
    bytes_up   INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    PRIMARY KEY (sandbox_id, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX traffic_by_day ON traffic (day);
