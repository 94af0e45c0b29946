-- The vector index of each space: what it was built for, how it is searched, and how well that finds.
CREATE TABLE orchestra.index_state (
    space smallint PRIMARY KEY REFERENCES orchestra.spaces,
    kind text NOT NULL CHECK (kind IN ('exact', 'ivfflat', 'hnsw', 'scann')),
    -- The index's name; none while the search is exact.
    name text,
    -- As it was built: lists, m, ef_construction and the like.
    parameters jsonb NOT NULL DEFAULT '{}',
    rows_at_build bigint,
    built_at timestamptz,
    -- How it is searched: probes or ef_search.
    effort int,
    -- The share of the true nearest that was found with that effort, over a sample.
    measured_recall real,
    measured_k int,
    measured_queries int,
    measured_at timestamptz
);
