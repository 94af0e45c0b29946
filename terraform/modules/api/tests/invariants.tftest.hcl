mock_provider "google" {}

variables {
  name          = "orchestra-dev"
  project_id    = "example-project"
  region        = "us-central1"
  image         = "us-central1-docker.pkg.dev/example-project/orchestra-dev/orchestra@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  network_id    = "network"
  subnetwork_id = "subnetwork"

  service_account            = "api@example-project.iam.gserviceaccount.com"
  migrations_service_account = "migrate@example-project.iam.gserviceaccount.com"
  app_user                   = "api@example-project.iam"

  settings            = { ORCHESTRA_REDIS_HOST = "10.64.1.2" }
  secret_settings     = { ORCHESTRA_EMBEDDER_API_KEY = { secret = "orchestra-dev-embedder-key" } }
  migrations_settings = { DATABASE_URL = "postgres://migrate%40example-project.iam@10.65.0.2/postgres" }
}

run "nobody_calls_unless_told" {
  command = plan

  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.invokers) == 0
    error_message = "There is no invoker."
  }
}

run "it_asks_the_servers_own_routes_how_it_is" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.api.template[0].containers[0].startup_probe[0].http_get[0].path == "/healthz" && google_cloud_run_v2_service.api.template[0].containers[0].liveness_probe[0].http_get[0].path == "/healthz"
    error_message = "Whether it lives."
  }

  assert {
    condition     = google_cloud_run_v2_service.api.template[0].containers[0].readiness_probe[0].http_get[0].path == "/readyz"
    error_message = "Whether its store answers."
  }
}

run "secrets_are_references" {
  command = plan

  assert {
    condition = [
      for env in google_cloud_run_v2_service.api.template[0].containers[0].env : env.value_source[0].secret_key_ref[0].secret
      if env.name == "ORCHESTRA_EMBEDDER_API_KEY" && env.value == null
    ] == ["orchestra-dev-embedder-key"]
    error_message = "The value is not in the plan."
  }
}

run "databases_are_reached_by_the_network" {
  command = plan

  assert {
    condition = alltrue([
      for access in [google_cloud_run_v2_service.api.template[0].vpc_access[0], google_cloud_run_v2_job.migrations.template[0].template[0].vpc_access[0]] :
      access.egress == "PRIVATE_RANGES_ONLY" && access.network_interfaces[0].subnetwork == "subnetwork"
    ])
    error_message = "The service and the job are in the subnetwork."
  }

  assert {
    condition     = google_cloud_run_v2_service.api.template[0].service_account == "api@example-project.iam.gserviceaccount.com" && google_cloud_run_v2_job.migrations.template[0].template[0].service_account == "migrate@example-project.iam.gserviceaccount.com"
    error_message = "Each runs as its own account."
  }
}

run "the_newest_revision_gets_all_unless_told" {
  command = plan

  assert {
    condition     = [for target in google_cloud_run_v2_service.api.traffic : "${target.type} ${target.percent}"] == ["TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST 100"]
    error_message = "One target."
  }
}

run "a_canary_gets_its_share_and_an_address" {
  command = plan

  variables {
    stable_revision = "orchestra-dev-api-00007-abc"
    canary_percent  = 10
  }

  assert {
    condition = [for target in google_cloud_run_v2_service.api.traffic : "${target.tag} ${target.percent} ${coalesce(target.revision, "newest")}"] == [
      "stable 90 orchestra-dev-api-00007-abc",
      "canary 10 newest",
    ]
    error_message = "The rest stays where it was."
  }
}

run "an_image_by_a_tag_is_refused" {
  command = plan

  variables {
    image = "us-central1-docker.pkg.dev/example-project/orchestra-dev/orchestra:latest"
  }

  expect_failures = [var.image]
}

run "everybody_as_an_invoker_is_refused_unless_asked_for" {
  command = plan

  variables {
    invokers = { all = "allUsers" }
  }

  expect_failures = [var.invokers]
}

run "secrets_as_values_are_refused" {
  command = plan

  variables {
    settings            = { ORCHESTRA_REDIS_PASSWORD = "hunter2" }
    migrations_settings = { DATABASE_URL = "postgres://postgres:hunter2@10.65.0.2/postgres" }
  }

  expect_failures = [var.settings, var.migrations_settings]
}

run "a_server_without_keys_is_refused" {
  command = plan

  variables {
    settings = { ORCHESTRA_ALLOW_UNAUTHENTICATED = "true" }
  }

  expect_failures = [var.settings]
}

run "a_canary_without_a_stable_revision_is_refused" {
  command = plan

  variables {
    canary_percent = 10
  }

  expect_failures = [var.canary_percent]
}
