-- Writes one new memory: what `insert_memories` does with a batch of one, without its arrays. It gives the transaction.
--
-- What is not simple is left to `insert_memories`: a key that is taken, a forgotten id, a rejected value, a new session. Then
-- nothing is written, and nothing is given. So it is, with an error of uniqueness, where the id is taken. Memories that are
-- brought in or derived go there from the beginning.
CREATE FUNCTION orchestra.insert_memory(
    p_tenant text,
    p_now timestamptz,
    p_key text,
    p_body_hash bytea,
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
    p_reads bytea,
    p_looks bytea
) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_token text := pg_current_xact_id();
    v_session bigint;
    v_none text;
BEGIN
    -- An assignment is worked out at once, a PERFORM is a query.
    v_none := set_config('orchestra.tenant', p_tenant, true);
    v_none := pg_advisory_xact_lock_shared(hashtextextended('orchestra:' || p_tenant, 0));
    IF p_session_id IS NOT NULL THEN
        SELECT s.session INTO v_session FROM orchestra.sessions s
        WHERE s.tenant = p_tenant AND s.session_id = p_session_id
            AND s.user_id IS NOT DISTINCT FROM p_user_id AND s.agent_id IS NOT DISTINCT FROM p_agent_id;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    IF p_key IS NOT NULL THEN
        -- Who comes second with a key waits here for the end of the first.
        INSERT INTO orchestra.idempotency_keys (tenant, key, body_hash, receipt, created_at)
        VALUES (p_tenant, p_key, p_body_hash, orchestra.receipt_of_created(p_id, v_token), p_now)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO orchestra.memories (
        id, tenant, user_id, agent_id, session_id, session, version, kind, text, actor, metadata, importance, writer,
        path, evidence, valid_from, valid_to, recorded_at, expires_at, content_hash, words, length, space, embedding,
        embedding_half
    )
    SELECT
        p_id, p_tenant, p_user_id, p_agent_id, p_session_id, v_session, p_version, p_kind, p_text, p_actor, p_metadata,
        p_importance, p_writer, p_path, p_evidence::uuid[], p_valid_from, p_valid_to, p_recorded_at, p_expires_at,
        p_content_hash, p_words::tsvector, p_length, p_space, p_embedding, p_embedding_half
    WHERE NOT EXISTS (SELECT FROM orchestra.tombstones t WHERE t.tenant = p_tenant AND t.id = p_id)
        -- As is_rejected, which is a call more.
        AND NOT EXISTS (SELECT FROM orchestra.rejections r WHERE r.tenant = p_tenant AND r.key IN (p_reads, p_looks))
        AND NOT EXISTS (SELECT FROM orchestra.rejections r WHERE r.tenant = p_tenant AND r.looks IN (p_reads, p_looks));
    IF NOT FOUND THEN
        -- Who is told of it gives the key back.
        DELETE FROM orchestra.idempotency_keys k WHERE k.tenant = p_tenant AND k.key = p_key;
        RETURN NULL;
    END IF;
    RETURN v_token;
END
$$;

-- What a write with a key answered that created a memory, as `insert_memories` keeps it.
CREATE FUNCTION orchestra.receipt_of_created(p_id uuid, p_token text) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('ids', jsonb_build_array(p_id), 'statuses', '[0]'::jsonb, 'token', p_token)
$$;
