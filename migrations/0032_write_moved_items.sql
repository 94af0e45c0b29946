-- What the mover writes: items of another store, made here what they are there.
--
-- All with the rights of orchestra_move, in one transaction that begins with `begin_moved_write`. The arrays of a call are of
-- one length, an element for each item, and as of `insert_memories`; the items are of any tenants, and none is there twice.

-- Whether the mover may write, at that epoch, until the transaction ends. OM005 if not; the detail is the store's epoch. Whoever
-- takes something away holds the lock alone, so that no other write of the mover passes it by.
CREATE FUNCTION orchestra.begin_moved_write(p_epoch bigint, p_alone boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_gate orchestra.gate;
BEGIN
    -- As in insert_memories.
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
    PERFORM set_config('enable_seqscan', 'off', true);
    PERFORM set_config('jit', 'off', true);
    IF p_alone THEN
        PERFORM pg_advisory_xact_lock(orchestra.move_lock());
    ELSE
        PERFORM pg_advisory_xact_lock_shared(orchestra.move_lock());
    END IF;
    -- In a statement of its own, whose snapshot is younger than the lock.
    SELECT * INTO v_gate FROM orchestra.gate;
    IF (v_gate.epoch, v_gate.writers) IS DISTINCT FROM (p_epoch, 'mover') THEN
        RAISE EXCEPTION 'the store is not open to the mover at this epoch' USING ERRCODE = 'OM005', DETAIL = v_gate.epoch;
    END IF;
END
$$;

-- Writes the current versions of memories, and gives the ordinals of those of them that were there. A forgotten memory stays so.
-- `p_started_at` is when the first version of each was recorded, for a session that is new.
CREATE FUNCTION orchestra.write_moved_memories(
    p_ordinal bigint[],
    p_tenant text[],
    p_started_at timestamptz[],
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
    p_embedding_half halfvec[]
) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_at int[];
    v_known uuid[];
    v_session bigint[];
BEGIN
    v_at := ARRAY(
        SELECT i FROM generate_series(1, cardinality(p_id)) AS i
        WHERE NOT EXISTS (SELECT FROM orchestra.tombstones t WHERE t.tenant = p_tenant[i] AND t.id = p_id[i])
    );
    v_known := ARRAY(SELECT m.id FROM orchestra.memories m WHERE m.id = ANY (p_id));
    IF v_known <> '{}' THEN
        -- An id that expired there and was written anew is in another place of the order.
        PERFORM orchestra.remove_moved_rows(ARRAY(
            SELECT m.ordinal FROM unnest(p_ordinal, p_tenant, p_id) AS i(ordinal, tenant, id)
            JOIN orchestra.memories m ON m.id = i.id AND (m.ordinal, m.tenant) <> (i.ordinal, i.tenant)
        ), 'expired');
    END IF;

    IF array_remove(p_session_id, NULL) <> '{}' THEN
        INSERT INTO orchestra.sessions (tenant, user_id, agent_id, session_id, started_at)
        SELECT p_tenant[i], p_user_id[i], p_agent_id[i], p_session_id[i], min(p_started_at[i])
        FROM unnest(v_at) AS i
        WHERE p_session_id[i] IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM orchestra.sessions s
                WHERE s.tenant = p_tenant[i] AND s.session_id = p_session_id[i]
                    AND s.user_id IS NOT DISTINCT FROM p_user_id[i] AND s.agent_id IS NOT DISTINCT FROM p_agent_id[i]
            )
        GROUP BY 1, 2, 3, 4
        ON CONFLICT DO NOTHING;
        v_session := ARRAY(
            SELECT (
                SELECT s.session FROM orchestra.sessions s
                WHERE s.tenant = p_tenant[i] AND s.session_id = p_session_id[i]
                    AND s.user_id IS NOT DISTINCT FROM p_user_id[i] AND s.agent_id IS NOT DISTINCT FROM p_agent_id[i]
            )
            FROM generate_series(1, cardinality(p_id)) AS i ORDER BY i
        );
    END IF;

    -- By subscript, as insert_memories does.
    WITH written AS (
        INSERT INTO orchestra.memories AS m (
            ordinal, id, tenant, user_id, agent_id, session_id, session, version, kind, text, actor, metadata, importance,
            writer, path, evidence, valid_from, valid_to, recorded_at, expires_at, content_hash, words, length, space,
            embedding, embedding_half
        ) OVERRIDING SYSTEM VALUE
        SELECT
            p_ordinal[i], p_id[i], p_tenant[i], p_user_id[i], p_agent_id[i], p_session_id[i], v_session[i], p_version[i],
            p_kind[i], p_text[i], p_actor[i], p_metadata[i], p_importance[i], p_writer[i], p_path[i], p_evidence[i]::uuid[],
            p_valid_from[i], p_valid_to[i], p_recorded_at[i], p_expires_at[i], p_content_hash[i], p_words[i]::tsvector,
            p_length[i], p_space[i], p_embedding[i], p_embedding_half[i]
        FROM unnest(v_at) AS i
        ON CONFLICT (id) DO UPDATE SET
            user_id = excluded.user_id, agent_id = excluded.agent_id, session_id = excluded.session_id,
            session = excluded.session, version = excluded.version, kind = excluded.kind, text = excluded.text,
            actor = excluded.actor, metadata = excluded.metadata, importance = excluded.importance, writer = excluded.writer,
            path = excluded.path, evidence = excluded.evidence, valid_from = excluded.valid_from, valid_to = excluded.valid_to,
            recorded_at = excluded.recorded_at, expires_at = excluded.expires_at, content_hash = excluded.content_hash,
            words = excluded.words, length = excluded.length, space = excluded.space, embedding = excluded.embedding,
            embedding_half = excluded.embedding_half
        -- What is so already stays as it is.
        WHERE (
            m.user_id, m.agent_id, m.session_id, m.session, m.version, m.kind, m.text, m.actor, m.metadata, m.importance,
            m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, m.expires_at, m.content_hash, m.words,
            m.length, m.space, m.embedding, m.embedding_half
        ) IS DISTINCT FROM (
            excluded.user_id, excluded.agent_id, excluded.session_id, excluded.session, excluded.version, excluded.kind,
            excluded.text, excluded.actor, excluded.metadata, excluded.importance, excluded.writer, excluded.path,
            excluded.evidence, excluded.valid_from, excluded.valid_to, excluded.recorded_at, excluded.expires_at,
            excluded.content_hash, excluded.words, excluded.length, excluded.space, excluded.embedding, excluded.embedding_half
        )
        RETURNING m.tenant, m.id
    )
    INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at)
    SELECT w.tenant, 'updated', array_agg(w.id), now() FROM written w WHERE w.id = ANY (v_known) GROUP BY w.tenant;
    RETURN ARRAY(SELECT m.ordinal FROM orchestra.memories m WHERE m.id = ANY (v_known));
END
$$;

-- Writes all former versions of memories whose current ones were just written. Of those that were there, in `p_known`, what is
-- not among them goes.
CREATE FUNCTION orchestra.write_moved_versions(
    p_known bigint[],
    p_ordinal bigint[],
    p_superseded_at timestamptz[],
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
    p_embedding_half halfvec[]
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM orchestra.memory_versions v
    WHERE v.ordinal = ANY (p_known) AND NOT EXISTS (
        SELECT FROM unnest(p_ordinal, p_version) AS i(ordinal, version) WHERE i.ordinal = v.ordinal AND i.version = v.version
    );
    INSERT INTO orchestra.memory_versions AS v (
        ordinal, id, tenant, user_id, agent_id, session_id, session, version, kind, text, actor, metadata, importance, writer,
        path, evidence, valid_from, valid_to, recorded_at, expires_at, content_hash, words, length, space, embedding,
        embedding_half, superseded_at
    )
    SELECT
        m.ordinal, m.id, m.tenant, p_user_id[i], p_agent_id[i], p_session_id[i], m.session, p_version[i], p_kind[i], p_text[i],
        p_actor[i], p_metadata[i], p_importance[i], p_writer[i], p_path[i], p_evidence[i]::uuid[], p_valid_from[i],
        p_valid_to[i], p_recorded_at[i], p_expires_at[i], p_content_hash[i], p_words[i]::tsvector, p_length[i], p_space[i],
        p_embedding[i], p_embedding_half[i], p_superseded_at[i]
    FROM generate_series(1, cardinality(p_id)) AS i
    -- Not of a forgotten one.
    JOIN orchestra.memories m ON m.ordinal = p_ordinal[i] AND m.id = p_id[i]
    ON CONFLICT (ordinal, version) DO UPDATE SET
        user_id = excluded.user_id, agent_id = excluded.agent_id, session_id = excluded.session_id, session = excluded.session,
        kind = excluded.kind, text = excluded.text, actor = excluded.actor, metadata = excluded.metadata,
        importance = excluded.importance, writer = excluded.writer, path = excluded.path, evidence = excluded.evidence,
        valid_from = excluded.valid_from, valid_to = excluded.valid_to, recorded_at = excluded.recorded_at,
        expires_at = excluded.expires_at, content_hash = excluded.content_hash, words = excluded.words,
        length = excluded.length, space = excluded.space, embedding = excluded.embedding,
        embedding_half = excluded.embedding_half, superseded_at = excluded.superseded_at
    WHERE (
        v.user_id, v.agent_id, v.session_id, v.session, v.kind, v.text, v.actor, v.metadata, v.importance, v.writer, v.path,
        v.evidence, v.valid_from, v.valid_to, v.recorded_at, v.expires_at, v.content_hash, v.words, v.length, v.space,
        v.embedding, v.embedding_half, v.superseded_at
    ) IS DISTINCT FROM (
        excluded.user_id, excluded.agent_id, excluded.session_id, excluded.session, excluded.kind, excluded.text,
        excluded.actor, excluded.metadata, excluded.importance, excluded.writer, excluded.path, excluded.evidence,
        excluded.valid_from, excluded.valid_to, excluded.recorded_at, excluded.expires_at, excluded.content_hash,
        excluded.words, excluded.length, excluded.space, excluded.embedding, excluded.embedding_half, excluded.superseded_at
    );
END
$$;

-- Removes memories, with the event that is told of it: 'forgotten' or 'expired'.
CREATE FUNCTION orchestra.remove_moved_memories(p_tenant text[], p_id uuid[], p_event text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM orchestra.remove_moved_rows(ARRAY(
        SELECT m.ordinal FROM unnest(p_tenant, p_id) AS i(tenant, id)
        JOIN orchestra.memories m ON m.id = i.id AND m.tenant = i.tenant
    ), p_event);
END
$$;

CREATE FUNCTION orchestra.remove_moved_rows(p_ordinal bigint[], p_event text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_sessions bigint[];
BEGIN
    IF p_ordinal = '{}' THEN
        RETURN;
    END IF;
    -- Mostly it is held alone already.
    PERFORM pg_advisory_xact_lock(orchestra.move_lock());
    -- The highest may be among them.
    PERFORM orchestra.go_on_behind((SELECT max(o) FROM unnest(p_ordinal) AS o));
    WITH gone AS (
        DELETE FROM orchestra.memories m WHERE m.ordinal = ANY (p_ordinal) RETURNING m.ordinal, m.id, m.tenant, m.session
    ), told AS (
        INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at)
        SELECT g.tenant, p_event, array_agg(g.id ORDER BY g.ordinal), now() FROM gone g GROUP BY g.tenant
    )
    SELECT array_agg(DISTINCT g.session) FILTER (WHERE g.session IS NOT NULL) INTO v_sessions FROM gone g;
    DELETE FROM orchestra.memory_versions v WHERE v.ordinal = ANY (p_ordinal);
    -- The names of a session go with its last turn.
    DELETE FROM orchestra.sessions s
    WHERE s.session = ANY (v_sessions)
        AND (SELECT max(m.ordinal) FROM orchestra.memories m WHERE m.session = s.session) IS NULL;
END
$$;

-- Writes tombstones in the place of memories.
CREATE FUNCTION orchestra.write_moved_tombstones(
    p_tenant text[], p_id uuid[], p_user_id text[], p_agent_id text[], p_session_id text[], p_forgotten_at timestamptz[]
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO orchestra.tombstones AS t (tenant, id, user_id, agent_id, session_id, forgotten_at)
    SELECT * FROM unnest(p_tenant, p_id, p_user_id, p_agent_id, p_session_id, p_forgotten_at)
    ON CONFLICT (tenant, id) DO UPDATE SET
        user_id = excluded.user_id, agent_id = excluded.agent_id, session_id = excluded.session_id,
        forgotten_at = excluded.forgotten_at
    WHERE (t.user_id, t.agent_id, t.session_id, t.forgotten_at)
        IS DISTINCT FROM (excluded.user_id, excluded.agent_id, excluded.session_id, excluded.forgotten_at);
    PERFORM orchestra.remove_moved_memories(p_tenant, p_id, 'forgotten');
END
$$;

REVOKE EXECUTE ON FUNCTION orchestra.begin_moved_write, orchestra.write_moved_memories, orchestra.write_moved_versions,
    orchestra.remove_moved_memories, orchestra.remove_moved_rows, orchestra.write_moved_tombstones FROM PUBLIC;
GRANT EXECUTE ON FUNCTION orchestra.begin_moved_write, orchestra.write_moved_memories, orchestra.write_moved_versions,
    orchestra.remove_moved_memories, orchestra.remove_moved_rows, orchestra.write_moved_tombstones TO orchestra_move;
