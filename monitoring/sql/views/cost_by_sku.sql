-- What each SKU cost on each day, and how much of it was used, in the unit that its price is for.
SELECT
  usage_day,
  component,
  service,
  sku_id,
  sku,
  unit,
  currency,
  SUM(amount) AS amount,
  COUNT(*) AS line_count,
  SIGN(SUM(gross_nanos)) * DIV((ABS(SUM(gross_nanos)) + 500), 1000) AS gross_micros,
  SIGN(SUM(credit_nanos)) * DIV((ABS(SUM(credit_nanos)) + 500), 1000) AS credit_micros,
  SIGN(SUM(gross_nanos + credit_nanos)) * DIV((ABS(SUM(gross_nanos + credit_nanos)) + 500), 1000) AS net_micros
FROM `${project}.${dataset}.lines`
GROUP BY usage_day, component, service, sku_id, sku, unit, currency
