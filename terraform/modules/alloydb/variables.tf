variable "app_service_account" {
  type        = string
  description = "The address of the server's service account."

  validation {
    condition     = endswith(var.app_service_account, ".iam.gserviceaccount.com")
    error_message = "The address of a service account, such as api@example-project.iam.gserviceaccount.com."
  }
}

variable "availability_type" {
  type        = string
  description = "REGIONAL, with a standby in another zone, or ZONAL."
  default     = "REGIONAL"

  validation {
    condition     = contains(["REGIONAL", "ZONAL"], var.availability_type)
    error_message = "REGIONAL or ZONAL."
  }
}

variable "backup_hour" {
  type        = number
  description = "The hour of the day, in UTC, at which the backup of a day begins."
  default     = 2

  validation {
    condition     = var.backup_hour >= 0 && var.backup_hour <= 23 && floor(var.backup_hour) == var.backup_hour
    error_message = "0 to 23."
  }
}

variable "backup_retention_days" {
  type        = number
  description = "For how many days each of them is kept."
  default     = 30

  validation {
    condition     = var.backup_retention_days >= 1 && var.backup_retention_days <= 365
    error_message = "1 to 365."
  }
}

variable "cpu_count" {
  type        = number
  description = "The processors of the primary; each brings 8 GB of memory."

  validation {
    condition     = contains([2, 4, 8, 16, 32, 64, 96, 128], var.cpu_count)
    error_message = "2, 4, 8, 16, 32, 64, 96 or 128."
  }
}

variable "database_flags" {
  type        = map(string)
  description = "Further flags of the instances. They reach a read pool at its creation alone."
  default     = {}

  validation {
    condition     = lookup(var.database_flags, "alloydb.iam_authentication", "on") == "on"
    error_message = "Nobody could log in without alloydb.iam_authentication: no role has a password."
  }
}

variable "database_version" {
  type        = string
  description = "The version of Postgres. An upgrade cannot be undone."
  default     = "POSTGRES_17"

  validation {
    condition     = contains(["POSTGRES_15", "POSTGRES_16", "POSTGRES_17"], var.database_version)
    error_message = "POSTGRES_15, POSTGRES_16 or POSTGRES_17."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "Whether the cluster cannot be deleted. To delete it, apply false first."
  default     = true
}

variable "kms_key" {
  type        = string
  description = "The key of Cloud KMS for data, log and backups; Google's own where it is null. It cannot be changed later."
  default     = null
}

variable "labels" {
  type        = map(string)
  description = "Labels beside the component's, which the billing export carries."
  default     = {}
}

variable "managed_range" {
  type        = string
  description = "The name of the range of Private Services Access that its addresses are taken from."
}

variable "migration_service_account" {
  type        = string
  description = "The address of the service account that owns the schema."

  validation {
    condition     = endswith(var.migration_service_account, ".iam.gserviceaccount.com")
    error_message = "The address of a service account, such as migrations@example-project.iam.gserviceaccount.com."
  }

  validation {
    condition     = var.migration_service_account != var.app_service_account
    error_message = "Another than the server's: row-level security does not hold the schema's owner."
  }
}

variable "name" {
  type        = string
  description = "The cluster, and what the names of its instances begin with, such as orchestra-dev."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,29}$", var.name))
    error_message = "3 to 30 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "network_id" {
  type        = string
  description = "The network that is peered with Private Services Access."
}

variable "project_id" {
  type        = string
  description = "The project."
}

variable "read_cpu_count" {
  type        = number
  description = "The processors of each node of the read pool; those of the primary where it is null."
  default     = null
}

variable "read_node_count" {
  type        = number
  description = "The nodes of the read pool, 1 to 20: replicas that searches are shared out over."
  default     = 3

  validation {
    condition     = var.read_node_count >= 1 && var.read_node_count <= 20 && floor(var.read_node_count) == var.read_node_count
    error_message = "1 to 20."
  }
}

variable "recovery_window_days" {
  type        = number
  description = "How many days back any moment can be recovered."
  default     = 14

  validation {
    condition     = var.recovery_window_days >= 1 && var.recovery_window_days <= 35
    error_message = "1 to 35."
  }
}

variable "region" {
  type        = string
  description = "The region of the cluster and its backups."
}
