mock_provider "google" {}

variables {
  name        = "orchestra-dev"
  project_id  = "example-project"
  environment = "dev"

  github_owner_id      = "1"
  github_repository_id = "2"
  github_environment   = "dev"
  state_bucket         = "state"
}

run "a_deployment_runs_on_the_branch_and_in_the_environment" {
  command = apply

  assert {
    condition     = endswith(google_service_account_iam_member.deploy.member, "/attribute.deploys/dev")
    error_message = "The account that deploys is that environment's alone."
  }

  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_mapping["attribute.deploys"] == "assertion.ref == 'refs/heads/main' && has(assertion.environment) ? assertion.environment : 'nothing'"
    error_message = "The attribute is the environment, on the branch alone."
  }

  assert {
    condition     = endswith(google_service_account_iam_member.plan.member, "/attribute.repository_id/2")
    error_message = "The account that plans is the repository's."
  }

  assert {
    condition = alltrue([
      for grant in [google_service_account_iam_member.plan, google_service_account_iam_member.deploy] :
      startswith(grant.member, "principalSet://") && !strcontains(grant.member, "*")
    ])
    error_message = "No member has a wildcard."
  }
}

run "plans_only_read_and_nobody_reads_content" {
  command = plan

  assert {
    condition     = alltrue([for permission in local.plan_permissions : can(regex("\\.(get|list|getIamPolicy|use)$", permission))])
    error_message = "What plans changes nothing."
  }

  assert {
    condition = length(setintersection(
      toset(concat(local.plan_permissions, local.deploy_permissions)),
      toset(["secretmanager.versions.access", "bigquery.tables.getData", "pubsub.subscriptions.consume", "iam.serviceAccountKeys.create", "iam.serviceAccounts.getAccessToken", "iam.serviceAccounts.signBlob"]),
    )) == 0
    error_message = "Neither reads a secret, a row or a message, or makes a key or another's token."
  }

  assert {
    condition     = !anytrue([for role in local.deploy_roles : can(regex("^roles/(owner|editor|viewer|iam\\..*|secretmanager\\.admin|bigquery\\..*)$", role))])
    error_message = "What deploys has no role over everything, and none over accounts and roles."
  }

  assert {
    condition     = !anytrue([for permission in local.deploy_permissions : can(regex("^iam\\..*\\.(create|update|delete|setIamPolicy|actAs)$", permission))])
    error_message = "What deploys does not change who deploys."
  }
}

run "what_deploys_grants_the_roles_of_the_modules_alone" {
  command = plan

  variables {
    grantable_roles = ["roles/cloudtrace.agent"]
  }

  assert {
    condition = google_project_iam_member.deploy_grants.condition[0].expression == join("", [
      "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([",
      "'roles/alloydb.databaseUser', 'roles/bigquery.jobUser', 'roles/cloudtrace.agent', 'roles/memorystore.dbConnectionUser', ",
      "'roles/monitoring.metricWriter', 'roles/serviceusage.serviceUsageConsumer'])",
    ])
    error_message = "Granting is bounded."
  }

  assert {
    condition     = keys(google_service_account_iam_member.deploy_acts_as) == ["api", "migrations"]
    error_message = "It acts as what it deploys alone."
  }

  assert {
    condition     = google_storage_bucket_iam_member.state["plan"].role == "roles/storage.objectViewer"
    error_message = "A plan does not write the state."
  }

  assert {
    condition     = google_storage_bucket_iam_member.plans[0].role == "roles/storage.objectCreator" && google_storage_bucket_iam_member.plans[0].condition[0].expression == "resource.name.startsWith('projects/_/buckets/state/objects/plans/')"
    error_message = "It adds plans that wait to be applied, and no other object."
  }
}

run "names_in_place_of_numbers_are_refused" {
  command = plan

  variables {
    github_owner_id      = "example"
    github_repository_id = "example/orchestra-memory"
  }

  expect_failures = [var.github_owner_id, var.github_repository_id]
}

run "what_would_end_the_condition_is_refused" {
  command = plan

  variables {
    github_branch      = "main' || true || '"
    github_environment = "*"
  }

  expect_failures = [var.github_branch, var.github_environment]
}

run "roles_over_everything_are_not_grantable" {
  command = plan

  variables {
    grantable_roles = ["roles/owner", "roles/secretmanager.admin"]
  }

  expect_failures = [var.grantable_roles]
}
