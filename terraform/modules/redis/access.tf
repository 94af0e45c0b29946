# Who may connect, and by what the server is known.

# Memorystore has no policy of its own for an instance, so the grant is on the project, for this instance alone.
resource "google_project_iam_member" "clients" {
  for_each = var.clients

  project = var.project_id
  role    = "roles/memorystore.dbConnectionUser"
  member  = each.value

  condition {
    title      = "${local.instance_id} alone"
    expression = "resource.name == 'projects/${var.project_id}/locations/${var.region}/instances/${local.instance_id}'"
  }
}

# The instance's certificate authority. It is no secret; Secret Manager is how Cloud Run gets a file.
resource "google_secret_manager_secret" "ca" {
  project   = var.project_id
  secret_id = "${local.instance_id}-ca"
  labels    = merge(var.labels, { component = "redis" })

  replication {
    user_managed {
      replicas {
        location = var.region

        dynamic "customer_managed_encryption" {
          for_each = var.kms_key == null ? [] : [var.kms_key]

          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }
}

locals {
  ca = join("\n", flatten(google_memorystore_instance.main.managed_server_ca[*].ca_certs[*].certificates))
}

resource "google_secret_manager_secret_version" "ca" {
  secret         = google_secret_manager_secret.ca.id
  secret_data_wo = local.ca
  # Another authority is another version.
  secret_data_wo_version = sha256(local.ca)
}

resource "google_secret_manager_secret_iam_member" "ca" {
  for_each = var.clients

  project   = var.project_id
  secret_id = google_secret_manager_secret.ca.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value
}
