-- What was forgotten, for good: ids, and the hashes of texts.
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
