//! A schema as the catalogs tell it, a line for each thing, so that two can be compared.

use sqlx::PgConnection;

const SCHEMA: &str = r#"
WITH
rights AS (
    SELECT a.kind, a.oid, string_agg(format('%s may %s', coalesce(r.rolname, 'everyone'), a.privilege), ', '
        ORDER BY coalesce(r.rolname, 'everyone') COLLATE "C", a.privilege COLLATE "C") AS line
    FROM (
        SELECT 'schema' AS kind, n.oid, e.grantee, e.privilege_type AS privilege
        FROM pg_namespace n, aclexplode(n.nspacl) e
        UNION ALL
        SELECT 'relation', c.oid, e.grantee, e.privilege_type FROM pg_class c, aclexplode(c.relacl) e
        UNION ALL
        SELECT 'function', p.oid, e.grantee, e.privilege_type FROM pg_proc p, aclexplode(p.proacl) e
    ) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    GROUP BY a.kind, a.oid
),
relations AS (SELECT c.* FROM pg_class c WHERE c.relnamespace = to_regnamespace('orchestra')),
functions AS (
    SELECT p.* FROM pg_proc p WHERE p.pronamespace = to_regnamespace('orchestra')
)
SELECT line FROM (
    SELECT format('extension %s %s', extname, extversion) FROM pg_extension
    UNION ALL
    SELECT format('schema %s: %s', n.nspname, r.line)
    FROM pg_namespace n LEFT JOIN rights r ON r.kind = 'schema' AND r.oid = n.oid WHERE n.nspname = 'orchestra'
    UNION ALL
    SELECT format('relation %s kind %s of %s, %s, row security %s forced %s: %s', c.relname, c.relkind,
        pg_get_userbyid(c.relowner), c.reloptions, c.relrowsecurity, c.relforcerowsecurity, r.line)
    FROM relations c LEFT JOIN rights r ON r.kind = 'relation' AND r.oid = c.oid
    UNION ALL
    SELECT format('column %s.%s at %s: %s, not null %s, default %s, identity %s, generated %s, storage %s', c.relname,
        a.attname, row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod),
        a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, a.attstorage)
    FROM relations c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (c.oid, a.attnum)
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'c', 'v', 'm')
    UNION ALL
    SELECT format('constraint %s on %s: %s', k.conname, c.relname, pg_get_constraintdef(k.oid))
    FROM relations c JOIN pg_constraint k ON k.conrelid = c.oid
    UNION ALL
    SELECT pg_get_indexdef(i.indexrelid) FROM relations c JOIN pg_index i ON i.indrelid = c.oid
    UNION ALL
    SELECT format('policy %s on %s: %s for %s to %s using %s check %s', policyname, tablename, permissive, cmd, roles, qual,
        with_check)
    FROM pg_policies WHERE schemaname = 'orchestra'
    UNION ALL
    SELECT pg_get_triggerdef(t.oid) FROM relations c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT pg_get_functiondef(p.oid) || format(' of %s: %s', pg_get_userbyid(p.proowner), r.line)
    FROM functions p LEFT JOIN rights r ON r.kind = 'function' AND r.oid = p.oid WHERE p.prokind IN ('f', 'p')
    UNION ALL
    SELECT format('aggregate %s(%s): %s', p.proname, pg_get_function_identity_arguments(p.oid), r.line)
    FROM functions p LEFT JOIN rights r ON r.kind = 'function' AND r.oid = p.oid WHERE p.prokind IN ('a', 'w')
    UNION ALL
    SELECT format('type %s %s', t.typname, t.typtype) FROM pg_type t WHERE t.typnamespace = to_regnamespace('orchestra')
) things(line)
ORDER BY line COLLATE "C"
"#;

/// Everything in the schema `orchestra`, sorted.
pub async fn schema(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(SCHEMA).fetch_all(connection).await.expect("read the catalogs")
}
