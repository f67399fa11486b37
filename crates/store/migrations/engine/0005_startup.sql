-- The script that a sandbox was made with; a template that is exported from it starts with it.
CREATE TABLE startup (
    sandbox_id TEXT PRIMARY KEY REFERENCES sandbox (id),
    script     TEXT NOT NULL
) STRICT;
