-- Following the outbox: who follows, how far each has come, and what every one of them has passed goes.
--
-- The order is that of (transaction, sequence), up to the oldest transaction that is still under way: all before it have ended,
-- so that nothing comes later to a place before one that was read. A transaction that stays open holds back what began after.
--
-- That is done over all tenants, with the rights of a role of its own, which may read the outbox, remove what was passed, and
-- keep positions; it may read no memory.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestra_follow') THEN
        CREATE ROLE orchestra_follow NOLOGIN;
    END IF;
EXCEPTION
    -- Another database of the same server came first.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role orchestra_follow is missing, and % may not create it', current_user
            USING HINT = 'As an administrator: CREATE ROLE orchestra_follow NOLOGIN, and grant it to the owner.';
END
$$;

-- Those who follow, and the last change that each has passed.
CREATE TABLE orchestra.followers (
    name text PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT '0',
    sequence bigint NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_in_order ON orchestra.outbox (transaction, sequence);

GRANT USAGE ON SCHEMA orchestra TO orchestra_follow;
GRANT SELECT, DELETE ON orchestra.outbox TO orchestra_follow;
GRANT SELECT, INSERT, UPDATE, DELETE ON orchestra.followers TO orchestra_follow;

ALTER TABLE orchestra.followers ENABLE ROW LEVEL SECURITY;
ALTER TABLE orchestra.followers FORCE ROW LEVEL SECURITY;
-- To be a member of the role is not enough, as of orchestra_maintenance.
CREATE POLICY follow ON orchestra.followers TO orchestra_follow
    USING (current_user = 'orchestra_follow') WITH CHECK (current_user = 'orchestra_follow');
CREATE POLICY follow_reads ON orchestra.outbox FOR SELECT TO orchestra_follow
    USING (current_user = 'orchestra_follow');
CREATE POLICY follow_removes ON orchestra.outbox FOR DELETE TO orchestra_follow
    USING (
        current_user = 'orchestra_follow'
        AND NOT EXISTS (
            SELECT FROM orchestra.followers f
            WHERE (f.transaction, f.sequence) < (outbox.transaction, outbox.sequence)
        )
    );

-- The oldest changes that a follower has not passed. It is known from here on, so that what it has not passed is kept.
CREATE FUNCTION orchestra.read_changes(p_follower text, p_limit int)
RETURNS TABLE (transaction text, sequence bigint, tenant text, event text, memories uuid[], occurred_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_follower orchestra.followers;
BEGIN
    IF current_user <> 'orchestra_follow' THEN
        RAISE EXCEPTION 'orchestra.read_changes does not belong to the role orchestra_follow'
            USING ERRCODE = 'insufficient_privilege',
            HINT = 'As an administrator: ALTER FUNCTION orchestra.read_changes OWNER TO orchestra_follow.';
    END IF;
    -- No tenant's rights beside those of the role, whatever the caller has named.
    PERFORM set_config('orchestra.tenant', '', true);
    SELECT * INTO v_follower FROM orchestra.followers f WHERE f.name = p_follower;
    IF v_follower.name IS NULL THEN
        INSERT INTO orchestra.followers (name) VALUES (p_follower) ON CONFLICT DO NOTHING;
        SELECT * INTO v_follower FROM orchestra.followers f WHERE f.name = p_follower;
    END IF;
    IF v_follower.transaction >= pg_snapshot_xmax(pg_current_snapshot()) THEN
        -- Transactions are numbered anew in a server that a dump is restored to: here nothing new would ever be told.
        RAISE EXCEPTION 'the follower % is ahead of this server, as after a dump was restored', p_follower
            USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Empty the caches, and then TRUNCATE orchestra.outbox, orchestra.followers.';
    END IF;
    RETURN QUERY
    SELECT o.transaction::text, o.sequence, o.tenant, o.event, o.memories, o.occurred_at
    FROM orchestra.outbox o
    WHERE (o.transaction, o.sequence) > (v_follower.transaction, v_follower.sequence)
        AND o.transaction < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY o.transaction, o.sequence LIMIT p_limit;
END
$$;

-- Moves a follower on, never back.
CREATE FUNCTION orchestra.acknowledge_changes(p_follower text, p_transaction text, p_sequence bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_transaction::xid8 >= pg_snapshot_xmin(pg_current_snapshot()) THEN
        RAISE EXCEPTION 'there is no change at % that could have been read', p_transaction
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO orchestra.followers AS f (name, transaction, sequence)
    VALUES (p_follower, p_transaction::xid8, p_sequence)
    ON CONFLICT (name) DO UPDATE
    SET transaction = EXCLUDED.transaction, sequence = EXCLUDED.sequence, moved_at = EXCLUDED.moved_at
    WHERE (f.transaction, f.sequence) < (EXCLUDED.transaction, EXCLUDED.sequence);
END
$$;

-- What a follower has not passed, with what cannot be read yet.
CREATE FUNCTION orchestra.follower_lag(p_follower text) RETURNS TABLE (changes bigint, oldest timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(*), min(o.occurred_at)
    FROM orchestra.outbox o LEFT JOIN orchestra.followers f ON f.name = p_follower
    WHERE f.name IS NULL OR (o.transaction, o.sequence) > (f.transaction, f.sequence)
$$;

CREATE FUNCTION orchestra.remove_follower(p_follower text) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM orchestra.followers f WHERE f.name = p_follower
$$;

-- Removes at most `p_limit` changes that every follower has passed; where nobody follows, all that have ended.
CREATE FUNCTION orchestra.remove_passed_changes(p_limit int) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_transaction xid8;
    v_sequence bigint;
    v_removed bigint;
BEGIN
    PERFORM set_config('orchestra.tenant', '', true);
    SELECT f.transaction, f.sequence INTO v_transaction, v_sequence
    FROM orchestra.followers f ORDER BY f.transaction, f.sequence LIMIT 1;
    DELETE FROM orchestra.outbox o
    WHERE o.sequence = ANY (ARRAY(
        SELECT p.sequence FROM orchestra.outbox p
        WHERE (p.transaction, p.sequence)
            <= (coalesce(v_transaction, pg_snapshot_xmin(pg_current_snapshot())), coalesce(v_sequence, 0))
        ORDER BY p.transaction, p.sequence LIMIT p_limit
    ));
    GET DIAGNOSTICS v_removed = ROW_COUNT;
    RETURN v_removed;
END
$$;

REVOKE EXECUTE ON FUNCTION orchestra.read_changes, orchestra.acknowledge_changes, orchestra.follower_lag,
    orchestra.remove_follower, orchestra.remove_passed_changes FROM PUBLIC;
GRANT EXECUTE ON FUNCTION orchestra.read_changes, orchestra.acknowledge_changes, orchestra.follower_lag,
    orchestra.remove_follower, orchestra.remove_passed_changes TO orchestra_app;

DO $$
DECLARE
    -- Before 16 a member may always take the role on.
    has_grants boolean := current_setting('server_version_num')::int >= 160000;
    name text;
BEGIN
    -- To give a function away one must be able to be its new owner, and that one must be able to make it.
    IF NOT pg_has_role('orchestra_follow', CASE WHEN has_grants THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE 'GRANT orchestra_follow TO CURRENT_USER' || CASE WHEN has_grants THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
    END IF;
    GRANT CREATE ON SCHEMA orchestra TO orchestra_follow;
    FOREACH name IN ARRAY ARRAY[
        'read_changes', 'acknowledge_changes', 'follower_lag', 'remove_follower', 'remove_passed_changes'
    ] LOOP
        EXECUTE format('ALTER FUNCTION orchestra.%I OWNER TO orchestra_follow', name);
    END LOOP;
    REVOKE CREATE ON SCHEMA orchestra FROM orchestra_follow;
EXCEPTION
    -- Nobody can follow then; who tries is told so.
    WHEN insufficient_privilege THEN
        RAISE WARNING '% may not give orchestra.read_changes to the role orchestra_follow', current_user
            USING HINT = 'As an administrator: ALTER FUNCTION orchestra.read_changes OWNER TO orchestra_follow, and so the '
                'other functions of this migration.';
END
$$;
