-- A memory as it is read. `embedding` is filled where it is asked for.
CREATE TYPE orchestra.memory AS (
    ordinal bigint,
    id uuid,
    tenant text,
    user_id text,
    agent_id text,
    session_id text,
    version bigint,
    kind text,
    text text,
    actor text,
    metadata jsonb,
    importance real,
    writer text,
    path text,
    evidence uuid[],
    valid_from timestamptz,
    valid_to timestamptz,
    recorded_at timestamptz,
    superseded_at timestamptz,
    expires_at timestamptz,
    space smallint,
    embedding vector
);

-- Whether a memory is in a scope: a part that is not given is the same as any.
CREATE FUNCTION orchestra.is_within(
    m orchestra.memories, p_user_id text, p_agent_id text, p_session_id text
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (p_user_id IS NULL OR m.user_id IS NOT DISTINCT FROM p_user_id)
        AND (p_agent_id IS NULL OR m.agent_id IS NOT DISTINCT FROM p_agent_id)
        AND (p_session_id IS NULL OR m.session_id IS NOT DISTINCT FROM p_session_id)
$$;

-- One memory of a scope, if it has it and it has not expired.
CREATE FUNCTION orchestra.get_memory(
    p_tenant text, p_user_id text, p_agent_id text, p_session_id text, p_now timestamptz, p_id uuid
) RETURNS SETOF orchestra.memory
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    RETURN QUERY
    SELECT
        m.ordinal, m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.version, m.kind, m.text, m.actor, m.metadata,
        m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, NULL::timestamptz,
        m.expires_at, m.space, NULL::vector
    FROM orchestra.memories m
    WHERE m.id = p_id AND (m.expires_at IS NULL OR m.expires_at > p_now)
        AND orchestra.is_within(m, p_user_id, p_agent_id, p_session_id);
END
$$;

-- Every version of one memory of a scope, oldest first, the current one last.
CREATE FUNCTION orchestra.get_memory_versions(
    p_tenant text, p_user_id text, p_agent_id text, p_session_id text, p_now timestamptz, p_id uuid
) RETURNS SETOF orchestra.memory
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_current orchestra.memory;
BEGIN
    SELECT * INTO v_current
    FROM orchestra.get_memory(p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_id);
    IF v_current.id IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT
        m.ordinal, m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.version, m.kind, m.text, m.actor, m.metadata,
        m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, m.superseded_at,
        m.expires_at, m.space, NULL::vector
    FROM orchestra.memory_versions m
    WHERE m.ordinal = v_current.ordinal
    ORDER BY m.version;
    RETURN NEXT v_current;
END
$$;

-- The turn before a memory in its session.
CREATE FUNCTION orchestra.get_turn_before(
    p_tenant text, p_user_id text, p_agent_id text, p_session_id text, p_now timestamptz, p_id uuid
) RETURNS SETOF orchestra.memory
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    RETURN QUERY
    SELECT
        m.ordinal, m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.version, m.kind, m.text, m.actor, m.metadata,
        m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, NULL::timestamptz,
        m.expires_at, m.space, NULL::vector
    FROM orchestra.memories turn
    JOIN orchestra.memories m ON m.session = turn.session AND m.ordinal < turn.ordinal
    WHERE turn.id = p_id AND (turn.expires_at IS NULL OR turn.expires_at > p_now)
        AND orchestra.is_within(turn, p_user_id, p_agent_id, p_session_id)
        AND (m.expires_at IS NULL OR m.expires_at > p_now)
    ORDER BY m.ordinal DESC
    LIMIT 1;
END
$$;

-- The conditions of a scope as SQL over the alias `m`, of the parts that are given only, so that the planner sees which
-- index fits. The values stay parameters: $1 tenant, $2 user, $3 agent, $4 session, $5 now.
CREATE FUNCTION orchestra.scope_condition(p_user_id text, p_agent_id text, p_session_id text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'm.tenant = $1'
        || CASE WHEN p_user_id IS NULL THEN '' ELSE ' AND m.user_id = $2' END
        || CASE WHEN p_agent_id IS NULL THEN '' ELSE ' AND m.agent_id = $3' END
        || CASE WHEN p_session_id IS NULL THEN '' ELSE ' AND m.session_id = $4' END
        || ' AND (m.expires_at IS NULL OR m.expires_at > $5)'
$$;

-- The condition of several scopes of a tenant: whose memory is in one of them. Each has its parts at its own place of the three
-- arrays, and a part that is NULL is the same as any. Of what is given the text has the places only.
CREATE FUNCTION orchestra.scopes_condition(p_user_id text[], p_agent_id text[], p_session_id text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_any text := 'false';
BEGIN
    FOR i IN 1 .. cardinality(p_user_id) LOOP
        v_any := v_any || ' OR true'
            || CASE WHEN p_user_id[i] IS NULL THEN '' ELSE ' AND m.user_id = $2[' || i || ']' END
            || CASE WHEN p_agent_id[i] IS NULL THEN '' ELSE ' AND m.agent_id = $3[' || i || ']' END
            || CASE WHEN p_session_id[i] IS NULL THEN '' ELSE ' AND m.session_id = $4[' || i || ']' END;
    END LOOP;
    RETURN 'm.tenant = $1 AND (' || v_any || ')';
END
$$;

-- A page of a scope's memories, in the order of first writing.
--
-- `p_filter` is SQL that the provider compiled: it names columns of `m` and elements of the parameter $6, which is
-- `p_arguments`, and holds no text of a caller.
CREATE FUNCTION orchestra.list_memories(
    p_tenant text,
    p_user_id text,
    p_agent_id text,
    p_session_id text,
    p_now timestamptz,
    p_filter text,
    p_arguments jsonb,
    p_after bigint,
    p_newest_first boolean,
    p_limit int,
    p_with_embeddings boolean
) RETURNS SETOF orchestra.memory
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    PERFORM set_config('jit', 'off', true);
    RETURN QUERY EXECUTE
        'SELECT m.ordinal, m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.version, m.kind, m.text, m.actor, '
        'm.metadata, m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, '
        'NULL::timestamptz, m.expires_at, m.space, CASE WHEN $8 THEN coalesce(m.embedding, m.embedding_half::vector) END '
        'FROM orchestra.memories m WHERE '
        || orchestra.scope_condition(p_user_id, p_agent_id, p_session_id)
        || CASE WHEN p_after IS NULL THEN '' WHEN p_newest_first THEN ' AND m.ordinal < $7' ELSE ' AND m.ordinal > $7' END
        || CASE WHEN p_filter IS NULL THEN '' ELSE ' AND (' || p_filter || ')' END
        || ' ORDER BY m.ordinal' || CASE WHEN p_newest_first THEN ' DESC' ELSE '' END
        || ' LIMIT $9'
    USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_arguments, p_after, p_with_embeddings, p_limit;
END
$$;

-- What the store holds of a scope.
CREATE FUNCTION orchestra.count_memories(
    p_tenant text, p_user_id text, p_agent_id text, p_session_id text, p_now timestamptz
) RETURNS TABLE (memories bigint, without_embedding bigint, former_versions bigint, tombstones bigint, disk_bytes bigint, index_bytes bigint)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    PERFORM set_config('jit', 'off', true);
    EXECUTE 'SELECT count(*), count(*) - count(m.space) FROM orchestra.memories m WHERE '
        || orchestra.scope_condition(p_user_id, p_agent_id, p_session_id)
    INTO memories, without_embedding USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now;
    EXECUTE 'SELECT count(*) FROM orchestra.memory_versions v JOIN orchestra.memories m USING (ordinal) WHERE '
        || orchestra.scope_condition(p_user_id, p_agent_id, p_session_id)
    INTO former_versions USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now;
    SELECT count(*) INTO tombstones FROM orchestra.tombstones t
    WHERE t.tenant = p_tenant
        AND (p_user_id IS NULL OR t.user_id = p_user_id)
        AND (p_agent_id IS NULL OR t.agent_id = p_agent_id)
        AND (p_session_id IS NULL OR t.session_id = p_session_id);
    disk_bytes := pg_total_relation_size('orchestra.memories') + pg_total_relation_size('orchestra.memory_versions');
    index_bytes := pg_indexes_size('orchestra.memories');
    RETURN NEXT;
END
$$;
