-- Takes what has expired off the disk. Expired memories are hidden at once; here they go, with their former versions, over all
-- tenants. They leave no tombstones, and what was derived from them stays. Those who follow are told by the outbox.
--
-- That takes rights over all tenants, so it is done with the rights of a role of its own, which row-level security lets
-- remove nothing but what has expired by the clock of the database, and which may read no text, metadata or vector.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestra_sweep') THEN
        CREATE ROLE orchestra_sweep NOLOGIN;
    END IF;
EXCEPTION
    -- Another database of the same server came first.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role orchestra_sweep is missing, and % may not create it', current_user
            USING HINT = 'As an administrator: CREATE ROLE orchestra_sweep NOLOGIN, and grant it to the owner.';
END
$$;

GRANT USAGE ON SCHEMA orchestra TO orchestra_sweep;
-- To lock a row one must be allowed to change it; the policies allow no change.
GRANT SELECT (ordinal, id, tenant, session, expires_at), UPDATE (expires_at), DELETE ON orchestra.memories TO orchestra_sweep;
GRANT SELECT (ordinal), DELETE ON orchestra.memory_versions TO orchestra_sweep;
GRANT SELECT (session, tenant, may_be_empty), UPDATE (may_be_empty), DELETE ON orchestra.sessions TO orchestra_sweep;
GRANT SELECT (tenant, key, created_at), UPDATE (created_at), DELETE ON orchestra.idempotency_keys TO orchestra_sweep;
GRANT INSERT (tenant, event, memories, occurred_at) ON orchestra.outbox TO orchestra_sweep;

-- To be a member of the role is not enough, as of orchestra_maintenance.
CREATE POLICY sweep_reads ON orchestra.memories FOR SELECT TO orchestra_sweep
    USING (current_user = 'orchestra_sweep');
CREATE POLICY sweep_locks ON orchestra.memories FOR UPDATE TO orchestra_sweep
    USING (current_user = 'orchestra_sweep' AND expires_at <= now()) WITH CHECK (false);
CREATE POLICY sweep_removes ON orchestra.memories FOR DELETE TO orchestra_sweep
    USING (current_user = 'orchestra_sweep' AND expires_at <= now());
-- Once their memory is gone.
CREATE POLICY sweep ON orchestra.memory_versions TO orchestra_sweep
    USING (
        current_user = 'orchestra_sweep'
        AND NOT EXISTS (SELECT FROM orchestra.memories m WHERE m.ordinal = memory_versions.ordinal)
    ) WITH CHECK (false);
CREATE POLICY sweep ON orchestra.sessions TO orchestra_sweep USING (current_user = 'orchestra_sweep');
-- As long as a key holds: see remove_expired.
CREATE POLICY sweep ON orchestra.idempotency_keys TO orchestra_sweep
    USING (current_user = 'orchestra_sweep' AND created_at <= now() - interval '24 hours') WITH CHECK (false);
CREATE POLICY sweep ON orchestra.outbox FOR INSERT TO orchestra_sweep
    WITH CHECK (current_user = 'orchestra_sweep' AND event = 'expired');

-- At most `p_limit` memories and as many idempotency keys, those first that expired first. What another transaction has a hand
-- on is left for the next time, so that several processes share the work. `p_now` and `p_keys_since` are by the clock of the
-- program, and count where it is slower than the clock of the database: one that is fast removes nothing early.
CREATE FUNCTION orchestra.remove_expired(p_now timestamptz, p_keys_since timestamptz, p_limit int)
RETURNS TABLE (memories bigint, former_versions bigint, idempotency_keys bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_expired bigint[];
    v_sessions bigint[];
BEGIN
    IF current_user <> 'orchestra_sweep' THEN
        RAISE EXCEPTION 'orchestra.remove_expired does not belong to the role orchestra_sweep'
            USING ERRCODE = 'insufficient_privilege',
            HINT = 'As an administrator: ALTER FUNCTION orchestra.remove_expired OWNER TO orchestra_sweep.';
    END IF;
    -- No tenant's rights beside those of the role, whatever the caller has named.
    PERFORM set_config('orchestra.tenant', '', true);
    v_expired := ARRAY(
        SELECT m.ordinal FROM orchestra.memories m
        WHERE m.expires_at <= least(p_now, now())
        ORDER BY m.expires_at LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    );
    WITH gone AS (
        DELETE FROM orchestra.memories m WHERE m.ordinal = ANY (v_expired) RETURNING m.ordinal, m.id, m.tenant, m.session
    ), told AS (
        INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at)
        SELECT g.tenant, 'expired', array_agg(g.id ORDER BY g.ordinal), p_now FROM gone g GROUP BY g.tenant
    )
    SELECT count(*), array_agg(DISTINCT g.session) FILTER (WHERE g.session IS NOT NULL)
    INTO memories, v_sessions FROM gone g;
    DELETE FROM orchestra.memory_versions v WHERE v.ordinal = ANY (v_expired);
    GET DIAGNOSTICS former_versions = ROW_COUNT;
    -- In one order, so that two of these do not wait for each other. Again where it is so already: it may be examined right now,
    -- by someone who does not yet see what is gone here.
    PERFORM FROM orchestra.sessions s WHERE s.session = ANY (v_sessions) ORDER BY s.session FOR UPDATE;
    UPDATE orchestra.sessions s SET may_be_empty = true WHERE s.session = ANY (v_sessions);

    WITH old AS (
        SELECT k.tenant, k.key FROM orchestra.idempotency_keys k
        WHERE k.created_at <= p_keys_since ORDER BY k.created_at LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM orchestra.idempotency_keys k USING old o WHERE k.tenant = o.tenant AND k.key = o.key;
    GET DIAGNOSTICS idempotency_keys = ROW_COUNT;
    RETURN NEXT;
END
$$;

-- The names of a session go with its last turn. `examined` is how many sessions of one tenant were looked at, whichever has
-- some of which turns have expired; nothing is written to that tenant meanwhile, so that no turn comes to a session that goes.
CREATE FUNCTION orchestra.remove_empty_sessions(p_limit int) RETURNS TABLE (examined bigint, removed bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant text;
    v_sessions bigint[];
BEGIN
    PERFORM set_config('orchestra.tenant', '', true);
    v_tenant := (SELECT s.tenant FROM orchestra.sessions s WHERE s.may_be_empty ORDER BY s.session LIMIT 1);
    PERFORM pg_advisory_xact_lock(hashtextextended('orchestra:' || v_tenant, 0));
    v_sessions := ARRAY(
        SELECT s.session FROM orchestra.sessions s
        WHERE s.may_be_empty AND s.tenant = v_tenant ORDER BY s.session LIMIT p_limit
        FOR UPDATE
    );
    DELETE FROM orchestra.sessions s
    WHERE s.session = ANY (v_sessions)
        AND (SELECT max(m.ordinal) FROM orchestra.memories m WHERE m.session = s.session) IS NULL;
    GET DIAGNOSTICS removed = ROW_COUNT;
    UPDATE orchestra.sessions s SET may_be_empty = false WHERE s.session = ANY (v_sessions);
    examined := cardinality(v_sessions);
    RETURN NEXT;
END
$$;

REVOKE EXECUTE ON FUNCTION orchestra.remove_expired, orchestra.remove_empty_sessions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION orchestra.remove_expired, orchestra.remove_empty_sessions TO orchestra_app;

DO $$
DECLARE
    -- Before 16 a member may always take the role on.
    has_grants boolean := current_setting('server_version_num')::int >= 160000;
BEGIN
    -- To give a function away one must be able to be its new owner, and that one must be able to make it.
    IF NOT pg_has_role('orchestra_sweep', CASE WHEN has_grants THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE 'GRANT orchestra_sweep TO CURRENT_USER' || CASE WHEN has_grants THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
    END IF;
    GRANT CREATE ON SCHEMA orchestra TO orchestra_sweep;
    ALTER FUNCTION orchestra.remove_expired OWNER TO orchestra_sweep;
    ALTER FUNCTION orchestra.remove_empty_sessions OWNER TO orchestra_sweep;
    REVOKE CREATE ON SCHEMA orchestra FROM orchestra_sweep;
EXCEPTION
    -- Expired memories stay hidden, and on the disk; the sweep says so.
    WHEN insufficient_privilege THEN
        RAISE WARNING '% may not give orchestra.remove_expired to the role orchestra_sweep', current_user
            USING HINT = 'As an administrator: ALTER FUNCTION orchestra.remove_expired OWNER TO orchestra_sweep, and so '
                'orchestra.remove_empty_sessions.';
END
$$;
