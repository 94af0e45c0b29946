# One private network: no address in it is public, and what runs in it reaches the two databases and nothing else.

resource "google_compute_network" "main" {
  project                 = var.project_id
  name                    = var.name
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
}

# Where Cloud Run's instances get their addresses.
resource "google_compute_subnetwork" "services" {
  project                  = var.project_id
  name                     = "${var.name}-services"
  network                  = google_compute_network.main.id
  region                   = var.region
  ip_cidr_range            = var.services_cidr
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_5_MIN"
    flow_sampling        = var.flow_sampling
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# Where Memorystore's endpoints get theirs, by Private Service Connect.
resource "google_compute_subnetwork" "endpoints" {
  project                  = var.project_id
  name                     = "${var.name}-endpoints"
  network                  = google_compute_network.main.id
  region                   = var.region
  ip_cidr_range            = var.endpoints_cidr
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_5_MIN"
    flow_sampling        = var.flow_sampling
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_network_connectivity_service_connection_policy" "memorystore" {
  project       = var.project_id
  name          = "${var.name}-memorystore"
  location      = var.region
  network       = google_compute_network.main.id
  service_class = "gcp-memorystore"
  description   = "Lets Memorystore make its endpoints in ${google_compute_subnetwork.endpoints.name}"

  psc_config {
    subnetworks = [google_compute_subnetwork.endpoints.id]
  }
}
