-- Writes a batch in one statement, all or nothing: one round trip for memories and idempotency key.
--
-- The arrays are of one length, an element for each memory. `p_evidence` and `p_words` hold each element as text. What is
-- refused is told by the error's code: OM001 an id is taken, OM002 an id was forgotten, OM003 a key was used with another
-- body, OM004 a text was rejected; the detail is the id, the key or the place in the arrays, from 0. A status is 0 for created,
-- 1 for unchanged, 2 for refused because forgotten, 5 for refused because rejected. `p_reads` and `p_looks` are the keys of a
-- text's value.
CREATE FUNCTION orchestra.insert_memories(
    p_tenant text,
    p_now timestamptz,
    p_key text,
    p_body_hash bytea,
    -- Keys older than this have had their time.
    p_keys_since timestamptz,
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
) RETURNS TABLE (ids uuid[], statuses smallint[], token text, replayed boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_receipt jsonb;
    v_hash bytea;
    v_status smallint[];
    v_known smallint[];
    v_session bigint[];
    v_at int;
    v_count int;
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    -- Whatever the tables hold, each row is looked up by its key, and how is worked out once for a connection.
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
    PERFORM set_config('enable_seqscan', 'off', true);
    -- Nothing of this tenant is forgotten meanwhile: what is derived from a memory cannot slip in beside its forgetting.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('orchestra:' || p_tenant, 0));
    token := pg_current_xact_id()::text;
    replayed := false;

    IF p_key IS NOT NULL THEN
        -- Who comes second with a key waits here for the end of the first.
        INSERT INTO orchestra.idempotency_keys AS k (tenant, key, body_hash, created_at)
        VALUES (p_tenant, p_key, p_body_hash, p_now)
        ON CONFLICT (tenant, key) DO UPDATE
            SET body_hash = excluded.body_hash, created_at = excluded.created_at, receipt = NULL
            WHERE k.created_at <= p_keys_since;
        IF NOT FOUND THEN
            SELECT k.body_hash, k.receipt INTO STRICT v_hash, v_receipt
            FROM orchestra.idempotency_keys k WHERE k.tenant = p_tenant AND k.key = p_key;
            IF v_hash <> p_body_hash THEN
                RAISE EXCEPTION 'the key was used with another body' USING ERRCODE = 'OM003', DETAIL = p_key;
            END IF;
            RETURN QUERY SELECT
                ARRAY(SELECT jsonb_array_elements_text(v_receipt -> 'ids')::uuid),
                ARRAY(SELECT jsonb_array_elements_text(v_receipt -> 'statuses')::smallint),
                v_receipt ->> 'token',
                true;
            RETURN;
        END IF;
    END IF;

    -- Mostly nothing is known of any of them, which is quickly seen.
    v_status := CASE
        WHEN 'consolidation' = ANY (p_writer)
            OR EXISTS (SELECT FROM orchestra.tombstones t WHERE t.tenant = p_tenant AND t.id = ANY (p_id))
            OR ('import' = ANY (p_writer) AND EXISTS (
                SELECT FROM orchestra.forgotten_texts f
                WHERE f.tenant = p_tenant AND f.content_hash = ANY (p_content_hash)
            ))
            OR orchestra.is_rejected(p_tenant, p_reads || p_looks)
        THEN orchestra.statuses_of_new(
            p_tenant, p_id, p_user_id, p_agent_id, p_session_id, p_text, p_writer, p_evidence, p_content_hash, p_reads, p_looks
        )
        ELSE array_fill(0::smallint, ARRAY[cardinality(p_id)])
    END;

    -- A number for each session, new or known.
    IF array_remove(p_session_id, NULL) <> '{}' THEN
        INSERT INTO orchestra.sessions (tenant, user_id, agent_id, session_id, started_at)
        SELECT DISTINCT p_tenant, i.user_id, i.agent_id, i.session_id, p_now
        FROM unnest(p_user_id, p_agent_id, p_session_id, v_status) AS i(user_id, agent_id, session_id, status)
        WHERE i.session_id IS NOT NULL AND i.status = 0
            AND NOT EXISTS (
                SELECT FROM orchestra.sessions s
                WHERE s.tenant = p_tenant AND s.session_id = i.session_id
                    AND s.user_id IS NOT DISTINCT FROM i.user_id AND s.agent_id IS NOT DISTINCT FROM i.agent_id
            )
        ON CONFLICT DO NOTHING;
        v_session := ARRAY(
            SELECT (
                SELECT s.session FROM orchestra.sessions s
                WHERE s.tenant = p_tenant AND s.session_id = i.session_id
                    AND s.user_id IS NOT DISTINCT FROM i.user_id AND s.agent_id IS NOT DISTINCT FROM i.agent_id
            )
            FROM unnest(p_user_id, p_agent_id, p_session_id) WITH ORDINALITY AS i(user_id, agent_id, session_id, at)
            ORDER BY i.at
        );
    END IF;

    -- By subscript: an array that a function holds is taken apart once, where unnest would first write out a table of each.
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
    FROM generate_series(1, cardinality(p_id)) AS i
    WHERE v_status[i] = 0
    ON CONFLICT (id) DO NOTHING;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count < cardinality(array_positions(v_status, 0::smallint)) THEN
        -- The id was there, or another transaction wrote it a moment ago, or another tenant has it.
        v_known := orchestra.statuses_of_new(
            p_tenant, p_id, p_user_id, p_agent_id, p_session_id, p_text, p_writer, p_evidence, p_content_hash, p_reads, p_looks
        );
        FOR v_at IN
            SELECT i.at FROM unnest(p_id, v_status) WITH ORDINALITY AS i(id, status, at)
            LEFT JOIN LATERAL (
                SELECT m.xmin FROM orchestra.memories m WHERE m.id = i.id LIMIT 1
            ) m ON true
            -- Not written here.
            WHERE i.status = 0 AND m.xmin IS DISTINCT FROM pg_current_xact_id()::xid
        LOOP
            IF v_known[v_at] = 0 THEN
                RAISE EXCEPTION 'the id is taken' USING ERRCODE = 'OM001', DETAIL = p_id[v_at];
            END IF;
            v_status[v_at] := v_known[v_at];
        END LOOP;
    END IF;

    IF p_key IS NOT NULL THEN
        UPDATE orchestra.idempotency_keys k
        SET receipt = jsonb_build_object('ids', to_jsonb(p_id), 'statuses', to_jsonb(v_status), 'token', token)
        WHERE k.tenant = p_tenant AND k.key = p_key;
    END IF;
    RETURN QUERY SELECT p_id, v_status, token, false;
END
$$;

-- What becomes of each memory of a batch.
CREATE FUNCTION orchestra.statuses_of_new(
    p_tenant text,
    p_id uuid[],
    p_user_id text[],
    p_agent_id text[],
    p_session_id text[],
    p_text text[],
    p_writer text[],
    p_evidence text[],
    p_content_hash bytea[],
    p_reads bytea[],
    p_looks bytea[]
) RETURNS smallint[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_status smallint[];
    v_at int;
    -- Most tenants have rejected nothing: then no function is called.
    v_rejects boolean := EXISTS (SELECT FROM orchestra.rejections r WHERE r.tenant = p_tenant);
BEGIN
    v_status := ARRAY(
        SELECT CASE
            WHEN m.id IS NOT NULL THEN
                CASE
                    WHEN m.text = i.text AND m.user_id IS NOT DISTINCT FROM i.user_id
                        AND m.agent_id IS NOT DISTINCT FROM i.agent_id
                        AND m.session_id IS NOT DISTINCT FROM i.session_id THEN 1
                    ELSE 3
                END
            WHEN t.id IS NOT NULL THEN CASE WHEN i.writer IN ('import', 'consolidation') THEN 2 ELSE 4 END
            WHEN v_rejects AND orchestra.is_rejected(p_tenant, ARRAY[i.reads, i.looks])
                THEN CASE WHEN i.writer IN ('import', 'consolidation') THEN 5 ELSE 6 END
            WHEN i.writer IN ('import', 'consolidation') AND EXISTS (
                SELECT FROM orchestra.forgotten_texts f
                WHERE f.tenant = p_tenant AND f.content_hash = i.content_hash
                    AND f.user_id IS NOT DISTINCT FROM i.user_id AND f.agent_id IS NOT DISTINCT FROM i.agent_id
                    AND f.session_id IS NOT DISTINCT FROM i.session_id
            ) THEN 2
            WHEN i.writer = 'consolidation' AND EXISTS (
                SELECT FROM orchestra.tombstones s WHERE s.tenant = p_tenant AND s.id = ANY (i.evidence::uuid[])
            ) THEN 2
            ELSE 0
        END::smallint
        FROM unnest(
            p_id, p_user_id, p_agent_id, p_session_id, p_text, p_writer, p_evidence, p_content_hash, p_reads, p_looks
        ) WITH ORDINALITY AS i(id, user_id, agent_id, session_id, text, writer, evidence, content_hash, reads, looks, at)
        -- Each looked up by itself, by its key: as a join it was planned as one of every row with every row.
        LEFT JOIN LATERAL (SELECT * FROM orchestra.memories m WHERE m.id = i.id LIMIT 1) m ON true
        LEFT JOIN LATERAL (
            SELECT t.id FROM orchestra.tombstones t WHERE t.tenant = p_tenant AND t.id = i.id LIMIT 1
        ) t ON true
        ORDER BY i.at
    );
    v_at := array_position(v_status, 3::smallint);
    IF v_at IS NOT NULL THEN
        RAISE EXCEPTION 'the id is taken' USING ERRCODE = 'OM001', DETAIL = p_id[v_at];
    END IF;
    v_at := array_position(v_status, 4::smallint);
    IF v_at IS NOT NULL THEN
        RAISE EXCEPTION 'the id was forgotten' USING ERRCODE = 'OM002', DETAIL = p_id[v_at];
    END IF;
    v_at := array_position(v_status, 6::smallint);
    IF v_at IS NOT NULL THEN
        RAISE EXCEPTION 'the value was rejected' USING ERRCODE = 'OM004', DETAIL = v_at - 1;
    END IF;
    RETURN v_status;
END
$$;

-- Whether one of these keys is that of a value that was rejected.
CREATE FUNCTION orchestra.is_rejected(p_tenant text, p_key bytea[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- Most tenants have rejected nothing: then no key is looked for.
    RETURN EXISTS (SELECT FROM orchestra.rejections r WHERE r.tenant = p_tenant) AND (
        EXISTS (SELECT FROM orchestra.rejections r WHERE r.tenant = p_tenant AND r.key = ANY (p_key))
        OR EXISTS (SELECT FROM orchestra.rejections r WHERE r.tenant = p_tenant AND r.looks = ANY (p_key))
    );
END
$$;
