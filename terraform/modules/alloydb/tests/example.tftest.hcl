# The example in README.md, the same text.

mock_provider "google" {}

variables {
  name          = "orchestra-prod"
  project_id    = "example-project"
  region        = "us-central1"
  network_id    = "projects/example-project/global/networks/orchestra-prod"
  managed_range = "orchestra-prod-managed"
  cpu_count     = 4

  app_service_account       = "orchestra-prod-api@example-project.iam.gserviceaccount.com"
  migration_service_account = "orchestra-prod-migrate@example-project.iam.gserviceaccount.com"
}

run "plans" {
  command = plan

  assert {
    condition     = google_alloydb_cluster.main.cluster_id == "orchestra-prod"
    error_message = "The cluster has the name that was given."
  }
}

run "it_is_available_and_has_three_read_nodes_unless_told_otherwise" {
  command = plan

  assert {
    condition     = google_alloydb_instance.primary.availability_type == "REGIONAL"
    error_message = "The primary has a standby."
  }

  assert {
    condition     = google_alloydb_instance.read_pool.read_pool_config[0].node_count == 3 && google_alloydb_instance.read_pool.availability_type == "REGIONAL"
    error_message = "Three nodes, in more than one zone."
  }

  assert {
    condition     = google_alloydb_cluster.main.deletion_protection
    error_message = "The cluster is protected."
  }
}
