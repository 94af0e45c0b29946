-- The current version of each memory.
CREATE TABLE orchestra.memories (
    -- The order of first writing.
    ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    tenant text NOT NULL,
    user_id text,
    agent_id text,
    session_id text,
    -- The session of that whole scope, if it has one.
    session bigint,
    version bigint NOT NULL,
    kind text NOT NULL,
    text text NOT NULL,
    actor text,
    metadata jsonb NOT NULL,
    importance real NOT NULL,
    -- Provenance: who wrote it, by which path, and what it was derived from.
    writer text NOT NULL,
    path text NOT NULL,
    evidence uuid[] NOT NULL,
    -- When it is true in the world, and when the store took this version in.
    valid_from timestamptz,
    valid_to timestamptz,
    recorded_at timestamptz NOT NULL,
    expires_at timestamptz,
    -- BLAKE3 of the normalised text.
    content_hash bytea NOT NULL,
    -- The stems of the lexical text with their places, made by the same stemmer as a query's, and how many there are.
    words tsvector NOT NULL,
    length int NOT NULL,
    -- The vector, of any dimensions, in one of two precisions; a space is in one of them. Nobody may delete a row of
    -- `spaces`: a foreign key would watch for nothing, and lock the space's one row anew in each write of a memory.
    space smallint,
    embedding vector,
    embedding_half halfvec,
    CHECK ((space IS NULL) = (embedding IS NULL AND embedding_half IS NULL))
) WITH (
    -- Vectors up to some 1900 dimensions stay in the row: an exact search reads them one after the other.
    toast_tuple_target = 8160
);

CREATE INDEX memories_by_user ON orchestra.memories (tenant, user_id, ordinal);
CREATE INDEX memories_by_agent ON orchestra.memories (tenant, agent_id, ordinal) WHERE agent_id IS NOT NULL;
CREATE INDEX memories_by_session_id ON orchestra.memories (tenant, session_id, ordinal) WHERE session_id IS NOT NULL;
CREATE INDEX memories_by_session ON orchestra.memories (session, ordinal) WHERE session IS NOT NULL;
CREATE INDEX memories_by_expiry ON orchestra.memories (expires_at) WHERE expires_at IS NOT NULL;
-- What was derived from a memory, to forget it too: see rows_with_derived. Those that name no evidence are not in it.
CREATE INDEX memories_by_evidence ON orchestra.memories USING gin (evidence) WITH (fastupdate = off) WHERE evidence <> '{}';
CREATE INDEX memories_by_words ON orchestra.memories USING gin (tenant, words);
-- Only of rows that have metadata, so that the others cost nothing. A write of one that has some takes a little longer, and a
-- search with a filter that leaves few rows of a large scope does not read it whole.
CREATE INDEX memories_by_metadata ON orchestra.memories USING gin (tenant, metadata jsonb_path_ops) WHERE metadata <> '{}';
