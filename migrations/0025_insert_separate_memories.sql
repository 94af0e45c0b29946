-- Writes new memories of one tenant that several callers wrote at the same time, each as `insert_memory` would write it by
-- itself: one round trip and one transaction for all of them. It gives the transaction.
--
-- Where one of them is not simple, nothing is written and nothing is given, as there; each is then written by itself. The
-- arrays are as of `insert_memories`, with a key and a hash of the body, or NULL, for each memory; no id and no key is in them
-- twice.
CREATE FUNCTION orchestra.insert_separate_memories(
    p_tenant text,
    p_now timestamptz,
    p_key text[],
    p_body_hash bytea[],
    p_id uuid[],
    p_user_id text[],
    p_agent_id text[],
    p_session_id text[],
    p_version bigint[],
    p_kind text[],
    p_text text[],
    p_actor text[],
    p_metadata jsonb[],
    p_importance real[],
    p_writer text[],
    p_path text[],
    p_evidence text[],
    p_valid_from timestamptz[],
    p_valid_to timestamptz[],
    p_recorded_at timestamptz[],
    p_expires_at timestamptz[],
    p_content_hash bytea[],
    p_words text[],
    p_length int[],
    p_space smallint[],
    p_embedding vector[],
    p_embedding_half halfvec[],
    p_reads bytea[],
    p_looks bytea[]
) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_token text := pg_current_xact_id();
    v_has_keys boolean := array_remove(p_key, NULL) <> '{}';
    v_session bigint[];
    v_none text;
BEGIN
    v_none := set_config('orchestra.tenant', p_tenant, true);
    v_none := set_config('plan_cache_mode', 'force_generic_plan', true);
    v_none := set_config('enable_seqscan', 'off', true);
    v_none := pg_advisory_xact_lock_shared(hashtextextended('orchestra:' || p_tenant, 0));
    IF EXISTS (SELECT FROM orchestra.tombstones t WHERE t.tenant = p_tenant AND t.id = ANY (p_id))
        OR orchestra.is_rejected(p_tenant, p_reads || p_looks)
        OR (v_has_keys AND EXISTS (
            SELECT FROM orchestra.idempotency_keys k WHERE k.tenant = p_tenant AND k.key = ANY (p_key)
        )) THEN
        RETURN NULL;
    END IF;
    IF array_remove(p_session_id, NULL) <> '{}' THEN
        v_session := ARRAY(
            SELECT (
                SELECT s.session FROM orchestra.sessions s
                WHERE s.tenant = p_tenant AND s.session_id = i.session_id
                    AND s.user_id IS NOT DISTINCT FROM i.user_id AND s.agent_id IS NOT DISTINCT FROM i.agent_id
            )
            FROM unnest(p_user_id, p_agent_id, p_session_id) WITH ORDINALITY AS i(user_id, agent_id, session_id, at)
            ORDER BY i.at
        );
        IF cardinality(array_remove(v_session, NULL)) < cardinality(array_remove(p_session_id, NULL)) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF v_has_keys THEN
        INSERT INTO orchestra.idempotency_keys (tenant, key, body_hash, receipt, created_at)
        SELECT p_tenant, i.key, i.body_hash, orchestra.receipt_of_created(i.id, v_token), p_now
        FROM unnest(p_key, p_body_hash, p_id) AS i(key, body_hash, id)
        WHERE i.key IS NOT NULL;
    END IF;
    -- By subscript, as `insert_memories` does.
    INSERT INTO orchestra.memories (
        id, tenant, user_id, agent_id, session_id, session, version, kind, text, actor, metadata, importance, writer,
        path, evidence, valid_from, valid_to, recorded_at, expires_at, content_hash, words, length, space, embedding,
        embedding_half
    )
    SELECT
        p_id[i], p_tenant, p_user_id[i], p_agent_id[i], p_session_id[i], v_session[i], p_version[i], p_kind[i], p_text[i],
        p_actor[i], p_metadata[i], p_importance[i], p_writer[i], p_path[i], p_evidence[i]::uuid[], p_valid_from[i],
        p_valid_to[i], p_recorded_at[i], p_expires_at[i], p_content_hash[i], p_words[i]::tsvector, p_length[i], p_space[i],
        p_embedding[i], p_embedding_half[i]
    FROM generate_series(1, cardinality(p_id)) AS i;
    RETURN v_token;
END
$$;
