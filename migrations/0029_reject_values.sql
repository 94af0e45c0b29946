-- Rejects values of one tenant, and says how many are new. The arrays are of one length, an element for each value.
CREATE FUNCTION orchestra.reject_values(
    p_tenant text,
    p_user_id text[],
    p_agent_id text[],
    p_key bytea[],
    p_looks bytea[],
    p_rejected_at timestamptz[],
    p_rejected_by text[]
) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_new bigint;
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    -- Nothing is written to this tenant meanwhile: once this is done, every value that came before it is there to be seen.
    PERFORM pg_advisory_xact_lock(hashtextextended('orchestra:' || p_tenant, 0));
    INSERT INTO orchestra.rejections (tenant, user_id, agent_id, key, looks, rejected_at, rejected_by)
    SELECT p_tenant, i.user_id, i.agent_id, i.key, i.looks, i.rejected_at, i.rejected_by
    FROM unnest(p_user_id, p_agent_id, p_key, p_looks, p_rejected_at, p_rejected_by)
        AS i(user_id, agent_id, key, looks, rejected_at, rejected_by)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_new = ROW_COUNT;
    IF v_new > 0 THEN
        INSERT INTO orchestra.audit (tenant, action, detail)
        VALUES (p_tenant, 'reject', jsonb_build_object('values', v_new));
    END IF;
    RETURN v_new;
END
$$;

-- A page of a scope's rejections, oldest first.
CREATE FUNCTION orchestra.list_rejections(p_tenant text, p_user_id text, p_agent_id text, p_after bigint, p_limit int)
RETURNS SETOF orchestra.rejections
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    RETURN QUERY SELECT * FROM orchestra.rejections r
    WHERE r.tenant = p_tenant AND (p_user_id IS NULL OR r.user_id = p_user_id)
        AND (p_agent_id IS NULL OR r.agent_id = p_agent_id) AND r.sequence > coalesce(p_after, 0)
    ORDER BY r.sequence LIMIT p_limit;
END
$$;

-- Takes a rejection back, and says whether there was one.
CREATE FUNCTION orchestra.lift_rejection(p_tenant text, p_key bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('orchestra.tenant', p_tenant, true);
    DELETE FROM orchestra.rejections r WHERE r.tenant = p_tenant AND r.key = p_key;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO orchestra.audit (tenant, action, detail)
    VALUES (p_tenant, 'lift rejection', jsonb_build_object('key', encode(p_key, 'hex')));
    RETURN true;
END
$$;
