# The values in terraform.tfvars.example, the same text.

mock_provider "google" {}

variables {
  project_id   = "example-project-dev"
  region       = "us-central1"
  state_bucket = "example-project-dev-orchestra-state"

  billing_account     = "01D4EE-079462-DFD6EC"
  monthly_budget_usd  = 500
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
    condition     = output.api_service_name == "orchestra-dev-api" && output.migrations_job == "orchestra-dev-migrations"
    error_message = "What is made is named after the environment."
  }
}

run "a_zone_in_place_of_a_region_is_refused" {
  command = plan

  variables {
    image  = "us-central1-docker.pkg.dev/example-project/orchestra/orchestra@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    region = "us-central1-a"
  }

  expect_failures = [var.region]
}

run "an_embedder_with_a_key_has_a_secret" {
  command = plan

  variables {
    has_embedder_key = true
    image            = "us-central1-docker.pkg.dev/example-project/orchestra/orchestra@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  }

  assert {
    condition     = output.secrets["embedder-key"] == "orchestra-dev-embedder-key"
    error_message = "The secret is there for its value."
  }
}
