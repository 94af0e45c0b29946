# The example in README.md, the same text.

mock_provider "google" {}

variables {
  name        = "orchestra-prod"
  project_id  = "example-project"
  environment = "prod"

  github_owner_id      = "1234567"
  github_repository_id = "987654321"
  github_environment   = "prod"
  state_bucket         = "example-project-orchestra-state"
}

run "plans" {
  command = plan

  assert {
    condition     = google_service_account.deploy.account_id == "orchestra-prod-deploy"
    error_message = "Accounts are named after the environment."
  }
}

run "the_condition_names_numbers_branch_and_event" {
  command = plan

  assert {
    condition = google_iam_workload_identity_pool_provider.github.attribute_condition == join(" && ", [
      "assertion.repository_owner_id == '1234567'",
      "assertion.repository_id == '987654321'",
      "assertion.event_name != 'pull_request_target'",
      "(assertion.ref == 'refs/heads/main' || assertion.event_name == 'pull_request')",
    ])
    error_message = "Nobody else's workflow gets in."
  }

  assert {
    condition     = length(coalesce(google_iam_workload_identity_pool_provider.github.oidc[0].allowed_audiences, [])) == 0
    error_message = "No audience but the provider's own name."
  }
}
