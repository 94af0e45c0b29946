variable "api_invokers" {
  type        = map(string)
  description = "Who may call the service, by a name of its own: members such as serviceAccount:agent@example-project.iam.gserviceaccount.com."
  default     = {}
}

variable "api_is_public" {
  type        = bool
  description = "Whether api_invokers may name allUsers: the API keys are then all that keeps others out."
  default     = false
}

variable "billing_account" {
  type        = string
  description = "The billing account of the project: gcloud billing accounts list"

  validation {
    condition     = can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "Such as 01D4EE-079462-DFD6EC: gcloud billing accounts list"
  }
}

variable "billing_export_table" {
  type        = string
  description = "The table of the detailed billing export, as PROJECT.DATASET.TABLE, once a person has turned it on."
  default     = null
}

variable "canary_percent" {
  type        = number
  description = "The share of requests, 0 to 100, that the canary gets while there is a stable revision."
  default     = 0
}

variable "canary_revision" {
  type        = string
  description = "The revision that is tried; the newest where it is null."
  default     = null
}

variable "github_branch" {
  type        = string
  description = "The branch that is deployed."
  default     = "main"
}

variable "github_owner_id" {
  type        = string
  description = "The number of the repository's owner: gh api users/OWNER --jq .id"
}

variable "github_repository_id" {
  type        = string
  description = "The number of the repository: gh api repos/OWNER/REPOSITORY --jq .id"
}

variable "has_embedder_key" {
  type        = bool
  description = "Whether a remote embedder wants a key. Then there is a secret for it, which needs a value before the server starts."
  default     = false
}

variable "image" {
  type        = string
  description = "The image by its digest; null until there is one, for everything but the service and the job."
  default     = null
}

variable "kms_key" {
  type        = string
  description = "The key of Cloud KMS that everything is encrypted with; Google's own where it is null. It cannot be changed later."
  default     = null
}

variable "monthly_budget_usd" {
  type        = number
  description = "The month's budget, in US dollars."

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "More than nothing."
  }
}

variable "notification_emails" {
  type        = list(string)
  description = "Who is told of alerts and of the budget."

  validation {
    condition     = length(var.notification_emails) > 0
    error_message = "An alert that nobody gets is none."
  }
}

variable "project_id" {
  type        = string
  description = "The project."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "The project's id, not its number: 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "region" {
  type        = string
  description = "The region of everything."
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region such as us-central1, not a zone."
  }
}

variable "settings" {
  type        = map(string)
  description = "Further settings of the server, such as ORCHESTRA_CACHE_TTL_SECONDS; `orchestra config schema` lists them. They hold no secret."
  default     = {}
}

variable "stable_revision" {
  type        = string
  description = "The revision that gets what the canary does not; null gives all to the newest."
  default     = null
}

variable "state_bucket" {
  type        = string
  description = "The bucket of the state, for workflows to reach it."
}
