output "managed_range" {
  description = "The name of the range that AlloyDB takes its addresses from. It is known once AlloyDB can be made in it."
  value       = google_compute_global_address.managed.name
  depends_on  = [google_service_networking_connection.managed]
}

output "network_id" {
  description = "The network. It is known once Memorystore and AlloyDB can be made in it."
  value       = google_compute_network.main.id

  depends_on = [
    google_network_connectivity_service_connection_policy.memorystore,
    google_service_networking_connection.managed,
  ]
}

output "services_subnetwork_id" {
  description = "The subnetwork of Cloud Run's instances."
  value       = google_compute_subnetwork.services.id
}
