-- What changed, for those who follow: written in the transaction of the change itself, and read in the order in which
-- transactions ended (by their ids and a snapshot, not by the sequence alone, which is given out before the end).
CREATE TABLE orchestra.outbox (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- 'inserted', 'updated', 'forgotten' or 'expired'. No CHECK: it would be parsed anew in each write.
    event text NOT NULL,
    memories uuid[] NOT NULL,
    occurred_at timestamptz NOT NULL
);
