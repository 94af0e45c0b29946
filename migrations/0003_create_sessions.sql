-- The sessions that memories are turns of, each by its whole scope.
CREATE TABLE orchestra.sessions (
    session bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    user_id text,
    agent_id text,
    session_id text NOT NULL,
    started_at timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (tenant, session_id, user_id, agent_id)
);
