-- Ports of sandboxes that the operator has opened to whoever reaches the daemon: visits of all others need a token.
CREATE TABLE public_port (
    sandbox_id TEXT NOT NULL REFERENCES sandbox (id),
    port       INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    PRIMARY KEY (sandbox_id, port)
) STRICT;
