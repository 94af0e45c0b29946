mock_provider "google" {}

variables {
  name          = "orchestra-dev"
  project_id    = "example-project"
  region        = "us-central1"
  network_id    = "projects/example-project/global/networks/orchestra-dev"
  managed_range = "orchestra-dev-managed"
  cpu_count     = 2

  app_service_account       = "api@example-project.iam.gserviceaccount.com"
  migration_service_account = "migrate@example-project.iam.gserviceaccount.com"
}

run "every_connection_is_private_and_encrypted" {
  command = plan

  assert {
    condition = alltrue([
      for instance in [google_alloydb_instance.primary, google_alloydb_instance.read_pool] :
      instance.client_connection_config[0].ssl_config[0].ssl_mode == "ENCRYPTED_ONLY" &&
      !instance.network_config[0].enable_public_ip && !instance.network_config[0].enable_outbound_public_ip
    ])
    error_message = "TLS alone, and no public address."
  }
}

run "no_role_has_a_password" {
  command = plan

  assert {
    condition     = length(google_alloydb_cluster.main.initial_user) == 0
    error_message = "There is no initial user, so postgres has no password."
  }

  assert {
    condition = alltrue([
      for user in [google_alloydb_user.app, google_alloydb_user.migration] :
      user.user_type == "ALLOYDB_IAM_USER" && user.password == null && user.password_wo == null
    ])
    error_message = "Users log in by a token of IAM."
  }

  assert {
    condition = alltrue([
      for instance in [google_alloydb_instance.primary, google_alloydb_instance.read_pool] :
      instance.database_flags["alloydb.iam_authentication"] == "on"
    ])
    error_message = "Both kinds of instances take a token."
  }

  assert {
    condition     = google_alloydb_user.app.user_id == "api@example-project.iam"
    error_message = "The role is named without the end of the address."
  }
}

run "the_server_does_not_own_the_schema" {
  command = plan

  assert {
    condition     = !contains(google_alloydb_user.app.database_roles, "alloydbsuperuser")
    error_message = "The server is no superuser."
  }
}

run "any_moment_can_be_recovered" {
  command = plan

  assert {
    condition     = google_alloydb_cluster.main.continuous_backup_config[0].enabled && google_alloydb_cluster.main.continuous_backup_config[0].recovery_window_days == 14
    error_message = "Of the last 14 days."
  }

  assert {
    condition     = google_alloydb_cluster.main.automated_backup_policy[0].enabled && google_alloydb_cluster.main.automated_backup_policy[0].time_based_retention[0].retention_period == "2592000s"
    error_message = "Backups are kept for 30 days."
  }
}

run "one_key_encrypts_data_log_and_backups" {
  command = plan

  variables {
    kms_key = "projects/example-project/locations/us-central1/keyRings/memory/cryptoKeys/alloydb"
  }

  assert {
    condition = alltrue([
      for encryption in [
        google_alloydb_cluster.main.encryption_config,
        google_alloydb_cluster.main.continuous_backup_config[0].encryption_config,
        google_alloydb_cluster.main.automated_backup_policy[0].encryption_config,
      ] : encryption[0].kms_key_name == var.kms_key
    ])
    error_message = "All three name the key."
  }
}

run "a_pool_of_one_node_is_in_one_zone" {
  command = plan

  variables {
    read_node_count = 1
  }

  assert {
    condition     = google_alloydb_instance.read_pool.availability_type == "ZONAL"
    error_message = "AlloyDB refuses a regional pool of one node."
  }
}

run "passwords_in_place_of_tokens_are_refused" {
  command = plan

  variables {
    database_flags = { "alloydb.iam_authentication" = "off" }
  }

  expect_failures = [var.database_flags]
}

run "the_server_as_the_schemas_owner_is_refused" {
  command = plan

  variables {
    migration_service_account = "api@example-project.iam.gserviceaccount.com"
  }

  expect_failures = [var.migration_service_account]
}
