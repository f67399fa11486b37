-- The ledger of pre-trade controls. Dollars are whole millionths, quantities and prices whole thousand-millionths, so that sums are
-- exact. `sandbox_id` is '' where a row is about the whole account.

-- `day_equity` is the equity with which the day `day` (of New York, as 20261126) began.
CREATE TABLE trade_account (
    account      TEXT PRIMARY KEY,
    mode         TEXT NOT NULL CHECK (json_valid(mode)),
    high_water   INTEGER,
    day          INTEGER,
    day_equity   INTEGER,
    equity       INTEGER
) STRICT, WITHOUT ROWID;

-- `level` is what the bucket of messages holds, in thousandths, at `level_at_ms` of the host's clock. What is pending is the sum over
-- the open orders.
CREATE TABLE trade_scope (
    account          TEXT NOT NULL,
    sandbox_id       TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (json_valid(state)),
    refusals         INTEGER NOT NULL CHECK (refusals >= 0),
    level            INTEGER CHECK (level >= 0),
    level_at_ms      INTEGER CHECK ((level_at_ms IS NULL) = (level IS NULL)),
    pending_bought   INTEGER NOT NULL CHECK (pending_bought >= 0),
    pending_turnover INTEGER NOT NULL CHECK (pending_turnover >= pending_bought),
    open_orders      INTEGER NOT NULL CHECK (open_orders >= 0),
    PRIMARY KEY (account, sandbox_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE trade_limits (
    account    TEXT NOT NULL,
    sandbox_id TEXT NOT NULL,
    version    INTEGER NOT NULL,
    limits     TEXT NOT NULL CHECK (json_valid(limits)),
    set_by     TEXT NOT NULL CHECK (set_by IN ('operator', 'client', 'control')),
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (account, sandbox_id, version)
) STRICT, WITHOUT ROWID;

-- What was bought and traded, and how many orders were sent: of a day of New York's calendar, and of a minute of the account's clock.
CREATE TABLE trade_day (
    account    TEXT NOT NULL,
    sandbox_id TEXT NOT NULL,
    day        INTEGER NOT NULL,
    bought     INTEGER NOT NULL CHECK (bought >= 0),
    turnover   INTEGER NOT NULL CHECK (turnover >= bought),
    orders     INTEGER NOT NULL CHECK (orders >= 0),
    PRIMARY KEY (account, sandbox_id, day)
) STRICT, WITHOUT ROWID;
CREATE TABLE trade_minute (
    account    TEXT NOT NULL,
    sandbox_id TEXT NOT NULL,
    minute     INTEGER NOT NULL,
    bought     INTEGER NOT NULL CHECK (bought >= 0),
    turnover   INTEGER NOT NULL CHECK (turnover >= bought),
    orders     INTEGER NOT NULL CHECK (orders >= 0),
    PRIMARY KEY (account, sandbox_id, minute)
) STRICT, WITHOUT ROWID;

-- An order, from the transaction that admitted it. `decision` is the number of its audit entry; `body` the SHA-256 of the request.
-- The columns after `answer` are what of its reservation is left; of a replacement, `base_…` is what the order before it had traded
-- when it was admitted.
CREATE TABLE trade_order (
    number          INTEGER PRIMARY KEY,
    account         TEXT NOT NULL,
    sandbox_id      TEXT NOT NULL,
    client_order_id TEXT NOT NULL,
    upstream_id     TEXT,
    state           TEXT NOT NULL
                    CHECK (state IN ('reserved', 'sent', 'ambiguous', 'acknowledged', 'working', 'closed')),
    replaces        INTEGER REFERENCES trade_order (number),
    intent          TEXT NOT NULL CHECK (json_valid(intent)),
    reservation     TEXT NOT NULL CHECK (json_valid(reservation)),
    body            BLOB NOT NULL CHECK (length(body) = 32),
    decision        INTEGER NOT NULL,
    admitted_at_ms  INTEGER NOT NULL,
    answer          TEXT NOT NULL CHECK (answer IN ('pending', 'delivered', 'lost')),
    remaining       INTEGER NOT NULL CHECK (remaining >= 0),
    entry_pending   INTEGER NOT NULL CHECK (entry_pending >= 0),
    exit_pending    INTEGER NOT NULL CHECK (exit_pending >= 0),
    open_orders     INTEGER NOT NULL CHECK (open_orders >= 0),
    filled          INTEGER NOT NULL CHECK (filled >= 0),
    exit_filled     INTEGER NOT NULL CHECK (exit_filled >= 0),
    posted          INTEGER NOT NULL CHECK (posted >= 0),
    base_filled     INTEGER NOT NULL CHECK (base_filled >= 0),
    base_exits      INTEGER NOT NULL CHECK (base_exits >= 0),
    closed_at_ms    INTEGER CHECK ((closed_at_ms IS NOT NULL) = (state = 'closed')),
    closed_because  TEXT CHECK ((closed_because IS NOT NULL) = (state = 'closed')),
    CHECK (state <> 'closed' OR (entry_pending = 0 AND exit_pending = 0 AND open_orders = 0)),
    UNIQUE (account, client_order_id)
) STRICT;
CREATE INDEX trade_order_open ON trade_order (account) WHERE closed_at_ms IS NULL;
CREATE INDEX trade_order_by_replaced ON trade_order (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX trade_order_by_sandbox ON trade_order (sandbox_id, number);
CREATE INDEX trade_order_by_body ON trade_order (account, sandbox_id, body);

-- Ids at the venue: of an order, and of its legs.
CREATE TABLE trade_upstream (
    account     TEXT NOT NULL,
    upstream_id TEXT NOT NULL,
    number      INTEGER NOT NULL REFERENCES trade_order (number),
    leg         INTEGER NOT NULL CHECK (leg IN (0, 1)),
    PRIMARY KEY (account, upstream_id)
) STRICT, WITHOUT ROWID;

-- Fills that were counted, each once. `at_ms` is of the account's clock.
CREATE TABLE trade_fill (
    account      TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    number       INTEGER NOT NULL REFERENCES trade_order (number),
    leg          INTEGER NOT NULL CHECK (leg IN (0, 1)),
    sandbox_id   TEXT NOT NULL,
    symbol       TEXT NOT NULL,
    side         TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    qty          INTEGER NOT NULL CHECK (qty > 0),
    price        INTEGER NOT NULL CHECK (price >= 0),
    value        INTEGER NOT NULL CHECK (value >= 0),
    at_ms        INTEGER NOT NULL,
    PRIMARY KEY (account, execution_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX trade_fill_by_symbol ON trade_fill (account, symbol, side, at_ms);

-- Orders that wait for a person. One that was approved lets the same request through once.
CREATE TABLE trade_hold (
    number        INTEGER PRIMARY KEY,
    account       TEXT NOT NULL,
    sandbox_id    TEXT NOT NULL,
    body          BLOB NOT NULL CHECK (length(body) = 32),
    message       TEXT NOT NULL CHECK (json_valid(message)),
    notional      INTEGER NOT NULL,
    at_ms         INTEGER NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('waiting', 'approved', 'refused', 'used')),
    answered_at_ms INTEGER
) STRICT;
CREATE INDEX trade_hold_by_body ON trade_hold (account, sandbox_id, body) WHERE state IN ('waiting', 'approved');
