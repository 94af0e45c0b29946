PRAGMA user_version = 2;

-- Working memory: a session that goes on, by its whole scope in one text, since NULLs are never equal in a UNIQUE.
CREATE TABLE session (
    number INTEGER PRIMARY KEY,
    scope_key TEXT NOT NULL UNIQUE,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX session_by_expiry ON session (expires_at);

-- The content comes last: what is measured for a window is read without it.
CREATE TABLE session_message (
    session INTEGER NOT NULL REFERENCES session (number) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    role TEXT NOT NULL,
    appended_at INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    content TEXT NOT NULL,
    UNIQUE (session, sequence)
) STRICT;

-- Idempotency keys, each as long as the last message written under it.
CREATE TABLE session_key (
    session INTEGER NOT NULL REFERENCES session (number) ON DELETE CASCADE,
    key TEXT NOT NULL,
    last_sequence INTEGER NOT NULL,
    body_hash BLOB NOT NULL,
    receipt TEXT NOT NULL,
    PRIMARY KEY (session, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_key_by_age ON session_key (session, last_sequence);
