-- The former versions of memories that are still there, with what each was searched by.
CREATE TABLE orchestra.memory_versions (
    LIKE orchestra.memories,
    superseded_at timestamptz NOT NULL,
    PRIMARY KEY (ordinal, version)
) WITH (toast_tuple_target = 8160);

CREATE INDEX memory_versions_by_user ON orchestra.memory_versions (tenant, user_id, ordinal);
