# An environment: the modules, and what each gets of the others. This file is the same in all of them; sizes.tf differs.

locals {
  name = "orchestra-${local.environment}"

  # What the billing export is split by; each module adds its component.
  labels = {
    environment = local.environment
    system      = "orchestra-memory"
  }

  # The server's secrets. Each must have a value before the server starts; a list of API keys without a key lets in nobody.
  secrets = merge(
    {
      api-keys = { readers = local.api_reads, first_value = jsonencode({ version = 1, keys = {} }) }
    },
    var.has_embedder_key ? { embedder-key = { readers = local.api_reads } } : {},
  )
  api_reads = { api = "serviceAccount:${module.iam.api_service_account}" }

  # The server's settings, as `orchestra config schema` names them.
  settings = merge(
    {
      ORCHESTRA_SHORT_TERM_PROVIDER = "redis"
      ORCHESTRA_REDIS_HOST          = module.redis.host
      ORCHESTRA_REDIS_PORT          = module.redis.port
      ORCHESTRA_REDIS_TLS           = "true"
      ORCHESTRA_REDIS_CA_FILE       = "/etc/orchestra/redis/ca.pem"
      ORCHESTRA_REDIS_GOOGLE_IAM    = "true"
      ORCHESTRA_REDIS_CLUSTER       = tostring(module.redis.is_cluster)
      ORCHESTRA_REDIS_SHARDS        = module.redis.is_cluster ? "16" : "1"

      ORCHESTRA_MEDIUM_TERM_PROVIDER      = "alloydb"
      ORCHESTRA_ALLOYDB_HOST              = module.alloydb.primary_address
      ORCHESTRA_ALLOYDB_USER              = module.alloydb.app_user
      ORCHESTRA_ALLOYDB_DATABASE          = module.alloydb.database
      ORCHESTRA_ALLOYDB_TLS               = "require"
      ORCHESTRA_ALLOYDB_GOOGLE_IAM        = "true"
      ORCHESTRA_ALLOYDB_HIGH_AVAILABILITY = "true"
      ORCHESTRA_ALLOYDB_READ_HOSTS        = "${module.alloydb.read_address}:5432"

      ORCHESTRA_AUTH_KEYS_FILE = "/etc/orchestra/keys/keys.json"
    },
    var.settings,
  )
}

data "google_project" "this" {
  project_id = var.project_id
}

module "network" {
  source = "../../modules/network"

  name          = local.name
  project_id    = var.project_id
  region        = var.region
  flow_sampling = local.sizes.network.flow_sampling
}

module "iam" {
  source = "../../modules/iam"

  name                 = local.name
  project_id           = var.project_id
  environment          = local.environment
  github_owner_id      = var.github_owner_id
  github_repository_id = var.github_repository_id
  github_branch        = var.github_branch
  github_environment   = local.environment
  state_bucket         = var.state_bucket
}

module "redis" {
  source = "../../modules/redis"

  name                = local.name
  labels              = local.labels
  project_id          = var.project_id
  region              = var.region
  network_id          = module.network.network_id
  clients             = { api = "serviceAccount:${module.iam.api_service_account}" }
  mode                = local.sizes.redis.mode
  node_type           = local.sizes.redis.node_type
  shard_count         = local.sizes.redis.shard_count
  replica_count       = local.sizes.redis.replica_count
  persistence         = local.sizes.redis.persistence
  kms_key             = var.kms_key
  deletion_protection = local.sizes.deletion_protection
}

module "alloydb" {
  source = "../../modules/alloydb"

  name                      = local.name
  labels                    = local.labels
  project_id                = var.project_id
  region                    = var.region
  network_id                = module.network.network_id
  managed_range             = module.network.managed_range
  app_service_account       = module.iam.api_service_account
  migration_service_account = module.iam.migrations_service_account
  availability_type         = local.sizes.alloydb.availability_type
  cpu_count                 = local.sizes.alloydb.cpu_count
  read_cpu_count            = local.sizes.alloydb.read_cpu_count
  read_node_count           = local.sizes.alloydb.read_node_count
  backup_retention_days     = local.sizes.alloydb.backup_retention_days
  recovery_window_days      = local.sizes.alloydb.recovery_window_days
  kms_key                   = var.kms_key
  deletion_protection       = local.sizes.deletion_protection
}

module "secrets" {
  source = "../../modules/secrets"

  name                = local.name
  labels              = local.labels
  project_id          = var.project_id
  project_number      = data.google_project.this.number
  region              = var.region
  secrets             = local.secrets
  kms_key             = var.kms_key
  deletion_protection = local.sizes.deletion_protection
}

module "api" {
  source = "../../modules/api"

  name                       = local.name
  labels                     = local.labels
  project_id                 = var.project_id
  region                     = var.region
  image                      = var.image
  network_id                 = module.network.network_id
  subnetwork_id              = module.network.services_subnetwork_id
  service_account            = module.iam.api_service_account
  migrations_service_account = module.iam.migrations_service_account
  app_user                   = module.alloydb.app_user
  invokers                   = var.api_invokers
  is_public                  = var.api_is_public
  min_instances              = local.sizes.api.min_instances
  max_instances              = local.sizes.api.max_instances
  cpu                        = local.sizes.api.cpu
  memory                     = local.sizes.api.memory
  stable_revision            = var.stable_revision
  canary_revision            = var.canary_revision
  canary_percent             = var.canary_percent
  kms_key                    = var.kms_key
  deletion_protection        = local.sizes.deletion_protection
  settings                   = local.settings

  secret_settings = var.has_embedder_key ? {
    ORCHESTRA_EMBEDDER_API_KEY = { secret = module.secrets.secret_ids["embedder-key"] }
  } : {}

  secret_files = {
    keys  = { secret = module.secrets.secret_ids["api-keys"], file = "keys.json" }
    redis = { secret = module.redis.ca_secret_id, file = "ca.pem" }
  }

  migrations_settings = {
    # Without a password: the job shows a token of its account.
    DATABASE_URL                 = "postgres://${urlencode(module.alloydb.migration_user)}@${module.alloydb.primary_address}:5432/${module.alloydb.database}?sslmode=require"
    ORCHESTRA_ALLOYDB_GOOGLE_IAM = "true"
  }
}

module "monitoring" {
  source = "../../modules/monitoring"

  project_id           = var.project_id
  environment          = local.environment
  region               = var.region
  labels               = local.labels
  billing_account      = var.billing_account
  billing_export_table = var.billing_export_table
  monthly_budget_usd   = var.monthly_budget_usd
  notification_emails  = var.notification_emails
  alloydb_cluster_id   = module.alloydb.cluster_id
  redis_instance_id    = module.redis.instance_id
  api_service_name     = module.api.service_name
}
