# Who may log in: service accounts, each as the role of its own name, by a token. No role has a password.

locals {
  # A service account's role is named without the end of its address.
  app_user       = trimsuffix(var.app_service_account, ".gserviceaccount.com")
  migration_user = trimsuffix(var.migration_service_account, ".gserviceaccount.com")
}

# The server. `orchestra db migrate --app-user` gives it the rights of orchestra_app, and nothing else.
resource "google_alloydb_user" "app" {
  cluster        = google_alloydb_cluster.main.name
  user_id        = local.app_user
  user_type      = "ALLOYDB_IAM_USER"
  database_roles = ["alloydbiamuser"]

  # The migrations add orchestra_app.
  lifecycle {
    ignore_changes = [database_roles]
  }

  depends_on = [google_alloydb_instance.primary]
}

# The job that owns the schema. It makes extensions and roles, which takes alloydbsuperuser.
resource "google_alloydb_user" "migration" {
  cluster        = google_alloydb_cluster.main.name
  user_id        = local.migration_user
  user_type      = "ALLOYDB_IAM_USER"
  database_roles = ["alloydbiamuser", "alloydbsuperuser"]

  lifecycle {
    ignore_changes = [database_roles]
  }

  depends_on = [google_alloydb_instance.primary]
}

# What logging in takes. Both are the least that there is; a cluster has no policy of its own.
resource "google_project_iam_member" "login" {
  for_each = {
    for grant in setproduct(["app", "migration"], ["roles/alloydb.databaseUser", "roles/serviceusage.serviceUsageConsumer"]) :
    "${grant[0]} ${grant[1]}" => { who = grant[0], role = grant[1] }
  }

  project = var.project_id
  role    = each.value.role
  member  = "serviceAccount:${each.value.who == "app" ? var.app_service_account : var.migration_service_account}"
}
