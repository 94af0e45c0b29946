output "alert_policies" {
  description = "Names of the alert policies, by what they watch."
  value       = { for key, policy in google_monitoring_alert_policy.this : key => policy.name }
}

output "alerts_topic" {
  description = "Where cost-monitor says, once, that a threshold was passed."
  value       = google_pubsub_topic.alerts.id
}

output "budget_subscription" {
  description = "What cost-monitor reads budget messages from."
  value       = google_pubsub_subscription.this["budget"].id
}

output "budget_topic" {
  description = "Where the budget sends its messages."
  value       = google_pubsub_topic.budget.id
}

output "cost_dataset" {
  description = "The dataset of the cost figures, as project.dataset: also what the billing export is pointed at."
  value       = "${var.project_id}.${google_bigquery_dataset.cost.dataset_id}"
}

output "cost_monitor_service_account" {
  description = "Who cost-monitor runs as."
  value       = google_service_account.cost_monitor.email
}

output "dashboards" {
  description = "Addresses of the dashboards in the console, by file."
  value = {
    for key, dashboard in google_monitoring_dashboard.this :
    key => "https://console.cloud.google.com/monitoring/dashboards/builder/${basename(dashboard.id)}?project=${var.project_id}"
  }
}

output "dead_letter_subscription" {
  description = "Where messages wait that nobody could read."
  value       = google_pubsub_subscription.dead_letter.id
}
