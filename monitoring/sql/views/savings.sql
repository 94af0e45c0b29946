-- What the cache spared each tenant in each month, at the prices that held at the time. A false hit spares nothing: its
-- tokens have to be read and written after all, and a wrong answer has a price of its own (`false-hit`). The cache's own
-- cost is in unit_costs.
WITH
  held AS (
    SELECT
      sku,
      currency_code,
      price_micros,
      per,
      effective_from,
      LEAD(effective_from) OVER (PARTITION BY sku, currency_code ORDER BY effective_from) AS effective_until
    FROM `${project}.${dataset}.prices`
    WHERE sku IN ('model-token', 'false-hit')
  ),
  priced AS (
    SELECT
      FORMAT_DATE('%Y%m', DATE(u.window_start, 'America/Los_Angeles')) AS invoice_month,
      u.tenant,
      h.currency_code AS currency,
      h.sku,
      h.price_micros,
      h.per,
      SUM(u.exact_hits + u.semantic_hits) AS hits,
      SUM(u.false_hits) AS false_hits,
      SUM(u.saved_tokens) AS saved_tokens
    FROM `${project}.${dataset}.usage` AS u
    JOIN held AS h
      ON u.window_start >= h.effective_from AND (h.effective_until IS NULL OR u.window_start < h.effective_until)
    GROUP BY invoice_month, u.tenant, h.currency_code, h.sku, h.price_micros, h.per
  ),
  summed AS (
    SELECT
      invoice_month,
      tenant,
      currency,
      SUM(IF(sku = 'model-token', hits, 0)) AS hits,
      SUM(IF(sku = 'model-token', false_hits, 0)) AS false_hits,
      SUM(IF(sku = 'model-token', saved_tokens, 0)) AS saved_tokens,
      SUM(IF(sku = 'model-token', DIV(saved_tokens * price_micros, per), 0)) AS gross_micros,
      SUM(IF(sku = 'model-token', DIV(DIV(saved_tokens, NULLIF(hits, 0)) * false_hits * price_micros, per), 0))
        AS void_micros,
      SUM(IF(sku = 'false-hit', DIV(false_hits * price_micros, per), 0)) AS wrong_micros
    FROM priced
    GROUP BY invoice_month, tenant, currency
  )
SELECT
  invoice_month,
  tenant,
  currency,
  hits,
  false_hits,
  saved_tokens,
  gross_micros,
  IFNULL(void_micros, 0) + IFNULL(wrong_micros, 0) AS false_hit_micros,
  gross_micros - IFNULL(void_micros, 0) - IFNULL(wrong_micros, 0) AS net_micros
FROM summed
