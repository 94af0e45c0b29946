# The job that brings the schema up to date, from inside of the network. It is run by `cargo xtask deploy migrations`, or
# with other arguments for the vector indexes; a run that finds nothing to do changes nothing.

resource "google_cloud_run_v2_job" "migrations" {
  project             = var.project_id
  location            = var.region
  name                = "${var.name}-migrations"
  labels              = local.labels
  deletion_protection = var.deletion_protection

  template {
    labels     = local.labels
    task_count = 1

    template {
      service_account       = var.migrations_service_account
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      timeout               = "3600s"
      max_retries           = 1
      encryption_key        = var.kms_key

      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"

        network_interfaces {
          network    = var.network_id
          subnetwork = var.subnetwork_id
        }
      }

      containers {
        name  = "orchestra"
        image = var.image
        args  = ["db", "migrate", "--app-user", var.app_user]

        resources {
          limits = {
            cpu    = "1"
            memory = "512Mi"
          }
        }

        dynamic "env" {
          for_each = var.migrations_settings

          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version]
  }
}
