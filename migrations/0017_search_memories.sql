-- The candidates of a recall: the nearest by vector, the best by BM25 of their words, and the turns next to these, in one
-- statement.
--
-- A scope of few rows is read once through its own btree, and both arms are exact. A larger one is searched through the
-- vector index and the index of words. Which it is, is decided here from what the caller knows of the scope, or by
-- counting. Should the vector index give fewer than there are, the scope is read after all.
--
-- Every statement in here is planned for the values it is called with: a plan for an average scope was tens of times slower
-- for small and large ones.
--
-- The first row is the report, with no memory in it. BM25 as of Robertson and Zaragoza 2009 with k1 = 0.9 and b = 0.4, its
-- statistics over the rows of the scope that the request may see.
CREATE FUNCTION orchestra.search_memories(
    p_tenant text,
    p_user_id text,
    p_agent_id text,
    p_session_id text,
    p_now timestamptz,
    -- The transaction that must be visible.
    p_at_least text,
    -- The query's vector and its space; no dense arm without.
    p_query vector,
    p_space smallint,
    -- The query's stems; no lexical arm without.
    p_stems text[],
    -- As of list_memories; its parameter is $6.
    p_filter text,
    p_arguments jsonb,
    -- How many candidates each arm gives.
    p_limit int,
    p_neighbours boolean,
    -- Up to how many rows a scope is read whole.
    p_exact_up_to int,
    -- What the caller knows of the scope, as a report told it ({"rows", "compared", "average_length"}); else it is counted.
    p_known jsonb,
    -- How the space's vectors are indexed: 'vector' or 'halfvec', or nothing where they are not.
    p_indexed_as text,
    p_dimensions int,
    -- Settings of the index's search, such as {"hnsw.ef_search": "100"}.
    p_settings jsonb,
    -- How many more than asked for are taken from an index of half precision, to be compared in full.
    p_oversampling real
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
    c_lexical_rows CONSTANT int := 20000;
    v_condition text := orchestra.scope_condition(p_user_id, p_agent_id, p_session_id)
        || CASE WHEN p_filter IS NULL THEN '' ELSE ' AND (' || p_filter || ')' END;
    v_match tsquery;
    v_rows bigint := (p_known ->> 'rows')::bigint;
    -- Those of them that have a vector in the space.
    v_compared bigint := (p_known ->> 'compared')::bigint;
    v_average float8 := (p_known ->> 'average_length')::float8;
    v_is_small boolean;
    v_by_index boolean;
    -- The dense arm's rows where it went by the index.
    v_near bigint[];
    v_repaired boolean := false;
    v_setting record;
    v_plan jsonb;
    -- The stems by which rows of a large scope are found, and how many rows are thought to have each that is left out.
    v_stem record;
    v_asked text[] := p_stems;
    v_left_out jsonb := '{}';
    v_sum float8 := 0;
    v_operand text;
    v_dense text;
    v_hits text;
    v_whole text;
BEGIN
    IF p_at_least IS NOT NULL AND NOT pg_visible_in_snapshot(p_at_least::xid8, pg_current_snapshot()) THEN
        report := jsonb_build_object('visible', false);
        RETURN NEXT;
        RETURN;
    END IF;
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    -- What compiling, or starting workers, costs is more than it spares here.
    PERFORM set_config('jit', 'off', true);
    PERFORM set_config('max_parallel_workers_per_gather', '0', true);

    IF v_rows IS NULL THEN
        EXECUTE 'SELECT count(*) FROM (SELECT FROM orchestra.memories m WHERE '
            || orchestra.scope_condition(p_user_id, p_agent_id, p_session_id) || ' LIMIT $6) m'
        INTO v_rows USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_exact_up_to + 1;
        IF v_rows > p_exact_up_to THEN
            -- What the planner thinks will do until the caller has measured it: a full count takes longer than the search.
            EXECUTE 'EXPLAIN (FORMAT JSON) SELECT FROM orchestra.memories m WHERE '
                || orchestra.scope_condition(p_user_id, p_agent_id, p_session_id)
            INTO v_plan USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now;
            v_rows := greatest(v_rows, (v_plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint);
            EXECUTE 'SELECT avg(m.length) FROM (SELECT m.length FROM orchestra.memories m WHERE '
                || orchestra.scope_condition(p_user_id, p_agent_id, p_session_id) || ' LIMIT 200) m'
            INTO v_average USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now;
        END IF;
    END IF;
    v_is_small := v_rows <= p_exact_up_to;
    v_by_index := NOT v_is_small AND p_indexed_as IS NOT NULL AND p_query IS NOT NULL;

    IF v_by_index THEN
        FOR v_setting IN SELECT * FROM jsonb_each_text(p_settings) LOOP
            PERFORM set_config(v_setting.key, v_setting.value, true);
        END LOOP;
        v_operand := CASE p_indexed_as
            WHEN 'vector' THEN format('m.embedding::vector(%1$s) <#> $7::vector(%1$s)', p_dimensions)
            ELSE format(
                'coalesce(m.embedding_half, m.embedding::halfvec)::halfvec(%1$s) <#> $7::halfvec(%1$s)', p_dimensions
            )
        END;
        EXECUTE format(
            'SELECT ARRAY(SELECT n.ordinal FROM (SELECT m.ordinal, '
            'coalesce(m.embedding, m.embedding_half::vector) <#> $7 AS distance '
            'FROM orchestra.memories m WHERE %s AND m.space = %s ORDER BY %s LIMIT $8) n '
            'ORDER BY n.distance, n.ordinal LIMIT $9)',
            v_condition, p_space, v_operand
        )
        INTO v_near
        USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_arguments, p_query,
            ceil(p_limit * p_oversampling)::int, p_limit;
        -- The index has not given what was asked of it: the rows are too few, or they are too far apart in it.
        v_repaired := cardinality(v_near) < p_limit;
        v_by_index := NOT v_repaired;
    END IF;

    -- A word that many rows have says little of each and takes long to look up: a large scope is searched by its rarer
    -- words, up to so many rows, and what these find is scored by all.
    IF NOT v_is_small AND p_stems <> '{}' THEN
        v_asked := '{}';
        FOR v_stem IN
            SELECT s.stem, orchestra.rows_with_stem(s.stem, p_tenant, p_user_id, p_agent_id, p_session_id, p_now) AS rows
            FROM unnest(p_stems) AS s(stem) ORDER BY 2
        LOOP
            v_sum := v_sum + v_stem.rows;
            IF v_asked = '{}' OR v_sum <= c_lexical_rows THEN
                v_asked := v_asked || v_stem.stem;
            ELSE
                v_left_out := v_left_out || jsonb_build_object(v_stem.stem, v_stem.rows);
            END IF;
        END LOOP;
    END IF;
    v_match := orchestra.any_stem(v_asked);

    -- Of the scope's rows: how far each is, and its words where it has one of the query's.
    IF v_is_small OR (p_query IS NOT NULL AND NOT v_by_index) THEN
        v_dense := 'scoped AS MATERIALIZED (SELECT m.ordinal, m.length, '
            'CASE WHEN m.space = $8 THEN coalesce(m.embedding, m.embedding_half::vector) <#> $7 END AS distance, '
            'CASE WHEN m.words @@ $9 THEN m.words END AS words '
            'FROM orchestra.memories m WHERE ' || v_condition || '), '
            'dense AS MATERIALIZED (SELECT s.ordinal FROM scoped s WHERE s.distance IS NOT NULL '
            'ORDER BY s.distance, s.ordinal LIMIT $10)';
        v_hits := 'SELECT s.ordinal, s.length, s.words FROM scoped s WHERE s.words IS NOT NULL';
        v_whole := 'SELECT count(*) AS considered, count(s.distance) AS compared, '
            'count(*) FILTER (WHERE s.length > 0) AS rows, avg(s.length) FILTER (WHERE s.length > 0) AS average '
            'FROM scoped s';
    ELSE
        v_dense := 'dense AS MATERIALIZED (SELECT n.ordinal FROM unnest($12) AS n(ordinal))';
        v_hits := 'SELECT m.ordinal, m.length, m.words FROM orchestra.memories m WHERE m.words @@ $9 AND ' || v_condition
            || ' LIMIT ' || c_lexical_rows;
        v_whole := 'SELECT $13 AS considered, coalesce($18, $13) AS compared, $13 AS rows, $14 AS average';
    END IF;

    RETURN QUERY EXECUTE
        'WITH ' || v_dense || ', '
        'whole AS MATERIALIZED (' || v_whole || '), '
        'hits AS MATERIALIZED ('
            'SELECT h.ordinal, h.length, w.lexeme, cardinality(w.positions) AS frequency '
            'FROM (' || v_hits || ') h CROSS JOIN LATERAL unnest(h.words) AS w(lexeme, positions, weights) '
            'WHERE w.lexeme = ANY ($11)), '
        'rarity AS (SELECT r.lexeme, ln(1 + (greatest(w.rows - r.rows, 0)::float8 + 0.5) / (r.rows + 0.5)) AS idf '
            'FROM (SELECT h.lexeme, coalesce(($19 ->> h.lexeme)::float8, count(*)::float8) AS rows '
            'FROM hits h GROUP BY h.lexeme) r CROSS JOIN whole w), '
        'lexical AS MATERIALIZED (SELECT h.ordinal, sum(r.idf * h.frequency * 1.9::float8 / (h.frequency '
                '+ 0.9::float8 * (0.6::float8 + 0.4::float8 * h.length / greatest(w.average, 1)::float8))) AS bm25 '
            'FROM hits h JOIN rarity r ON r.lexeme = h.lexeme CROSS JOIN whole w GROUP BY h.ordinal), '
        'best AS MATERIALIZED (SELECT l.ordinal FROM lexical l ORDER BY l.bm25 DESC, l.ordinal LIMIT $10), '
        || CASE WHEN p_neighbours THEN
        'beside AS (SELECT n.ordinal FROM best b JOIN orchestra.memories m ON m.ordinal = b.ordinal '
            'CROSS JOIN LATERAL ('
                '(SELECT o.ordinal FROM orchestra.memories o WHERE o.session = m.session AND o.ordinal < m.ordinal '
                'AND (o.expires_at IS NULL OR o.expires_at > $5) ORDER BY o.ordinal DESC LIMIT 1) '
                'UNION ALL '
                '(SELECT o.ordinal FROM orchestra.memories o WHERE o.session = m.session AND o.ordinal > m.ordinal '
                'AND (o.expires_at IS NULL OR o.expires_at > $5) ORDER BY o.ordinal LIMIT 1)) n), '
        'kept AS (SELECT m.ordinal FROM beside b JOIN orchestra.memories m ON m.ordinal = b.ordinal WHERE '
            || v_condition || '), '
        ELSE '' END ||
        'chosen AS (SELECT d.ordinal FROM dense d UNION SELECT b.ordinal FROM best b'
            || CASE WHEN p_neighbours THEN ' UNION SELECT k.ordinal FROM kept k' ELSE '' END || ') '
        'SELECT jsonb_build_object('
                '''considered'', w.considered, ''compared'', w.compared, '
                '''dense'', (SELECT count(*) FROM dense), ''lexical'', (SELECT count(*) FROM best), '
                '''by_index'', $15, ''repaired'', $16, ''small'', $17, '
                '''known'', jsonb_build_object(''rows'', $13, ''compared'', $18, ''average_length'', $14)), '
            'NULL::real, NULL::real, NULL::uuid, NULL::uuid, NULL::bigint, NULL::uuid, NULL, NULL, NULL, NULL, '
            'NULL::bigint, NULL, NULL, NULL, NULL::jsonb, NULL::real, NULL, NULL, NULL::uuid[], NULL::timestamptz, '
            'NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, NULL::smallint '
        'FROM whole w '
        'UNION ALL '
        'SELECT NULL, '
            'CASE WHEN m.space = $8 THEN -(coalesce(m.embedding, m.embedding_half::vector) <#> $7)::real END, '
            'coalesce(l.bm25, 0)::real, before.id, after.id, '
            'm.ordinal, m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.version, m.kind, m.text, m.actor, '
            'm.metadata, m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, '
            'NULL::timestamptz, m.expires_at, m.space '
        'FROM chosen c JOIN orchestra.memories m ON m.ordinal = c.ordinal '
        'LEFT JOIN lexical l ON l.ordinal = c.ordinal '
        'LEFT JOIN LATERAL (SELECT o.id FROM orchestra.memories o WHERE o.session = m.session '
            'AND o.ordinal < m.ordinal AND (o.expires_at IS NULL OR o.expires_at > $5) '
            'ORDER BY o.ordinal DESC LIMIT 1) before ON true '
        'LEFT JOIN LATERAL (SELECT o.id FROM orchestra.memories o WHERE o.session = m.session '
            'AND o.ordinal > m.ordinal AND (o.expires_at IS NULL OR o.expires_at > $5) '
            'ORDER BY o.ordinal LIMIT 1) after ON true'
    USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_arguments, p_query, p_space, v_match, p_limit, p_stems,
        v_near, v_rows, v_average, v_by_index, v_repaired, v_is_small, v_compared, v_left_out;
END
$$;

-- The stems as a query that one of them answers.
CREATE FUNCTION orchestra.any_stem(p_stems text[]) RETURNS tsquery
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(string_agg(
        '''' || replace(replace(s, '\', '\\'), '''', '''''') || '''', ' | '
    ), '')::tsquery FROM unnest(p_stems) s
$$;

-- How many rows of a scope have a stem, as the planner thinks. Volatile, since only such functions may ask it.
CREATE FUNCTION orchestra.rows_with_stem(
    p_stem text, p_tenant text, p_user_id text, p_agent_id text, p_session_id text, p_now timestamptz
) RETURNS float8
LANGUAGE plpgsql AS $$
DECLARE
    v_plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) SELECT FROM orchestra.memories m WHERE m.words @@ $6 AND '
        || orchestra.scope_condition(p_user_id, p_agent_id, p_session_id)
    INTO v_plan
    USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, orchestra.any_stem(ARRAY[p_stem]);
    RETURN (v_plan -> 0 -> 'Plan' ->> 'Plan Rows')::float8;
END
$$;

-- How large a scope is, counted to the last row.
CREATE FUNCTION orchestra.measure_scope(
    p_tenant text, p_user_id text, p_agent_id text, p_session_id text, p_now timestamptz, p_space smallint
) RETURNS TABLE (rows bigint, compared bigint, average_length float8)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    PERFORM set_config('jit', 'off', true);
    RETURN QUERY EXECUTE
        'SELECT count(*), count(*) FILTER (WHERE m.space = $6), coalesce(avg(m.length), 0)::float8 '
        'FROM orchestra.memories m WHERE ' || orchestra.scope_condition(p_user_id, p_agent_id, p_session_id)
    USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_space;
END
$$;
