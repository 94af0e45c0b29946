-- Whether memories are as they were at a former time: an answer that was computed from them meanwhile is kept only then.
--
-- A mark is a snapshot. A row that the snapshot does not see was written since: the first version of a memory, a later one, or
-- a vector that came late, which is no change and costs an answer that is computed anew. No function that writes memories
-- has a part that is rolled back by itself, so that the transaction in a row is one that a snapshot tells of.
CREATE FUNCTION orchestra.memories_stand(p_tenant text, p_now timestamptz, p_id uuid[], p_since text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_since pg_snapshot := p_since;
    -- A row has the low half of its transaction's number. The high half is that of the latest transaction below this one.
    v_next numeric := pg_snapshot_xmax(pg_current_snapshot())::text::numeric;
    v_round numeric := 4294967296;
    v_standing bigint;
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    SELECT count(*) INTO v_standing FROM (
        SELECT div(v_next, v_round) * v_round + m.xmin::text::numeric AS written FROM orchestra.memories m
        WHERE m.tenant = p_tenant AND m.id = ANY (p_id) AND (m.expires_at IS NULL OR m.expires_at > p_now)
    ) m
    WHERE v_since IS NULL
        OR pg_visible_in_snapshot(
            (CASE WHEN m.written >= v_next THEN m.written - v_round ELSE m.written END)::text::xid8, v_since
        );
    RETURN v_standing = cardinality(p_id);
END
$$;
