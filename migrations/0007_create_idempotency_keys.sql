-- Writes that were sent with a key, and what they were answered.
CREATE TABLE orchestra.idempotency_keys (
    tenant text NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    receipt jsonb,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_keys_by_age ON orchestra.idempotency_keys (created_at);
