output "api_service_account" {
  description = "The address of the server's account."
  value       = google_service_account.api.email
}

output "deploy_service_account" {
  description = "The address of the account that applies plans."
  value       = google_service_account.deploy.email
}

output "migrations_service_account" {
  description = "The address of the account that migrates the database."
  value       = google_service_account.migrations.email
}

output "plan_service_account" {
  description = "The address of the account that plans."
  value       = google_service_account.plan.email
}

output "workload_identity_provider" {
  description = "The provider's full name, with the project's number, as google-github-actions/auth takes it."
  value       = google_iam_workload_identity_pool_provider.github.name
}
