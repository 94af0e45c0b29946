-- Each day's cost of each component beside the mean of the 14 days before it, as far as they had any. A day stands out when
-- it is half as much again as that mean and one unit of the currency above it; the first week stands out for nothing.
WITH
  days AS (
    SELECT usage_day, component, currency, SUM(gross_nanos + credit_nanos) AS net
    FROM `${project}.${dataset}.lines`
    GROUP BY usage_day, component, currency
  ),
  beside AS (
    SELECT
      usage_day,
      component,
      currency,
      net,
      SUM(net) OVER trailing AS trailing_net,
      COUNT(net) OVER trailing AS trailing_days
    FROM days
    WINDOW trailing AS (
      PARTITION BY component, currency
      ORDER BY UNIX_DATE(usage_day)
      RANGE BETWEEN 14 PRECEDING AND 1 PRECEDING
    )
  )
SELECT
  usage_day,
  component,
  currency,
  SIGN(net) * DIV((ABS(net) + 500), 1000) AS net_micros,
  DIV(DIV(trailing_net, trailing_days), 1000) AS expected_micros,
  trailing_days,
  2 * net * trailing_days > 3 * trailing_net AND net - DIV(trailing_net, trailing_days) >= 1000000000 AS stands_out
FROM beside
WHERE trailing_days >= 7
