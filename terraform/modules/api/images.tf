# Where the image is, and who fetches it.

resource "google_artifact_registry_repository" "images" {
  # checkov:skip=CKV_GCP_84:Google's own key unless kms_key is given; an image of open source is no secret
  project       = var.project_id
  location      = var.region
  repository_id = var.name
  description   = "Images of Orchestra Memory"
  format        = "DOCKER"
  labels        = local.labels
  kms_key_name  = var.kms_key

  # The last images stay, to go back to; a digest in use is among them unless twenty came after it.
  cleanup_policies {
    id     = "keep-latest"
    action = "KEEP"

    most_recent_versions {
      keep_count = 20
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      older_than = "7776000s"
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "readers" {
  for_each = {
    api        = var.service_account
    migrations = var.migrations_service_account
  }

  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = "serviceAccount:${each.value}"
}
