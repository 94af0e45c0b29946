-- What each component cost in each month, and what the newest month will have cost when it goes on as in its whole days so
-- far. The newest day of the export counts as not whole: its lines are still coming. No forecast on a month's first day.
WITH
  days AS (
    SELECT
      invoice_month,
      component,
      currency,
      gross_nanos,
      credit_nanos,
      usage_day < MAX(usage_day) OVER () AS is_whole,
      usage_day,
      MAX(usage_day) OVER () AS newest_day
    FROM `${project}.${dataset}.lines`
  ),
  months AS (
    SELECT
      invoice_month,
      component,
      currency,
      MAX(newest_day) AS newest_day,
      invoice_month = FORMAT_DATE('%Y%m', MAX(newest_day)) AS is_open,
      SUM(gross_nanos) AS gross,
      SUM(credit_nanos) AS credit,
      SUM(gross_nanos + credit_nanos) AS net,
      SUM(IF(is_whole, gross_nanos + credit_nanos, 0)) AS whole_net
    FROM days
    GROUP BY invoice_month, component, currency
  )
SELECT
  invoice_month,
  component,
  currency,
  is_open,
  SIGN(gross) * DIV((ABS(gross) + 500), 1000) AS gross_micros,
  SIGN(credit) * DIV((ABS(credit) + 500), 1000) AS credit_micros,
  SIGN(net) * DIV((ABS(net) + 500), 1000) AS net_micros,
  IF(
    is_open,
    DIV(
      DIV(whole_net, 1000) * EXTRACT(DAY FROM LAST_DAY(newest_day)),
      NULLIF((EXTRACT(DAY FROM newest_day) - 1), 0)
    ),
    SIGN(net) * DIV((ABS(net) + 500), 1000)
  ) AS forecast_micros
FROM months
