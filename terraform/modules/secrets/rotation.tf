# Secret Manager does not make new values: it says on this topic that one is due.

resource "google_pubsub_topic" "rotation" {
  # checkov:skip=CKV_GCP_83:messages name secrets and hold no value; Google's own key is enough unless kms_key is given
  project                    = var.project_id
  name                       = "${var.name}-secret-rotation"
  labels                     = merge(var.labels, { component = "secrets" })
  kms_key_name               = var.kms_key
  message_retention_duration = "604800s"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_topic_iam_member" "rotation" {
  project = var.project_id
  topic   = google_pubsub_topic.rotation.name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:service-${var.project_number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
}
