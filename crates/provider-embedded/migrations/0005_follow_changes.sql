-- What changed, for caches elsewhere that follow this store. Nothing is written for a file that nobody follows.
CREATE TABLE follower (
    name TEXT PRIMARY KEY,
    passed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One writer writes one transaction after the other, so this is the order in which they ended.
CREATE TABLE change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    event TEXT NOT NULL,
    memory BLOB NOT NULL,
    occurred_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER memory_updated AFTER UPDATE OF version ON memory WHEN EXISTS (SELECT 1 FROM follower)
BEGIN
    INSERT INTO change (tenant, event, memory, occurred_at) VALUES (new.tenant, 'updated', new.id, new.recorded_at);
END;
CREATE TRIGGER memory_removed AFTER DELETE ON memory WHEN EXISTS (SELECT 1 FROM follower)
BEGIN
    INSERT INTO change (tenant, event, memory, occurred_at)
    SELECT old.tenant, CASE WHEN t.id IS NULL THEN 'expired' ELSE 'forgotten' END, old.id,
        coalesce(t.forgotten_at, old.expires_at, old.recorded_at)
    FROM (SELECT 1) LEFT JOIN tombstone t ON t.id = old.id;
END;

-- The write that a memory was last changed by; 0 for one that was not changed since it was written, or since this migration.
ALTER TABLE memory ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
-- Those that are to be given a vector.
CREATE INDEX memory_without_vector ON memory (position) WHERE vector IS NULL;
PRAGMA user_version = 5;
