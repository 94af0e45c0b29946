# Production: a standby of everything that keeps something, and nothing that can be deleted by mistake.

locals {
  environment = "prod"

  sizes = {
    deletion_protection = true

    network = {
      flow_sampling = 0.5
    }

    # One shard while it fits: each search asks all shards.
    redis = {
      mode          = "CLUSTER_DISABLED"
      node_type     = "HIGHMEM_MEDIUM"
      shard_count   = 1
      replica_count = 2
      persistence   = "AOF"
    }

    alloydb = {
      availability_type     = "REGIONAL"
      cpu_count             = 8
      read_cpu_count        = 4
      read_node_count       = 3
      backup_retention_days = 35
      recovery_window_days  = 35
    }

    # Never none, so that no caller waits for a start; two, so that one may go.
    api = {
      min_instances = 2
      max_instances = 20
      cpu           = "2"
      memory        = "2Gi"
    }
  }
}
