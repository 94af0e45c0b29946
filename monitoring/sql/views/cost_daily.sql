-- What each component cost on each day. Money is in millionths of the currency, rounded once for each row, halves away from
-- zero. Net is what is paid: the cost and the credits, which are negative.
SELECT
  usage_day,
  component,
  currency,
  SIGN(SUM(gross_nanos)) * DIV((ABS(SUM(gross_nanos)) + 500), 1000) AS gross_micros,
  SIGN(SUM(credit_nanos)) * DIV((ABS(SUM(credit_nanos)) + 500), 1000) AS credit_micros,
  SIGN(SUM(gross_nanos + credit_nanos)) * DIV((ABS(SUM(gross_nanos + credit_nanos)) + 500), 1000) AS net_micros
FROM `${project}.${dataset}.lines`
GROUP BY usage_day, component, currency
