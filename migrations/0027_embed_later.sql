-- Memories that were stored without a vector, while the embedder was away, and are to be given one.
--
-- They are looked for over all tenants, with the rights of a role of its own that may see which they are, and no text.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestra_backlog') THEN
        CREATE ROLE orchestra_backlog NOLOGIN;
    END IF;
EXCEPTION
    -- Another database of the same server came first.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role orchestra_backlog is missing, and % may not create it', current_user
            USING HINT = 'As an administrator: CREATE ROLE orchestra_backlog NOLOGIN, and grant it to the owner.';
END
$$;

CREATE INDEX memories_without_vector ON orchestra.memories (ordinal) WHERE space IS NULL;

GRANT USAGE ON SCHEMA orchestra TO orchestra_backlog;
GRANT SELECT (ordinal, id, tenant, version, expires_at, space) ON orchestra.memories TO orchestra_backlog;
-- To be a member of the role is not enough, as of orchestra_maintenance.
CREATE POLICY backlog ON orchestra.memories FOR SELECT TO orchestra_backlog
    USING (current_user = 'orchestra_backlog' AND space IS NULL);

CREATE FUNCTION orchestra.list_without_vector(p_now timestamptz, p_after bigint, p_limit int)
RETURNS TABLE (ordinal bigint, tenant text, id uuid, version bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF current_user <> 'orchestra_backlog' THEN
        RAISE EXCEPTION 'orchestra.list_without_vector does not belong to the role orchestra_backlog'
            USING ERRCODE = 'insufficient_privilege',
            HINT = 'As an administrator: ALTER FUNCTION orchestra.list_without_vector OWNER TO orchestra_backlog.';
    END IF;
    -- No tenant's rights beside those of the role, whatever the caller has named.
    PERFORM set_config('orchestra.tenant', '', true);
    RETURN QUERY
    SELECT m.ordinal, m.tenant, m.id, m.version FROM orchestra.memories m
    WHERE m.space IS NULL AND m.ordinal > p_after AND (m.expires_at IS NULL OR m.expires_at > p_now)
    ORDER BY m.ordinal LIMIT p_limit;
END
$$;

-- Gives a memory its vector, if it is still that version and has none. It stays that version: nothing that it says is changed.
CREATE FUNCTION orchestra.add_embedding(
    p_tenant text,
    p_id uuid,
    p_version bigint,
    p_space smallint,
    p_embedding vector,
    p_embedding_half halfvec
) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    UPDATE orchestra.memories m
    SET space = p_space, embedding = p_embedding, embedding_half = p_embedding_half
    WHERE m.id = p_id AND m.tenant = p_tenant AND m.version = p_version AND m.space IS NULL;
    RETURN FOUND;
END
$$;

REVOKE EXECUTE ON FUNCTION orchestra.list_without_vector FROM PUBLIC;
GRANT EXECUTE ON FUNCTION orchestra.list_without_vector TO orchestra_app;

DO $$
DECLARE
    -- Before 16 a member may always take the role on.
    has_grants boolean := current_setting('server_version_num')::int >= 160000;
BEGIN
    -- To give a function away one must be able to be its new owner, and that one must be able to make it.
    IF NOT pg_has_role('orchestra_backlog', CASE WHEN has_grants THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE 'GRANT orchestra_backlog TO CURRENT_USER'
            || CASE WHEN has_grants THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
    END IF;
    GRANT CREATE ON SCHEMA orchestra TO orchestra_backlog;
    ALTER FUNCTION orchestra.list_without_vector OWNER TO orchestra_backlog;
    REVOKE CREATE ON SCHEMA orchestra FROM orchestra_backlog;
EXCEPTION
    -- Those memories are found by their words alone; who looks for them is told so.
    WHEN insufficient_privilege THEN
        RAISE WARNING '% may not give orchestra.list_without_vector to the role orchestra_backlog', current_user
            USING HINT = 'As an administrator: ALTER FUNCTION orchestra.list_without_vector OWNER TO orchestra_backlog.';
END
$$;
