-- Forgets a bounded number of a scope's memories for good, with what was derived from them, and leaves tombstones.
--
-- Of a selection that is larger, `more` says that there is a rest: call again. `p_id` selects by ids and `p_filter` by a
-- filter, as of `list_memories` (its parameter is $6); neither selects all. What was derived and is not itself selected is
-- told apart. A dry run changes nothing and selects from `p_after` on.
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
) RETURNS TABLE (forgotten uuid[], derived uuid[], more boolean, last bigint, versions bigint, token text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    -- Expired memories too: they are still there.
    v_condition text := orchestra.scope_condition(p_user_id, p_agent_id, p_session_id)
        || CASE WHEN p_id IS NULL THEN '' ELSE ' AND m.id = ANY ($7)' END
        || CASE WHEN p_filter IS NULL THEN '' ELSE ' AND (' || p_filter || ')' END;
    v_selected bigint[];
    v_doomed bigint[];
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    PERFORM set_config('jit', 'off', true);
    -- Nothing is written to this tenant meanwhile: see insert_memories.
    PERFORM pg_advisory_xact_lock(hashtextextended('orchestra:' || p_tenant, 0));
    EXECUTE 'SELECT ARRAY(SELECT m.ordinal FROM orchestra.memories m WHERE ' || v_condition
        || ' AND m.ordinal > coalesce($8, 0) ORDER BY m.ordinal LIMIT $9)'
    INTO v_selected
    USING p_tenant, p_user_id, p_agent_id, p_session_id, '-infinity'::timestamptz, p_arguments, p_id, p_after, p_limit;
    more := cardinality(v_selected) = p_limit;
    last := v_selected[cardinality(v_selected)];

    WITH RECURSIVE reached AS (
        SELECT m.ordinal, m.id FROM orchestra.memories m WHERE m.ordinal = ANY (v_selected)
        UNION
        -- One pass over what the tenant has derived for all that was reached before.
        SELECT d.ordinal, d.id FROM reached r
        JOIN (
            SELECT m.ordinal, m.id, unnest(m.evidence) AS source FROM orchestra.memories m
            WHERE m.tenant = p_tenant AND m.evidence <> '{}'
        ) d ON d.source = r.id
    )
    SELECT coalesce(array_agg(r.ordinal ORDER BY r.ordinal), '{}') INTO v_doomed FROM reached r;

    EXECUTE 'SELECT coalesce(array_agg(m.id ORDER BY m.ordinal) FILTER (WHERE m.is_selected), ''{}''), '
        'coalesce(array_agg(m.id ORDER BY m.ordinal) FILTER (WHERE NOT m.is_selected), ''{}'') '
        'FROM (SELECT m.id, m.ordinal, (' || v_condition || ') AS is_selected '
        'FROM orchestra.memories m WHERE m.ordinal = ANY ($8)) m'
    INTO forgotten, derived
    USING p_tenant, p_user_id, p_agent_id, p_session_id, '-infinity'::timestamptz, p_arguments, p_id, v_doomed;
    versions := (SELECT count(*) FROM orchestra.memory_versions v WHERE v.ordinal = ANY (v_doomed));

    IF NOT p_dry_run THEN
        token := pg_current_xact_id()::text;
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
            DELETE FROM orchestra.memory_versions v WHERE v.ordinal = ANY (v_doomed);
            WITH gone AS (
                DELETE FROM orchestra.memories m WHERE m.ordinal = ANY (v_doomed) RETURNING m.ordinal, m.session
            )
            -- The names of a session go with its last turn.
            DELETE FROM orchestra.sessions s
            WHERE s.session IN (SELECT g.session FROM gone g)
                AND NOT EXISTS (
                    SELECT FROM orchestra.memories m WHERE m.session = s.session AND m.ordinal <> ALL (v_doomed)
                );
            INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at)
            VALUES (p_tenant, 'forgotten', forgotten || derived, p_now);
            INSERT INTO orchestra.audit (tenant, action, detail)
            VALUES (p_tenant, 'forget', jsonb_build_object(
                'memories', cardinality(forgotten), 'derived', cardinality(derived), 'versions', versions
            ));
        END IF;
    END IF;
    RETURN NEXT;
END
$$;
