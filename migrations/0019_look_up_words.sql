-- Rows by their words, through the index of words. Row-level security would keep that index from being asked, since `@@` is
-- not leakproof: a large tenant would be read whole for each search. So the index is asked here, with the rights of a role
-- that sees every tenant's words, by a statement that names the tenant of the transaction and gives nothing but numbers of its
-- rows; what these rows hold is read by the caller, whom row-level security holds.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestra_lookup') THEN
        CREATE ROLE orchestra_lookup NOLOGIN;
    END IF;
EXCEPTION
    -- Another database of the same server came first.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role orchestra_lookup is missing, and % may not create it', current_user
            USING HINT = 'As an administrator: CREATE ROLE orchestra_lookup NOLOGIN, and grant it to the owner.';
END
$$;

CREATE FUNCTION orchestra.rows_with_words(
    p_match tsquery, p_user_id text[], p_agent_id text[], p_session_id text[], p_limit int
) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE
        'SELECT m.ordinal FROM orchestra.memories m WHERE '
        || orchestra.scopes_condition(p_user_id, p_agent_id, p_session_id)
        -- Where more match, those of which more words match, more often, in shorter texts.
        || ' AND m.words @@ $5 ORDER BY ts_rank(m.words, $5, 1) DESC LIMIT $6'
    USING current_setting('orchestra.tenant', true), p_user_id, p_agent_id, p_session_id, p_match, p_limit;
END
$$;
REVOKE EXECUTE ON FUNCTION orchestra.rows_with_words FROM PUBLIC;
GRANT EXECUTE ON FUNCTION orchestra.rows_with_words TO orchestra_app;

GRANT USAGE ON SCHEMA orchestra TO orchestra_lookup;
GRANT SELECT (ordinal, tenant, user_id, agent_id, session_id, words) ON orchestra.memories TO orchestra_lookup;
CREATE POLICY lookup ON orchestra.memories FOR SELECT TO orchestra_lookup USING (true);

DO $$
BEGIN
    -- To give a function away one must be able to be its new owner, and that one must be able to make it.
    GRANT CREATE ON SCHEMA orchestra TO orchestra_lookup;
    ALTER FUNCTION orchestra.rows_with_words OWNER TO orchestra_lookup;
    REVOKE CREATE ON SCHEMA orchestra FROM orchestra_lookup;
EXCEPTION
    -- The owner's rights are held by row-level security: as right, and slower in large tenants.
    WHEN insufficient_privilege THEN
        RAISE WARNING '% may not give orchestra.rows_with_words to the role orchestra_lookup', current_user
            USING HINT = 'As an administrator: ALTER FUNCTION orchestra.rows_with_words OWNER TO orchestra_lookup.';
END
$$;
