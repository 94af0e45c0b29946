-- What each tenant's use cost: the invoice of each month, to the millionth, given first to the components and then to the
-- tenants. Nothing is lost: what rounding leaves over goes, a millionth each, to those whose shares were cut most (largest
-- remainder). The rows of a month add up to its invoice. A component that nobody used is given to no tenant: null.
-- A tenant's share of a component is its share of what makes it cost: operations of the cache and of the working memory,
-- operations of the memories, tokens that were embedded, bytes; of the rest all operations.
WITH
  components AS (
    SELECT invoice_month, currency, component, SUM(gross_nanos + credit_nanos) AS net
    FROM `${project}.${dataset}.lines`
    GROUP BY invoice_month, currency, component
  ),
  cut AS (
    SELECT
      invoice_month,
      currency,
      component,
      MOD((MOD(net, 1000) + 1000), 1000) AS remainder,
      DIV((net - MOD((MOD(net, 1000) + 1000), 1000)), 1000) AS micros,
      SUM(net) OVER (PARTITION BY invoice_month, currency) AS invoice
    FROM components
  ),
  placed AS (
    SELECT
      invoice_month,
      currency,
      component,
      micros,
      SIGN(invoice) * DIV((ABS(invoice) + 500), 1000) - SUM(micros) OVER (PARTITION BY invoice_month, currency) AS left_over,
      ROW_NUMBER() OVER (PARTITION BY invoice_month, currency ORDER BY remainder DESC, component) AS place
    FROM cut
  ),
  amounts AS (
    SELECT invoice_month, currency, component, micros + IF(place <= left_over, 1, 0) AS micros FROM placed
  ),
  used AS (
    SELECT
      FORMAT_DATE('%Y%m', DATE(window_start, 'America/Los_Angeles')) AS invoice_month,
      tenant,
      SUM(operations) AS operations,
      SUM(IF(STARTS_WITH(operation, 'cache.') OR STARTS_WITH(operation, 'working.') OR operation = 'ask', operations, 0))
        AS cache_operations,
      SUM(IF(
        STARTS_WITH(operation, 'memories.') OR STARTS_WITH(operation, 'messages.') OR operation IN ('ask', 'consolidate'),
        operations, 0
      )) AS store_operations,
      SUM(embedded_tokens) AS embedded_tokens,
      SUM(bytes_in + bytes_out) AS bytes
    FROM `${project}.${dataset}.usage`
    GROUP BY invoice_month, tenant
  ),
  weighed AS (
    SELECT
      a.invoice_month,
      a.currency,
      a.component,
      a.micros,
      u.tenant,
      CASE a.component
        WHEN 'redis' THEN u.cache_operations
        WHEN 'alloydb' THEN u.store_operations
        WHEN 'embedding' THEN u.embedded_tokens
        WHEN 'network' THEN u.bytes
        ELSE u.operations
      END AS weight
    FROM amounts AS a
    JOIN used AS u ON u.invoice_month = a.invoice_month
  ),
  summed AS (
    SELECT
      invoice_month, currency, component, micros, tenant, weight,
      SUM(weight) OVER (PARTITION BY invoice_month, currency, component) AS all_weight
    FROM weighed
  ),
  -- Weights below a billion, so that no product below leaves the range of INT64.
  scaled AS (
    SELECT
      invoice_month, currency, component, micros, tenant,
      DIV(weight, (DIV(all_weight, 1000000000) + 1)) AS weight
    FROM summed
  ),
  totals AS (
    SELECT
      invoice_month, currency, component, micros, tenant, weight,
      SUM(weight) OVER (PARTITION BY invoice_month, currency, component) AS all_weight
    FROM scaled
  ),
  shares AS (
    SELECT
      invoice_month, currency, component, micros, tenant, weight,
      DIV(ABS(micros), all_weight) * weight + DIV(MOD(ABS(micros), all_weight) * weight, all_weight) AS share,
      MOD(MOD(ABS(micros), all_weight) * weight, all_weight) AS remainder
    FROM totals
    WHERE all_weight > 0
  ),
  ranked AS (
    SELECT
      invoice_month, currency, component, micros, tenant, weight, share,
      ABS(micros) - SUM(share) OVER (PARTITION BY invoice_month, currency, component) AS left_over,
      ROW_NUMBER() OVER (PARTITION BY invoice_month, currency, component ORDER BY remainder DESC, tenant) AS place
    FROM shares
  )
SELECT invoice_month, currency, component, tenant, SIGN(micros) * (share + IF(place <= left_over, 1, 0)) AS cost_micros
FROM ranked
UNION ALL
SELECT a.invoice_month, a.currency, a.component, CAST(NULL AS STRING) AS tenant, a.micros AS cost_micros
FROM amounts AS a
LEFT JOIN (SELECT DISTINCT invoice_month, currency, component FROM shares) AS s
  ON s.invoice_month = a.invoice_month AND s.currency = a.currency AND s.component = a.component
WHERE s.component IS NULL
