-- The candidates of a recall within one user who has few memories, for a caller who wants the best of them alone.
--
-- search_memories is planned anew for what it is called with, scores words in SQL, and gives every row that either arm speaks
-- for: in a scope of a hundred rows that is all of them, and most of the time goes there. Here the scope is read once, by a
-- plan that is made once for a connection; few rows fit into no arm's limit, so that nothing has to be ranked; and what is
-- given are the rows with a word of the query, those beside one in their session, and as many of the nearest as may be
-- among the best. They are read again where they stand, which holds for as long as a statement. The caller scores the words,
-- of which the rows tell what it needs.

-- The parameters are those of search_memories, where they have the same name. Of the rows without
-- a word, not beside one either, those are given that have not ended by `p_ended_by` and are among the nearest `p_keep`.
--
-- Each row begins with the same report, which is all there is where no row is given: `considered` is null where the transaction
-- is not visible; where it is more than `p_limit` the scope is no small one, and the answer is no answer.
CREATE FUNCTION orchestra.search_small_scope(
    p_tenant text,
    p_user_id text,
    p_agent_id text,
    p_session_id text,
    p_now timestamptz,
    p_at_least text,
    p_query vector,
    p_space smallint,
    p_limit int,
    p_keep int,
    p_ended_by timestamptz,
    -- Any of the query's stems.
    p_match tsquery
) RETURNS TABLE (
    considered bigint,
    compared bigint,
    matched bigint,
    -- The rows with words, and how many each has on average.
    worded bigint,
    average_length float8,
    -- Of all rows that were compared and have not ended, given or not; and how many these are.
    least_similarity real,
    standing bigint,
    similarity real,
    -- Only where one of them is a stem of the query.
    words tsvector,
    length int,
    previous uuid,
    next uuid,
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
    expires_at timestamptz
)
LANGUAGE plpgsql
-- The plan for any user is the right one here: the user's rows, through their btree.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    v_tenant text := set_config('orchestra.tenant', p_tenant, true);
BEGIN
    -- As in search_memories.
    IF p_at_least IS NOT NULL AND (p_at_least::xid8 >= pg_snapshot_xmax(pg_current_snapshot())
        OR pg_xact_status(p_at_least::xid8) <> 'committed') THEN
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    WITH scoped AS MATERIALIZED (
        SELECT m.ctid AS place, m.ordinal, m.id, m.session, m.length,
            CASE WHEN m.space = p_space THEN -(coalesce(m.embedding, m.embedding_half::vector) <#> p_query)::real END
                AS similarity,
            m.words @@ p_match AS has_word,
            coalesce(m.valid_to > p_ended_by, true) AS stands
        FROM orchestra.memories m
        WHERE m.tenant = p_tenant AND m.user_id = p_user_id AND (p_agent_id IS NULL OR m.agent_id = p_agent_id)
            AND (p_session_id IS NULL OR m.session_id = p_session_id) AND (m.expires_at IS NULL OR m.expires_at > p_now)
        LIMIT p_limit + 1
    ), whole AS MATERIALIZED (
        SELECT count(*) AS considered, count(s.similarity) AS compared, count(*) FILTER (WHERE s.has_word) AS matched,
            count(*) FILTER (WHERE s.length > 0) AS worded,
            avg(s.length) FILTER (WHERE s.length > 0)::float8 AS average_length,
            min(s.similarity) FILTER (WHERE s.stands) AS least_similarity, count(s.similarity) FILTER (WHERE s.stands) AS standing,
            coalesce((
                SELECT n.similarity FROM scoped n WHERE n.stands ORDER BY n.similarity DESC NULLS LAST OFFSET p_keep - 1 LIMIT 1
            ), '-infinity') AS near
        FROM scoped s
    ), chosen AS (
        SELECT s.place, s.similarity, s.has_word, NULL::uuid AS previous, NULL::uuid AS next
        FROM scoped s CROSS JOIN whole w
        WHERE s.session IS NULL AND (s.has_word OR s.stands AND s.similarity >= w.near)
        UNION ALL
        SELECT s.place, s.similarity, s.has_word, s.previous, s.next
        FROM (
            SELECT t.*, lag(t.id) OVER turns AS previous, lead(t.id) OVER turns AS next,
                lag(t.has_word) OVER turns AS follows, lead(t.has_word) OVER turns AS leads
            FROM scoped t WHERE t.session IS NOT NULL
            WINDOW turns AS (PARTITION BY t.session ORDER BY t.ordinal)
        ) s CROSS JOIN whole w
        WHERE s.has_word OR s.stands AND (s.follows OR s.leads OR s.similarity >= w.near)
    )
    SELECT w.considered, w.compared, w.matched, w.worded, w.average_length, w.least_similarity, w.standing,
        c.similarity, CASE WHEN c.has_word THEN m.words END, m.length, c.previous, c.next,
        m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.version, m.kind, m.text, m.actor, m.metadata,
        m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, NULL::timestamptz,
        m.expires_at
    FROM whole w LEFT JOIN (chosen c JOIN orchestra.memories m ON m.ctid = c.place) ON true;
END
$$;

-- The same without a lexical arm. Then only the nearest can be among the best, and nothing else of a row is looked at before it
-- is known which these are.
CREATE FUNCTION orchestra.search_small_scope_by_vector(
    p_tenant text,
    p_user_id text,
    p_agent_id text,
    p_session_id text,
    p_now timestamptz,
    p_at_least text,
    p_query vector,
    p_space smallint,
    p_limit int,
    p_keep int,
    p_ended_by timestamptz
) RETURNS TABLE (
    considered bigint,
    compared bigint,
    least_similarity real,
    standing bigint,
    similarity real,
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
    expires_at timestamptz
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    v_tenant text := set_config('orchestra.tenant', p_tenant, true);
BEGIN
    -- As in search_memories.
    IF p_at_least IS NOT NULL AND (p_at_least::xid8 >= pg_snapshot_xmax(pg_current_snapshot())
        OR pg_xact_status(p_at_least::xid8) <> 'committed') THEN
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    WITH scoped AS MATERIALIZED (
        SELECT m.ctid AS place,
            CASE WHEN m.space = p_space THEN -(coalesce(m.embedding, m.embedding_half::vector) <#> p_query)::real END
                AS similarity,
            coalesce(m.valid_to > p_ended_by, true) AS stands
        FROM orchestra.memories m
        WHERE m.tenant = p_tenant AND m.user_id = p_user_id AND (p_agent_id IS NULL OR m.agent_id = p_agent_id)
            AND (p_session_id IS NULL OR m.session_id = p_session_id) AND (m.expires_at IS NULL OR m.expires_at > p_now)
        LIMIT p_limit + 1
    ), whole AS (
        SELECT count(*) AS considered, count(s.similarity) AS compared,
            min(s.similarity) FILTER (WHERE s.stands) AS least_similarity, count(s.similarity) FILTER (WHERE s.stands) AS standing
        FROM scoped s
    ), nearest AS (
        SELECT s.place, s.similarity FROM scoped s WHERE s.stands AND s.similarity IS NOT NULL
        ORDER BY s.similarity DESC FETCH FIRST p_keep ROWS WITH TIES
    )
    SELECT w.considered, w.compared, w.least_similarity, w.standing, n.similarity, m.id, m.tenant, m.user_id, m.agent_id,
        m.session_id, m.version, m.kind, m.text, m.actor, m.metadata, m.importance, m.writer, m.path, m.evidence, m.valid_from,
        m.valid_to, m.recorded_at, NULL::timestamptz, m.expires_at
    FROM whole w LEFT JOIN (nearest n JOIN orchestra.memories m ON m.ctid = n.place) ON true;
END
$$;
