output "alloydb_primary_address" {
  description = "The address of AlloyDB's primary, inside of the network."
  value       = module.alloydb.primary_address
}

output "alloydb_read_address" {
  description = "The address of AlloyDB's read pool, inside of the network."
  value       = module.alloydb.read_address
}

output "api_service_name" {
  description = "The service on Cloud Run."
  value       = module.api.service_name
}

output "api_url" {
  description = "The address of the service."
  value       = module.api.url
}

output "artifact_repository" {
  description = "Where images go, as HOST/PROJECT/REPOSITORY."
  value       = module.api.artifact_repository
}

output "budget_topic" {
  description = "Where the budget says what was spent."
  value       = module.monitoring.budget_topic
}

output "dashboards" {
  description = "The dashboards' addresses, by file."
  value       = module.monitoring.dashboards
}

output "deploy_service_account" {
  description = "The account that applies plans in workflows."
  value       = module.iam.deploy_service_account
}

output "migrations_job" {
  description = "The job that migrates the database."
  value       = module.api.migrations_job
}

output "plan_service_account" {
  description = "The account that plans in workflows."
  value       = module.iam.plan_service_account
}

output "redis_address" {
  description = "The address of Memorystore, as HOST:PORT, inside of the network."
  value       = module.redis.host == null ? null : "${module.redis.host}:${module.redis.port}"
}

output "secrets" {
  description = "The secrets that need a value, by what they are for."
  value       = module.secrets.secret_ids
}

output "workload_identity_provider" {
  description = "The provider that workflows show their token to, by its full name."
  value       = module.iam.workload_identity_provider
}
