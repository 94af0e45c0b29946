# The example in README.md, the same text.

mock_provider "google" {}

variables {
  name          = "orchestra-dev"
  project_id    = "example-project"
  region        = "us-central1"
  network_id    = "projects/example-project/global/networks/orchestra-dev"
  node_type     = "STANDARD_SMALL"
  replica_count = 1

  clients = {
    api = "serviceAccount:orchestra-dev-api@example-project.iam.gserviceaccount.com"
  }
}

run "plans" {
  command = plan

  assert {
    condition     = google_memorystore_instance.main.instance_id == "orchestra-dev-cache"
    error_message = "The instance is named after the environment."
  }
}
