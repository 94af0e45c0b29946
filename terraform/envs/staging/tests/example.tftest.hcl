# The values in terraform.tfvars.example, the same text.

mock_provider "google" {}

variables {
  project_id   = "example-project-staging"
  region       = "us-central1"
  state_bucket = "example-project-staging-orchestra-state"

  billing_account     = "01D4EE-079462-DFD6EC"
  monthly_budget_usd  = 2500
  notification_emails = ["oncall@example.com"]

  github_owner_id      = "1234567"
  github_repository_id = "987654321"

  api_invokers = {
    oncall = "user:oncall@example.com"
  }
}

run "plans_without_an_image_what_needs_none" {
  command = plan

  plan_options {
    target = [
      module.network, module.iam, module.secrets, module.redis, module.alloydb,
      module.api.google_artifact_registry_repository.images,
    ]
  }

  assert {
    condition     = length(output.secrets) == 1
    error_message = "There is one secret, that of the API keys."
  }
}

run "plans_with_an_image" {
  command = plan

  variables {
    image = "us-central1-docker.pkg.dev/example-project/orchestra/orchestra@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  }

  assert {
    condition     = output.api_service_name == "orchestra-staging-api" && output.migrations_job == "orchestra-staging-migrations"
    error_message = "What is made is named after the environment."
  }
}

run "searches_have_three_replicas_and_writes_a_standby" {
  command = plan

  plan_options {
    target = [module.alloydb]
  }

  assert {
    condition     = local.sizes.alloydb.read_node_count == 3 && local.sizes.alloydb.availability_type == "REGIONAL"
    error_message = "Three read nodes, and a standby in another zone."
  }

  assert {
    condition     = local.sizes.redis.replica_count >= 1
    error_message = "A node of the cache may fail."
  }
}
