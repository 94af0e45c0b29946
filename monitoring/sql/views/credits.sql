-- The credits of each month, by what they were given for. Amounts are negative.
SELECT
  invoice_month,
  component,
  c.type AS credit_type,
  c.name AS credit_name,
  currency,
  SIGN(SUM(CAST(ROUND(c.amount * 1e9) AS INT64)))
    * DIV((ABS(SUM(CAST(ROUND(c.amount * 1e9) AS INT64))) + 500), 1000) AS credit_micros
FROM `${project}.${dataset}.lines`, UNNEST(credits) AS c
GROUP BY invoice_month, component, c.type, c.name, currency
