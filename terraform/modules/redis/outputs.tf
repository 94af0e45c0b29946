output "ca_secret_id" {
  description = "The secret with the certificate authority of the instance, as PEM. It is known once it has a version that clients may read."
  value       = google_secret_manager_secret.ca.secret_id

  depends_on = [
    google_secret_manager_secret_iam_member.ca,
    google_secret_manager_secret_version.ca,
  ]
}

output "host" {
  description = "The address to connect to: of the primary, or of a cluster's discovery. It is known once clients may connect."
  value       = try(local.connections[0].ip_address, null)
  depends_on  = [google_project_iam_member.clients]
}

output "instance_id" {
  description = "The instance."
  value       = google_memorystore_instance.main.instance_id
}

output "is_cluster" {
  description = "Whether clients connect as to a cluster."
  value       = var.mode == "CLUSTER"
}

output "port" {
  description = "The port at the address."
  value       = try(local.connections[0].port, 6379)
}
