# Messages of the budget, and what is made of them.
#
# The budget's topic has no schema: Pub/Sub refuses what does not fit one, and of a refused budget message nobody would be
# told. The shape is checked by whoever reads it; what cannot be read ends in the dead letter.

locals {
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
  week         = "604800s"

  subscriptions = {
    budget = google_pubsub_topic.budget
    alerts = google_pubsub_topic.alerts
  }
}

resource "google_pubsub_topic" "budget" {
  #checkov:skip=CKV_GCP_83:A budget's amounts; Google's own keys encrypt them.
  project                    = var.project_id
  name                       = "${local.name}-budget"
  labels                     = local.labels
  message_retention_duration = local.week

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_topic_iam_member" "budget_publisher" {
  project = var.project_id
  topic   = google_pubsub_topic.budget.name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:billing-budget-alert@system.gserviceaccount.com"
}

resource "google_pubsub_schema" "alert" {
  project    = var.project_id
  name       = "${local.name}-cost-alert"
  type       = "AVRO"
  definition = file("${local.monitoring}/schemas/alert.avsc")
}

resource "google_pubsub_topic" "alerts" {
  #checkov:skip=CKV_GCP_83:A budget's amounts; Google's own keys encrypt them.
  project                    = var.project_id
  name                       = "${local.name}-cost-alerts"
  labels                     = local.labels
  message_retention_duration = local.week

  schema_settings {
    schema   = google_pubsub_schema.alert.id
    encoding = "JSON"
  }

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_topic" "dead_letter" {
  #checkov:skip=CKV_GCP_83:What is in it is what was in the others.
  project                    = var.project_id
  name                       = "${local.name}-dead-letter"
  labels                     = local.labels
  message_retention_duration = local.week

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_subscription" "this" {
  for_each = local.subscriptions

  project                    = var.project_id
  name                       = each.value.name
  topic                      = each.value.id
  labels                     = local.labels
  ack_deadline_seconds       = 60
  message_retention_duration = local.week

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter.id
    max_delivery_attempts = 10
  }

  # Some of the failures pass by themselves, such as a webhook that is away.
  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  # Never: a quiet month is no reason to forget it.
  expiration_policy {
    ttl = ""
  }
}

# Without a subscription nothing that is sent to the dead letter would be kept.
resource "google_pubsub_subscription" "dead_letter" {
  project                    = var.project_id
  name                       = google_pubsub_topic.dead_letter.name
  topic                      = google_pubsub_topic.dead_letter.id
  labels                     = local.labels
  ack_deadline_seconds       = 60
  message_retention_duration = local.week

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub moves a message as its own service agent: it takes it off the one and puts it on the other.
resource "google_pubsub_topic_iam_member" "dead_letter_publisher" {
  project = var.project_id
  topic   = google_pubsub_topic.dead_letter.name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_letter_subscriber" {
  for_each = google_pubsub_subscription.this

  project      = var.project_id
  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}
