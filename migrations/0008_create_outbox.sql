-- What changed, for those who follow: written in the transaction of the change itself, and read in the order in which
-- transactions ended (by their ids and a snapshot, not by the sequence alone, which is given out before the end).
--
-- A new memory is not told of here: its row is that event itself. Rows are followed by their ordinal, up to the highest that
-- no transaction may still be below; a transaction has its id before it is given an ordinal, so those are the ordinals that
-- were seen when every transaction that is under way now had not begun.
CREATE TABLE orchestra.outbox (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- 'updated', 'forgotten' or 'expired'. No CHECK: it would be parsed anew in each write.
    event text NOT NULL,
    memories uuid[] NOT NULL,
    occurred_at timestamptz NOT NULL
);
