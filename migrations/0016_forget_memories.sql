-- Forgets a bounded number of a scope's memories for good, with what was derived from them, and leaves tombstones.
--
-- Of a selection that is larger, `more` says that there may be a rest: call again, from `last` on. `p_id` selects by ids and
-- `p_filter` by a filter, as of `list_memories` (its parameter is $6); neither selects all. What was derived and is not itself
-- selected is told apart. The counts are of both. A dry run changes nothing, and counts right only without a limit.
CREATE FUNCTION orchestra.forget_memories(
    p_tenant text,
    p_user_id text,
    p_agent_id text,
    p_session_id text,
    p_now timestamptz,
    p_id uuid[],
    p_filter text,
    p_arguments jsonb,
    p_limit int,
    p_dry_run boolean,
    p_after bigint
) RETURNS TABLE (
    forgotten uuid[], derived uuid[], former_versions bigint, embeddings bigint, sessions bigint, more boolean, last bigint,
    token text
)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    -- Expired memories too: they are still there.
    v_condition text := orchestra.scope_condition(p_user_id, p_agent_id, p_session_id)
        || CASE WHEN p_id IS NULL THEN '' ELSE ' AND m.id = ANY ($7)' END
        || CASE WHEN p_filter IS NULL THEN '' ELSE ' AND (' || p_filter || ')' END;
    v_selected bigint[];
    v_doomed bigint[];
    v_sessions bigint[];
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    PERFORM set_config('jit', 'off', true);
    IF NOT p_dry_run THEN
        -- Nothing is written to this tenant meanwhile: see insert_memories. And so nothing comes later with a lower ordinal.
        PERFORM pg_advisory_xact_lock(hashtextextended('orchestra:' || p_tenant, 0));
    END IF;
    EXECUTE 'SELECT ARRAY(SELECT m.ordinal FROM orchestra.memories m WHERE ' || v_condition
        || ' AND m.ordinal > coalesce($8, 0) ORDER BY m.ordinal LIMIT $9)'
    INTO v_selected
    USING p_tenant, p_user_id, p_agent_id, p_session_id, '-infinity'::timestamptz, p_arguments, p_id, p_after, p_limit;
    more := coalesce(cardinality(v_selected) = p_limit, false);
    last := v_selected[cardinality(v_selected)];
    v_doomed := ARRAY(SELECT orchestra.rows_with_derived(v_selected));

    EXECUTE 'SELECT coalesce(array_agg(m.id ORDER BY m.ordinal) FILTER (WHERE m.is_selected), ''{}''), '
        'coalesce(array_agg(m.id ORDER BY m.ordinal) FILTER (WHERE NOT m.is_selected), ''{}''), count(m.space) '
        'FROM (SELECT m.id, m.ordinal, m.space, (' || v_condition || ') AS is_selected '
        'FROM orchestra.memories m WHERE m.ordinal = ANY ($8)) m'
    INTO forgotten, derived, embeddings
    USING p_tenant, p_user_id, p_agent_id, p_session_id, '-infinity'::timestamptz, p_arguments, p_id, v_doomed;

    IF p_dry_run THEN
        former_versions := (SELECT count(*) FROM orchestra.memory_versions v WHERE v.ordinal = ANY (v_doomed));
        -- Those of which every turn would go.
        sessions := (
            SELECT count(*) FROM (
                SELECT m.session, count(*) AS turns FROM orchestra.memories m
                WHERE m.ordinal = ANY (v_doomed) AND m.session IS NOT NULL GROUP BY m.session
            ) d
            WHERE d.turns = (SELECT count(*) FROM orchestra.memories m WHERE m.session = d.session)
        );
        RETURN NEXT;
        RETURN;
    END IF;

    token := pg_current_xact_id()::text;
    former_versions := 0;
    sessions := 0;
    IF v_doomed <> '{}' THEN
        INSERT INTO orchestra.tombstones (tenant, id, user_id, agent_id, session_id, forgotten_at)
        SELECT m.tenant, m.id, m.user_id, m.agent_id, m.session_id, p_now
        FROM orchestra.memories m WHERE m.ordinal = ANY (v_doomed)
        ON CONFLICT DO NOTHING;
        INSERT INTO orchestra.forgotten_texts (tenant, content_hash, user_id, agent_id, session_id)
        SELECT m.tenant, m.content_hash, m.user_id, m.agent_id, m.session_id
        FROM orchestra.memories m WHERE m.ordinal = ANY (v_doomed)
        UNION
        SELECT v.tenant, v.content_hash, v.user_id, v.agent_id, v.session_id
        FROM orchestra.memory_versions v WHERE v.ordinal = ANY (v_doomed)
        ON CONFLICT DO NOTHING;
        -- Before their former versions, as remove_expired does: in another order they could wait for each other.
        WITH gone AS (DELETE FROM orchestra.memories m WHERE m.ordinal = ANY (v_doomed) RETURNING m.session)
        SELECT array_agg(DISTINCT g.session) INTO v_sessions FROM gone g WHERE g.session IS NOT NULL;
        DELETE FROM orchestra.memory_versions v WHERE v.ordinal = ANY (v_doomed);
        GET DIAGNOSTICS former_versions = ROW_COUNT;
        -- The names of a session go with its last turn. Looked for from the newest on: the oldest are what has just gone.
        DELETE FROM orchestra.sessions s
        WHERE s.session = ANY (v_sessions)
            AND (SELECT max(m.ordinal) FROM orchestra.memories m WHERE m.session = s.session) IS NULL;
        GET DIAGNOSTICS sessions = ROW_COUNT;
        INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at)
        VALUES (p_tenant, 'forgotten', forgotten || derived, p_now);
        INSERT INTO orchestra.audit (tenant, action, detail)
        VALUES (p_tenant, 'forget', jsonb_build_object(
            'scope', jsonb_strip_nulls(jsonb_build_object('user', p_user_id, 'agent', p_agent_id, 'session', p_session_id)),
            'selection', CASE WHEN p_id IS NOT NULL THEN 'ids' WHEN p_filter IS NOT NULL THEN 'filter' ELSE 'all' END,
            'memories', cardinality(forgotten), 'derived', cardinality(derived), 'former_versions', former_versions,
            'embeddings', embeddings, 'sessions', sessions
        ));
    END IF;
    RETURN NEXT;
END
$$;
