variable "deletion_protection" {
  type        = bool
  description = "Whether secrets cannot be deleted. To delete one, apply false first."
  default     = true
}

variable "kms_key" {
  type        = string
  description = "The key of Cloud KMS that values are encrypted with; Google's own where it is null."
  default     = null
}

variable "labels" {
  type        = map(string)
  description = "Labels beside the component's, which the billing export carries."
  default     = {}
}

variable "name" {
  type        = string
  description = "What the names of its resources begin with, such as orchestra-dev."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,29}$", var.name))
    error_message = "3 to 30 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "project_id" {
  type        = string
  description = "The project."
}

variable "project_number" {
  type        = string
  description = "The project's number, after which Secret Manager's own account is named."
}

variable "region" {
  type        = string
  description = "The region that values are kept in."
}

variable "secrets" {
  type = map(object({
    readers            = optional(map(string), {})
    first_value        = optional(string)
    rotation_days      = optional(number)
    next_rotation_time = optional(string)
  }))
  description = "The secrets by their name: who reads each, by a name of its own; a first value where that is no secret; every how many days another is due, and from when on (RFC 3339)."

  validation {
    condition     = alltrue([for name in keys(var.secrets) : can(regex("^[a-z][a-z0-9-]{1,60}$", name))])
    error_message = "Names are 2 to 61 lower-case letters, digits and hyphens, a letter first."
  }

  validation {
    condition = alltrue(flatten([
      for secret in values(var.secrets) : [for member in values(secret.readers) : can(regex("^(serviceAccount|user|group):", member))]
    ]))
    error_message = "Readers are accounts, users and groups: never everybody, and no whole project."
  }

  validation {
    condition = alltrue([
      for secret in values(var.secrets) : (secret.rotation_days == null) == (secret.next_rotation_time == null) &&
      (secret.rotation_days == null ? true : secret.rotation_days >= 1 && secret.rotation_days <= 365)
    ])
    error_message = "rotation_days is 1 to 365, and comes with next_rotation_time."
  }
}
