-- Who may write, since which epoch of a move; and the time of the transaction under way, while changes are captured.
ALTER TABLE store ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN writers TEXT NOT NULL DEFAULT 'clients' CHECK (writers IN ('clients', 'mover'));
ALTER TABLE store ADD COLUMN clock INTEGER NOT NULL DEFAULT 0;

-- Whoever moves this store, and how far each has come. Nothing is written below for a file that nobody moves.
CREATE TABLE stream (
    name TEXT PRIMARY KEY,
    acknowledged INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which item changed: a memory or its tombstone by the id, a rejection by its key, a forgotten text by its hash and scope, an
-- idempotency key by itself.
CREATE TABLE item_change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    item TEXT NOT NULL,
    tenant TEXT NOT NULL,
    user TEXT,
    agent TEXT,
    session TEXT,
    key BLOB NOT NULL,
    occurred_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER memory_written_for_streams AFTER INSERT ON memory WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, key, occurred_at) SELECT 'memory', new.tenant, new.id, clock FROM store;
END;
CREATE TRIGGER memory_changed_for_streams AFTER UPDATE ON memory WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, key, occurred_at) SELECT 'memory', new.tenant, new.id, clock FROM store;
END;
CREATE TRIGGER memory_removed_for_streams AFTER DELETE ON memory WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, key, occurred_at) SELECT 'memory', old.tenant, old.id, clock FROM store;
END;
-- A memory that is being forgotten is told of when it goes.
CREATE TRIGGER tombstone_written_for_streams AFTER INSERT ON tombstone
WHEN EXISTS (SELECT 1 FROM stream) AND NOT EXISTS (SELECT 1 FROM memory WHERE id = new.id)
BEGIN
    INSERT INTO item_change (item, tenant, key, occurred_at) SELECT 'memory', new.tenant, new.id, clock FROM store;
END;
CREATE TRIGGER tombstone_changed_for_streams AFTER UPDATE ON tombstone WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, key, occurred_at) SELECT 'memory', new.tenant, new.id, clock FROM store;
END;
CREATE TRIGGER text_forgotten_for_streams AFTER INSERT ON forgotten_text WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, user, agent, session, key, occurred_at)
    SELECT 'text', new.tenant, new.user, new.agent, new.session, new.content_hash, clock FROM store;
END;
CREATE TRIGGER text_removed_for_streams AFTER DELETE ON forgotten_text WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, user, agent, session, key, occurred_at)
    SELECT 'text', old.tenant, old.user, old.agent, old.session, old.content_hash, clock FROM store;
END;
CREATE TRIGGER rejection_written_for_streams AFTER INSERT ON rejection WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, key, occurred_at) SELECT 'rejection', new.tenant, new.key, clock FROM store;
END;
CREATE TRIGGER rejection_changed_for_streams AFTER UPDATE ON rejection WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, key, occurred_at) SELECT 'rejection', new.tenant, new.key, clock FROM store;
END;
CREATE TRIGGER rejection_lifted_for_streams AFTER DELETE ON rejection WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, key, occurred_at) SELECT 'rejection', old.tenant, old.key, clock FROM store;
END;
CREATE TRIGGER key_written_for_streams AFTER INSERT ON idempotency WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, key, occurred_at)
    SELECT 'key', new.tenant, CAST(new.key AS BLOB), clock FROM store;
END;
CREATE TRIGGER key_removed_for_streams AFTER DELETE ON idempotency WHEN EXISTS (SELECT 1 FROM stream)
BEGIN
    INSERT INTO item_change (item, tenant, key, occurred_at)
    SELECT 'key', old.tenant, CAST(old.key AS BLOB), clock FROM store;
END;
PRAGMA user_version = 8;
