# What each account may do on the project, and on the bucket of the state.

locals {
  # Predefined roles that are no wider than what the modules make. What would be wider is in the custom role below. None
  # changes accounts, roles or the federation: who could, could take any right. A person applies those.
  deploy_roles = [
    "roles/alloydb.admin",
    "roles/artifactregistry.admin",
    "roles/compute.networkAdmin",
    "roles/memorystore.admin",
    "roles/monitoring.editor",
    "roles/pubsub.admin",
    "roles/run.admin",
    "roles/serviceusage.serviceUsageConsumer",
  ]

  # The roles that the modules grant on the project, and so all that the deployment may grant or take away there.
  grantable_roles = sort(concat(
    [
      "roles/alloydb.databaseUser",
      "roles/bigquery.jobUser",
      "roles/memorystore.dbConnectionUser",
      "roles/monitoring.metricWriter",
      "roles/serviceusage.serviceUsageConsumer",
    ],
    tolist(var.grantable_roles),
  ))
}

resource "google_project_iam_custom_role" "plan" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_plan"
  title       = "Orchestra Memory, plans of ${var.environment}"
  description = "Reads how each resource of the deployment is set up, and nothing that is in one"
  permissions = local.plan_permissions
}

# The predefined roles would bring the payloads of secrets, the rows of every dataset, and certificates and policies of
# networks beside the firewall.
resource "google_project_iam_custom_role" "deploy" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_deploy"
  title       = "Orchestra Memory, deployments of ${var.environment}"
  description = "Changes firewalls, secrets without reading them, and datasets without reading their rows"
  permissions = local.deploy_permissions
}

resource "google_project_iam_member" "plan" {
  project = var.project_id
  role    = google_project_iam_custom_role.plan.name
  member  = google_service_account.plan.member
}

resource "google_project_iam_member" "deploy" {
  for_each = toset(local.deploy_roles)

  project = var.project_id
  role    = each.value
  member  = google_service_account.deploy.member
}

resource "google_project_iam_member" "deploy_custom" {
  project = var.project_id
  role    = google_project_iam_custom_role.deploy.name
  member  = google_service_account.deploy.member
}

# Granting is the way to any other right, so it is bounded: to these roles, which give none that the modules do not.
resource "google_project_iam_member" "deploy_grants" {
  # checkov:skip=CKV_GCP_49:the condition bounds what it may grant to the roles that the modules grant
  project = var.project_id
  role    = "roles/resourcemanager.projectIamAdmin"
  member  = google_service_account.deploy.member

  condition {
    title      = "the roles of the modules alone"
    expression = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([${join(", ", formatlist("'%s'", local.grantable_roles))}])"
  }
}

# To set up what runs as an account one must be allowed to act as it.
resource "google_service_account_iam_member" "deploy_acts_as" {
  for_each = {
    api        = google_service_account.api.name
    migrations = google_service_account.migrations.name
  }

  service_account_id = each.value
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.deploy.member
}

resource "google_storage_bucket_iam_member" "state" {
  for_each = var.state_bucket == null ? {} : {
    deploy = { member = google_service_account.deploy.member, role = "roles/storage.objectUser" }
    # Plans take no lock, so they need not write.
    plan = { member = google_service_account.plan.member, role = "roles/storage.objectViewer" }
  }

  bucket = var.state_bucket
  role   = each.value.role
  member = each.value.member
}

# A plan that is to be applied waits in the bucket, where nobody else reads it. Whoever plans adds to that folder, and can
# neither replace what is in it nor take it out.
resource "google_storage_bucket_iam_member" "plans" {
  count = var.state_bucket == null ? 0 : 1

  bucket = var.state_bucket
  role   = "roles/storage.objectCreator"
  member = google_service_account.plan.member

  condition {
    title      = "plans alone"
    expression = "resource.name.startsWith('projects/_/buckets/${var.state_bucket}/objects/plans/')"
  }
}
