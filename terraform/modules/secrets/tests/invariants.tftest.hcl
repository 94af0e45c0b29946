mock_provider "google" {}

variables {
  name           = "orchestra-dev"
  project_id     = "example-project"
  project_number = "1"
  region         = "us-central1"

  secrets = {
    one = { readers = { api = "serviceAccount:api@example-project.iam.gserviceaccount.com" }, first_value = "{}" }
    two = { readers = { api = "serviceAccount:api@example-project.iam.gserviceaccount.com", ann = "user:ann@example.com" } }
  }
}

run "each_secret_has_its_own_readers" {
  command = plan

  assert {
    condition = { for key, grant in google_secret_manager_secret_iam_member.readers : key => "${grant.secret_id} ${grant.role} ${grant.member}" } == {
      "one api" = "orchestra-dev-one roles/secretmanager.secretAccessor serviceAccount:api@example-project.iam.gserviceaccount.com"
      "two api" = "orchestra-dev-two roles/secretmanager.secretAccessor serviceAccount:api@example-project.iam.gserviceaccount.com"
      "two ann" = "orchestra-dev-two roles/secretmanager.secretAccessor user:ann@example.com"
    }
    error_message = "Each grant is on one secret, and reads."
  }
}

run "no_value_is_in_the_state" {
  command = apply

  assert {
    condition     = alltrue([for version in values(google_secret_manager_secret_version.first) : version.secret_data == null && version.secret_data_wo == null])
    error_message = "A first value is written and forgotten."
  }
}

run "secrets_are_kept_and_stay_in_their_region" {
  command = plan

  assert {
    condition = alltrue([
      for secret in values(google_secret_manager_secret.main) :
      secret.deletion_protection && secret.version_destroy_ttl == "604800s" &&
      secret.replication[0].user_managed[0].replicas[*].location == tolist(["us-central1"])
    ])
    error_message = "Deleting takes two steps, destroying a week."
  }
}

run "secret_manager_may_say_that_one_is_due" {
  command = plan

  assert {
    condition     = google_pubsub_topic_iam_member.rotation.member == "serviceAccount:service-1@gcp-sa-secretmanager.iam.gserviceaccount.com" && google_pubsub_topic_iam_member.rotation.role == "roles/pubsub.publisher"
    error_message = "Without the grant a secret with a rotation cannot be made."
  }
}

run "everybody_as_a_reader_is_refused" {
  command = plan

  variables {
    secrets = { one = { readers = { all = "allUsers" } } }
  }

  expect_failures = [var.secrets]
}

run "a_rotation_without_its_first_time_is_refused" {
  command = plan

  variables {
    secrets = { one = { rotation_days = 90 } }
  }

  expect_failures = [var.secrets]
}
