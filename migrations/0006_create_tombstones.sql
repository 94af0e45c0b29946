-- What was forgotten, for good: ids, and the hashes of texts. And what was rejected: values that nobody may write again.
CREATE TABLE orchestra.tombstones (
    tenant text NOT NULL,
    id uuid NOT NULL,
    user_id text,
    agent_id text,
    session_id text,
    forgotten_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE orchestra.forgotten_texts (
    tenant text NOT NULL,
    content_hash bytea NOT NULL,
    user_id text,
    agent_id text,
    session_id text,
    UNIQUE NULLS NOT DISTINCT (tenant, content_hash, user_id, agent_id, session_id)
);

-- The keys hold within the tenant, user and agent that are beside them, and are all that is kept of a text. `looks` is that of the
-- form a text looks like, where it is another than the one it reads as.
CREATE TABLE orchestra.rejections (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    user_id text,
    agent_id text,
    key bytea NOT NULL,
    looks bytea,
    rejected_at timestamptz NOT NULL,
    rejected_by text NOT NULL,
    UNIQUE (tenant, key)
);
CREATE INDEX rejections_by_looks ON orchestra.rejections (tenant, looks) WHERE looks IS NOT NULL;
