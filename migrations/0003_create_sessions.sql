-- The sessions that memories are turns of, each by its whole scope.
CREATE TABLE orchestra.sessions (
    session bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    user_id text,
    agent_id text,
    session_id text NOT NULL,
    started_at timestamptz NOT NULL,
    -- A turn of it has expired, perhaps the last one: that is found out later, see remove_empty_sessions.
    may_be_empty boolean NOT NULL DEFAULT false,
    UNIQUE NULLS NOT DISTINCT (tenant, session_id, user_id, agent_id)
);

CREATE INDEX sessions_to_examine ON orchestra.sessions (session) WHERE may_be_empty;
