# The example in README.md, the same text.

mock_provider "google" {}

variables {
  name       = "orchestra-dev"
  project_id = "example-project"
  region     = "us-central1"
}

run "plans" {
  command = plan

  assert {
    condition     = google_compute_network.main.name == "orchestra-dev"
    error_message = "The network has the name that was given."
  }
}
