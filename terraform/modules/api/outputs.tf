output "artifact_repository" {
  description = "Where images go, as HOST/PROJECT/REPOSITORY."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}

output "migrations_job" {
  description = "The job that migrates the database."
  value       = google_cloud_run_v2_job.migrations.name
}

output "service_name" {
  description = "The service."
  value       = google_cloud_run_v2_service.api.name
}

output "url" {
  description = "The address of the service."
  value       = google_cloud_run_v2_service.api.uri
}
