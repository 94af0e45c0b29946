variable "environment" {
  type        = string
  description = "dev, staging or prod."

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "dev, staging or prod."
  }
}

variable "github_branch" {
  type        = string
  description = "The branch that is deployed."
  default     = "main"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._/-]*$", var.github_branch)) && !startswith(var.github_branch, "refs/")
    error_message = "The name of one branch, such as main: no pattern, and no refs/heads/ before it."
  }
}

variable "github_environment" {
  type        = string
  description = "The environment of GitHub that deployments run in, where reviewers stand before them."

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]*$", var.github_environment)) && var.github_environment != "nothing"
    error_message = "Letters, digits, hyphens and underscores; not nothing, which stands for none."
  }
}

variable "github_owner_id" {
  type        = string
  description = "The number of the repository's owner: gh api users/OWNER --jq .id"

  validation {
    condition     = can(regex("^[0-9]+$", var.github_owner_id))
    error_message = "The owner's number, not its name: a name can be taken over. gh api users/OWNER --jq .id"
  }
}

variable "github_repository_id" {
  type        = string
  description = "The number of the repository: gh api repos/OWNER/REPOSITORY --jq .id"

  validation {
    condition     = can(regex("^[0-9]+$", var.github_repository_id))
    error_message = "The repository's number, not its name: a name can be taken over. gh api repos/OWNER/REPOSITORY --jq .id"
  }
}

variable "grantable_roles" {
  type        = set(string)
  description = "Roles that a deployment may grant on the project beside those that the modules grant."
  default     = []

  validation {
    condition = alltrue([
      for role in var.grantable_roles :
      can(regex("^roles/[A-Za-z.]+$", role)) && !can(regex("(?i)admin$|^roles/(owner|editor|viewer)$|serviceAccountTokenCreator|serviceAccountKey", role))
    ])
    error_message = "No role that administers, owns or edits, and none that makes tokens or keys of others."
  }
}

variable "name" {
  type        = string
  description = "What the names of its resources begin with, such as orchestra-dev."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,21}$", var.name))
    error_message = "3 to 22 lower-case letters, digits and hyphens, a letter first: an account's name has at most 30."
  }
}

variable "project_id" {
  type        = string
  description = "The project."
}

variable "state_bucket" {
  type        = string
  description = "The bucket of the state, which both accounts reach; null where that is granted elsewhere."
  default     = null
}
