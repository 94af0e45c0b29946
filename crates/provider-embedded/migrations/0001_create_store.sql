-- 0x4F4D454D, "OMEM": tells our files from other SQLite files.
PRAGMA application_id = 1330464077;
PRAGMA user_version = 1;

-- One row: who this file is, and how far the order of writes has come.
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    instance TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    next_position INTEGER NOT NULL
) STRICT;

CREATE TABLE space (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    normalized INTEGER NOT NULL,
    UNIQUE (model, revision, dimensions, normalized)
) STRICT;

-- Times are microseconds since 1970, ids are 16 bytes, vectors are 32-bit little-endian floats.
CREATE TABLE memory (
    position INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    user TEXT,
    agent TEXT,
    session TEXT,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    actor TEXT,
    metadata TEXT NOT NULL,
    importance REAL NOT NULL,
    writer TEXT NOT NULL,
    path TEXT NOT NULL,
    evidence BLOB NOT NULL,
    valid_from INTEGER,
    valid_to INTEGER,
    recorded_at INTEGER NOT NULL,
    expires_at INTEGER,
    content_hash BLOB NOT NULL,
    space INTEGER REFERENCES space (id),
    vector BLOB
) STRICT;
CREATE INDEX memory_by_tenant ON memory (tenant);
CREATE INDEX memory_by_user ON memory (tenant, user);
CREATE INDEX memory_by_session ON memory (tenant, session) WHERE session IS NOT NULL;
CREATE INDEX memory_by_expiry ON memory (expires_at) WHERE expires_at IS NOT NULL;

-- Which memory was derived from which; the source need not be there any more.
CREATE TABLE memory_evidence (
    source BLOB NOT NULL,
    derived BLOB NOT NULL REFERENCES memory (id) ON DELETE CASCADE,
    PRIMARY KEY (source, derived)
) STRICT, WITHOUT ROWID;
CREATE INDEX memory_evidence_by_derived ON memory_evidence (derived);

-- Former versions, whole, as JSON, with the vector that each was searched by.
CREATE TABLE memory_history (
    id BLOB NOT NULL REFERENCES memory (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    content_hash BLOB NOT NULL,
    body TEXT NOT NULL,
    space INTEGER REFERENCES space (id),
    vector BLOB,
    PRIMARY KEY (id, version)
) STRICT;

CREATE TABLE tombstone (
    id BLOB PRIMARY KEY,
    tenant TEXT NOT NULL,
    user TEXT,
    agent TEXT,
    session TEXT,
    forgotten_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstone_by_scope ON tombstone (tenant, user);

-- The hashes of the texts that were forgotten, those of former versions too.
CREATE TABLE forgotten_text (
    content_hash BLOB NOT NULL,
    tenant TEXT NOT NULL,
    user TEXT,
    agent TEXT,
    session TEXT
) STRICT;
CREATE INDEX forgotten_text_by_hash ON forgotten_text (content_hash, tenant);

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash BLOB NOT NULL,
    receipt TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE cache_entry (
    id BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    user TEXT,
    agent TEXT,
    session TEXT,
    -- The whole scope in one text, since NULLs are never equal in a UNIQUE.
    scope_key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    prompt_key BLOB NOT NULL,
    prompt TEXT NOT NULL,
    response TEXT NOT NULL,
    depends_on BLOB NOT NULL,
    tags TEXT NOT NULL,
    metadata TEXT NOT NULL,
    space INTEGER REFERENCES space (id),
    vector BLOB,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    UNIQUE (scope_key, fingerprint, prompt_key)
) STRICT;
CREATE INDEX cache_entry_by_tenant ON cache_entry (tenant, expires_at);
CREATE INDEX cache_entry_by_expiry ON cache_entry (expires_at);

CREATE TABLE cache_dependency (
    memory BLOB NOT NULL,
    entry BLOB NOT NULL REFERENCES cache_entry (id) ON DELETE CASCADE,
    PRIMARY KEY (memory, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX cache_dependency_by_entry ON cache_dependency (entry);
