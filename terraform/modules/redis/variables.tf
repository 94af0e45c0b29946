variable "clients" {
  type        = map(string)
  description = "Who may connect, by a name of its own: members such as serviceAccount:api@example-project.iam.gserviceaccount.com."

  validation {
    condition     = alltrue([for member in values(var.clients) : startswith(member, "serviceAccount:") || startswith(member, "user:")])
    error_message = "Each is a service account or a user: Memorystore knows no other members."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "Whether it cannot be deleted. To delete it, apply false first."
  default     = true
}

variable "engine_version" {
  type        = string
  description = "The version of Valkey."
  default     = "VALKEY_8_0"

  validation {
    condition     = contains(["VALKEY_7_2", "VALKEY_8_0", "VALKEY_9_0"], var.engine_version)
    error_message = "VALKEY_7_2, VALKEY_8_0 or VALKEY_9_0."
  }
}

variable "kms_key" {
  type        = string
  description = "The key of Cloud KMS that what is stored is encrypted with; Google's own where it is null."
  default     = null
}

variable "labels" {
  type        = map(string)
  description = "Labels beside the component's, which the billing export carries."
  default     = {}
}

variable "mode" {
  type        = string
  description = "CLUSTER, for more than one shard, or CLUSTER_DISABLED. It cannot be changed later."
  default     = "CLUSTER_DISABLED"

  validation {
    condition     = contains(["CLUSTER", "CLUSTER_DISABLED"], var.mode)
    error_message = "CLUSTER or CLUSTER_DISABLED."
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
  description = "The network that it gets its endpoints in, once its service connection policy stands."
}

variable "node_type" {
  type        = string
  description = "The size of a node: SHARED_CORE_NANO to try it, STANDARD_SMALL (5.2 GB) and larger for work."

  validation {
    condition     = contains(["SHARED_CORE_NANO", "STANDARD_SMALL", "HIGHMEM_MEDIUM", "HIGHMEM_XLARGE"], var.node_type)
    error_message = "SHARED_CORE_NANO, STANDARD_SMALL, HIGHMEM_MEDIUM or HIGHMEM_XLARGE."
  }
}

variable "persistence" {
  type        = string
  description = "AOF keeps sessions over a restart of a node, RDB a snapshot of them, DISABLED nothing. The cache can be lost."
  default     = "AOF"

  validation {
    condition     = contains(["AOF", "RDB", "DISABLED"], var.persistence)
    error_message = "AOF, RDB or DISABLED."
  }
}

variable "project_id" {
  type        = string
  description = "The project."
}

variable "region" {
  type        = string
  description = "The region."
}

variable "replica_count" {
  type        = number
  description = "The replicas of each shard, 0 to 2. With none, a node that fails takes its shard's entries with it."

  validation {
    condition     = var.replica_count >= 0 && var.replica_count <= 2 && floor(var.replica_count) == var.replica_count
    error_message = "0, 1 or 2."
  }
}

variable "shard_count" {
  type        = number
  description = "The shards. Each search asks all of them, so take larger nodes first."
  default     = 1

  validation {
    condition     = var.shard_count >= 1 && var.shard_count <= 250 && floor(var.shard_count) == var.shard_count
    error_message = "1 to 250."
  }

  validation {
    condition     = var.mode == "CLUSTER" || var.shard_count == 1
    error_message = "More than one shard needs the mode CLUSTER."
  }
}
