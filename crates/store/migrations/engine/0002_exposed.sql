-- Values that a client chose to let programs see although they are keys.
ALTER TABLE environment ADD COLUMN exposed INTEGER NOT NULL DEFAULT 0 CHECK (exposed IN (0, 1));
