-- Rows by their metadata, through the index of metadata. `@>` is not leakproof either, so what is so of rows_with_words is so
-- of this: it is asked with the rights of a role that sees every tenant's metadata, by a statement that names the tenant of
-- the transaction, and gives nothing but numbers of its rows.
--
-- `p_documents` are bound: a row is found that contains one of them. None of them is empty, so that no row without metadata
-- is found, which the index does not have.
CREATE FUNCTION orchestra.rows_with_metadata(
    p_documents jsonb[], p_user_id text[], p_agent_id text[], p_session_id text[], p_limit int
) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- How many rows contain a document is not known to the planner: it would rather read a large tenant whole than ask the index
-- for each of several documents.
SET enable_seqscan = off SET enable_indexscan = off AS $$
BEGIN
    RETURN QUERY EXECUTE
        'SELECT m.ordinal FROM orchestra.memories m WHERE '
        || orchestra.scopes_condition(p_user_id, p_agent_id, p_session_id)
        || ' AND m.metadata @> ANY ($5) AND m.metadata <> ''{}'' LIMIT $6'
    USING current_setting('orchestra.tenant', true), p_user_id, p_agent_id, p_session_id, p_documents, p_limit;
END
$$;
REVOKE EXECUTE ON FUNCTION orchestra.rows_with_metadata FROM PUBLIC;
GRANT EXECUTE ON FUNCTION orchestra.rows_with_metadata TO orchestra_app;

GRANT SELECT (metadata) ON orchestra.memories TO orchestra_lookup;

DO $$
BEGIN
    -- As in 0019.
    GRANT CREATE ON SCHEMA orchestra TO orchestra_lookup;
    ALTER FUNCTION orchestra.rows_with_metadata OWNER TO orchestra_lookup;
    REVOKE CREATE ON SCHEMA orchestra FROM orchestra_lookup;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING '% may not give orchestra.rows_with_metadata to the role orchestra_lookup', current_user
            USING HINT = 'As an administrator: ALTER FUNCTION orchestra.rows_with_metadata OWNER TO orchestra_lookup.';
END
$$;
