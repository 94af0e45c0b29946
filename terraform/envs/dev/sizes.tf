# To try things: small, in one zone, gone when it is no longer wanted.

locals {
  environment = "dev"

  sizes = {
    deletion_protection = false

    network = {
      flow_sampling = 0.05
    }

    redis = {
      mode          = "CLUSTER_DISABLED"
      node_type     = "SHARED_CORE_NANO"
      shard_count   = 1
      replica_count = 0
      persistence   = "DISABLED"
    }

    alloydb = {
      availability_type     = "ZONAL"
      cpu_count             = 2
      read_cpu_count        = 2
      read_node_count       = 1
      backup_retention_days = 7
      recovery_window_days  = 7
    }

    api = {
      min_instances = 0
      max_instances = 2
      cpu           = "1"
      memory        = "1Gi"
    }
  }
}
