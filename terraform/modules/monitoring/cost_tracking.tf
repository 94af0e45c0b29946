# What the memory costs: a place for the figures in BigQuery, and a budget that says so before it is too late.
#
# The billing export itself cannot be turned on by Terraform, nor by any public API: a person does so once, in the console
# (Billing, Billing export, BigQuery export, "Detailed usage cost"), and points it at the dataset below. The table appears
# hours later; then `billing_export_table` names it and the views are made.

locals {
  name       = "orchestra-${var.environment}"
  monitoring = "${path.module}/../../../monitoring"
  labels     = merge(var.labels, { component = "monitoring", environment = var.environment })

  tables = {
    alerts       = { field = "received_at", type = "DAY", clustering = ["budget_id", "kind"], about = "Thresholds of the budget that were passed, each once" }
    watch_events = { field = "happened_at", type = "DAY", clustering = ["budget_id", "kind"], about = "What the watcher of the budget has to know again when its state is lost" }
    usage        = { field = "window_start", type = "DAY", clustering = ["tenant", "operation"], about = "What tenants used, by operation" }
    prices       = { field = "effective_from", type = "MONTH", clustering = ["component", "sku"], about = "What a unit of each resource costs, and since when" }
  }

  # The budget's currency is the account's; percent is a share of the amount.
  thresholds = [
    { percent = 0.5, basis = "CURRENT_SPEND" },
    { percent = 0.8, basis = "CURRENT_SPEND" },
    { percent = 1.0, basis = "CURRENT_SPEND" },
    { percent = 0.8, basis = "FORECASTED_SPEND" },
    { percent = 1.0, basis = "FORECASTED_SPEND" },
  ]

  # A file of monitoring/sql is a view of its name; those in views/ are over the ones beside that folder.
  # `cost-monitor views apply` fills in the same and makes the same.
  views = {
    for path in fileset("${local.monitoring}/sql", "**/*.sql") : path => replace(replace(replace(
      file("${local.monitoring}/sql/${path}"),
      "$${project}.$${dataset}.$${export}", coalesce(var.billing_export_table, "none")),
      "$${project}", var.project_id),
    "$${dataset}", google_bigquery_dataset.cost.dataset_id)
  }

  cost_metrics = { for metric in jsondecode(file("${local.monitoring}/cost_metrics.json")) : metric.name => metric }
}

# A budget's filter and a service agent's address take the number, not the id.
data "google_project" "this" {
  project_id = var.project_id
}

resource "google_bigquery_dataset" "cost" {
  #checkov:skip=CKV_GCP_81:The figures hold amounts and tenants' names, no text of anyone's; Google's own keys encrypt them.
  project                    = var.project_id
  dataset_id                 = "orchestra_cost_${var.environment}"
  friendly_name              = "Memory: cost (${var.environment})"
  description                = "The billing export, usage, prices, alerts, and the views over them."
  location                   = var.bigquery_location
  delete_contents_on_destroy = false
  labels                     = merge(local.labels, { component = "bigquery" })
}

resource "google_bigquery_table" "cost" {
  #checkov:skip=CKV_GCP_80:The dataset says why its own keys do.
  for_each = local.tables

  project             = var.project_id
  dataset_id          = google_bigquery_dataset.cost.dataset_id
  table_id            = each.key
  description         = each.value.about
  schema              = file("${local.monitoring}/schemas/${each.key}.json")
  clustering          = each.value.clustering
  deletion_protection = true
  labels              = merge(local.labels, { component = "bigquery" })

  time_partitioning {
    type  = each.value.type
    field = each.value.field
  }
}

resource "google_bigquery_table" "base_view" {
  #checkov:skip=CKV_GCP_80:A view holds nothing.
  #checkov:skip=CKV_GCP_121:A view holds nothing; made again, it is the same.
  for_each = { for path, query in local.views : trimsuffix(basename(path), ".sql") => query if dirname(path) == "." && var.billing_export_table != null }

  project             = var.project_id
  dataset_id          = google_bigquery_dataset.cost.dataset_id
  table_id            = each.key
  deletion_protection = false
  labels              = merge(local.labels, { component = "bigquery" })

  view {
    query          = each.value
    use_legacy_sql = false
  }

  # BigQuery refuses a view over what is not there.
  depends_on = [google_bigquery_table.cost]
}

resource "google_bigquery_table" "view" {
  #checkov:skip=CKV_GCP_80:A view holds nothing.
  #checkov:skip=CKV_GCP_121:A view holds nothing; made again, it is the same.
  for_each = { for path, query in local.views : trimsuffix(basename(path), ".sql") => query if dirname(path) == "views" && var.billing_export_table != null }

  project             = var.project_id
  dataset_id          = google_bigquery_dataset.cost.dataset_id
  table_id            = each.key
  deletion_protection = false
  labels              = merge(local.labels, { component = "bigquery" })

  view {
    query          = each.value
    use_legacy_sql = false
  }

  # BigQuery refuses a view over what is not there.
  depends_on = [google_bigquery_table.base_view]
}

resource "google_billing_budget" "month" {
  billing_account = var.billing_account
  display_name    = "Memory ${var.environment}"

  amount {
    specified_amount {
      currency_code = "USD"
      units         = tostring(var.monthly_budget_usd)
    }
  }

  budget_filter {
    projects               = ["projects/${data.google_project.this.number}"]
    calendar_period        = "MONTH"
    credit_types_treatment = "INCLUDE_ALL_CREDITS"
  }

  dynamic "threshold_rules" {
    for_each = local.thresholds

    content {
      threshold_percent = threshold_rules.value.percent
      spend_basis       = threshold_rules.value.basis
    }
  }

  all_updates_rule {
    pubsub_topic                     = google_pubsub_topic.budget.id
    schema_version                   = "1.0"
    monitoring_notification_channels = [for channel in google_monitoring_notification_channel.email : channel.name]
    disable_default_iam_recipients   = true
  }

  # The budget's own check publishes at once.
  depends_on = [google_pubsub_topic_iam_member.budget_publisher]
}

# What `cost-monitor` writes and the dashboard charts: billed cost is no metric of Google's.
resource "google_monitoring_metric_descriptor" "cost" {
  for_each = local.cost_metrics

  project      = var.project_id
  type         = "custom.googleapis.com/${each.key}"
  display_name = each.value.description
  description  = each.value.description
  metric_kind  = "GAUGE"
  value_type   = "DOUBLE"
  unit         = each.value.unit

  dynamic "labels" {
    for_each = toset(concat(["environment"], each.value.labels))

    content {
      key        = labels.value
      value_type = "STRING"
    }
  }
}
