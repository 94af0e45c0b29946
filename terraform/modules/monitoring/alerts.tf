# Alerts of three origins, each with its runbook as the text that whoever is told gets to read:
# what the server measures (the rules that Prometheus reads too), what Google measures of the parts, and what cost-monitor
# says of the cost.

locals {
  runbooks = "${path.module}/../../../docs/runbooks"

  cloud_run = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"${basename(var.api_service_name)}\" AND metric.type = \"run.googleapis.com/request_count\""
  # Memorystore puts the instance's id or its full name there.
  valkey  = "resource.type = \"memorystore.googleapis.com/Instance\" AND resource.labels.instance_id = ends_with(\"${basename(var.redis_instance_id)}\")"
  alloydb = "resource.type = \"alloydb.googleapis.com/Instance\" AND resource.labels.cluster_id = \"${basename(var.alloydb_cluster_id)}\""

  # Keyed by what is wrong, which is the runbook's name too. Ratios are from 0 to 1; minutes is how long it must last.
  threshold_alerts = {
    requests-failing = {
      summary = "More than 2 % of the API's requests fail", severity = "CRITICAL", minutes = 5, above = 0.02
      filter  = "${local.cloud_run} AND metric.labels.response_code_class = \"5xx\"", aligner = "ALIGN_RATE", reducer = "REDUCE_SUM"
      of      = local.cloud_run
    }
    database-busy = {
      summary = "A node of AlloyDB uses more than 90 % of its processors", severity = "WARNING", minutes = 10, above = 0.9
      filter  = "${local.alloydb} AND metric.type = \"alloydb.googleapis.com/instance/cpu/maximum_utilization\"", aligner = "ALIGN_MEAN", reducer = "REDUCE_MAX"
      of      = null
    }
    database-replica-behind = {
      summary = "A read node of AlloyDB is 10 seconds behind", severity = "WARNING", minutes = 5, above = 10000
      filter  = "${local.alloydb} AND metric.type = \"alloydb.googleapis.com/instance/postgres/replication/maximum_lag\"", aligner = "ALIGN_MAX", reducer = "REDUCE_MAX"
      of      = null
    }
    cache-memory-full = {
      summary = "A node of the cache uses more than 80 % of its memory", severity = "WARNING", minutes = 10, above = 0.8
      filter  = "${local.valkey} AND metric.type = \"memorystore.googleapis.com/instance/memory/maximum_utilization\"", aligner = "ALIGN_MEAN", reducer = "REDUCE_MAX"
      of      = null
    }
    messages-undelivered = {
      summary = "Budget messages lie in the dead letter", severity = "WARNING", minutes = 1, above = 0
      filter  = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.dead_letter.name}\" AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\"", aligner = "ALIGN_MAX", reducer = "REDUCE_MAX"
      of      = null
    }
    cost-monitor-behind = {
      summary = "A budget message has waited for half an hour", severity = "WARNING", minutes = 5, above = 1800
      filter  = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.this["budget"].name}\" AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"", aligner = "ALIGN_MAX", reducer = "REDUCE_MAX"
      of      = null
    }
  }

  server_rules = flatten([
    for group in yamldecode(file("${local.monitoring}/prometheus/rules.yaml")).groups : group.rules if group.name == "memory"
  ])

  environment = "environment=\"${var.environment}\""

  query_alerts = merge(
    {
      for rule in local.server_rules : trimsuffix(basename(rule.annotations.runbook), ".md") => {
        summary  = rule.annotations.summary
        severity = upper(rule.labels.severity)
        minutes  = tonumber(trimsuffix(rule.for, "m"))
        query    = rule.expr
      }
    },
    {
      cost-over-budget = {
        summary = "The month is going to cost more than its budget", severity = "WARNING", minutes = 60
        query   = "max(custom_googleapis_com:memory_cost_forecast_usd{${local.environment}}) > max(custom_googleapis_com:memory_cost_budget_usd{${local.environment}})"
      }
      cost-unusual = {
        summary = "A part of the memory cost twice what it usually does", severity = "WARNING", minutes = 60
        query   = "max by (component) (custom_googleapis_com:memory_cost_anomaly_ratio{${local.environment}}) > 2"
      }
      cost-unknown = {
        summary = "The billing export has been silent for two days", severity = "WARNING", minutes = 60
        query   = "max(custom_googleapis_com:memory_cost_export_age_seconds{${local.environment}}) > 172800"
      }
    },
  )
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.notification_emails)

  project      = var.project_id
  display_name = "Memory (${var.environment}): ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
  user_labels  = local.labels
}

resource "google_monitoring_alert_policy" "this" {
  for_each = merge(local.threshold_alerts, local.query_alerts)

  project               = var.project_id
  display_name          = "Memory (${var.environment}): ${each.value.summary}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.name]
  user_labels           = local.labels

  conditions {
    display_name = each.value.summary

    dynamic "condition_threshold" {
      for_each = contains(keys(local.threshold_alerts), each.key) ? [local.threshold_alerts[each.key]] : []

      content {
        filter             = condition_threshold.value.filter
        denominator_filter = condition_threshold.value.of
        comparison         = "COMPARISON_GT"
        threshold_value    = condition_threshold.value.above
        duration           = "${condition_threshold.value.minutes * 60}s"

        aggregations {
          alignment_period     = "60s"
          per_series_aligner   = condition_threshold.value.aligner
          cross_series_reducer = condition_threshold.value.reducer
        }

        dynamic "denominator_aggregations" {
          for_each = condition_threshold.value.of == null ? [] : [1]

          content {
            alignment_period     = "60s"
            per_series_aligner   = condition_threshold.value.aligner
            cross_series_reducer = condition_threshold.value.reducer
          }
        }
      }
    }

    dynamic "condition_prometheus_query_language" {
      for_each = contains(keys(local.query_alerts), each.key) ? [local.query_alerts[each.key]] : []

      content {
        query               = condition_prometheus_query_language.value.query
        duration            = "${condition_prometheus_query_language.value.minutes * 60}s"
        evaluation_interval = "60s"
        # A metric is known once a server, or cost-monitor, has sent it.
        disable_metric_validation = true
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    subject = "Memory (${var.environment}): ${each.value.summary}"
    # A link between runbooks leads nowhere in the console: it becomes the file's path.
    content   = replace(file("${local.runbooks}/${each.key}.md"), "/\\[[^]]+\\]\\(([a-z-]+\\.md)\\)/", "docs/runbooks/$1")
    mime_type = "text/markdown"
  }
}
