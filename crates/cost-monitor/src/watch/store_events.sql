MERGE ${events} AS t
USING (
  SELECT
    TIMESTAMP_MICROS(CAST(JSON_VALUE(r, '$.happened_at') AS INT64)) AS happened_at,
    JSON_VALUE(r, '$.event_id') AS event_id,
    JSON_VALUE(r, '$.kind') AS kind,
    JSON_VALUE(r, '$.budget_id') AS budget_id,
    TIMESTAMP_MICROS(CAST(JSON_VALUE(r, '$.cost_interval_start') AS INT64)) AS cost_interval_start,
    JSON_VALUE(r, '$.name') AS name,
    JSON_VALUE(r, '$.alert_id') AS alert_id
  FROM UNNEST(JSON_QUERY_ARRAY(@rows)) AS r
) AS s
ON t.event_id = s.event_id
WHEN NOT MATCHED THEN INSERT
  (happened_at, event_id, kind, budget_id, cost_interval_start, name, alert_id)
VALUES
  (s.happened_at, s.event_id, s.kind, s.budget_id, s.cost_interval_start, s.name, s.alert_id)
