-- The move of the whole memory to another store, and back: who may write here, which items change, and how far each stream of
-- changes has come.
--
-- Outside of a move a write costs what it did: the triggers are made when a move begins (capture_changes, set_gate), and go
-- with its last stream.
--
-- All of it is done with the rights of a role of its own, over all tenants. Whoever moves takes it on (SET ROLE): the owner,
-- or a login that it was granted to. A program that uses the memory does not have it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestra_move') THEN
        CREATE ROLE orchestra_move NOLOGIN;
    END IF;
EXCEPTION
    -- Another database of the same server came first.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role orchestra_move is missing, and % may not create it', current_user
            USING HINT = 'As an administrator: CREATE ROLE orchestra_move NOLOGIN, and grant it to the owner.';
END
$$;

DO $$
DECLARE
    -- Before 16 a member may always take the role on.
    has_grants boolean := current_setting('server_version_num')::int >= 160000;
BEGIN
    -- A superuser may take on any role; an administrator may have granted it.
    IF NOT pg_has_role('orchestra_move', CASE WHEN has_grants THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE 'GRANT orchestra_move TO CURRENT_USER' || CASE WHEN has_grants THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
    END IF;
EXCEPTION
    -- Only a move needs it, and says so.
    WHEN insufficient_privilege THEN
        RAISE WARNING '% may not take on the role orchestra_move, which moves the memory', current_user
            USING HINT = 'As an administrator: GRANT orchestra_move to the owner.';
END
$$;

-- One row: who may write, since which epoch.
CREATE TABLE orchestra.gate (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bigint NOT NULL DEFAULT 0,
    writers text NOT NULL DEFAULT 'clients' CHECK (writers IN ('clients', 'mover'))
);
INSERT INTO orchestra.gate DEFAULT VALUES;

-- Those for whom changes are noted, and the last change that each has moved. What was noted for others before it was captured
-- has a number up to `captured_after`.
CREATE TABLE orchestra.streams (
    name text PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT '0',
    sequence bigint NOT NULL DEFAULT 0,
    captured_after bigint NOT NULL DEFAULT 0,
    captured_at timestamptz NOT NULL DEFAULT now()
);

-- Which items changed, each written in the transaction of its change, and read in the order of (transaction, sequence) as the
-- outbox is. No CHECK of the kind: it would be parsed anew in each write.
CREATE TABLE orchestra.item_changes (
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    -- 'memory', 'rejection', 'forgotten_text' or 'idempotency_key'.
    kind text NOT NULL,
    tenant text NOT NULL,
    user_id text,
    agent_id text,
    session_id text,
    -- Of a memory.
    id uuid,
    -- Of a rejection, and the hash of a forgotten text.
    hash bytea,
    -- Of a write that was sent with it.
    key text,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (transaction, sequence)
);

GRANT SELECT ON orchestra.gate, orchestra.streams TO orchestra_app, orchestra_sweep;
GRANT INSERT (kind, tenant, user_id, agent_id, session_id, id, hash, key) ON orchestra.item_changes
    TO orchestra_app, orchestra_sweep;

GRANT USAGE ON SCHEMA orchestra TO orchestra_move;
GRANT SELECT ON orchestra.store TO orchestra_move;
GRANT SELECT, INSERT ON orchestra.spaces TO orchestra_move;
GRANT SELECT, INSERT, DELETE ON orchestra.sessions TO orchestra_move;
GRANT SELECT, INSERT, UPDATE, DELETE ON orchestra.memories, orchestra.memory_versions TO orchestra_move;
-- The highest ordinal that was written, so that clients go on behind it.
GRANT SELECT, UPDATE ON SEQUENCE orchestra.memories_ordinal_seq TO orchestra_move;
-- A tombstone is never taken away.
GRANT SELECT, INSERT, UPDATE ON orchestra.tombstones TO orchestra_move;
GRANT SELECT, INSERT, DELETE ON orchestra.forgotten_texts TO orchestra_move;
GRANT SELECT, INSERT, UPDATE, DELETE ON orchestra.rejections, orchestra.idempotency_keys TO orchestra_move;
GRANT INSERT (tenant, event, memories, occurred_at) ON orchestra.outbox TO orchestra_move;
GRANT SELECT, UPDATE ON orchestra.gate TO orchestra_move;
GRANT SELECT, INSERT, UPDATE, DELETE ON orchestra.streams TO orchestra_move;
GRANT SELECT, INSERT, DELETE ON orchestra.item_changes TO orchestra_move;
GRANT SELECT ON SEQUENCE orchestra.item_changes_sequence_seq TO orchestra_move;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['gate', 'streams', 'item_changes'] LOOP
        EXECUTE format('ALTER TABLE orchestra.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE orchestra.%I FORCE ROW LEVEL SECURITY', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY[
        'sessions', 'memories', 'memory_versions', 'tombstones', 'forgotten_texts', 'rejections', 'idempotency_keys', 'gate',
        'streams', 'item_changes'
    ] LOOP
        -- To be a member of the role is not enough, as of orchestra_maintenance.
        EXECUTE format(
            'CREATE POLICY move ON orchestra.%I TO orchestra_move '
            'USING (current_user = ''orchestra_move'') WITH CHECK (current_user = ''orchestra_move'')',
            name
        );
    END LOOP;
END
$$;
CREATE POLICY move ON orchestra.outbox FOR INSERT TO orchestra_move WITH CHECK (current_user = 'orchestra_move');
CREATE POLICY everyone ON orchestra.gate FOR SELECT USING (true);
CREATE POLICY everyone ON orchestra.streams FOR SELECT USING (true);
CREATE POLICY own_tenant ON orchestra.item_changes FOR INSERT
    WITH CHECK (tenant = current_setting('orchestra.tenant', true) AND tenant <> '');
CREATE POLICY sweep ON orchestra.item_changes FOR INSERT TO orchestra_sweep WITH CHECK (current_user = 'orchestra_sweep');

-- What keeps writes and the gate apart. Whoever writes holds it shared until the transaction ends, from the first write on;
-- whoever sets the gate holds it alone.
CREATE FUNCTION orchestra.move_lock() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT hashtextextended('orchestra move', 0) $$;

-- The trigger `fence`: refuses what a client writes to a store that is the mover's. OM005; the detail is the epoch.
CREATE FUNCTION orchestra.refuse_while_closed() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    v_gate orchestra.gate;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- Its snapshot may be older than the gate.
        RAISE EXCEPTION 'while the memory is moved it is written to in transactions that are READ COMMITTED'
            USING ERRCODE = 'feature_not_supported';
    END IF;
    PERFORM pg_advisory_xact_lock_shared(orchestra.move_lock());
    -- In a statement of its own, whose snapshot is younger than the lock.
    SELECT * INTO v_gate FROM orchestra.gate;
    IF v_gate.writers IS DISTINCT FROM 'clients' THEN
        RAISE EXCEPTION 'the memory is being moved: this store takes no writes of clients'
            USING ERRCODE = 'OM005', DETAIL = v_gate.epoch;
    END IF;
    RETURN NULL;
END
$$;

-- The triggers `note_…`: note which items a statement changed, if somebody wants to know.
CREATE FUNCTION orchestra.note_changes() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM orchestra.streams) THEN
        RETURN NULL;
    END IF;
    CASE TG_TABLE_NAME
        WHEN 'rejections' THEN
            INSERT INTO orchestra.item_changes (kind, tenant, hash) SELECT 'rejection', c.tenant, c.key FROM changed c;
        WHEN 'forgotten_texts' THEN
            INSERT INTO orchestra.item_changes (kind, tenant, user_id, agent_id, session_id, hash)
            SELECT 'forgotten_text', c.tenant, c.user_id, c.agent_id, c.session_id, c.content_hash FROM changed c;
        WHEN 'idempotency_keys' THEN
            INSERT INTO orchestra.item_changes (kind, tenant, key) SELECT 'idempotency_key', c.tenant, c.key FROM changed c;
        ELSE
            INSERT INTO orchestra.item_changes (kind, tenant, id) SELECT DISTINCT 'memory', c.tenant, c.id FROM changed c;
    END CASE;
    RETURN NULL;
END
$$;

-- Makes the triggers that are needed: the fence while there is a stream or the store is the mover's, the notes while there is a
-- stream. And drops the others, where it is told to. With the owner's rights, whose the tables are: it does nothing else.
--
-- To make one waits for the writes of its table, and lets reads go on; to drop one waits for its reads too. A table that has
-- what it needs is not locked. The order is mostly that in which writes come to the tables.
CREATE FUNCTION orchestra.arrange_move_triggers(p_drop boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_has_stream boolean := EXISTS (SELECT FROM orchestra.streams);
    v_is_closed boolean := (SELECT g.writers <> 'clients' FROM orchestra.gate g);
    v_trigger record;
BEGIN
    FOR v_trigger IN
        SELECT t.name AS on_table, g.name, g.event, g.rows, g.is_fence, d.oid IS NOT NULL AS is_there,
            CASE WHEN g.is_fence THEN v_has_stream OR v_is_closed ELSE v_has_stream AND t.name <> 'sessions' END AS is_needed
        FROM unnest(ARRAY[
            'idempotency_keys', 'rejections', 'tombstones', 'forgotten_texts', 'sessions', 'memory_versions', 'memories'
        ]) WITH ORDINALITY AS t(name, at)
        CROSS JOIN (VALUES
            ('fence', 'INSERT OR UPDATE OR DELETE OR TRUNCATE', '', true),
            ('note_insert', 'INSERT', 'NEW', false),
            ('note_update', 'UPDATE', 'NEW', false),
            ('note_delete', 'DELETE', 'OLD', false)
        ) AS g(name, event, rows, is_fence)
        LEFT JOIN pg_trigger d ON d.tgrelid = ('orchestra.' || t.name)::regclass AND d.tgname = g.name
        ORDER BY t.at, g.name
    LOOP
        IF p_drop AND v_trigger.is_there AND NOT v_trigger.is_needed THEN
            EXECUTE format('DROP TRIGGER %I ON orchestra.%I', v_trigger.name, v_trigger.on_table);
        ELSIF v_trigger.is_needed AND NOT v_trigger.is_there AND v_trigger.is_fence THEN
            EXECUTE format(
                'CREATE TRIGGER %I BEFORE %s ON orchestra.%I FOR EACH STATEMENT WHEN (current_user <> ''orchestra_move'') '
                'EXECUTE FUNCTION orchestra.refuse_while_closed()',
                v_trigger.name, v_trigger.event, v_trigger.on_table
            );
        ELSIF v_trigger.is_needed AND NOT v_trigger.is_there THEN
            EXECUTE format(
                'CREATE TRIGGER %I AFTER %s ON orchestra.%I REFERENCING %s TABLE AS changed FOR EACH STATEMENT '
                'EXECUTE FUNCTION orchestra.note_changes()',
                v_trigger.name, v_trigger.event, v_trigger.on_table, v_trigger.rows
            );
        END IF;
    END LOOP;
END
$$;

-- Says who may write, and waits for the writes that are under way. OM005 where the store is at a later epoch, or at this one
-- with another gate; the detail is the store's.
CREATE FUNCTION orchestra.set_gate(p_epoch bigint, p_writers text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_gate orchestra.gate;
BEGIN
    -- One at a time of these, of capture_changes and of release_changes.
    SELECT * INTO STRICT v_gate FROM orchestra.gate FOR UPDATE;
    IF (v_gate.epoch, v_gate.writers) = (p_epoch, p_writers) THEN
        RETURN;
    END IF;
    IF v_gate.epoch >= p_epoch THEN
        RAISE EXCEPTION 'the store is at a later epoch of its move' USING ERRCODE = 'OM005', DETAIL = v_gate.epoch;
    END IF;
    UPDATE orchestra.gate SET epoch = p_epoch, writers = p_writers;
    IF p_writers = 'mover' THEN
        -- Before the lock: who holds a table and waits for the lock would be waited for.
        PERFORM orchestra.arrange_move_triggers(false);
    END IF;
    PERFORM pg_advisory_xact_lock(orchestra.move_lock());
    IF p_writers = 'clients' THEN
        PERFORM orchestra.go_on_behind((SELECT max(m.ordinal) FROM orchestra.memories m));
    END IF;
END
$$;

-- Has what clients write come behind an ordinal. To be called with the lock held alone.
CREATE FUNCTION orchestra.go_on_behind(p_ordinal bigint) RETURNS void
LANGUAGE sql AS $$
    SELECT setval('orchestra.memories_ordinal_seq', p_ordinal) FROM orchestra.memories_ordinal_seq s
    WHERE p_ordinal >= s.last_value
$$;

-- Has changes noted for a stream from here on. What was written before has ended: a scan that begins now sees it.
CREATE FUNCTION orchestra.capture_changes(p_stream text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM orchestra.gate FOR UPDATE;
    INSERT INTO orchestra.streams (name) VALUES (p_stream) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM orchestra.arrange_move_triggers(false);
    -- Where the triggers were there already.
    PERFORM pg_advisory_xact_lock(orchestra.move_lock());
    UPDATE orchestra.streams s SET
        -- All transactions before this one have ended.
        transaction = pg_snapshot_xmin(pg_current_snapshot()),
        captured_after = (SELECT CASE WHEN q.is_called THEN q.last_value ELSE 0 END FROM orchestra.item_changes_sequence_seq q)
    WHERE s.name = p_stream;
END
$$;

-- Ends a stream, and what is noted for nobody else goes.
CREATE FUNCTION orchestra.release_changes(p_stream text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM orchestra.gate FOR UPDATE;
    DELETE FROM orchestra.streams s WHERE s.name = p_stream;
    PERFORM orchestra.remove_moved_changes();
END
$$;

-- Drops the triggers that are not needed any more, and what they have noted meanwhile. Apart from release_changes, since it has
-- to wait for whoever reads.
CREATE FUNCTION orchestra.clear_after_move() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM orchestra.gate FOR UPDATE;
    PERFORM orchestra.arrange_move_triggers(true);
    PERFORM orchestra.remove_moved_changes();
END
$$;

-- Removes what every stream has moved; where there is none, all.
CREATE FUNCTION orchestra.remove_moved_changes() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_least orchestra.streams;
BEGIN
    SELECT * INTO v_least FROM orchestra.streams s ORDER BY s.transaction, s.sequence LIMIT 1;
    IF v_least.name IS NULL THEN
        DELETE FROM orchestra.item_changes;
    ELSE
        DELETE FROM orchestra.item_changes c WHERE (c.transaction, c.sequence) <= (v_least.transaction, v_least.sequence);
    END IF;
END
$$;

-- A stream. OM006 where it is not captured; the detail is its name.
CREATE FUNCTION orchestra.stream_of(p_stream text) RETURNS orchestra.streams
LANGUAGE plpgsql AS $$
DECLARE
    v_stream orchestra.streams;
BEGIN
    SELECT * INTO v_stream FROM orchestra.streams s WHERE s.name = p_stream;
    IF v_stream.name IS NULL THEN
        RAISE EXCEPTION 'the stream is not captured' USING ERRCODE = 'OM006', DETAIL = p_stream;
    END IF;
    IF v_stream.transaction > pg_snapshot_xmax(pg_current_snapshot()) THEN
        -- Transactions are numbered anew in a server that a dump is restored to: here nothing new would ever be told.
        RAISE EXCEPTION 'the stream % is ahead of this server, as after a dump was restored', p_stream
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Release it, and begin the move anew.';
    END IF;
    RETURN v_stream;
END
$$;

-- The oldest changes that a stream has not moved, up to the oldest transaction that is still under way: all before it have
-- ended, so that nothing comes later to a place before one that was read.
CREATE FUNCTION orchestra.changes_of(p_stream text, p_limit int) RETURNS TABLE (
    transaction text, sequence bigint, kind text, tenant text, user_id text, agent_id text, session_id text, id uuid,
    hash bytea, key text, occurred_at timestamptz
)
LANGUAGE plpgsql
-- However little is known of the table when this is planned, it is read in the order of its key, and no further than the limit.
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    v_stream orchestra.streams := orchestra.stream_of(p_stream);
BEGIN
    RETURN QUERY
    SELECT
        c.transaction::text, c.sequence, c.kind, c.tenant, c.user_id, c.agent_id, c.session_id, c.id, c.hash, c.key,
        c.occurred_at
    FROM orchestra.item_changes c
    WHERE (c.transaction, c.sequence) > (v_stream.transaction, v_stream.sequence) AND c.sequence > v_stream.captured_after
        AND c.transaction < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY c.transaction, c.sequence LIMIT p_limit;
END
$$;

-- Moves a stream on, never back, and what every stream has moved goes.
CREATE FUNCTION orchestra.acknowledge_moved(p_stream text, p_transaction text, p_sequence bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM orchestra.stream_of(p_stream);
    IF p_transaction::xid8 >= pg_snapshot_xmin(pg_current_snapshot()) THEN
        RAISE EXCEPTION 'there is no change at % that could have been read', p_transaction
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE orchestra.streams s SET transaction = p_transaction::xid8, sequence = p_sequence
    WHERE s.name = p_stream AND (s.transaction, s.sequence) < (p_transaction::xid8, p_sequence);
    PERFORM orchestra.remove_moved_changes();
END
$$;

-- What a stream has not moved, with what cannot be read yet.
CREATE FUNCTION orchestra.lag_of(p_stream text) RETURNS TABLE (changes bigint, oldest timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    v_stream orchestra.streams := orchestra.stream_of(p_stream);
BEGIN
    RETURN QUERY
    SELECT count(*), min(c.occurred_at) FROM orchestra.item_changes c
    WHERE (c.transaction, c.sequence) > (v_stream.transaction, v_stream.sequence) AND c.sequence > v_stream.captured_after;
END
$$;

REVOKE EXECUTE ON FUNCTION orchestra.arrange_move_triggers, orchestra.set_gate, orchestra.go_on_behind,
    orchestra.capture_changes, orchestra.release_changes, orchestra.clear_after_move, orchestra.remove_moved_changes,
    orchestra.stream_of, orchestra.changes_of, orchestra.acknowledge_moved, orchestra.lag_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION orchestra.arrange_move_triggers, orchestra.set_gate, orchestra.go_on_behind,
    orchestra.capture_changes, orchestra.release_changes, orchestra.clear_after_move, orchestra.remove_moved_changes,
    orchestra.stream_of, orchestra.changes_of, orchestra.acknowledge_moved, orchestra.lag_of TO orchestra_move;
