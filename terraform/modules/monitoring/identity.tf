# Who `cost-monitor` is, and all it may do: read its messages and the export, write its own figures.

resource "google_service_account" "cost_monitor" {
  project      = var.project_id
  account_id   = "${local.name}-cost"
  display_name = "Memory: cost-monitor (${var.environment})"
}

locals {
  cost_monitor = "serviceAccount:${google_service_account.cost_monitor.email}"
  # project.dataset.table, in parts.
  export = var.billing_export_table == null ? [] : split(".", var.billing_export_table)
}

resource "google_bigquery_dataset_iam_member" "cost_monitor" {
  project    = var.project_id
  dataset_id = google_bigquery_dataset.cost.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = local.cost_monitor
}

resource "google_bigquery_table_iam_member" "export_reader" {
  count = var.billing_export_table == null ? 0 : 1

  project    = local.export[0]
  dataset_id = local.export[1]
  table_id   = local.export[2]
  role       = "roles/bigquery.dataViewer"
  member     = local.cost_monitor
}

# To run a query and to write a metric are rights on the project: neither lets it read a table or a metric.
resource "google_project_iam_member" "cost_monitor" {
  for_each = toset(["roles/bigquery.jobUser", "roles/monitoring.metricWriter"])

  project = var.project_id
  role    = each.key
  member  = local.cost_monitor
}

resource "google_pubsub_subscription_iam_member" "cost_monitor" {
  for_each = google_pubsub_subscription.this

  project      = var.project_id
  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.cost_monitor
}

resource "google_pubsub_topic_iam_member" "cost_monitor" {
  for_each = {
    alerts      = google_pubsub_topic.alerts.name
    dead_letter = google_pubsub_topic.dead_letter.name
  }

  project = var.project_id
  topic   = each.value
  role    = "roles/pubsub.publisher"
  member  = local.cost_monitor
}
