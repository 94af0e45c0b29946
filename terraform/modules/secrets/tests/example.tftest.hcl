# The example in README.md, the same text.

mock_provider "google" {}

variables {
  name           = "orchestra-prod"
  project_id     = "example-project"
  project_number = "123456789012"
  region         = "us-central1"

  secrets = {
    api-keys = {
      readers     = { api = "serviceAccount:orchestra-prod-api@example-project.iam.gserviceaccount.com" }
      first_value = "{\"version\":1,\"keys\":{}}"
    }
    embedder-key = {
      readers            = { api = "serviceAccount:orchestra-prod-api@example-project.iam.gserviceaccount.com" }
      rotation_days      = 90
      next_rotation_time = "2027-03-01T00:00:00Z"
    }
  }
}

run "plans" {
  command = plan

  assert {
    condition     = sort(keys(google_secret_manager_secret.main)) == tolist(["api-keys", "embedder-key"])
    error_message = "Both secrets are made."
  }

  assert {
    condition     = google_secret_manager_secret.main["embedder-key"].rotation[0].rotation_period == "7776000s" && length(google_secret_manager_secret.main["api-keys"].rotation) == 0
    error_message = "One of them is due each 90 days."
  }

  assert {
    condition     = keys(google_secret_manager_secret_version.first) == ["api-keys"]
    error_message = "The other waits for its value."
  }
}
