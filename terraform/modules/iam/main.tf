# Who acts: what runs, what plans, what deploys. None of them has a key; each has what it needs, and that is written here
# or beside the one thing it reaches.

# The server. What it may do is granted by the modules that own what it reaches.
resource "google_service_account" "api" {
  project      = var.project_id
  account_id   = "${var.name}-api"
  display_name = "Orchestra Memory, server of ${var.environment}"
}

# The job that brings the database's schema up to date.
resource "google_service_account" "migrations" {
  project      = var.project_id
  account_id   = "${var.name}-migrate"
  display_name = "Orchestra Memory, migrations of ${var.environment}"
}

# Plans what a change would do: reads what there is, and no data.
resource "google_service_account" "plan" {
  project      = var.project_id
  account_id   = "${var.name}-plan"
  display_name = "Orchestra Memory, plans of ${var.environment}"
}

# Applies a plan.
resource "google_service_account" "deploy" {
  project      = var.project_id
  account_id   = "${var.name}-deploy"
  display_name = "Orchestra Memory, deployments of ${var.environment}"
}
