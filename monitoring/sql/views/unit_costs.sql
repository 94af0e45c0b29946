-- What 1,000 recalls cost in each month, all components together, and what a hit of the cache cost, of the cache alone.
-- A recall is a search that did not fail, or an answer to `ask`.
WITH
  costs AS (
    SELECT
      invoice_month,
      currency,
      SUM(gross_nanos + credit_nanos) AS net,
      SUM(IF(component = 'redis', gross_nanos + credit_nanos, 0)) AS cache_net
    FROM `${project}.${dataset}.lines`
    GROUP BY invoice_month, currency
  ),
  used AS (
    SELECT
      FORMAT_DATE('%Y%m', DATE(window_start, 'America/Los_Angeles')) AS invoice_month,
      SUM(IF(operation IN ('memories.search', 'ask'), operations - failures, 0)) AS recalls,
      SUM(exact_hits + semantic_hits) AS hits
    FROM `${project}.${dataset}.usage`
    GROUP BY invoice_month
  )
SELECT
  c.invoice_month,
  c.currency,
  SIGN(c.net) * DIV((ABS(c.net) + 500), 1000) AS net_micros,
  SIGN(c.cache_net) * DIV((ABS(c.cache_net) + 500), 1000) AS cache_micros,
  IFNULL(u.recalls, 0) AS recalls,
  IFNULL(u.hits, 0) AS hits,
  DIV(c.net, NULLIF(u.recalls, 0)) AS per_1000_recalls_micros,
  DIV(DIV(c.cache_net, NULLIF(u.hits, 0)), 1000) AS per_hit_micros
FROM costs AS c
LEFT JOIN used AS u ON u.invoice_month = c.invoice_month
