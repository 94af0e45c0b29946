-- Whether a session has a turn left, whoever else has a session of that name.
DROP INDEX memory_by_session;
CREATE INDEX memory_by_session ON memory (tenant, session, user, agent) WHERE session IS NOT NULL;
PRAGMA user_version = 4;
