-- Sandboxes that research runs one program in and throws away. They are in no list, and there are many of them: the two indexes
-- of lists do without them.
ALTER TABLE sandbox ADD COLUMN is_trial INTEGER NOT NULL DEFAULT 0 CHECK (is_trial IN (0, 1));
DROP INDEX sandbox_by_name;
CREATE INDEX sandbox_by_name ON sandbox (name, created_at_ms) WHERE is_trial = 0;
DROP INDEX sandbox_by_age;
CREATE INDEX sandbox_by_age ON sandbox (created_at_ms) WHERE is_trial = 0;
