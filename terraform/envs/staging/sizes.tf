# As production is, of smaller parts: what works here works there.

locals {
  environment = "staging"

  sizes = {
    deletion_protection = false

    network = {
      flow_sampling = 0.1
    }

    redis = {
      mode          = "CLUSTER_DISABLED"
      node_type     = "STANDARD_SMALL"
      shard_count   = 1
      replica_count = 1
      persistence   = "AOF"
    }

    alloydb = {
      availability_type     = "REGIONAL"
      cpu_count             = 2
      read_cpu_count        = 2
      read_node_count       = 3
      backup_retention_days = 14
      recovery_window_days  = 7
    }

    api = {
      min_instances = 1
      max_instances = 4
      cpu           = "1"
      memory        = "1Gi"
    }
  }
}
