variable "app_user" {
  type        = string
  description = "The database's role that the server logs in as, which the migrations give its rights."
}

variable "canary_percent" {
  type        = number
  description = "The share of requests, 0 to 100, that the canary gets while there is a stable revision."
  default     = 0

  validation {
    condition     = var.canary_percent >= 0 && var.canary_percent <= 100 && floor(var.canary_percent) == var.canary_percent
    error_message = "A whole number, 0 to 100."
  }

  validation {
    condition     = var.canary_percent == 0 || var.stable_revision != null
    error_message = "Name the stable_revision that gets the rest."
  }
}

variable "canary_revision" {
  type        = string
  description = "The revision that is tried, at the tag canary; the newest where it is null."
  default     = null

  validation {
    condition     = var.canary_revision == null || var.stable_revision != null
    error_message = "Name the stable_revision that gets the rest."
  }
}

variable "concurrency" {
  type        = number
  description = "How many requests an instance answers at once."
  default     = 80

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "1 to 1000."
  }
}

variable "cpu" {
  type        = string
  description = "The processors of an instance."
  default     = "2"

  validation {
    condition     = contains(["1", "2", "4", "8"], var.cpu)
    error_message = "1, 2, 4 or 8."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "Whether the service and the job cannot be deleted. To delete them, apply false first."
  default     = true
}

variable "image" {
  type        = string
  description = "The image, named by its digest."

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "An image by its digest, as in HOST/PROJECT/REPOSITORY/orchestra@sha256:…: a tag can come to mean another one."
  }
}

variable "ingress" {
  type        = string
  description = "From where requests may come."
  default     = "INGRESS_TRAFFIC_ALL"

  validation {
    condition = contains(
      ["INGRESS_TRAFFIC_ALL", "INGRESS_TRAFFIC_INTERNAL_ONLY", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"], var.ingress
    )
    error_message = "INGRESS_TRAFFIC_ALL, INGRESS_TRAFFIC_INTERNAL_ONLY or INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER."
  }
}

variable "invokers" {
  type        = map(string)
  description = "Who may call, by a name of its own: members such as serviceAccount:agent@example-project.iam.gserviceaccount.com. Nobody unless given."
  default     = {}

  validation {
    condition     = var.is_public || !anytrue([for member in values(var.invokers) : contains(["allUsers", "allAuthenticatedUsers"], member)])
    error_message = "allUsers and allAuthenticatedUsers need is_public: the API keys are then all that keeps others out."
  }
}

variable "is_public" {
  type        = bool
  description = "Whether invokers may name everybody."
  default     = false
}

variable "kms_key" {
  type        = string
  description = "The key of Cloud KMS that images and instances are encrypted with; Google's own where it is null."
  default     = null
}

variable "labels" {
  type        = map(string)
  description = "Labels beside the component's, which the billing export carries."
  default     = {}
}

variable "max_instances" {
  type        = number
  description = "At most so many instances. Each opens up to alloydb.max_connections connections to each endpoint."
  default     = 10

  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 100 && var.max_instances >= var.min_instances
    error_message = "1 to 100, and no fewer than min_instances."
  }
}

variable "memory" {
  type        = string
  description = "The memory of an instance."
  default     = "1Gi"

  validation {
    condition     = can(regex("^([5-9][0-9]{2}|[1-9][0-9]{3,})Mi$|^[1-9][0-9]?Gi$", var.memory))
    error_message = "Such as 512Mi or 2Gi, 500Mi or more."
  }
}

variable "migrations_service_account" {
  type        = string
  description = "The address of the job's service account."
}

variable "migrations_settings" {
  type        = map(string)
  description = "The job's environment: where the database is and who owns its schema. It holds no secret."

  validation {
    condition     = !can(regex("://[^/@]*:[^/@]+@", lookup(var.migrations_settings, "DATABASE_URL", "")))
    error_message = "DATABASE_URL has a password, which would be in the state: the job shows a token of its account."
  }
}

variable "min_instances" {
  type        = number
  description = "At least so many instances are there. With none, the first request after a pause waits for a start."
  default     = 0

  validation {
    condition     = var.min_instances >= 0 && floor(var.min_instances) == var.min_instances
    error_message = "0 or more."
  }
}

variable "name" {
  type        = string
  description = "What the names of its resources begin with, such as orchestra-dev."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,29}$", var.name))
    error_message = "3 to 30 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "network_id" {
  type        = string
  description = "The network that the databases are in."
}

variable "project_id" {
  type        = string
  description = "The project."
}

variable "region" {
  type        = string
  description = "The region."
}

variable "secret_files" {
  type        = map(object({ secret = string, file = string }))
  description = "Files out of Secret Manager, by their folder in /etc/orchestra: { keys = { secret = \"…\", file = \"keys.json\" } } is /etc/orchestra/keys/keys.json."
  default     = {}

  validation {
    condition     = alltrue([for folder in keys(var.secret_files) : can(regex("^[a-z][a-z0-9-]*$", folder))])
    error_message = "Folders are lower-case letters, digits and hyphens, a letter first."
  }
}

variable "secret_settings" {
  type        = map(object({ secret = string, version = optional(string, "latest") }))
  description = "Settings out of Secret Manager, by their environment variable. A new version counts from the next instance on."
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.secret_settings) : startswith(name, "ORCHESTRA_")])
    error_message = "Names are those of settings, such as ORCHESTRA_EMBEDDER_API_KEY."
  }
}

variable "service_account" {
  type        = string
  description = "The address of the server's service account."
}

variable "settings" {
  type        = map(string)
  description = "Settings by their environment variable; `orchestra config schema` lists them. They hold no secret."

  validation {
    condition     = alltrue([for name in keys(var.settings) : startswith(name, "ORCHESTRA_")])
    error_message = "Names are those of settings, such as ORCHESTRA_REDIS_HOST."
  }

  validation {
    condition     = !anytrue([for name in keys(var.settings) : can(regex("(PASSWORD|API_KEY|_URL)$", name)) && name != "ORCHESTRA_EMBEDDER_URL"])
    error_message = "Secrets are given by reference, in secret_settings."
  }

  validation {
    condition     = lookup(var.settings, "ORCHESTRA_ALLOW_UNAUTHENTICATED", "false") == "false"
    error_message = "A server that others reach asks for API keys."
  }
}

variable "stable_revision" {
  type        = string
  description = "The revision that gets what the canary does not. Null gives all to the newest."
  default     = null
}

variable "subnetwork_id" {
  type        = string
  description = "The subnetwork that instances get their addresses in, /26 or larger."
}

variable "timeout_seconds" {
  type        = number
  description = "How long a request may take."
  default     = 60

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 3600
    error_message = "1 to 3600."
  }
}
