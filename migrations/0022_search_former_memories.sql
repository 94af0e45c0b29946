-- What the store knew at a former time: the candidates of a recall among the versions that were current then.
--
-- For audits, and so made to be simple and exact: every version of the time is read and compared, whatever the scope's size.

-- Every version of every memory. It is read with the rights of who asks, and row-level security holds him on both tables.
CREATE VIEW orchestra.every_version WITH (security_invoker = true) AS
SELECT
    m.ordinal, m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.session, m.version, m.kind, m.text, m.actor, m.metadata,
    m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, NULL::timestamptz AS superseded_at,
    m.expires_at, m.words, m.length, m.space, m.embedding, m.embedding_half
FROM orchestra.memories m
UNION ALL
SELECT
    m.ordinal, m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.session, m.version, m.kind, m.text, m.actor, m.metadata,
    m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, m.superseded_at, m.expires_at,
    m.words, m.length, m.space, m.embedding, m.embedding_half
FROM orchestra.memory_versions m;
GRANT SELECT ON orchestra.every_version TO orchestra_app;

-- The last version of a memory that was recorded by a time. Clocks that disagree may have left versions that overlap: that
-- one is still only one.
CREATE FUNCTION orchestra.version_as_of(p_ordinal bigint, p_as_of timestamptz) RETURNS SETOF orchestra.every_version
LANGUAGE sql STABLE AS $$
    SELECT v.* FROM orchestra.every_version v
    WHERE v.ordinal = p_ordinal AND v.recorded_at <= p_as_of
    ORDER BY v.version DESC LIMIT 1
$$;

-- The parameters are those of search_memories, and the time; so is the answer.
--
-- Whether a memory is there still, and has not expired, its current version says. All else is of the former one: what the
-- filter sees, the words, the vector, and the statistics. The turns beside one are those that were there then.
CREATE FUNCTION orchestra.search_former_memories(
    p_tenant text,
    p_user_id text[],
    p_agent_id text[],
    p_session_id text[],
    p_now timestamptz,
    p_at_least text,
    p_query vector,
    p_space smallint,
    p_stems text[],
    p_filter text,
    p_arguments jsonb,
    p_limit int,
    p_neighbours boolean,
    p_as_of timestamptz
) RETURNS TABLE (
    report jsonb,
    similarity real,
    bm25 real,
    previous uuid,
    next uuid,
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
    space smallint
)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_rows bigint[];
    v_bm25 float8[];
    v_previous uuid[];
    v_next uuid[];
BEGIN
    -- As in search_memories.
    IF p_at_least IS NOT NULL AND (p_at_least::xid8 >= pg_snapshot_xmax(pg_current_snapshot())
        OR pg_xact_status(p_at_least::xid8) <> 'committed') THEN
        report := jsonb_build_object('visible', false);
        RETURN NEXT;
        RETURN;
    END IF;
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    PERFORM set_config('jit', 'off', true);
    PERFORM set_config('max_parallel_workers_per_gather', '0', true);

    EXECUTE
        'WITH known AS MATERIALIZED (SELECT m.ordinal, m.id, m.session, m.length, '
            || CASE WHEN p_filter IS NULL THEN 'true' ELSE 'coalesce(' || p_filter || ', false)' END || ' AS passes, '
            'CASE WHEN m.space = $8 THEN coalesce(m.embedding, m.embedding_half::vector) <#> $7 END AS distance, '
            'CASE WHEN m.words @@ $9 THEN m.words END AS words '
            'FROM (SELECT v.* FROM orchestra.memories m CROSS JOIN LATERAL orchestra.version_as_of(m.ordinal, $13) v WHERE '
                || orchestra.scopes_condition(p_user_id, p_agent_id, p_session_id)
                || ' AND (m.expires_at IS NULL OR m.expires_at > $5)) m), '
        'whole AS MATERIALIZED (SELECT count(*) AS considered, count(k.distance) AS compared, '
            'count(*) FILTER (WHERE k.length > 0) AS rows, avg(k.length) FILTER (WHERE k.length > 0) AS average '
            'FROM known k WHERE k.passes), '
        || orchestra.bm25('SELECT k.ordinal, k.length, k.words FROM known k WHERE k.passes AND k.words IS NOT NULL') || ', '
        'dense AS (SELECT k.ordinal FROM known k WHERE k.passes AND k.distance IS NOT NULL '
            'ORDER BY k.distance, k.ordinal LIMIT $10), '
        'words AS MATERIALIZED (SELECT w.* FROM scored b '
            'CROSS JOIN LATERAL unnest(b.rows, b.scores) WITH ORDINALITY AS w(ordinal, bm25, place)), '
        'turns AS MATERIALIZED (SELECT k.ordinal, k.passes, lag(k.id) OVER t AS previous, lead(k.id) OVER t AS next, '
            'lag(k.ordinal) OVER t AS row_before, lead(k.ordinal) OVER t AS row_after '
            'FROM known k WHERE k.session IS NOT NULL WINDOW t AS (PARTITION BY k.session ORDER BY k.ordinal)), '
        'found AS (SELECT d.ordinal FROM dense d '
            'UNION SELECT w.ordinal FROM words w WHERE w.place <= $10 '
            'UNION SELECT n.ordinal FROM words w JOIN turns t ON t.ordinal = w.ordinal '
            'CROSS JOIN LATERAL unnest(ARRAY[t.row_before, t.row_after]) AS n(ordinal) '
            'JOIN turns beside ON beside.ordinal = n.ordinal AND beside.passes WHERE w.place <= $10 AND $14) '
        'SELECT jsonb_build_object(''small'', true, ''considered'', w.considered, ''compared'', w.compared, '
            '''dense'', (SELECT count(*) FROM dense), ''lexical'', (SELECT count(*) FROM words w WHERE w.place <= $10)), '
            'f.rows, f.bm25, f.previous, f.next '
        'FROM whole w CROSS JOIN (SELECT array_agg(f.ordinal) AS rows, array_agg(w.bm25) AS bm25, '
            'array_agg(t.previous) AS previous, array_agg(t.next) AS next FROM found f '
            'LEFT JOIN words w ON w.ordinal = f.ordinal LEFT JOIN turns t ON t.ordinal = f.ordinal) f'
    INTO report, v_rows, v_bm25, v_previous, v_next
    USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_arguments, p_query, p_space,
        orchestra.any_stem(p_stems), p_limit, p_stems, '{}'::jsonb, p_as_of, p_neighbours;
    RETURN NEXT;
    RETURN QUERY
    SELECT
        NULL::jsonb,
        CASE WHEN m.space = p_space THEN -(coalesce(m.embedding, m.embedding_half::vector) <#> p_query)::real END,
        coalesce(f.bm25, 0)::real, f.previous, f.next,
        m.ordinal, m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.version, m.kind, m.text, m.actor, m.metadata,
        m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, m.superseded_at, m.expires_at,
        m.space
    FROM unnest(v_rows, v_bm25, v_previous, v_next) AS f(ordinal, bm25, previous, next)
    CROSS JOIN LATERAL orchestra.version_as_of(f.ordinal, p_as_of) m;
END
$$;
