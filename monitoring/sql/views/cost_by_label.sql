-- What carried each label on each day. A line counts for each of its labels, so the rows do not add up to the cost.
SELECT
  usage_day,
  l.key AS label_key,
  l.value AS label_value,
  currency,
  SIGN(SUM(gross_nanos + credit_nanos)) * DIV((ABS(SUM(gross_nanos + credit_nanos)) + 500), 1000) AS net_micros
FROM `${project}.${dataset}.lines`, UNNEST(labels) AS l
GROUP BY usage_day, l.key, l.value, currency
