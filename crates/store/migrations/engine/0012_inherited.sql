-- Bytes that a disk shares with the one that it was copied from: its owner's limit counts them, the kernel's quota does not.
ALTER TABLE disk ADD COLUMN inherited_bytes INTEGER NOT NULL DEFAULT 0 CHECK (inherited_bytes >= 0);
