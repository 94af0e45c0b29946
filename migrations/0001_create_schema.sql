-- Everything of Orchestra Memory is in this schema. pgvector before 0.8.2 has a buffer overflow in parallel index builds
-- (CVE-2026-3172), and no iterative scan before 0.8.0.
CREATE SCHEMA IF NOT EXISTS orchestra;
CREATE EXTENSION IF NOT EXISTS vector;
-- One GIN index for a tenant's words, not one for words and one for tenants.
CREATE EXTENSION IF NOT EXISTS btree_gin;

DO $$
DECLARE
    version int[] := (
        SELECT (regexp_match(extversion, '^(\d+)\.(\d+)\.(\d+)'))::int[] FROM pg_extension WHERE extname = 'vector'
    );
BEGIN
    IF version < ARRAY[0, 8, 2] THEN
        RAISE EXCEPTION 'the extension "vector" is %, Orchestra Memory needs 0.8.2 or later', array_to_string(version, '.')
            USING HINT = 'Run ALTER EXTENSION vector UPDATE, or install a later pgvector.';
    END IF;
END
$$;

-- One row: which store this is, so that a write token of another one is not taken for one of this.
CREATE TABLE orchestra.store (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    instance uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO orchestra.store DEFAULT VALUES;
