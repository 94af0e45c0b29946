# How workflows of one GitHub repository become the two accounts, without a key. All organisations share GitHub's issuer:
# the condition is what keeps everybody else out. It names numbers, because a name can be given up and taken by others.

locals {
  branch_ref = "refs/heads/${var.github_branch}"
}

resource "google_iam_workload_identity_pool" "github" {
  project                   = var.project_id
  workload_identity_pool_id = "${var.name}-github"
  display_name              = "GitHub, ${var.environment}"
  description               = "Workflows of the repository ${var.github_repository_id}"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  # checkov:skip=CKV_GCP_125:it knows conditions on a subject of names alone; numeric ids are stricter, and subjects changed in 2026
  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub"

  attribute_mapping = {
    "google.subject"          = "assertion.sub"
    "attribute.repository_id" = "assertion.repository_id"
    # The environment that a run deploys to, where it runs on the branch that is deployed: one value says both, because
    # a member names one attribute. GitHub lets a run into an environment after its reviewers agreed.
    "attribute.deploys" = "assertion.ref == '${local.branch_ref}' && has(assertion.environment) ? assertion.environment : 'nothing'"
  }

  # Changes that are proposed run on a ref of their own and may only plan. pull_request_target would run on the branch with
  # what a stranger proposes.
  attribute_condition = join(" && ", [
    "assertion.repository_owner_id == '${var.github_owner_id}'",
    "assertion.repository_id == '${var.github_repository_id}'",
    "assertion.event_name != 'pull_request_target'",
    "(assertion.ref == '${local.branch_ref}' || assertion.event_name == 'pull_request')",
  ])

  # No audience is allowed but the provider's own name.
  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

# A token of the account is what lasts long enough for AlloyDB, and what every service takes.
resource "google_service_account_iam_member" "plan" {
  service_account_id = google_service_account.plan.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/attribute.repository_id/${var.github_repository_id}"
}

resource "google_service_account_iam_member" "deploy" {
  service_account_id = google_service_account.deploy.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/attribute.deploys/${var.github_environment}"
}
