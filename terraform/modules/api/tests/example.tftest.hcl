# The example in README.md, the same text.

mock_provider "google" {}

variables {
  name          = "orchestra-prod"
  project_id    = "example-project"
  region        = "us-central1"
  image         = "us-central1-docker.pkg.dev/example-project/orchestra-prod/orchestra@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  network_id    = "projects/example-project/global/networks/orchestra-prod"
  subnetwork_id = "projects/example-project/regions/us-central1/subnetworks/orchestra-prod-services"

  service_account            = "orchestra-prod-api@example-project.iam.gserviceaccount.com"
  migrations_service_account = "orchestra-prod-migrate@example-project.iam.gserviceaccount.com"
  app_user                   = "orchestra-prod-api@example-project.iam"

  invokers = {
    agent = "serviceAccount:agent@example-project.iam.gserviceaccount.com"
  }

  settings = {
    ORCHESTRA_AUTH_KEYS_FILE       = "/etc/orchestra/keys/keys.json"
    ORCHESTRA_MEDIUM_TERM_PROVIDER = "alloydb"
    ORCHESTRA_ALLOYDB_HOST         = "10.65.0.2"
    ORCHESTRA_ALLOYDB_TLS          = "require"
  }

  secret_files = {
    keys = { secret = "orchestra-prod-api-keys", file = "keys.json" }
  }

  migrations_settings = {
    DATABASE_URL = "postgres://orchestra-prod-migrate%40example-project.iam@10.65.0.2/postgres?sslmode=require"
  }
}

run "plans" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.api.name == "orchestra-prod-api"
    error_message = "The service is named after the environment."
  }

  assert {
    condition     = google_cloud_run_v2_service.api.template[0].volumes[0].secret[0].items[0].path == "keys.json" && google_cloud_run_v2_service.api.template[0].containers[0].volume_mounts[0].mount_path == "/etc/orchestra/keys"
    error_message = "The keys are where the setting says."
  }

  assert {
    condition     = google_cloud_run_v2_job.migrations.template[0].template[0].containers[0].args == tolist(["db", "migrate", "--app-user", "orchestra-prod-api@example-project.iam"])
    error_message = "The job gives the server's role its rights."
  }
}
