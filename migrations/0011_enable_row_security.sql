-- The store itself keeps tenants apart: a statement sees the rows of the tenant that its transaction names, and no rows
-- when it names none. Forced for the owner too; a superuser and a role with BYPASSRLS are not held by it.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'sessions', 'memories', 'memory_versions', 'tombstones', 'forgotten_texts', 'rejections', 'idempotency_keys', 'outbox',
        'audit'
    ] LOOP
        EXECUTE format('ALTER TABLE orchestra.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE orchestra.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON orchestra.%I '
            'USING (tenant = current_setting(''orchestra.tenant'', true)) '
            -- Once a session has named a tenant, none is an empty name to the transactions after.
            'WITH CHECK (tenant = current_setting(''orchestra.tenant'', true) AND tenant <> '''')',
            name
        );
    END LOOP;
    -- These hold nothing of a tenant.
    FOREACH name IN ARRAY ARRAY['store', 'spaces', 'index_state'] LOOP
        EXECUTE format('ALTER TABLE orchestra.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE orchestra.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY everyone ON orchestra.%I USING (true) WITH CHECK (true)', name);
    END LOOP;
END
$$;
