-- The candidates of a recall: the nearest by vector, the best by BM25 of their words, and the turns next to these, in one
-- statement.
--
-- A scope of few rows is read once through its own btree, and both arms are exact. A larger one is searched through the
-- vector index and the index of words. Which it is, is decided here from what the caller knows of the scope, or by
-- counting. Should the vector index give fewer than there are, the scope is read after all. The few rows that a filter by
-- metadata leaves of a larger scope are found through the index of metadata, and read as a small scope is.
--
-- What reads the scope is planned for the values it is called with: a plan for an average scope fits neither small nor large
-- ones. What reads rows by their keys is planned once for a connection.
--
-- Whether the planner took the vector index, or found it cheaper to read the scope and sort, is told by the index's own
-- counter of scans: what was sorted in full precision is exact, and nothing is missing from it.
--
-- The first row is the report, with no memory in it. BM25 as of Robertson and Zaragoza 2009 with k1 = 0.9 and b = 0.4, its
-- statistics over the rows of the scope that the request may see.
CREATE FUNCTION orchestra.search_memories(
    p_tenant text,
    -- The scopes, as of scopes_condition: they are searched as one.
    p_user_id text[],
    p_agent_id text[],
    p_session_id text[],
    p_now timestamptz,
    -- The transaction that must be visible.
    p_at_least text,
    -- The query's vector and its space; no dense arm without.
    p_query vector,
    p_space smallint,
    -- The query's stems; no lexical arm without.
    p_stems text[],
    -- As of list_memories; its parameter is $6. The last argument is a list of documents of which the metadata of every row
    -- that passes contains one, or null.
    p_filter text,
    p_arguments jsonb,
    -- How many candidates each arm gives.
    p_limit int,
    p_neighbours boolean,
    -- Up to how many rows a scope is read whole.
    p_exact_up_to int,
    -- What the caller knows of the scope, as a report told it ({"rows", "compared", "average_length"}), or measure_scope with
    -- {"stems"} too; else it is counted.
    p_known jsonb,
    -- The space's vector index, or nothing where there is none: {"as", "dimensions"} of indexed_expression, "settings" of its
    -- search, "effort_setting" with "effort" and the "most" of it, "rows" in it, "oversampling": how many times more than
    -- asked for are taken from it to be compared in full, "counted": whether its scans are.
    p_index jsonb
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
    -- How many rows of a large scope are scored by their words, and up to how many where these are too few.
    c_scored_rows CONSTANT int := 500;
    c_most_scored_rows CONSTANT int := 20000;
    v_scope text := orchestra.scopes_condition(p_user_id, p_agent_id, p_session_id)
        || ' AND (m.expires_at IS NULL OR m.expires_at > $5)';
    v_condition text := v_scope || CASE WHEN p_filter IS NULL THEN '' ELSE ' AND (' || p_filter || ')' END;
    v_has_words boolean := coalesce(cardinality(p_stems), 0) > 0;
    v_distance text := 'coalesce(m.embedding, m.embedding_half::vector) <#> $7';
    v_rows bigint := (p_known ->> 'rows')::bigint;
    -- Those of them that have a vector in the space.
    v_compared bigint := (p_known ->> 'compared')::bigint;
    v_average float8 := (p_known ->> 'average_length')::float8;
    v_is_small boolean;
    -- The rows that a filter leaves at most, where it says so by metadata and they are few.
    v_named bigint[];
    v_by_index boolean := false;
    -- Whether the dense arm is done.
    v_is_found boolean := false;
    v_repaired boolean := false;
    v_scans bigint;
    v_effort int;
    v_setting record;
    v_plan jsonb;
    -- How many rows of a large scope have each stem, how many are to be scored, and by what they are found.
    v_rows_of_stems jsonb := '{}';
    v_budget int;
    v_match tsquery;
    v_matched tsquery;
    -- What the arms found: rows, nearest first; rows with a word and their BM25, best first; turns next to the best.
    v_dense bigint[] := '{}';
    v_lexical bigint[] := '{}';
    v_bm25 float8[] := '{}';
    v_beside bigint[] := '{}';
    v_considered bigint;
BEGIN
    -- A snapshot of a standby does not say which transactions are under way, and so pg_visible_in_snapshot takes each for
    -- ended that is older than the last one that ended. Of a transaction that ended long ago the status is not known.
    IF p_at_least IS NOT NULL AND (p_at_least::xid8 >= pg_snapshot_xmax(pg_current_snapshot())
        OR pg_xact_status(p_at_least::xid8) <> 'committed') THEN
        report := jsonb_build_object('visible', false);
        RETURN NEXT;
        RETURN;
    END IF;
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    -- What compiling, or starting workers, costs is more than it spares here.
    PERFORM set_config('jit', 'off', true);
    PERFORM set_config('max_parallel_workers_per_gather', '0', true);

    IF v_rows IS NULL THEN
        EXECUTE 'SELECT count(*) FROM (SELECT FROM orchestra.memories m WHERE ' || v_scope || ' LIMIT $6) m'
        INTO v_rows USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_exact_up_to + 1;
        IF v_rows > p_exact_up_to THEN
            -- What the planner thinks will do until the caller has measured it: a full count takes longer than the search.
            EXECUTE 'EXPLAIN (FORMAT JSON) SELECT FROM orchestra.memories m WHERE ' || v_scope
            INTO v_plan USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now;
            v_rows := greatest(v_rows, (v_plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint);
            EXECUTE 'SELECT avg(m.length) FROM (SELECT m.length FROM orchestra.memories m WHERE ' || v_scope
                || ' LIMIT 200) m'
            INTO v_average USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now;
        END IF;
    END IF;
    v_is_small := v_rows <= p_exact_up_to;
    v_considered := v_rows;
    IF NOT v_is_small AND jsonb_typeof(p_arguments -> -1) = 'array' THEN
        v_named := ARRAY(SELECT * FROM orchestra.rows_with_metadata(
            ARRAY(SELECT jsonb_array_elements(p_arguments -> -1)), p_user_id, p_agent_id, p_session_id, p_exact_up_to + 1
        ));
        v_is_small := cardinality(v_named) <= p_exact_up_to;
        IF NOT v_is_small THEN
            v_named := NULL;
        END IF;
    END IF;

    IF NOT v_is_small AND p_query IS NOT NULL AND p_index IS NOT NULL THEN
        FOR v_setting IN SELECT * FROM jsonb_each_text(p_index -> 'settings') LOOP
            PERFORM set_config(v_setting.key, v_setting.value, true);
        END LOOP;
        -- The nearest of a share of the rows lie further out among all of them: the effort grows with what is left out. What a
        -- filter leaves is not known; it is taken to be a tenth.
        v_effort := least(
            (p_index ->> 'most')::float8,
            ceil((p_index ->> 'effort')::float8
                * greatest((p_index ->> 'rows')::float8 / greatest(coalesce(v_compared, v_rows), 1), 1)
                * CASE WHEN p_filter IS NULL THEN 1 ELSE 10 END)
        );
        PERFORM set_config(p_index ->> 'effort_setting', v_effort::text, true);
        v_scans := orchestra.vector_index_scans(p_space);
        EXECUTE format(
            'SELECT ARRAY(SELECT n.ordinal FROM (SELECT m.ordinal, %s AS distance '
            'FROM orchestra.memories m WHERE %s AND m.space = %s ORDER BY %s <#> %s LIMIT $8) n '
            'ORDER BY n.distance, n.ordinal LIMIT $9)',
            v_distance, v_condition, p_space,
            orchestra.indexed_expression(p_index ->> 'as', (p_index ->> 'dimensions')::int, 'm.embedding', 'm.embedding_half'),
            orchestra.indexed_expression(p_index ->> 'as', (p_index ->> 'dimensions')::int, '$7', '$7::halfvec')
        )
        INTO v_dense
        USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_arguments, p_query,
            ceil(p_limit * (p_index ->> 'oversampling')::float8)::int, p_limit;
        v_by_index := p_index ->> 'as' <> 'vector' OR NOT (p_index ->> 'counted')::boolean
            OR orchestra.vector_index_scans(p_space) > v_scans;
        -- The index has not given what was asked of it: the rows are too few, or they are too far apart in it.
        v_repaired := v_by_index AND cardinality(v_dense) < p_limit;
        v_is_found := NOT v_repaired;
    END IF;

    IF v_is_small OR (p_query IS NOT NULL AND NOT v_is_found) THEN
        -- Every row of the scope, once: how far it is, and its words where it has one of the query's.
        EXECUTE
            'WITH scoped AS MATERIALIZED (SELECT m.ordinal, m.length, '
                || CASE WHEN p_query IS NULL THEN 'NULL::float8' ELSE 'CASE WHEN m.space = $8 THEN ' || v_distance || ' END' END
                || ' AS distance, '
                || CASE WHEN v_is_small AND v_has_words THEN 'CASE WHEN m.words @@ $9 THEN m.words END' ELSE 'NULL::tsvector' END
                || ' AS words FROM orchestra.memories m WHERE ' || v_condition
                || CASE WHEN v_named IS NULL THEN '' ELSE ' AND m.ordinal = ANY ($13)' END || '), '
            'whole AS MATERIALIZED (SELECT count(*) AS considered, count(s.distance) AS compared, '
                'count(*) FILTER (WHERE s.length > 0) AS rows, avg(s.length) FILTER (WHERE s.length > 0) AS average '
                'FROM scoped s)'
            || CASE WHEN v_is_small AND v_has_words THEN ', ' || orchestra.bm25(
                'SELECT s.ordinal, s.length, s.words FROM scoped s WHERE s.words IS NOT NULL'
            ) || ' SELECT w.considered, w.compared, '
                'ARRAY(SELECT s.ordinal FROM scoped s WHERE s.distance IS NOT NULL ORDER BY s.distance, s.ordinal LIMIT $10), '
                'b.rows, b.scores FROM whole w CROSS JOIN scored b'
            ELSE ' SELECT w.considered, w.compared, '
                'ARRAY(SELECT s.ordinal FROM scoped s WHERE s.distance IS NOT NULL ORDER BY s.distance, s.ordinal LIMIT $10), '
                'NULL::bigint[], NULL::float8[] FROM whole w'
            END
        INTO v_considered, v_compared, v_dense, v_lexical, v_bm25
        USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_arguments, p_query, p_space,
            orchestra.any_stem(p_stems), p_limit, p_stems, v_rows_of_stems, v_named;
    END IF;

    IF NOT v_is_small AND v_has_words THEN
        v_rows_of_stems := orchestra.rows_of_stems(
            p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_stems, v_rows, p_known -> 'stems'
        );
        v_budget := greatest(c_scored_rows, 20 * p_limit);
        LOOP
            v_match := orchestra.promising_match(v_rows_of_stems, v_rows, v_budget);
            -- What a filter leaves may be too few.
            EXIT WHEN v_match IS NULL OR v_match = v_matched;
            EXECUTE
                'WITH whole AS MATERIALIZED (SELECT $13 AS rows, $14 AS average), ' || orchestra.bm25(
                    'SELECT m.ordinal, m.length, m.words '
                    'FROM orchestra.rows_with_words($9, $2, $3, $4, $15) AS w(ordinal) '
                    'JOIN orchestra.memories m ON m.ordinal = w.ordinal WHERE ' || v_condition
                ) || ' SELECT b.rows, b.scores FROM scored b'
            INTO v_lexical, v_bm25
            USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_arguments, p_query, p_space,
                v_match, p_limit, p_stems, v_rows_of_stems, v_rows, v_average, v_budget;
            EXIT WHEN cardinality(v_lexical) >= p_limit OR v_budget >= c_most_scored_rows;
            v_matched := v_match;
            v_budget := least(10 * v_budget, c_most_scored_rows);
        END LOOP;
    END IF;

    v_lexical := coalesce(v_lexical, '{}');
    IF p_neighbours AND v_lexical <> '{}' THEN
        v_beside := ARRAY(
            SELECT n.ordinal FROM unnest(v_lexical[:p_limit]) AS b(ordinal)
            JOIN orchestra.memories m ON m.ordinal = b.ordinal AND m.session IS NOT NULL
            CROSS JOIN LATERAL unnest(ARRAY[
                orchestra.turn_beside(m.session, m.ordinal, p_now, true),
                orchestra.turn_beside(m.session, m.ordinal, p_now, false)
            ]) AS n(ordinal)
            WHERE n.ordinal IS NOT NULL
        );
        IF v_beside <> '{}' THEN
            EXECUTE 'SELECT ARRAY(SELECT m.ordinal FROM orchestra.memories m WHERE m.ordinal = ANY ($7) AND '
                || v_condition || ')'
            INTO v_beside USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_arguments, v_beside;
        END IF;
    END IF;

    report := jsonb_build_object(
        'considered', v_considered, 'compared', coalesce(v_compared, v_considered),
        'dense', cardinality(v_dense), 'lexical', least(cardinality(v_lexical), p_limit),
        'by_index', v_by_index, 'repaired', v_repaired, 'effort', v_effort, 'small', v_is_small,
        'known', jsonb_build_object('rows', v_rows, 'compared', v_compared, 'average_length', v_average)
    );
    RETURN NEXT;
    RETURN QUERY
    SELECT
        NULL::jsonb,
        CASE WHEN m.space = p_space THEN -(coalesce(m.embedding, m.embedding_half::vector) <#> p_query)::real END,
        coalesce(l.bm25, 0)::real,
        CASE WHEN m.session IS NOT NULL THEN (
            SELECT o.id FROM orchestra.memories o
            WHERE o.ordinal = orchestra.turn_beside(m.session, m.ordinal, p_now, true)
        ) END,
        CASE WHEN m.session IS NOT NULL THEN (
            SELECT o.id FROM orchestra.memories o
            WHERE o.ordinal = orchestra.turn_beside(m.session, m.ordinal, p_now, false)
        ) END,
        m.ordinal, m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.version, m.kind, m.text, m.actor, m.metadata,
        m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, NULL::timestamptz,
        m.expires_at, m.space
    FROM (
        SELECT unnest(v_dense) AS ordinal UNION SELECT unnest(v_lexical[:p_limit]) UNION SELECT unnest(v_beside)
    ) c
    JOIN orchestra.memories m ON m.ordinal = c.ordinal
    LEFT JOIN unnest(v_lexical, v_bm25) AS l(ordinal, bm25) ON l.ordinal = c.ordinal;
END
$$;

-- The parts of a statement that score rows by their words: `scored` has the rows, best first, and their scores. `p_hits`
-- gives the rows with one of the words as (ordinal, length, words), and the statement's own `whole` says over how many rows
-- rarity counts and how long they are on average. $11 are the stems; $12 says how many rows have each where
-- `p_hits` does not give all of them.
CREATE FUNCTION orchestra.bm25(p_hits text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'hits AS MATERIALIZED ('
            'SELECT h.ordinal, h.length, w.lexeme, cardinality(w.positions) AS frequency '
            'FROM (' || p_hits || ') h CROSS JOIN LATERAL unnest(h.words) AS w(lexeme, positions, weights) '
            'WHERE w.lexeme = ANY ($11)), '
        'rarity AS (SELECT r.lexeme, ln(1 + (greatest(w.rows - r.rows, 0)::float8 + 0.5) / (r.rows + 0.5)) AS idf '
            'FROM (SELECT h.lexeme, coalesce(($12 ->> h.lexeme)::float8, count(*)::float8) AS rows '
            'FROM hits h GROUP BY h.lexeme) r CROSS JOIN whole w), '
        'lexical AS (SELECT h.ordinal, sum(r.idf * h.frequency * 1.9::float8 / (h.frequency '
                '+ 0.9::float8 * (0.6::float8 + 0.4::float8 * h.length / greatest(w.average, 1)::float8))) AS bm25 '
            'FROM hits h JOIN rarity r ON r.lexeme = h.lexeme CROSS JOIN whole w GROUP BY h.ordinal), '
        'scored AS (SELECT array_agg(l.ordinal ORDER BY l.bm25 DESC, l.ordinal) AS rows, '
            'array_agg(l.bm25 ORDER BY l.bm25 DESC, l.ordinal) AS scores FROM lexical l)'
$$;

-- How many rows of a large scope have each of these stems, as {stem: rows}. `p_known` says it of the common ones, or is
-- nothing where the scope was not measured yet; then some of its rows say it. Each other one is looked up.
CREATE FUNCTION orchestra.rows_of_stems(
    p_tenant text, p_user_id text[], p_agent_id text[], p_session_id text[], p_now timestamptz, p_stems text[], p_rows bigint,
    p_known jsonb
) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    c_rows_of_sample CONSTANT int := 1000;
    -- A stem that fewer of these have is looked up.
    c_common CONSTANT int := 20;
    -- From there on a stem that is not known to be common counts as one.
    c_counted CONSTANT int := 2000;
    v_known jsonb := p_known;
BEGIN
    IF v_known IS NULL THEN
        EXECUTE
            'WITH sample AS MATERIALIZED (SELECT m.words FROM orchestra.memories m WHERE '
            || orchestra.scopes_condition(p_user_id, p_agent_id, p_session_id)
            || ' AND (m.expires_at IS NULL OR m.expires_at > $5) LIMIT $7) '
            'SELECT coalesce(jsonb_object_agg(s.lexeme, s.rows * $6 / (SELECT count(*) FROM sample)), ''{}'') FROM ('
            'SELECT w.lexeme, count(*)::float8 AS rows FROM sample '
            'CROSS JOIN LATERAL unnest(sample.words) AS w(lexeme, positions, weights) '
            'WHERE w.lexeme = ANY ($8) GROUP BY w.lexeme HAVING count(*) >= $9) s'
        INTO v_known
        USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_rows, c_rows_of_sample, p_stems, c_common;
    END IF;
    RETURN (
        SELECT jsonb_object_agg(s.stem, coalesce((v_known ->> s.stem)::float8, (
            SELECT count(*) FROM orchestra.rows_with_words(
                orchestra.any_stem(ARRAY[s.stem]), p_user_id, p_agent_id, p_session_id, c_counted
            )
        )))
        FROM unnest(p_stems) AS s(stem)
    );
END
$$;

-- What the best rows by BM25 are found by, in a large scope: rare stems alone, and common ones where two or three of them are
-- together, so that about `p_budget` rows are found. NULL when no row has any stem.
--
-- A stem weighs about -ln of the share of rows that have it. So stems together weigh about -ln of the share that would have
-- them all, were they spread by chance, and the rarest of all combinations are those that weigh most. What is not found has
-- none of them, and is less good, but for how often a stem stands in a text and how long the text is.
CREATE FUNCTION orchestra.promising_match(p_rows_of_stems jsonb, p_rows bigint, p_budget int) RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (
        WITH stems AS MATERIALIZED (
            SELECT orchestra.any_stem(ARRAY[s.key])::text AS stem, s.value::float8 / p_rows AS share,
                row_number() OVER (ORDER BY s.value::float8, s.key) AS at
            FROM jsonb_each_text(p_rows_of_stems) s
            WHERE s.value::float8 > 0
            ORDER BY s.value::float8, s.key
            -- What the commonest of so many add is little, and the combinations are many.
            LIMIT 12
        ), combined AS (
            -- `without` is the share without the commonest stem.
            SELECT a.stem AS a, NULL AS b, NULL AS c, a.share, 'infinity'::float8 AS without, 1 AS size FROM stems a
            UNION ALL
            SELECT a.stem, b.stem, NULL, a.share * b.share, a.share, 2
            FROM stems a JOIN stems b ON b.at > a.at
            UNION ALL
            SELECT a.stem, b.stem, c.stem, a.share * b.share * c.share, a.share * b.share, 3
            FROM stems a JOIN stems b ON b.at > a.at JOIN stems c ON c.at > b.at
        ), chosen AS (
            SELECT c.*, max(c.share) OVER () AS most
            FROM (
                -- Those of one share are chosen together.
                SELECT c.*, rank() OVER summed AS at, sum(c.share) OVER summed * p_rows AS rows
                FROM combined c WINDOW summed AS (ORDER BY c.share)
            ) c
            WHERE c.rows <= p_budget OR c.at = 1
        ), pairs AS (
            SELECT c.a, CASE
                WHEN max(c.size) > 2 THEN format('%s & (%s)', c.b, string_agg(c.c, ' | ' ORDER BY c.c)) ELSE c.b
            END AS rest
            FROM chosen c
            -- Not what is asked for with a stem less.
            WHERE c.without > c.most
            GROUP BY c.a, c.b
        ), alone AS (
            SELECT CASE
                WHEN count(p.rest) > 0 THEN format('%s & (%s)', p.a, string_agg(p.rest, ' | ' ORDER BY p.rest)) ELSE p.a
            END AS match
            FROM pairs p GROUP BY p.a
        )
        SELECT string_agg(a.match, ' | ' ORDER BY a.match)::tsquery FROM alone a
    );
END
$$;

-- The turn before or after one in its session.
CREATE FUNCTION orchestra.turn_beside(p_session bigint, p_ordinal bigint, p_now timestamptz, p_before boolean) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_before THEN
        RETURN (
            SELECT m.ordinal FROM orchestra.memories m WHERE m.session = p_session AND m.ordinal < p_ordinal
                AND (m.expires_at IS NULL OR m.expires_at > p_now)
            ORDER BY m.ordinal DESC LIMIT 1
        );
    END IF;
    RETURN (
        SELECT m.ordinal FROM orchestra.memories m WHERE m.session = p_session AND m.ordinal > p_ordinal
            AND (m.expires_at IS NULL OR m.expires_at > p_now)
        ORDER BY m.ordinal LIMIT 1
    );
END
$$;

-- The stems as a query that one of them answers.
CREATE FUNCTION orchestra.any_stem(p_stems text[]) RETURNS tsquery
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(string_agg(
        '''' || replace(replace(s, '\', '\\'), '''', '''''') || '''', ' | '
    ), '')::tsquery FROM unnest(p_stems) s
$$;

-- How much is in some scopes together, counted to the last row, and how many rows have each of its common stems, as {stem: rows}: counted in
-- some 100,000 rows of them, or in all where it has no more. A stem that is not named is one that fewer than one row in 500 has.
CREATE FUNCTION orchestra.measure_scopes(
    p_tenant text, p_user_id text[], p_agent_id text[], p_session_id text[], p_now timestamptz, p_space smallint
) RETURNS TABLE (rows bigint, compared bigint, average_length float8, stems jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    c_rows_of_sample CONSTANT float8 := 100000;
    v_scope text := orchestra.scopes_condition(p_user_id, p_agent_id, p_session_id)
        || ' AND (m.expires_at IS NULL OR m.expires_at > $5)';
    v_share float8;
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    PERFORM set_config('jit', 'off', true);
    EXECUTE
        'SELECT count(*), count(*) FILTER (WHERE m.space = $6), coalesce(avg(m.length), 0)::float8 '
        'FROM orchestra.memories m WHERE ' || v_scope
    INTO rows, compared, average_length
    USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, p_space;
    v_share := least(c_rows_of_sample / greatest(rows, 1), 1);
    EXECUTE
        'WITH sample AS MATERIALIZED (SELECT m.words FROM orchestra.memories m WHERE ' || v_scope
        || ' AND ($6 = 1 OR random() < $6)) '
        'SELECT coalesce(jsonb_object_agg(s.lexeme, round(s.rows / $6)), ''{}'') FROM ('
        'SELECT w.lexeme, count(*)::float8 AS rows FROM sample '
        'CROSS JOIN LATERAL unnest(sample.words) AS w(lexeme, positions, weights) '
        'GROUP BY w.lexeme HAVING count(*) >= $7 ORDER BY 2 DESC LIMIT 1000) s'
    INTO stems
    USING p_tenant, p_user_id, p_agent_id, p_session_id, p_now, v_share, least(c_rows_of_sample, rows) / 500;
    RETURN NEXT;
END
$$;

-- What the vector index of a space is made over, as SQL, of a vector or of one in half precision. An index that is built
-- over this expression of the columns is found by the search, which orders by the same. Both columns are in it: which of
-- them a space is kept in can change.
CREATE FUNCTION orchestra.indexed_expression(p_as text, p_dimensions int, p_vector text, p_half text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_as
        WHEN 'vector' THEN format('(coalesce(%s, %s::vector)::vector(%s))', p_vector, p_half, p_dimensions)
        WHEN 'halfvec' THEN format('(coalesce(%s, %s::halfvec)::halfvec(%s))', p_half, p_vector, p_dimensions)
        -- The first dimensions, where there are more than an index takes.
        WHEN 'subvector' THEN
            format('(subvector(coalesce(%s, %s::halfvec), 1, %s)::halfvec(%3$s))', p_half, p_vector, p_dimensions)
    END
$$;

-- How often this session has searched the vector index of a space, or the one that takes its place. Only the difference of
-- two answers within a statement means something.
CREATE FUNCTION orchestra.vector_index_scans(p_space smallint) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(pg_stat_get_xact_numscans(to_regclass('orchestra.memories_by_vector_' || p_space || '_a')), 0)
        + coalesce(pg_stat_get_xact_numscans(to_regclass('orchestra.memories_by_vector_' || p_space || '_b')), 0)
$$;
