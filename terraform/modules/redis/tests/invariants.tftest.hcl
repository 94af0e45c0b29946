mock_provider "google" {
  mock_resource "google_memorystore_instance" {
    defaults = {
      endpoints = [{
        connections = [
          { psc_auto_connection = [{ connection_type = "CONNECTION_TYPE_READER", ip_address = "10.64.1.3", port = 6379 }] },
          { psc_auto_connection = [{ connection_type = "CONNECTION_TYPE_PRIMARY", ip_address = "10.64.1.2", port = 6379 }] },
        ]
      }]
      managed_server_ca = [{ ca_certs = [{ certificates = ["one", "two"] }] }]
    }
  }
}

variables {
  name          = "orchestra-prod"
  project_id    = "example-project"
  region        = "europe-west1"
  network_id    = "projects/example-project/global/networks/orchestra-prod"
  node_type     = "HIGHMEM_MEDIUM"
  replica_count = 2

  clients = {
    api = "serviceAccount:api@example-project.iam.gserviceaccount.com"
  }
}

run "nobody_connects_without_a_role_and_tls" {
  command = plan

  assert {
    condition     = google_memorystore_instance.main.authorization_mode == "IAM_AUTH"
    error_message = "Clients show a token of IAM."
  }

  assert {
    condition     = google_memorystore_instance.main.transit_encryption_mode == "SERVER_AUTHENTICATION"
    error_message = "Connections are encrypted, and the server is authenticated."
  }

  assert {
    condition     = google_memorystore_instance.main.deletion_protection_enabled
    error_message = "It is protected unless told otherwise."
  }
}

run "a_client_may_connect_to_this_instance_alone" {
  command = plan

  assert {
    condition = alltrue([
      for grant in values(google_project_iam_member.clients) :
      grant.role == "roles/memorystore.dbConnectionUser" &&
      grant.condition[0].expression == "resource.name == 'projects/example-project/locations/europe-west1/instances/orchestra-prod-cache'"
    ])
    error_message = "The grant names the instance."
  }
}

run "a_full_cache_drops_what_has_an_end" {
  command = plan

  assert {
    condition     = google_memorystore_instance.main.engine_configs["maxmemory-policy"] == "volatile-lru"
    error_message = "Only entries with a time to live are dropped."
  }
}

run "the_primary_is_the_address" {
  command = apply

  assert {
    condition     = output.host == "10.64.1.2" && output.port == 6379
    error_message = "Not that of a reader."
  }

  assert {
    condition     = local.ca == "one\ntwo"
    error_message = "The authority is every certificate of it."
  }
}

run "shards_without_a_cluster_are_refused" {
  command = plan

  variables {
    shard_count = 3
  }

  expect_failures = [var.shard_count]
}

run "everybody_as_a_client_is_refused" {
  command = plan

  variables {
    clients = { all = "allAuthenticatedUsers" }
  }

  expect_failures = [var.clients]
}
