variable "endpoints_cidr" {
  type        = string
  description = "The range of Memorystore's endpoints: two addresses for each instance, so a /27 is ample."
  default     = "10.64.1.0/27"

  validation {
    condition     = can(cidrhost(var.endpoints_cidr, 0)) && try(tonumber(split("/", var.endpoints_cidr)[1]) <= 29, false)
    error_message = "A range such as 10.64.1.0/27, of /29 or larger."
  }
}

variable "flow_sampling" {
  type        = number
  description = "The share of the network's flows that is logged, 0 to 1."
  default     = 0.1

  validation {
    condition     = var.flow_sampling >= 0 && var.flow_sampling <= 1
    error_message = "A share, 0 to 1."
  }
}

variable "managed_cidr" {
  type        = string
  description = "The range that is given to Google for AlloyDB, /24 or larger; /20 leaves room for read pools to grow."
  default     = "10.65.0.0/20"

  validation {
    condition     = can(cidrhost(var.managed_cidr, 0)) && try(tonumber(split("/", var.managed_cidr)[1]) <= 24, false)
    error_message = "A range such as 10.65.0.0/20, of /24 or larger."
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

variable "project_id" {
  type        = string
  description = "The project."
}

variable "region" {
  type        = string
  description = "The region of the subnetworks."
}

variable "services_cidr" {
  type        = string
  description = "The range of Cloud Run's instances, /26 or larger: each uses an address, a new revision a second set."
  default     = "10.64.0.0/24"

  validation {
    condition     = can(cidrhost(var.services_cidr, 0)) && try(tonumber(split("/", var.services_cidr)[1]) <= 26, false)
    error_message = "A range such as 10.64.0.0/24, of /26 or larger."
  }
}
