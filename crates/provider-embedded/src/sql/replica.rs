//! What moves a store: its gate, its streams of changes, and its items.

pub(crate) const READ_GATE: &str = "SELECT epoch, writers FROM store";
pub(crate) const SET_GATE: &str = "UPDATE store SET epoch = ?, writers = ?";
/// The time that the changes of the transaction under way are given.
pub(crate) const SET_CLOCK: &str = "UPDATE store SET clock = ?";

pub(crate) const CAPTURE: &str = "\
    INSERT OR IGNORE INTO stream (name, acknowledged) VALUES (?, coalesce((SELECT max(sequence) FROM item_change), 0))";
pub(crate) const RELEASE: &str = "DELETE FROM stream WHERE name = ?";
pub(crate) const IS_CAPTURED: &str = "SELECT EXISTS (SELECT 1 FROM stream)";
pub(crate) const IS_STREAM: &str = "SELECT EXISTS (SELECT 1 FROM stream WHERE name = ?)";
pub(crate) const ACKNOWLEDGE: &str = "UPDATE stream SET acknowledged = max(acknowledged, ?2) WHERE name = ?1";
/// What no stream needs any more.
pub(crate) const REMOVE_ACKNOWLEDGED: &str = "\
    DELETE FROM item_change WHERE sequence <= coalesce((SELECT min(acknowledged) FROM stream), 9223372036854775807)";
pub(crate) const ITEM_CHANGES: &str = "\
    SELECT sequence, item, tenant, user, agent, session, key, occurred_at FROM item_change \
    WHERE sequence > (SELECT acknowledged FROM stream WHERE name = ?1) ORDER BY sequence LIMIT ?2";
pub(crate) const LAG_OF_STREAM: &str = "\
    SELECT count(*), min(occurred_at) FROM item_change \
    WHERE sequence > (SELECT acknowledged FROM stream WHERE name = ?)";

pub(crate) const SIZE: &str = "\
    SELECT (SELECT count(*) FROM memory), (SELECT count(*) FROM tombstone) + (SELECT count(*) FROM rejection) \
        + (SELECT count(*) FROM forgotten_text) + (SELECT count(*) FROM idempotency)";

/// The columns that a rejection is read from, of every one.
macro_rules! select_rejections {
    () => {
        "SELECT sequence, user, agent, key, looks, rejected_at, rejected_by, tenant FROM rejection"
    };
}
pub(crate) const REJECTIONS_AFTER: &str =
    concat!(select_rejections!(), " WHERE sequence > ?1 ORDER BY sequence LIMIT ?2");
pub(crate) const REJECTION_OF: &str = concat!(select_rejections!(), " WHERE tenant = ? AND key = ?");
pub(crate) const PUT_REJECTION: &str = "\
    INSERT INTO rejection (tenant, user, agent, key, looks, rejected_at, rejected_by) VALUES (?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (tenant, key) DO UPDATE SET user = excluded.user, agent = excluded.agent, looks = excluded.looks, \
        rejected_at = excluded.rejected_at, rejected_by = excluded.rejected_by";

/// Each once: a text that was forgotten twice has two rows.
pub(crate) const FORGOTTEN_TEXTS_AFTER: &str = "\
    SELECT rowid, content_hash, tenant, user, agent, session FROM forgotten_text f \
    WHERE rowid > ?1 AND NOT EXISTS (SELECT 1 FROM forgotten_text e \
        WHERE e.content_hash = f.content_hash AND e.tenant = f.tenant AND e.user IS f.user AND e.agent IS f.agent \
            AND e.session IS f.session AND e.rowid < f.rowid) \
    ORDER BY rowid LIMIT ?2";
pub(crate) const IS_FORGOTTEN_TEXT: &str = "\
    SELECT EXISTS (SELECT 1 FROM forgotten_text \
        WHERE content_hash = ?1 AND tenant = ?2 AND user IS ?3 AND agent IS ?4 AND session IS ?5)";
pub(crate) const PUT_FORGOTTEN_TEXT: &str =
    "INSERT INTO forgotten_text (content_hash, tenant, user, agent, session) VALUES (?, ?, ?, ?, ?)";
pub(crate) const DELETE_FORGOTTEN_TEXT: &str = "\
    DELETE FROM forgotten_text \
    WHERE content_hash = ?1 AND tenant = ?2 AND user IS ?3 AND agent IS ?4 AND session IS ?5";

macro_rules! select_tombstones {
    () => {
        "SELECT id, tenant, user, agent, session, forgotten_at FROM tombstone"
    };
}
pub(crate) const TOMBSTONES_AFTER: &str =
    concat!(select_tombstones!(), " WHERE ?1 IS NULL OR id > ?1 ORDER BY id LIMIT ?2");
pub(crate) const TOMBSTONE_OF: &str = concat!(select_tombstones!(), " WHERE id = ?");
pub(crate) const PUT_TOMBSTONE: &str = "\
    INSERT INTO tombstone (id, tenant, user, agent, session, forgotten_at) VALUES (?, ?, ?, ?, ?, ?) \
    ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, user = excluded.user, agent = excluded.agent, \
        session = excluded.session, forgotten_at = excluded.forgotten_at";

/// As [`super::SELECT_MEMORIES`].
pub(crate) const MEMORIES_AFTER: &str = concat!(
    "SELECT ",
    memory_columns!(),
    " FROM memory WHERE position > ?1 AND (expires_at IS NULL OR expires_at > ?3) ORDER BY position LIMIT ?2"
);
/// The former versions of the memories of a range of positions, each memory's oldest first.
pub(crate) const HISTORIES_BETWEEN: &str = "\
    SELECT h.id, h.body, h.space, h.vector FROM memory m JOIN memory_history h ON h.id = m.id \
    WHERE m.position BETWEEN ? AND ? ORDER BY m.position, h.version";
pub(crate) const HISTORY_WITH_VECTORS: &str =
    "SELECT id, body, space, vector FROM memory_history WHERE id = ? ORDER BY version";
pub(crate) const HOLDER_OF_POSITION: &str = "SELECT id FROM memory WHERE position = ?";
pub(crate) const PUT_MEMORY: &str = concat!(
    "INSERT INTO memory (",
    memory_columns!(),
    ", content_hash, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (id) DO UPDATE SET position = excluded.position, version = excluded.version, kind = excluded.kind, \
        text = excluded.text, actor = excluded.actor, metadata = excluded.metadata, importance = excluded.importance, \
        writer = excluded.writer, path = excluded.path, evidence = excluded.evidence, valid_from = excluded.valid_from, \
        valid_to = excluded.valid_to, recorded_at = excluded.recorded_at, expires_at = excluded.expires_at, \
        space = excluded.space, vector = excluded.vector, content_hash = excluded.content_hash, changed = excluded.changed"
);
pub(crate) const DELETE_EVIDENCE: &str = "DELETE FROM memory_evidence WHERE derived = ?";
pub(crate) const DELETE_HISTORY: &str = "DELETE FROM memory_history WHERE id = ?";
pub(crate) const PUT_FORMER: &str = "\
    INSERT INTO memory_history (id, version, recorded_at, content_hash, body, space, vector) VALUES (?, ?, ?, ?, ?, ?, ?)";
pub(crate) const DELETE_MEMORY: &str = "DELETE FROM memory WHERE id = ?";

macro_rules! select_keys {
    () => {
        "SELECT tenant, key, body_hash, receipt, created_at FROM idempotency"
    };
}
pub(crate) const KEYS_AFTER: &str =
    concat!(select_keys!(), " WHERE (tenant, key) > (?1, ?2) AND created_at > ?4 ORDER BY tenant, key LIMIT ?3");
pub(crate) const KEY_OF: &str = concat!(select_keys!(), " WHERE tenant = ? AND key = ?");
pub(crate) const DELETE_KEY: &str = "DELETE FROM idempotency WHERE tenant = ? AND key = ?";
