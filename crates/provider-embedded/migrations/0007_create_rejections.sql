-- Values that are not to be written again: the keys of their texts, and no text. The keys hold within the tenant, user and
-- agent that are beside them. `looks` is that of the form a text looks like, where it is another than the one it reads as.
CREATE TABLE rejection (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    user TEXT,
    agent TEXT,
    key BLOB NOT NULL,
    looks BLOB,
    rejected_at INTEGER NOT NULL,
    rejected_by TEXT NOT NULL,
    UNIQUE (tenant, key)
) STRICT;
CREATE INDEX rejection_by_looks ON rejection (tenant, looks) WHERE looks IS NOT NULL;
PRAGMA user_version = 6;
