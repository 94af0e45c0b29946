# A network refuses what comes in anyway and allows all that goes out. Here both are said, and going out is narrow.

resource "google_compute_firewall" "deny_ingress" {
  project       = var.project_id
  name          = "${var.name}-deny-ingress"
  network       = google_compute_network.main.id
  direction     = "INGRESS"
  priority      = 65534
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "deny_egress" {
  project            = var.project_id
  name               = "${var.name}-deny-egress"
  network            = google_compute_network.main.id
  direction          = "EGRESS"
  priority           = 65534
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}

# Each node of a cluster has a port of its own, and nothing else has an address there.
resource "google_compute_firewall" "allow_memorystore" {
  project            = var.project_id
  name               = "${var.name}-allow-memorystore"
  network            = google_compute_network.main.id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = [var.endpoints_cidr]

  allow {
    protocol = "tcp"
  }
}

resource "google_compute_firewall" "allow_alloydb" {
  project            = var.project_id
  name               = "${var.name}-allow-alloydb"
  network            = google_compute_network.main.id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = [var.managed_cidr]

  allow {
    protocol = "tcp"
    ports    = ["5432"]
  }
}
