mock_provider "google" {}

variables {
  name       = "orchestra-prod"
  project_id = "example-project"
  region     = "europe-west1"
}

run "nothing_is_made_that_nobody_chose" {
  command = plan

  assert {
    condition     = !google_compute_network.main.auto_create_subnetworks
    error_message = "The network has its own subnetworks alone."
  }

  assert {
    condition = alltrue([
      for subnetwork in [google_compute_subnetwork.services, google_compute_subnetwork.endpoints] :
      subnetwork.private_ip_google_access && length(subnetwork.log_config) == 1
    ])
    error_message = "Subnetworks reach Google's interfaces without a public address, and log their flows."
  }
}

run "nothing_comes_in_and_two_databases_are_all_that_is_reached" {
  command = plan

  assert {
    condition = alltrue([
      for rule in [google_compute_firewall.deny_ingress, google_compute_firewall.deny_egress] :
      [for deny in rule.deny : deny.protocol] == ["all"] && length(rule.allow) == 0
    ])
    error_message = "Both directions are denied."
  }

  assert {
    condition = alltrue([
      for rule in [google_compute_firewall.allow_memorystore, google_compute_firewall.allow_alloydb] :
      rule.direction == "EGRESS" && !contains(rule.destination_ranges, "0.0.0.0/0")
    ])
    error_message = "What is allowed goes out, to a range."
  }
}

run "alloydb_and_memorystore_are_reached_privately" {
  command = plan

  assert {
    condition     = google_compute_global_address.managed.purpose == "VPC_PEERING" && google_compute_global_address.managed.address_type == "INTERNAL"
    error_message = "AlloyDB's range is internal."
  }

  assert {
    condition     = google_network_connectivity_service_connection_policy.memorystore.service_class == "gcp-memorystore"
    error_message = "The policy is for Memorystore for Valkey."
  }
}

run "ranges_too_small_are_refused" {
  command = plan

  variables {
    endpoints_cidr = "10.64.1.0/30"
    managed_cidr   = "10.65.0.0/28"
    services_cidr  = "10.64.0.0/28"
  }

  expect_failures = [var.endpoints_cidr, var.managed_cidr, var.services_cidr]
}

run "a_name_that_google_refuses_is_refused" {
  command = plan

  variables {
    name = "Orchestra"
  }

  expect_failures = [var.name]
}
