-- What a program needs to use the memory, and no more. Give it to the role that the program connects as:
-- GRANT orchestra_app TO …; a role that may not create roles leaves this to an administrator.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestra_app') THEN
        CREATE ROLE orchestra_app NOLOGIN;
    END IF;
EXCEPTION
    -- Another database of the same server came first.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role orchestra_app is missing, and % may not create it', current_user
            USING HINT = 'As an administrator: CREATE ROLE orchestra_app NOLOGIN.';
END
$$;

GRANT USAGE ON SCHEMA orchestra TO orchestra_app;
GRANT SELECT ON orchestra.store TO orchestra_app;
GRANT SELECT, INSERT ON orchestra.spaces TO orchestra_app;
GRANT SELECT, INSERT, DELETE ON orchestra.sessions TO orchestra_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON orchestra.memories TO orchestra_app;
GRANT SELECT, INSERT, DELETE ON orchestra.memory_versions TO orchestra_app;
GRANT SELECT, INSERT ON orchestra.tombstones, orchestra.forgotten_texts TO orchestra_app;
GRANT SELECT, INSERT, DELETE ON orchestra.rejections TO orchestra_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON orchestra.idempotency_keys TO orchestra_app;
GRANT SELECT, INSERT ON orchestra.outbox TO orchestra_app;
GRANT SELECT, INSERT, UPDATE ON orchestra.index_state TO orchestra_app;
GRANT SELECT, INSERT ON orchestra.audit TO orchestra_app;
-- Functions that later migrations make can be called by everyone who may use the schema.
