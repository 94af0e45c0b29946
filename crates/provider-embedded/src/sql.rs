//! The SQL, in one place. Values are always bound.

use memory_core::Scope;
use sqlx::{QueryBuilder, Sqlite};

macro_rules! memory_columns {
    () => {
        "position, id, tenant, user, agent, session, version, kind, text, actor, metadata, importance, writer, path, \
         evidence, valid_from, valid_to, recorded_at, expires_at, space, vector"
    };
}

// Behind the macro, which it uses too.
pub(crate) mod replica;

pub(crate) const READ_STORE: &str = "SELECT instance, sequence, next_position, (SELECT COUNT(*) FROM cache_entry), epoch, writers, \
        EXISTS (SELECT 1 FROM stream) FROM store";
pub(crate) const CREATE_STORE: &str = "INSERT INTO store (one, instance, sequence, next_position) VALUES (1, ?, 0, 1)";
pub(crate) const ADVANCE_STORE: &str = "UPDATE store SET sequence = ?, next_position = ?";
pub(crate) const READ_SEQUENCE: &str = "SELECT sequence FROM store";

pub(crate) const READ_SPACES: &str = "SELECT id, model, revision, dimensions, normalized FROM space";
pub(crate) const ADD_SPACE: &str =
    "INSERT INTO space (model, revision, dimensions, normalized) VALUES (?, ?, ?, ?) RETURNING id";

/// The columns that [`crate::rows::read_memory`] reads, of every memory.
pub(crate) const SELECT_MEMORIES: &str = concat!("SELECT ", memory_columns!(), " FROM memory");
pub(crate) const MEMORY_BY_ID: &str = concat!("SELECT ", memory_columns!(), " FROM memory WHERE id = ?");
pub(crate) const MEMORIES_OF_USER: &str = concat!(
    "SELECT ",
    memory_columns!(),
    " FROM memory WHERE tenant = ?1 AND user IS ?2 AND position > ?3 ORDER BY position LIMIT ?4"
);
pub(crate) const TURN_BEFORE: &str = concat!(
    "SELECT ",
    memory_columns!(),
    " FROM memory WHERE position = ( \
        SELECT MAX(m.position) FROM memory turn JOIN memory m \
            ON m.tenant = turn.tenant AND m.session = turn.session AND m.user IS turn.user AND m.agent IS turn.agent \
        WHERE turn.id = ?1 AND m.position < turn.position AND (m.expires_at IS NULL OR m.expires_at > ?2))"
);
pub(crate) const USERS_OF_TENANT: &str = "SELECT DISTINCT user FROM memory WHERE tenant = ?";

/// Whether a value of these keys was rejected.
macro_rules! is_rejected {
    ($tenant:literal, $reads:literal, $looks:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM rejection WHERE tenant = ",
            $tenant,
            " AND key IN (",
            $reads,
            ", ",
            $looks,
            ")) OR EXISTS (SELECT 1 FROM rejection WHERE tenant = ",
            $tenant,
            " AND looks IN (",
            $reads,
            ", ",
            $looks,
            ")))"
        )
    };
}
pub(crate) const IS_REJECTED: &str = concat!("SELECT ", is_rejected!("?1", "?2", "?3"));
pub(crate) const REJECT: &str = "\
    INSERT OR IGNORE INTO rejection (tenant, user, agent, key, looks, rejected_at, rejected_by) VALUES (?, ?, ?, ?, ?, ?, ?)";
pub(crate) const LIFT: &str = "DELETE FROM rejection WHERE tenant = ? AND key = ?";
pub(crate) const SELECT_REJECTIONS: &str =
    "SELECT sequence, user, agent, key, looks, rejected_at, rejected_by FROM rejection";

/// Who holds an id (tenant, user, agent, session, text), which tenant forgot it, whether a text was forgotten here, and whether
/// it was rejected.
pub(crate) const CHECK_NEW: &str = concat!(
    "SELECT m.tenant, m.user, m.agent, m.session, m.text, t.tenant, \
        EXISTS (SELECT 1 FROM forgotten_text f WHERE f.content_hash = ?2 AND f.tenant = ?3 \
            AND f.user IS ?4 AND f.agent IS ?5 AND f.session IS ?6), ",
    is_rejected!("?3", "?7", "?8"),
    " FROM (SELECT 1) LEFT JOIN memory m ON m.id = ?1 LEFT JOIN tombstone t ON t.id = ?1"
);
pub(crate) const INSERT_MEMORY: &str = concat!(
    "INSERT INTO memory (",
    memory_columns!(),
    ", content_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
);
pub(crate) const INSERT_EVIDENCE: &str = "INSERT OR IGNORE INTO memory_evidence (source, derived) VALUES (?, ?)";
pub(crate) const INSERT_HISTORY: &str = "\
    INSERT INTO memory_history (id, version, recorded_at, content_hash, body, space, vector) \
    SELECT id, version, recorded_at, content_hash, ?2, space, vector FROM memory WHERE id = ?1";
pub(crate) const UPDATE_MEMORY: &str = "\
    UPDATE memory SET version = ?2, text = ?3, metadata = ?4, importance = ?5, valid_to = ?6, recorded_at = ?7, \
        expires_at = ?8, content_hash = ?9, changed = ?10 WHERE id = ?1";
pub(crate) const UPDATE_VECTOR: &str = "UPDATE memory SET space = ?2, vector = ?3 WHERE id = ?1";
pub(crate) const WITHOUT_VECTOR: &str = "\
    SELECT position, tenant, id, version FROM memory \
    WHERE vector IS NULL AND position > ?1 AND (expires_at IS NULL OR expires_at > ?2) ORDER BY position LIMIT ?3";

pub(crate) const IS_FOLLOWER: &str = "SELECT EXISTS (SELECT 1 FROM follower WHERE name = ?)";
pub(crate) const BEGIN_FOLLOWING: &str = "INSERT OR IGNORE INTO follower (name, passed) VALUES (?, 0)";
pub(crate) const PASS_CHANGES: &str = "\
    INSERT INTO follower (name, passed) VALUES (?, ?) ON CONFLICT DO UPDATE SET passed = max(passed, excluded.passed)";
pub(crate) const END_FOLLOWING: &str = "DELETE FROM follower WHERE name = ?";
pub(crate) const UNSEEN_CHANGES: &str = "\
    SELECT sequence, tenant, event, memory, occurred_at FROM change \
    WHERE sequence > (SELECT passed FROM follower WHERE name = ?1) ORDER BY sequence LIMIT ?2";
pub(crate) const LAG_OF_FOLLOWER: &str = "\
    SELECT count(*), min(occurred_at) FROM change \
    WHERE sequence > coalesce((SELECT passed FROM follower WHERE name = ?), 0)";
pub(crate) const REMOVE_PASSED: &str = "\
    DELETE FROM change WHERE sequence <= coalesce((SELECT min(passed) FROM follower), 9223372036854775807)";

/// The columns that [`crate::former`] reads, of every former version.
pub(crate) const SELECT_FORMER: &str =
    "SELECT position, body, h.space, h.vector FROM memory JOIN memory_history h ON h.id = memory.id";
pub(crate) const HISTORY_OF: &str = "SELECT body FROM memory_history WHERE id = ? ORDER BY version";

pub(crate) const IDEMPOTENT: &str =
    "SELECT body_hash, receipt FROM idempotency WHERE tenant = ? AND key = ? AND created_at > ?";
pub(crate) const REMEMBER_KEY: &str =
    "INSERT OR REPLACE INTO idempotency (tenant, key, body_hash, receipt, created_at) VALUES (?, ?, ?, ?, ?)";
pub(crate) const PRUNE_KEYS: &str = "DELETE FROM idempotency WHERE created_at <= ?";

// What is being forgotten is gathered in a temporary table of the writer's connection, so that each step is one statement
// however many memories there are.
pub(crate) const CREATE_DOOMED: &str = "\
    CREATE TEMP TABLE IF NOT EXISTS doomed (id BLOB PRIMARY KEY, derived INTEGER NOT NULL) WITHOUT ROWID";
pub(crate) const CLEAR_DOOMED: &str = "DELETE FROM temp.doomed";
pub(crate) const DOOM_DERIVED: &str = "\
    INSERT OR IGNORE INTO temp.doomed (id, derived) \
    WITH RECURSIVE reached (id) AS ( \
        SELECT id FROM temp.doomed \
        UNION \
        SELECT e.derived FROM reached r JOIN memory_evidence e ON e.source = r.id JOIN memory m ON m.id = e.derived \
        WHERE m.tenant = ?) \
    SELECT id, 1 FROM reached";
/// What expired a while ago, a bounded number at a time.
pub(crate) const DOOM_EXPIRED: &str = "\
    INSERT INTO temp.doomed (id, derived) SELECT id, 0 FROM memory WHERE expires_at <= ? ORDER BY expires_at LIMIT 1000";
pub(crate) const READ_DOOMED_OF_ALL: &str =
    "SELECT m.id, m.tenant, m.user FROM temp.doomed d JOIN memory m ON m.id = d.id ORDER BY m.position";
pub(crate) const READ_DOOMED: &str =
    "SELECT m.id, m.user, d.derived FROM temp.doomed d JOIN memory m ON m.id = d.id ORDER BY m.position";
/// Vectors, former versions, and sessions of which no turn would be left.
pub(crate) const COUNT_DOOMED: &str = "\
    SELECT COUNT(vector), \
        (SELECT COUNT(*) FROM memory_history WHERE id IN (SELECT id FROM temp.doomed)), \
        (SELECT COUNT(*) FROM ( \
            SELECT DISTINCT tenant, session, user, agent FROM memory \
            WHERE id IN (SELECT id FROM temp.doomed) AND session IS NOT NULL) s \
        WHERE NOT EXISTS (SELECT 1 FROM memory m \
            WHERE m.tenant = s.tenant AND m.session = s.session AND m.user IS s.user AND m.agent IS s.agent \
                AND m.id NOT IN (SELECT id FROM temp.doomed))) \
    FROM memory WHERE id IN (SELECT id FROM temp.doomed)";
pub(crate) const BURY: &str = "\
    INSERT INTO tombstone (id, tenant, user, agent, session, forgotten_at) \
    SELECT id, tenant, user, agent, session, ? FROM memory WHERE id IN (SELECT id FROM temp.doomed)";
pub(crate) const BURY_TEXTS: &str = "\
    INSERT INTO forgotten_text (content_hash, tenant, user, agent, session) \
    SELECT content_hash, tenant, user, agent, session FROM memory WHERE id IN (SELECT id FROM temp.doomed) \
    UNION \
    SELECT h.content_hash, m.tenant, m.user, m.agent, m.session FROM memory_history h JOIN memory m ON m.id = h.id \
    WHERE h.id IN (SELECT id FROM temp.doomed)";
pub(crate) const DELETE_DOOMED: &str = "DELETE FROM memory WHERE id IN (SELECT id FROM temp.doomed)";
pub(crate) const DELETE_ANSWERS_OF_DOOMED: &str = "\
    DELETE FROM cache_entry WHERE id IN ( \
        SELECT c.entry FROM cache_dependency c WHERE c.memory IN (SELECT id FROM temp.doomed)) \
    RETURNING id, expires_at";
pub(crate) const DELETE_ANSWERS_OF: &str = "DELETE FROM cache_entry WHERE id IN (SELECT entry FROM cache_dependency WHERE memory = ?) RETURNING id, expires_at";

/// Whose a memory is and when it expires, and whether it was forgotten.
pub(crate) const STANDING_OF_MEMORY: &str = "\
    SELECT m.tenant, m.expires_at, EXISTS (SELECT 1 FROM tombstone WHERE id = ?1) \
    FROM (SELECT 1) LEFT JOIN memory m ON m.id = ?1";
pub(crate) const WAS_FORGOTTEN: &str = "SELECT EXISTS (SELECT 1 FROM tombstone WHERE id = ? AND tenant = ?)";
pub(crate) const REPLACE_ENTRY: &str =
    "DELETE FROM cache_entry WHERE scope_key = ? AND fingerprint = ? AND prompt_key = ? RETURNING id";
pub(crate) const INSERT_ENTRY: &str = "\
    INSERT INTO cache_entry (id, tenant, user, agent, session, scope_key, fingerprint, prompt_key, prompt, response, \
        depends_on, tags, metadata, space, vector, created_at, expires_at, sliding_ttl) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
/// No longer than the memories that it depends on.
pub(crate) const PROLONG_ENTRY: &str = "\
    UPDATE cache_entry SET expires_at = MIN(?2 + sliding_ttl, COALESCE(( \
        SELECT MIN(m.expires_at) FROM cache_dependency d JOIN memory m ON m.id = d.memory WHERE d.entry = ?1 \
    ), ?2 + sliding_ttl)) \
    WHERE id = ?1 AND sliding_ttl IS NOT NULL AND expires_at > ?2 RETURNING tenant, expires_at";
pub(crate) const INSERT_DEPENDENCY: &str = "INSERT OR IGNORE INTO cache_dependency (memory, entry) VALUES (?, ?)";
pub(crate) const DELETE_SOONEST_ENTRIES: &str = "\
    DELETE FROM cache_entry WHERE id IN (SELECT id FROM cache_entry WHERE id <> ?1 ORDER BY expires_at LIMIT ?2) \
    RETURNING id, tenant";
pub(crate) const DELETE_EXPIRED_ENTRIES: &str = "DELETE FROM cache_entry WHERE expires_at <= ? RETURNING id, tenant";
pub(crate) const ENTRY_BY_ID: &str = "\
    SELECT prompt, response, depends_on, tags, metadata, created_at, expires_at, sliding_ttl \
    FROM cache_entry WHERE id = ?";
pub(crate) const ENTRIES_OF_TENANT: &str = "\
    SELECT id, user, agent, session, fingerprint, prompt_key, prompt, metadata, expires_at, space, vector \
    FROM cache_entry \
    WHERE tenant = ?1 AND expires_at > ?2";
pub(crate) const COUNT_ENTRIES: &str = "SELECT COUNT(*) FROM cache_entry WHERE tenant = ? AND expires_at > ?";

pub(crate) const SESSION_OF: &str =
    "SELECT number, first_sequence, last_sequence, expires_at FROM session WHERE scope_key = ? AND expires_at > ?";
pub(crate) const INSERT_SESSION: &str = "\
    INSERT INTO session (scope_key, first_sequence, last_sequence, expires_at) VALUES (?, ?, ?, ?) RETURNING number";
pub(crate) const MOVE_SESSION_ON: &str =
    "UPDATE session SET first_sequence = ?2, last_sequence = ?3, expires_at = ?4 WHERE number = ?1";
pub(crate) const DELETE_SESSION: &str = "DELETE FROM session WHERE scope_key = ?";
/// To go on with [`within`].
pub(crate) const COUNT_SESSION_MESSAGES: &str =
    "SELECT coalesce(sum(last_sequence - first_sequence + 1), 0) FROM session";
/// To go on with [`within`]: those that have ended go too.
pub(crate) const DELETE_SESSIONS: &str = "DELETE FROM session";
/// Few at a time: each may hold thousands of messages.
pub(crate) const DELETE_ENDED_SESSIONS: &str = "\
    DELETE FROM session WHERE number IN (SELECT number FROM session WHERE expires_at <= ? ORDER BY expires_at LIMIT 10)";
pub(crate) const INSERT_MESSAGE: &str = "\
    INSERT INTO session_message (session, sequence, tokens, role, appended_at, metadata, content) \
    VALUES (?, ?, ?, ?, ?, ?, ?)";
pub(crate) const DROP_MESSAGES_BEFORE: &str = "DELETE FROM session_message WHERE session = ? AND sequence < ?";
/// The tokens and the bytes of the newest messages, newest first. `octet_length` does not read the text.
pub(crate) const MEASURE_MESSAGES: &str = "\
    SELECT tokens, octet_length(content) FROM session_message WHERE session = ? ORDER BY sequence DESC LIMIT ?";
/// As [`MEASURE_MESSAGES`], of those after a number, oldest first.
pub(crate) const MEASURE_MESSAGES_AFTER: &str = "\
    SELECT tokens, octet_length(content) FROM session_message WHERE session = ? AND sequence > ? \
    ORDER BY sequence LIMIT ?";
pub(crate) const MESSAGES_AFTER: &str = "\
    SELECT sequence, tokens, role, appended_at, metadata, content FROM session_message \
    WHERE session = ? AND sequence > ? ORDER BY sequence LIMIT ?";
pub(crate) const SESSION_KEY: &str = "SELECT body_hash, receipt FROM session_key WHERE session = ? AND key = ?";
pub(crate) const INSERT_SESSION_KEY: &str =
    "INSERT INTO session_key (session, key, last_sequence, body_hash, receipt) VALUES (?, ?, ?, ?, ?)";
pub(crate) const DROP_KEYS_BEFORE: &str = "DELETE FROM session_key WHERE session = ? AND last_sequence < ?";

/// A statement that goes on with ` WHERE` and the conditions of a scope: what [`Scope::covers`] says, in SQL.
pub(crate) fn within(select: &'static str, scope: &Scope) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(select);
    query.push(" WHERE tenant = ").push_bind(scope.tenant_name().to_owned());
    for (column, part) in [("user", scope.user()), ("agent", scope.agent()), ("session", scope.session())] {
        if let Some(part) = part {
            query.push(format_args!(" AND {column} = ")).push_bind(part.to_owned());
        }
    }
    query
}
