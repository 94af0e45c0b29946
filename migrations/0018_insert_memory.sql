-- Writes one memory: what `insert_memories` does with a batch of one, without its arrays. What is not simple (the id or
-- the key is taken, the session is new, the memory is brought in or derived) goes there.
CREATE FUNCTION orchestra.insert_memory(
    p_tenant text,
    p_now timestamptz,
    p_key text,
    p_body_hash bytea,
    p_keys_since timestamptz,
    p_id uuid,
    p_user_id text,
    p_agent_id text,
    p_session_id text,
    p_version bigint,
    p_kind text,
    p_text text,
    p_actor text,
    p_metadata jsonb,
    p_importance real,
    p_writer text,
    p_path text,
    p_evidence text,
    p_valid_from timestamptz,
    p_valid_to timestamptz,
    p_recorded_at timestamptz,
    p_expires_at timestamptz,
    p_content_hash bytea,
    p_words text,
    p_length int,
    p_space smallint,
    p_embedding vector,
    p_embedding_half halfvec,
    OUT ids uuid[],
    OUT statuses smallint[],
    OUT token text,
    OUT replayed boolean
)
LANGUAGE plpgsql AS $$
DECLARE
    v_setting text;
BEGIN
    IF p_writer NOT IN ('import', 'consolidation') THEN
        v_setting := set_config('orchestra.tenant', p_tenant, true);
        v_setting := set_config('plan_cache_mode', 'force_generic_plan', true);
        v_setting := pg_advisory_xact_lock_shared(hashtextextended('orchestra:' || p_tenant, 0));
        ids := ARRAY[p_id];
        statuses := '{0}';
        token := pg_current_xact_id()::text;
        replayed := false;
        WITH kept AS (
            INSERT INTO orchestra.idempotency_keys (tenant, key, body_hash, receipt, created_at)
            SELECT p_tenant, p_key, p_body_hash,
                jsonb_build_object('ids', to_jsonb(ids), 'statuses', to_jsonb(statuses), 'token', token), p_now
            WHERE p_key IS NOT NULL
            ON CONFLICT DO NOTHING
            RETURNING key
        ), created AS (
            INSERT INTO orchestra.memories (
                id, tenant, user_id, agent_id, session_id, session, version, kind, text, actor, metadata, importance,
                writer, path, evidence, valid_from, valid_to, recorded_at, expires_at, content_hash, words, length, space,
                embedding, embedding_half
            )
            SELECT
                p_id, p_tenant, p_user_id, p_agent_id, p_session_id, s.session, p_version, p_kind, p_text, p_actor,
                p_metadata, p_importance, p_writer, p_path, p_evidence::uuid[], p_valid_from, p_valid_to, p_recorded_at,
                p_expires_at, p_content_hash, p_words::tsvector, p_length, p_space, p_embedding, p_embedding_half
            FROM (
                SELECT CASE WHEN p_session_id IS NOT NULL THEN (
                    SELECT s.session FROM orchestra.sessions s
                    WHERE s.tenant = p_tenant AND s.session_id = p_session_id
                        AND s.user_id IS NOT DISTINCT FROM p_user_id AND s.agent_id IS NOT DISTINCT FROM p_agent_id
                ) END AS session
            ) s
            WHERE (p_key IS NULL OR EXISTS (SELECT FROM kept))
                AND (p_session_id IS NULL OR s.session IS NOT NULL)
                AND NOT EXISTS (SELECT FROM orchestra.tombstones t WHERE t.tenant = p_tenant AND t.id = p_id)
            ON CONFLICT (id) DO NOTHING
            RETURNING id
        )
        INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at)
        SELECT p_tenant, 'inserted', ARRAY[c.id], p_now FROM created c;
        IF FOUND THEN
            RETURN;
        END IF;
        IF p_key IS NOT NULL THEN
            DELETE FROM orchestra.idempotency_keys k
            WHERE k.tenant = p_tenant AND k.key = p_key AND k.receipt ->> 'token' = token;
        END IF;
    END IF;
    SELECT i.ids, i.statuses, i.token, i.replayed INTO ids, statuses, token, replayed
    FROM orchestra.insert_memories(
        p_tenant, p_now, p_key, p_body_hash, p_keys_since, ARRAY[p_id], ARRAY[p_user_id], ARRAY[p_agent_id],
        ARRAY[p_session_id], ARRAY[p_version], ARRAY[p_kind], ARRAY[p_text], ARRAY[p_actor], ARRAY[p_metadata],
        ARRAY[p_importance], ARRAY[p_writer], ARRAY[p_path], ARRAY[p_evidence], ARRAY[p_valid_from], ARRAY[p_valid_to],
        ARRAY[p_recorded_at], ARRAY[p_expires_at], ARRAY[p_content_hash], ARRAY[p_words], ARRAY[p_length],
        ARRAY[p_space], ARRAY[p_embedding], ARRAY[p_embedding_half]
    ) i;
END
$$;
