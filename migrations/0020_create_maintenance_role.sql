-- Index work sees how many vectors each space has, and takes some of them as a sample, over all tenants: no text, no
-- metadata. The owner takes the role on for that statement alone (SET LOCAL ROLE). To be a member is not enough for the
-- policy, so that row-level security holds the owner as before in everything else.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestra_maintenance') THEN
        CREATE ROLE orchestra_maintenance NOLOGIN;
    END IF;
EXCEPTION
    -- Another database of the same server came first.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role orchestra_maintenance is missing, and % may not create it', current_user
            USING HINT = 'As an administrator: CREATE ROLE orchestra_maintenance NOLOGIN, and grant it to the owner.';
END
$$;

DO $$
DECLARE
    -- Before 16 a member may always take the role on.
    has_grants boolean := current_setting('server_version_num')::int >= 160000;
BEGIN
    -- A superuser may take on any role; an administrator may have granted it.
    IF NOT pg_has_role('orchestra_maintenance', CASE WHEN has_grants THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE 'GRANT orchestra_maintenance TO CURRENT_USER'
            || CASE WHEN has_grants THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
    END IF;
EXCEPTION
    -- Only index work needs it, and says so.
    WHEN insufficient_privilege THEN
        RAISE WARNING '% may not take on the role orchestra_maintenance, which index work does', current_user
            USING HINT = 'As an administrator: GRANT orchestra_maintenance to the owner.';
END
$$;

GRANT USAGE ON SCHEMA orchestra TO orchestra_maintenance;
GRANT SELECT (tenant, user_id, space, embedding, embedding_half) ON orchestra.memories TO orchestra_maintenance;

CREATE POLICY maintenance ON orchestra.memories FOR SELECT TO orchestra_maintenance
    USING (current_user = 'orchestra_maintenance');
