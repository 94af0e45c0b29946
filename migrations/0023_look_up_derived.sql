-- Rows and all that was derived from them, through the index of evidence: forgetting asks for each part of a large scope, and
-- must not read all that its tenant has derived each time. As in rows_with_words, row-level security would keep that index
-- from being asked, so this one too has the rights of orchestra_lookup, names the tenant of the transaction, and gives nothing
-- but numbers of its rows.
CREATE FUNCTION orchestra.rows_with_derived(p_rows bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- However little is known of the tables when this is planned, each row is looked up by its number and each source in the index
-- of evidence: nothing is read as a whole, and no index of tenants serves `tenant || ''`.
SET enable_seqscan = off
AS $$
DECLARE
    v_tenant text := current_setting('orchestra.tenant', true);
BEGIN
    IF current_user = 'orchestra_lookup' THEN
        RETURN QUERY
            WITH RECURSIVE reached AS (
                SELECT m.ordinal, m.id FROM orchestra.memories m
                WHERE m.tenant || '' = v_tenant AND m.ordinal = ANY (p_rows)
                UNION
                SELECT d.ordinal, d.id FROM reached r
                JOIN orchestra.memories d ON d.tenant || '' = v_tenant AND d.evidence @> ARRAY[r.id] AND d.evidence <> '{}'
            )
            SELECT r.ordinal FROM reached r;
    ELSE
        -- The owner, held by row-level security: one pass over what the tenant has derived, for all that was reached before.
        RETURN QUERY
            WITH RECURSIVE reached AS (
                SELECT m.ordinal, m.id FROM orchestra.memories m WHERE m.tenant = v_tenant AND m.ordinal = ANY (p_rows)
                UNION
                SELECT d.ordinal, d.id FROM reached r
                JOIN (
                    SELECT m.ordinal, m.id, unnest(m.evidence) AS source FROM orchestra.memories m
                    WHERE m.tenant = v_tenant AND m.evidence <> '{}'
                ) d ON d.source = r.id
            )
            SELECT r.ordinal FROM reached r;
    END IF;
END
$$;
REVOKE EXECUTE ON FUNCTION orchestra.rows_with_derived FROM PUBLIC;
GRANT EXECUTE ON FUNCTION orchestra.rows_with_derived TO orchestra_app;

GRANT SELECT (ordinal, id, tenant, evidence) ON orchestra.memories TO orchestra_lookup;

DO $$
DECLARE
    -- Before 16 a member may always take the role on.
    has_grants boolean := current_setting('server_version_num')::int >= 160000;
BEGIN
    -- To give a function away one must be able to be its new owner, and that one must be able to make it.
    IF NOT pg_has_role('orchestra_lookup', CASE WHEN has_grants THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE 'GRANT orchestra_lookup TO CURRENT_USER' || CASE WHEN has_grants THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
    END IF;
    GRANT CREATE ON SCHEMA orchestra TO orchestra_lookup;
    ALTER FUNCTION orchestra.rows_with_derived OWNER TO orchestra_lookup;
    REVOKE CREATE ON SCHEMA orchestra FROM orchestra_lookup;
EXCEPTION
    -- The owner's rights are held by row-level security: as right, and slower where a tenant has derived much.
    WHEN insufficient_privilege THEN
        RAISE WARNING '% may not give orchestra.rows_with_derived to the role orchestra_lookup', current_user
            USING HINT = 'As an administrator: ALTER FUNCTION orchestra.rows_with_derived OWNER TO orchestra_lookup.';
END
$$;
