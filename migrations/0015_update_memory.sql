-- Puts another version in a memory's place and keeps the former one.
--
-- The caller has read the version that it changes. `outcome` says whether it was still that one: 'updated', 'not_found', or
-- 'changed' with the version that is there now. The vector is left as it is where `p_keep_embedding` says so. The keys of its
-- value come with another text; OM004 says that it was rejected.
CREATE FUNCTION orchestra.update_memory(
    p_tenant text,
    p_user_id text,
    p_agent_id text,
    p_session_id text,
    p_now timestamptz,
    p_id uuid,
    p_former_version bigint,
    p_text text,
    p_metadata jsonb,
    p_importance real,
    p_valid_to timestamptz,
    p_expires_at timestamptz,
    p_content_hash bytea,
    p_words text,
    p_length int,
    p_keep_embedding boolean,
    p_space smallint,
    p_embedding vector,
    p_embedding_half halfvec,
    p_reads bytea,
    p_looks bytea
) RETURNS TABLE (outcome text, version bigint, token text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_former orchestra.memories;
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    -- Nothing of this tenant is forgotten meanwhile: a former version kept beside its forgetting would be left behind.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('orchestra:' || p_tenant, 0));
    SELECT * INTO v_former FROM orchestra.memories m
    WHERE m.id = p_id AND (m.expires_at IS NULL OR m.expires_at > p_now)
        AND orchestra.is_within(m, p_user_id, p_agent_id, p_session_id)
    FOR UPDATE;
    IF v_former.id IS NULL THEN
        RETURN QUERY SELECT 'not_found', NULL::bigint, NULL::text;
        RETURN;
    END IF;
    IF v_former.version <> p_former_version THEN
        RETURN QUERY SELECT 'changed', v_former.version, NULL::text;
        RETURN;
    END IF;
    IF p_reads IS NOT NULL AND orchestra.is_rejected(p_tenant, ARRAY[p_reads, p_looks]) THEN
        RAISE EXCEPTION 'the value was rejected' USING ERRCODE = 'OM004';
    END IF;
    -- By name: a column that is added later stands elsewhere in the one table than in the other.
    INSERT INTO orchestra.memory_versions (
        ordinal, id, tenant, user_id, agent_id, session_id, session, version, kind, text, actor, metadata, importance,
        writer, path, evidence, valid_from, valid_to, recorded_at, expires_at, content_hash, words, length, space,
        embedding, embedding_half, superseded_at
    ) VALUES (
        v_former.ordinal, v_former.id, v_former.tenant, v_former.user_id, v_former.agent_id, v_former.session_id,
        v_former.session, v_former.version, v_former.kind, v_former.text, v_former.actor, v_former.metadata,
        v_former.importance, v_former.writer, v_former.path, v_former.evidence, v_former.valid_from, v_former.valid_to,
        v_former.recorded_at, v_former.expires_at, v_former.content_hash, v_former.words, v_former.length, v_former.space,
        v_former.embedding, v_former.embedding_half, p_now
    );
    UPDATE orchestra.memories m SET
        version = p_former_version + 1,
        text = p_text,
        metadata = p_metadata,
        importance = p_importance,
        valid_to = p_valid_to,
        recorded_at = p_now,
        expires_at = p_expires_at,
        content_hash = p_content_hash,
        words = p_words::tsvector,
        length = p_length,
        space = CASE WHEN p_keep_embedding THEN m.space ELSE p_space END,
        embedding = CASE WHEN p_keep_embedding THEN m.embedding ELSE p_embedding END,
        embedding_half = CASE WHEN p_keep_embedding THEN m.embedding_half ELSE p_embedding_half END
    WHERE m.ordinal = v_former.ordinal;
    INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at) VALUES (p_tenant, 'updated', ARRAY[p_id], p_now);
    RETURN QUERY SELECT 'updated', p_former_version + 1, pg_current_xact_id()::text;
END
$$;
