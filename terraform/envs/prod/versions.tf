terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 8.0"
    }
  }

  # Bucket and prefix are given to `terraform init` as -backend-config: they are the project's.
  backend "gcs" {}
}

provider "google" {
  project = var.project_id
  region  = var.region

  # Budgets are charged to a quota, which is a project's also when a person applies.
  billing_project       = var.project_id
  user_project_override = true
}
