# The server on Cloud Run.

locals {
  labels = merge(var.labels, { component = "api" })

  # Which revision gets how much. Without a stable one the newest gets all.
  traffic = var.stable_revision == null ? [
    { revision = null, percent = 100, tag = null },
    ] : [
    { revision = var.stable_revision, percent = 100 - var.canary_percent, tag = "stable" },
    { revision = var.canary_revision, percent = var.canary_percent, tag = "canary" },
  ]
}

resource "google_cloud_run_v2_service" "api" {
  project             = var.project_id
  location            = var.region
  name                = "${var.name}-api"
  labels              = local.labels
  ingress             = var.ingress
  deletion_protection = var.deletion_protection

  template {
    labels                           = local.labels
    service_account                  = var.service_account
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    timeout                          = "${var.timeout_seconds}s"
    max_instance_request_concurrency = var.concurrency
    encryption_key                   = var.kms_key

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    # To the databases by the network, everywhere else as Cloud Run does.
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
      args  = ["serve"]

      ports {
        container_port = 7070
      }

      resources {
        limits = {
          cpu    = var.cpu
          memory = var.memory
        }
        # What goes on between requests, such as following the changes of others, needs the processor then.
        cpu_idle          = false
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = var.settings

        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secret_settings

        content {
          name = env.key

          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }

      dynamic "volume_mounts" {
        for_each = var.secret_files

        content {
          name       = volume_mounts.key
          mount_path = "/etc/orchestra/${volume_mounts.key}"
        }
      }

      # A start waits for the database before it listens: setting startup_patience_seconds, 30 s.
      startup_probe {
        period_seconds    = 5
        timeout_seconds   = 3
        failure_threshold = 24

        http_get {
          path = "/healthz"
          port = 7070
        }
      }

      # Whether the process lives. It does not ask the database, whose absence a new process would not mend.
      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 3
        failure_threshold = 3

        http_get {
          path = "/healthz"
          port = 7070
        }
      }

      # Whether the store answers. An instance that cannot reach it gets no requests meanwhile.
      readiness_probe {
        period_seconds    = 10
        timeout_seconds   = 3
        failure_threshold = 2
        success_threshold = 1

        http_get {
          path = "/readyz"
          port = 7070
        }
      }
    }

    dynamic "volumes" {
      for_each = var.secret_files

      content {
        name = volumes.key

        secret {
          secret = volumes.value.secret

          items {
            path = volumes.value.file
            # Read at each look, so that a new version counts without a new revision.
            version = "latest"
          }
        }
      }
    }
  }

  dynamic "traffic" {
    for_each = local.traffic

    content {
      type     = traffic.value.revision == null ? "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST" : "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
      revision = traffic.value.revision
      percent  = traffic.value.percent
      tag      = traffic.value.tag
    }
  }

  # A tool that updates the image beside Terraform leaves its name here.
  lifecycle {
    ignore_changes = [client, client_version]
  }
}

# Who may call. The server asks for an API key besides.
resource "google_cloud_run_v2_service_iam_member" "invokers" {
  for_each = var.invokers

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.api.name
  role     = "roles/run.invoker"
  member   = each.value
}
