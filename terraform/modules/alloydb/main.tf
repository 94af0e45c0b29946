# The persistent layer: an AlloyDB cluster with its primary and a pool that searches go to.

locals {
  labels = merge(var.labels, { component = "alloydb" })

  # Flags reach a read pool at its creation alone, so both have them from the beginning.
  flags = merge(
    {
      # Programs show a token of IAM in place of a password.
      "alloydb.iam_authentication" = "on"
      # For indexes of ScaNN whose lists AlloyDB chooses. The extensions themselves are made by the migrations.
      "scann.enable_zero_knob_index_creation" = "on"
    },
    var.database_flags,
  )
}

resource "google_alloydb_cluster" "main" {
  project          = var.project_id
  location         = var.region
  cluster_id       = var.name
  database_version = var.database_version
  labels           = local.labels

  network_config {
    network            = var.network_id
    allocated_ip_range = var.managed_range
  }

  # Without an initial user, postgres has no password, and nobody logs in as it.

  dynamic "encryption_config" {
    for_each = var.kms_key == null ? [] : [var.kms_key]

    content {
      kms_key_name = encryption_config.value
    }
  }

  # To any moment of the last days.
  continuous_backup_config {
    enabled              = true
    recovery_window_days = var.recovery_window_days

    dynamic "encryption_config" {
      for_each = var.kms_key == null ? [] : [var.kms_key]

      content {
        kms_key_name = encryption_config.value
      }
    }
  }

  # Each day, kept longer than that.
  automated_backup_policy {
    enabled       = true
    location      = var.region
    backup_window = "3600s"
    labels        = local.labels

    weekly_schedule {
      # All of them: without days the schedule drifts.
      days_of_week = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]

      start_times {
        hours = var.backup_hour
      }
    }

    time_based_retention {
      retention_period = "${var.backup_retention_days * 86400}s"
    }

    dynamic "encryption_config" {
      for_each = var.kms_key == null ? [] : [var.kms_key]

      content {
        kms_key_name = encryption_config.value
      }
    }
  }

  maintenance_update_policy {
    maintenance_windows {
      day = "SUNDAY"

      start_time {
        hours = (var.backup_hour + 2) % 24
      }
    }
  }

  deletion_protection = var.deletion_protection
}

resource "google_alloydb_instance" "primary" {
  cluster           = google_alloydb_cluster.main.name
  instance_id       = "${var.name}-primary"
  instance_type     = "PRIMARY"
  availability_type = var.availability_type
  database_flags    = local.flags
  labels            = local.labels

  machine_config {
    cpu_count = var.cpu_count
  }

  client_connection_config {
    # The server is a plain client with TLS; connectors would be a process beside it.
    require_connectors = false

    ssl_config {
      ssl_mode = "ENCRYPTED_ONLY"
    }
  }

  network_config {
    enable_public_ip          = false
    enable_outbound_public_ip = false
  }
}

# One endpoint that shares searches out over its nodes.
resource "google_alloydb_instance" "read_pool" {
  cluster       = google_alloydb_cluster.main.name
  instance_id   = "${var.name}-read"
  instance_type = "READ_POOL"
  # A pool of one node can only be in one zone.
  availability_type = var.read_node_count > 1 ? "REGIONAL" : "ZONAL"
  database_flags    = local.flags
  labels            = local.labels

  machine_config {
    cpu_count = coalesce(var.read_cpu_count, var.cpu_count)
  }

  read_pool_config {
    node_count = var.read_node_count
  }

  client_connection_config {
    require_connectors = false

    ssl_config {
      ssl_mode = "ENCRYPTED_ONLY"
    }
  }

  network_config {
    enable_public_ip          = false
    enable_outbound_public_ip = false
  }

  depends_on = [google_alloydb_instance.primary]
}
