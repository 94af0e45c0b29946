-- One row for each line of the billing export that is the memory's, in billionths of the currency, so that sums are exact.
-- A line is the memory's when its label `system` is orchestra-memory, or when it has no such label and is of this project.
-- What is charged to the whole account (tax, support) is not. Days are those of the invoice: they begin at midnight in
-- California. `export_day` prunes the export's partitions: filter on it with some days to spare, because lines come late.
SELECT
  DATE(_PARTITIONTIME) AS export_day,
  DATE(usage_start_time, 'America/Los_Angeles') AS usage_day,
  invoice.month AS invoice_month,
  CASE COALESCE((SELECT l.value FROM UNNEST(labels) AS l WHERE l.key = 'component' LIMIT 1), service.description)
    WHEN 'redis' THEN 'redis'
    WHEN 'semantic-cache' THEN 'redis'
    WHEN 'Memorystore' THEN 'redis'
    WHEN 'Cloud Memorystore for Redis' THEN 'redis'
    WHEN 'alloydb' THEN 'alloydb'
    WHEN 'vector-store' THEN 'alloydb'
    WHEN 'AlloyDB' THEN 'alloydb'
    WHEN 'api' THEN 'api'
    WHEN 'Cloud Run' THEN 'api'
    WHEN 'embedding' THEN 'embedding'
    WHEN 'Vertex AI' THEN 'embedding'
    WHEN 'bigquery' THEN 'bigquery'
    WHEN 'BigQuery' THEN 'bigquery'
    WHEN 'network' THEN 'network'
    WHEN 'Networking' THEN 'network'
    ELSE 'other'
  END AS component,
  service.description AS service,
  sku.id AS sku_id,
  sku.description AS sku,
  cost_type,
  currency,
  usage.amount_in_pricing_units AS amount,
  usage.pricing_unit AS unit,
  labels,
  credits,
  export_time,
  CAST(ROUND(cost * 1e9) AS INT64) AS gross_nanos,
  IFNULL((SELECT SUM(CAST(ROUND(c.amount * 1e9) AS INT64)) FROM UNNEST(credits) AS c), 0) AS credit_nanos
FROM `${project}.${dataset}.${export}`
WHERE COALESCE(
  (SELECT l.value FROM UNNEST(labels) AS l WHERE l.key = 'system' LIMIT 1),
  IF(project.id = '${project}', 'orchestra-memory', '')
) = 'orchestra-memory'
