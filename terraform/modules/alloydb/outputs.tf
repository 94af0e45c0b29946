output "app_user" {
  description = "The role that the server logs in as. It is known once it may."
  value       = google_alloydb_user.app.user_id
  depends_on  = [google_project_iam_member.login]
}

output "cluster_id" {
  description = "The cluster."
  value       = google_alloydb_cluster.main.cluster_id
}

output "database" {
  description = "The database, which every cluster has."
  value       = "postgres"
}

output "migration_user" {
  description = "The role that owns the schema. It is known once it may log in."
  value       = google_alloydb_user.migration.user_id
  depends_on  = [google_project_iam_member.login]
}

output "primary_address" {
  description = "The address of the primary, on port 5432."
  value       = google_alloydb_instance.primary.ip_address
}

output "read_address" {
  description = "The address of the read pool, on port 5432: one for all its nodes."
  value       = google_alloydb_instance.read_pool.ip_address
}
