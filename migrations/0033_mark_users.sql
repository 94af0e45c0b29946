-- What a process asks that keeps a user's memories at hand: whether they are still what it has. It is asked with every recall, so
-- that row-level security decides each time what may be seen, and nothing has to be told to anybody when something changes.

-- How many rows the user has, up to `p_limit`, and a hash over each row's ordinal and the transaction that wrote it as it is now:
-- whatever is inserted, changed or removed makes it another. Null where the transaction is not visible. Of a row no more is
-- looked at than its head.
CREATE FUNCTION orchestra.mark_of_user(p_tenant text, p_user_id text, p_at_least text, p_limit int) RETURNS bigint[]
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    v_tenant text := set_config('orchestra.tenant', p_tenant, true);
    -- The first number of a transaction: age() is the only function that makes a number of one.
    v_first bigint := age('3'::xid);
BEGIN
    -- As in search_memories.
    IF p_at_least IS NOT NULL AND (p_at_least::xid8 >= pg_snapshot_xmax(pg_current_snapshot())
        OR pg_xact_status(p_at_least::xid8) <> 'committed') THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT ARRAY[count(*), coalesce(bit_xor(hashint8extended(m.ordinal, v_first - age(m.xmin))), 0)]
        FROM (
            SELECT m.ordinal, m.xmin FROM orchestra.memories m
            WHERE m.tenant = p_tenant AND m.user_id = p_user_id LIMIT p_limit
        ) m
    );
END
$$;

-- The memories of a user, in the order of first writing, with what each is searched by and its part of the mark. Expired ones too,
-- as long as they are there.
CREATE FUNCTION orchestra.read_user(p_tenant text, p_user_id text, p_limit int) RETURNS TABLE (
    mark bigint,
    session bigint,
    words tsvector,
    length int,
    space smallint,
    embedding vector,
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
    v_first bigint := age('3'::xid);
BEGIN
    RETURN QUERY
    SELECT hashint8extended(m.ordinal, v_first - age(m.xmin)), m.session, m.words, m.length, m.space,
        coalesce(m.embedding, m.embedding_half::vector), m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.version, m.kind,
        m.text, m.actor, m.metadata, m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at,
        NULL::timestamptz, m.expires_at
    FROM orchestra.memories m
    WHERE m.tenant = p_tenant AND m.user_id = p_user_id
    ORDER BY m.ordinal LIMIT p_limit;
END
$$;
