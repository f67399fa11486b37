-- Whether the gate answered from what it had kept of earlier answers.
ALTER TABLE decision ADD COLUMN cached INTEGER NOT NULL DEFAULT 0 CHECK (cached IN (0, 1));
