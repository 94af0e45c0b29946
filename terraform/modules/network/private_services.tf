# Private Services Access, by which AlloyDB is reached: a range that is the provider's, and the peering to it.

locals {
  managed_address = split("/", var.managed_cidr)[0]
  managed_prefix  = tonumber(split("/", var.managed_cidr)[1])
}

resource "google_compute_global_address" "managed" {
  project       = var.project_id
  name          = "${var.name}-managed"
  network       = google_compute_network.main.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = local.managed_address
  prefix_length = local.managed_prefix
}

resource "google_service_networking_connection" "managed" {
  network                 = google_compute_network.main.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.managed.name]
}
