mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  project_id          = "example-project-prod"
  environment         = "prod"
  region              = "us-central1"
  billing_account     = "01D4EE-079462-DFD6EC"
  monthly_budget_usd  = 900
  notification_emails = ["oncall@example.com"]
  labels              = { system = "orchestra-memory" }
  alloydb_cluster_id  = "orchestra-prod"
  redis_instance_id   = "orchestra-prod"
  api_service_name    = "orchestra-prod-api"
}

run "example" {
  command = plan

  assert {
    condition     = google_bigquery_dataset.cost.dataset_id == "orchestra_cost_prod"
    error_message = "The dataset has the environment's name."
  }

  assert {
    condition     = length(google_bigquery_table.base_view) + length(google_bigquery_table.view) == 0 && length(google_bigquery_table_iam_member.export_reader) == 0
    error_message = "Without the export's table there is nothing to make views over."
  }
}

run "budget_has_its_five_rules" {
  command = plan

  assert {
    condition = toset([for rule in google_billing_budget.month.threshold_rules : "${rule.spend_basis} ${rule.threshold_percent}"]) == toset([
      "CURRENT_SPEND 0.5", "CURRENT_SPEND 0.8", "CURRENT_SPEND 1", "FORECASTED_SPEND 0.8", "FORECASTED_SPEND 1",
    ])
    error_message = "50, 80 and 100 % of what is spent, 80 and 100 % of what is forecast."
  }

  assert {
    condition     = google_billing_budget.month.budget_filter[0].projects == toset(["projects/123456789012"])
    error_message = "The filter names the project by its number: an id gives a difference with every plan."
  }

  assert {
    condition     = google_billing_budget.month.amount[0].specified_amount[0].units == "900"
    error_message = "The amount is the one that was asked for."
  }
}

run "tables_are_partitioned_by_time" {
  command = plan

  assert {
    condition     = toset(keys(google_bigquery_table.cost)) == toset(["alerts", "watch_events", "usage", "prices"])
    error_message = "Alerts, usage and prices have a table each."
  }

  assert {
    condition = alltrue([
      for table in google_bigquery_table.cost : length(table.time_partitioning) == 1 && contains(
        [for column in jsondecode(table.schema) : column.name if contains(["TIMESTAMP", "DATE"], column.type) && column.mode == "REQUIRED"],
        table.time_partitioning[0].field
      )
    ])
    error_message = "Each table is partitioned by a time of its own that is always there."
  }

  assert {
    condition     = alltrue([for table in google_bigquery_table.cost : table.deletion_protection])
    error_message = "No plan takes a table with its rows away."
  }
}

run "messages_are_kept_and_refused_by_nobody" {
  # Applied, so that what only Google knows has a stand-in.
  command = apply

  assert {
    condition     = length(google_pubsub_topic.budget.schema_settings) == 0
    error_message = "A schema on the budget's topic would drop messages that nobody is told of."
  }

  assert {
    condition     = google_pubsub_topic.alerts.schema_settings[0].encoding == "JSON"
    error_message = "Our own topic has a schema."
  }

  assert {
    condition = alltrue([
      for subscription in google_pubsub_subscription.this :
      subscription.dead_letter_policy[0].dead_letter_topic == google_pubsub_topic.dead_letter.id && subscription.expiration_policy[0].ttl == ""
    ])
    error_message = "Each subscription has the dead letter and does not end by itself."
  }

  assert {
    condition     = google_pubsub_subscription.dead_letter.topic == google_pubsub_topic.dead_letter.id
    error_message = "What is sent to the dead letter is kept."
  }

  assert {
    condition = google_pubsub_topic_iam_member.dead_letter_publisher.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com" && alltrue([
      for grant in google_pubsub_subscription_iam_member.dead_letter_subscriber : grant.role == "roles/pubsub.subscriber" && grant.member == google_pubsub_topic_iam_member.dead_letter_publisher.member
    ]) && length(google_pubsub_subscription_iam_member.dead_letter_subscriber) == length(google_pubsub_subscription.this)
    error_message = "Pub/Sub's own agent may take a message off each subscription and put it on the dead letter."
  }

  assert {
    condition     = google_pubsub_topic_iam_member.budget_publisher.member == "serviceAccount:billing-budget-alert@system.gserviceaccount.com"
    error_message = "The budget may publish."
  }

  assert {
    condition     = google_billing_budget.month.all_updates_rule[0].pubsub_topic == google_pubsub_topic.budget.id
    error_message = "The budget publishes on its topic."
  }
}

run "every_alert_has_its_runbook" {
  command = plan

  assert {
    condition     = length(google_monitoring_alert_policy.this) == 22
    error_message = "Thirteen of the server, six of Google's metrics, three of the cost."
  }

  assert {
    condition = alltrue([
      for policy in google_monitoring_alert_policy.this : startswith(policy.documentation[0].content, "# ") && length(policy.documentation[0].content) < 8192 && length(policy.documentation[0].subject) < 256
    ])
    error_message = "The text is the runbook's, and Cloud Monitoring takes it."
  }

  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.this : !strcontains(policy.documentation[0].content, "](")])
    error_message = "No link in it leads nowhere."
  }

  assert {
    condition = alltrue([
      for policy in google_monitoring_alert_policy.this :
      length(policy.conditions[0].condition_threshold) + length(policy.conditions[0].condition_prometheus_query_language) == 1
    ])
    error_message = "A policy has one condition."
  }

  assert {
    condition = alltrue(flatten([
      for policy in google_monitoring_alert_policy.this : [
        for condition in policy.conditions[0].condition_prometheus_query_language : condition.disable_metric_validation && endswith(condition.duration, "s")
      ]
    ]))
    error_message = "A metric that no server has sent yet is no reason to refuse the policy."
  }
}

run "export_makes_views" {
  command = plan

  variables {
    billing_export_table = "acme-billing.billing.gcp_billing_export_resource_v1_01D4EE_079462_DFD6EC"
  }

  assert {
    condition     = length(google_bigquery_table.base_view) + length(google_bigquery_table.view) == length(local.views)
    error_message = "Each file is a view."
  }

  assert {
    condition = alltrue([
      for view in concat(values(google_bigquery_table.base_view), values(google_bigquery_table.view)) :
      view.view[0].use_legacy_sql == false && !view.deletion_protection && !can(regex("[$][{]", view.view[0].query))
    ])
    error_message = "Unset, BigQuery reads a view as legacy SQL; and no placeholder is left."
  }

  assert {
    condition     = alltrue([for view in google_bigquery_table.base_view : strcontains(view.view[0].query, "`acme-billing.billing.gcp_billing_export_resource_v1_01D4EE_079462_DFD6EC`")])
    error_message = "The export is read where it is, also in another project."
  }

  assert {
    condition     = google_bigquery_table_iam_member.export_reader[0].project == "acme-billing" && google_bigquery_table_iam_member.export_reader[0].role == "roles/bigquery.dataViewer"
    error_message = "cost-monitor may read the export where it is, and nothing else there."
  }
}

run "nobody_holds_a_wide_role" {
  command = plan

  assert {
    condition     = toset([for grant in google_project_iam_member.cost_monitor : grant.role]) == toset(["roles/bigquery.jobUser", "roles/monitoring.metricWriter"])
    error_message = "On the project cost-monitor may run queries and write metrics."
  }
}

run "dashboards_are_the_files" {
  command = plan

  assert {
    condition     = toset(keys(google_monitoring_dashboard.this)) == toset(["cost_dashboard", "memory_dashboard"])
    error_message = "Each file is a dashboard."
  }
}

run "refuses_a_zone_for_a_region" {
  command = plan

  variables {
    region = "us-central1-a"
  }

  expect_failures = [var.region]
}

run "refuses_a_budget_of_nothing" {
  command = plan

  variables {
    monthly_budget_usd = 0
  }

  expect_failures = [var.monthly_budget_usd]
}

run "refuses_an_account_that_is_none" {
  command = plan

  variables {
    billing_account = "billingAccounts/01D4EE-079462-DFD6EC"
  }

  expect_failures = [var.billing_account]
}

run "refuses_an_export_that_is_none" {
  command = plan

  variables {
    billing_export_table = "orchestra_cost_prod.usage"
  }

  expect_failures = [var.billing_export_table]
}

run "refuses_to_tell_nobody" {
  command = plan

  variables {
    notification_emails = []
  }

  expect_failures = [var.notification_emails]
}
