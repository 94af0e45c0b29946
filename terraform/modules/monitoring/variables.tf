variable "alloydb_cluster_id" {
  description = "The AlloyDB cluster that alerts watch: its id or its full name."
  type        = string
}

variable "api_service_name" {
  description = "The Cloud Run service that alerts watch."
  type        = string
}

variable "bigquery_location" {
  description = "Where the cost figures lie. It must be the location of the billing export; a multi-region backfills it from the start of the month before."
  type        = string
  default     = "US"
}

variable "billing_account" {
  description = "The billing account that the budget is of, as 000000-000000-000000."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account is three groups of six hexadecimal digits, such as 01D4EE-079462-DFD6EC: see `gcloud billing accounts list`."
  }
}

variable "billing_export_table" {
  description = "The table of the billing export, as project.dataset.table. Null until a person has turned the export on in the console and its first rows are there; views over it are made from then on."
  type        = string
  default     = null

  validation {
    condition = var.billing_export_table == null || can(regex(
      "^[a-z][a-z0-9-]{4,28}[a-z0-9]\\.[A-Za-z0-9_]+\\.gcp_billing_export_(resource_)?v1_[0-9A-F_]+$", var.billing_export_table
    ))
    error_message = "billing_export_table is project.dataset.gcp_billing_export_resource_v1_ACCOUNT (or ..._v1_ACCOUNT), with _ for - in the account."
  }
}

variable "environment" {
  description = "dev, staging or prod."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment is dev, staging or prod."
  }
}

variable "labels" {
  description = "Labels of everything that can have them; the billing export carries them."
  type        = map(string)
  default     = {}
}

variable "monthly_budget_usd" {
  description = "The month's budget, in whole US dollars. The billing account must be in US dollars."
  type        = number

  validation {
    condition     = var.monthly_budget_usd >= 1 && floor(var.monthly_budget_usd) == var.monthly_budget_usd
    error_message = "monthly_budget_usd is a whole number of dollars, 1 or more."
  }
}

variable "notification_emails" {
  description = "Who is told of alerts and of the budget: one to five addresses, as a budget tells no more than five."
  type        = list(string)

  validation {
    condition     = length(var.notification_emails) >= 1 && length(var.notification_emails) <= 5 && length(distinct(var.notification_emails)) == length(var.notification_emails)
    error_message = "notification_emails holds one to five different addresses."
  }

  validation {
    condition     = alltrue([for address in var.notification_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", address))])
    error_message = "notification_emails holds addresses such as oncall@example.com."
  }
}

variable "project_id" {
  description = "The project whose cost and health are watched."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is a project's id, not its number or name."
  }
}

variable "redis_instance_id" {
  description = "The Memorystore for Valkey instance that alerts watch: its id or its full name."
  type        = string
}

variable "region" {
  description = "The region that messages are kept in."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is a region such as us-central1, not a zone or a multi-region."
  }
}
