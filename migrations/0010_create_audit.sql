-- What somebody did that cannot be undone, and what was done to the store itself (which has no tenant): when, by which role,
-- within which scope, how much, and nothing of what memories say.
--
-- Nothing else is written here, for it can be seen elsewhere: an update keeps the former version, an import is named in each
-- memory that came by it, and what expired is in the outbox.
CREATE TABLE orchestra.audit (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    -- The role of the database that did it.
    role text NOT NULL DEFAULT current_user,
    action text NOT NULL,
    detail jsonb NOT NULL
);
CREATE INDEX audit_by_tenant ON orchestra.audit (tenant, sequence);
