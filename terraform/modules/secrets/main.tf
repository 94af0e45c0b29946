# Secrets: each with those who may read it, and a reminder when it is due for another value. Values are added by whoever
# has them, and are neither here nor in the state.

resource "google_secret_manager_secret" "main" {
  for_each = var.secrets

  project   = var.project_id
  secret_id = "${var.name}-${each.key}"
  labels    = merge(var.labels, { component = "secrets" })

  # In the region that reads them, so that no other region's failure or law is theirs.
  replication {
    user_managed {
      replicas {
        location = var.region

        dynamic "customer_managed_encryption" {
          for_each = var.kms_key == null ? [] : [var.kms_key]

          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }

  dynamic "rotation" {
    for_each = each.value.rotation_days == null ? [] : [each.value.rotation_days]

    content {
      rotation_period    = "${rotation.value * 86400}s"
      next_rotation_time = each.value.next_rotation_time
    }
  }

  dynamic "topics" {
    for_each = each.value.rotation_days == null ? [] : [google_pubsub_topic.rotation.id]

    content {
      name = topics.value
    }
  }

  # What was destroyed by mistake can be had back for a week.
  version_destroy_ttl = "604800s"
  deletion_protection = var.deletion_protection

  # The time moves on with each reminder.
  lifecycle {
    ignore_changes = [rotation[0].next_rotation_time]
  }

  depends_on = [google_pubsub_topic_iam_member.rotation]
}

# A first value that is no secret, such as a list of keys without a key, so that what reads it can start.
resource "google_secret_manager_secret_version" "first" {
  for_each = { for name, secret in var.secrets : name => secret.first_value if secret.first_value != null }

  secret                 = google_secret_manager_secret.main[each.key].id
  secret_data_wo         = each.value
  secret_data_wo_version = "1"
  # A later value does not take it away.
  deletion_policy = "ABANDON"
}

locals {
  readers = merge([
    for name, secret in var.secrets : {
      for who, member in secret.readers : "${name} ${who}" => { secret = name, member = member }
    }
  ]...)
}

resource "google_secret_manager_secret_iam_member" "readers" {
  for_each = local.readers

  project   = var.project_id
  secret_id = google_secret_manager_secret.main[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.member
}
