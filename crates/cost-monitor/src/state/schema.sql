-- Times are in microseconds since 1970.
CREATE TABLE IF NOT EXISTS alert (
    alert_id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    actions TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    -- Whether BigQuery has it.
    stored INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS alert_unstored ON alert (received_at) WHERE stored = 0;

-- The newest period of each budget that a message spoke of, and what the budget is.
CREATE TABLE IF NOT EXISTS budget (
    budget_id TEXT PRIMARY KEY,
    newest INTEGER NOT NULL,
    -- Unknown where only BigQuery told of it.
    amount_micros INTEGER,
    currency TEXT
) STRICT;

-- What is true beside the alerts, each once: a period began, an action was released, a notice is settled.
CREATE TABLE IF NOT EXISTS event (
    event_id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    at INTEGER NOT NULL,
    -- Whether BigQuery has it.
    stored INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS event_unstored ON event (at) WHERE stored = 0;

-- Each action once in a period, whichever alert asked for it first.
CREATE TABLE IF NOT EXISTS action (
    budget_id TEXT NOT NULL,
    period INTEGER NOT NULL,
    action TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    taken_at INTEGER NOT NULL,
    released_at INTEGER,
    PRIMARY KEY (budget_id, period, action)
) STRICT;

-- A notice for each alert and channel: waiting, sent, or dead.
CREATE TABLE IF NOT EXISTS delivery (
    alert_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    next_at INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    PRIMARY KEY (alert_id, channel)
) STRICT;
CREATE INDEX IF NOT EXISTS delivery_waiting ON delivery (next_at) WHERE state = 'waiting';

CREATE TABLE IF NOT EXISTS dead_letter (
    message_id TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    attributes TEXT NOT NULL,
    data BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    published INTEGER NOT NULL DEFAULT 0
) STRICT;
