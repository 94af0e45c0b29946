# The real-time layer: the semantic cache and the working memory, on Memorystore for Valkey, whose search knows vectors.

locals {
  instance_id = "${var.name}-cache"
  # A cluster is found by its discovery endpoint; one shard alone has a primary, and readers beside it.
  connection_type = var.mode == "CLUSTER" ? "CONNECTION_TYPE_DISCOVERY" : "CONNECTION_TYPE_PRIMARY"

  connections = [
    for connection in flatten([
      for endpoint in google_memorystore_instance.main.endpoints : [
        for connection in endpoint.connections : connection.psc_auto_connection
      ]
    ]) : connection if connection.connection_type == local.connection_type
  ]
}

resource "google_memorystore_instance" "main" {
  project     = var.project_id
  location    = var.region
  instance_id = local.instance_id
  labels      = merge(var.labels, { component = "redis" })

  mode           = var.mode
  engine_version = var.engine_version
  node_type      = var.node_type
  shard_count    = var.shard_count
  replica_count  = var.replica_count

  # Neither can be changed later, and there is no reason for less: a program without a role, or without TLS, gets in
  # nowhere.
  authorization_mode      = "IAM_AUTH"
  transit_encryption_mode = "SERVER_AUTHENTICATION"

  # Each entry has a time to live. What is full drops the one that was not used for longest.
  engine_configs = {
    "maxmemory-policy" = "volatile-lru"
  }

  desired_auto_created_endpoints {
    network    = var.network_id
    project_id = var.project_id
  }

  persistence_config {
    mode = var.persistence

    dynamic "aof_config" {
      for_each = var.persistence == "AOF" ? ["EVERY_SEC"] : []

      content {
        append_fsync = aof_config.value
      }
    }
  }

  # Replicas are of use when they are elsewhere; one node alone is in one zone anyway.
  zone_distribution_config {
    mode = "MULTI_ZONE"
  }

  kms_key                     = var.kms_key
  deletion_protection_enabled = var.deletion_protection
}
