-- The parts of a session's scope, out of the one text that it is found by: for forgetting all sessions of a tenant, a user
-- or an agent.
ALTER TABLE session ADD COLUMN tenant TEXT GENERATED ALWAYS AS (json_extract(scope_key, '$.tenant')) VIRTUAL;
ALTER TABLE session ADD COLUMN user TEXT GENERATED ALWAYS AS (json_extract(scope_key, '$.user')) VIRTUAL;
ALTER TABLE session ADD COLUMN agent TEXT GENERATED ALWAYS AS (json_extract(scope_key, '$.agent')) VIRTUAL;
ALTER TABLE session ADD COLUMN session TEXT GENERATED ALWAYS AS (json_extract(scope_key, '$.session')) VIRTUAL;
CREATE INDEX session_by_scope ON session (tenant, user, agent, session);
PRAGMA user_version = 6;
