MERGE ${alerts} AS t
USING (
  SELECT
    TIMESTAMP_MICROS(CAST(JSON_VALUE(r, '$.received_at') AS INT64)) AS received_at,
    JSON_VALUE(r, '$.alert_id') AS alert_id,
    JSON_VALUE(r, '$.budget_id') AS budget_id,
    JSON_VALUE(r, '$.budget_name') AS budget_name,
    TIMESTAMP_MICROS(CAST(JSON_VALUE(r, '$.cost_interval_start') AS INT64)) AS cost_interval_start,
    JSON_VALUE(r, '$.kind') AS kind,
    CAST(JSON_VALUE(r, '$.threshold_ppm') AS INT64) AS threshold_ppm,
    CAST(JSON_VALUE(r, '$.cost_micros') AS INT64) AS cost_micros,
    CAST(JSON_VALUE(r, '$.budget_micros') AS INT64) AS budget_micros,
    JSON_VALUE(r, '$.currency_code') AS currency_code,
    JSON_VALUE_ARRAY(r, '$.actions') AS actions
  FROM UNNEST(JSON_QUERY_ARRAY(@rows)) AS r
) AS s
ON t.alert_id = s.alert_id
WHEN NOT MATCHED THEN INSERT
  (received_at, alert_id, budget_id, budget_name, cost_interval_start, kind, threshold_ppm, cost_micros, budget_micros,
   currency_code, actions)
VALUES
  (s.received_at, s.alert_id, s.budget_id, s.budget_name, s.cost_interval_start, s.kind, s.threshold_ppm, s.cost_micros,
   s.budget_micros, s.currency_code, s.actions)
