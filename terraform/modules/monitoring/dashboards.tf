# The files are what the API stores, so that a plan shows no difference that is none.

resource "google_monitoring_dashboard" "this" {
  for_each = toset([for path in fileset("${local.monitoring}/dashboards", "*.json") : trimsuffix(path, ".json")])

  project        = var.project_id
  dashboard_json = file("${local.monitoring}/dashboards/${each.key}.json")

  # A chart of a metric that is not there yet is refused.
  depends_on = [google_monitoring_metric_descriptor.cost]
}
