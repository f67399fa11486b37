-- How often the preview token of a sandbox was replaced; one that never was has no row. It stays when the sandbox has ended, so that
-- the tokens of before do not come back.
CREATE TABLE preview_token (
    sandbox_id TEXT NOT NULL PRIMARY KEY REFERENCES sandbox (id),
    generation INTEGER NOT NULL CHECK (generation BETWEEN 1 AND 4294967295)
) STRICT;
