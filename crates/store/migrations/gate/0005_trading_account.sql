-- The simulated account that a sandbox was given, whatever key its programs use.
CREATE TABLE trading_account (
    sandbox_id TEXT PRIMARY KEY,
    account    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
