output "rotation_topic" {
  description = "Where Secret Manager says that a value is due."
  value       = google_pubsub_topic.rotation.id
}

output "secret_ids" {
  description = "The secrets' ids by their name. They are known once readers may read and first values are there."
  value       = { for name, secret in google_secret_manager_secret.main : name => secret.secret_id }

  depends_on = [
    google_secret_manager_secret_iam_member.readers,
    google_secret_manager_secret_version.first,
  ]
}
