-- What a stage of a template's build has left, by the content address of the stage. A row is there only while its layer is.
CREATE TABLE stage (
    key         TEXT PRIMARY KEY,
    title       TEXT NOT NULL,
    layer       TEXT,
    size_bytes  INTEGER NOT NULL,
    packages    TEXT NOT NULL CHECK (json_valid(packages)),
    built_at_ms INTEGER NOT NULL,
    used_at_ms  INTEGER NOT NULL
) STRICT;
