//! What a server, a database and a role are, and what of it is in the way of the schema.

use sqlx::PgConnection;

/// The oldest Postgres that serves, as `server_version_num` counts: NULLS NOT DISTINCT came with 15.
const OLDEST_POSTGRES: i32 = 15_00_00;
/// Before it parallel index builds have a buffer overflow (CVE-2026-3172).
const OLDEST_PGVECTOR: [u32; 3] = [0, 8, 2];
/// Before it VACUUM can corrupt an HNSW index.
const SOUND_PGVECTOR: [u32; 3] = [0, 8, 4];

/// What was found.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Examination {
    pub database: String,
    pub role: String,
    /// As people write it: `18.6`.
    pub postgres: String,
    pub postgres_number: i32,
    pub is_replica: bool,
    /// The version in the database.
    pub pgvector: Option<String>,
    /// The version that CREATE EXTENSION would bring.
    pub pgvector_available: Option<String>,
    pub has_btree_gin: bool,
    pub btree_gin_available: Option<String>,
    /// The schema's owner, once there is one.
    pub owner: Option<String>,
    /// Whether the role is the schema's owner, or a member of it.
    pub is_owner: bool,
    pub may_create_schema: bool,
    pub has_migrations: bool,
}

impl Examination {
    pub async fn of(connection: &mut PgConnection) -> sqlx::Result<Self> {
        sqlx::query_as(
            "SELECT
                current_database()::text AS database,
                current_user::text AS role,
                current_setting('server_version') AS postgres,
                current_setting('server_version_num')::int AS postgres_number,
                pg_is_in_recovery() AS is_replica,
                (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS pgvector,
                (SELECT default_version FROM pg_available_extensions WHERE name = 'vector') AS pgvector_available,
                EXISTS (SELECT FROM pg_extension WHERE extname = 'btree_gin') AS has_btree_gin,
                (SELECT default_version FROM pg_available_extensions WHERE name = 'btree_gin') AS btree_gin_available,
                pg_get_userbyid(n.nspowner)::text AS owner,
                coalesce(pg_has_role(n.nspowner, 'USAGE'), false) AS is_owner,
                has_database_privilege(current_database(), 'CREATE') AS may_create_schema,
                -- By the catalog: to_regclass refuses a role that may not use the schema.
                EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'migrations') AS has_migrations
            FROM (SELECT) one LEFT JOIN pg_namespace n ON n.nspname = 'orchestra'",
        )
        .fetch_one(connection)
        .await
    }

    /// What keeps the schema from being brought up to date, each with what to do.
    pub fn problems(&self) -> Vec<String> {
        let Self { role, database, .. } = self;
        let mut problems = Vec::new();
        if self.postgres_number < OLDEST_POSTGRES {
            problems.push(format!("the server is Postgres {}; 15 or later is needed", self.postgres));
        }
        if self.is_replica {
            problems.push("this server is a read replica; connect to the primary".into());
        }
        match (&self.owner, self.is_owner) {
            (None, _) if !self.may_create_schema => problems.push(format!(
                "the role {role} may not create a schema in the database {database}; connect as its owner, or let the owner \
                 run GRANT CREATE ON DATABASE"
            )),
            (Some(_), false) => problems.push(self.not_the_owner()),
            _ => {}
        }
        problems.extend(self.pgvector_problem());
        if !self.has_btree_gin && self.btree_gin_available.is_none() {
            problems.push(
                "the extension btree_gin is not installed on the server; it comes with Postgres's contrib modules (the \
                 package postgresql-contrib)"
                    .into(),
            );
        }
        problems
    }

    /// That the role is another than the schema's owner.
    pub fn not_the_owner(&self) -> String {
        let owner = self.owner.as_deref().unwrap_or("its owner");
        format!("the role {} does not own the schema orchestra; connect as {owner}, or as a member of it", self.role)
    }

    fn pgvector_problem(&self) -> Option<String> {
        let oldest = OLDEST_PGVECTOR.map(|part| part.to_string()).join(".");
        let is_old =
            |version: &Option<String>| version.as_deref().and_then(numbers).is_some_and(|it| it < OLDEST_PGVECTOR);
        match (&self.pgvector, &self.pgvector_available) {
            (None, None) => Some(
                "the extension vector is not installed on the server; it comes with pgvector (the package \
                 postgresql-NN-pgvector; part of AlloyDB and Cloud SQL)"
                    .into(),
            ),
            (Some(installed), available) if is_old(&self.pgvector) => {
                let remedy = match available {
                    Some(available) if !is_old(&self.pgvector_available) => {
                        format!("run ALTER EXTENSION vector UPDATE, which brings {available}")
                    }
                    _ => "install a later pgvector on the server, then run ALTER EXTENSION vector UPDATE".into(),
                };
                Some(format!("the extension vector is {installed}; {oldest} or later is needed: {remedy}"))
            }
            (None, Some(available)) if is_old(&self.pgvector_available) => Some(format!(
                "the server has pgvector {available}; {oldest} or later is needed: install a later one on the server"
            )),
            _ => None,
        }
    }

    /// What works and should be changed all the same.
    pub fn warnings(&self) -> Vec<String> {
        let version = self.pgvector.as_ref().or(self.pgvector_available.as_ref());
        version
            .filter(|version| numbers(version).is_some_and(|it| (OLDEST_PGVECTOR..SOUND_PGVECTOR).contains(&it)))
            .map(|version| {
                format!(
                    "pgvector is {version}: before {} a VACUUM can corrupt an HNSW index; update it before you build one",
                    SOUND_PGVECTOR.map(|part| part.to_string()).join(".")
                )
            })
            .into_iter()
            .collect()
    }
}

/// The three numbers that a version begins with: AlloyDB writes `0.8.1.google-1`. None where they are not there: then
/// nothing is said of it.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.split(['.', '-']);
    let mut next = || parts.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Examination {
        Examination {
            database: "memory".into(),
            role: "ann".into(),
            postgres: "17.2".into(),
            postgres_number: 17_00_02,
            is_replica: false,
            pgvector: None,
            pgvector_available: Some("0.8.6".into()),
            has_btree_gin: false,
            btree_gin_available: Some("1.3".into()),
            owner: None,
            is_owner: false,
            may_create_schema: true,
            has_migrations: false,
        }
    }

    fn told(change: fn(&mut Examination)) -> String {
        let mut examination = sound();
        change(&mut examination);
        [examination.problems(), examination.warnings()].concat().join("\n")
    }

    #[test]
    fn what_is_in_the_way_is_told_with_what_to_do() {
        assert_eq!(told(|_| {}), "");
        let told = [
            told(|it| (it.postgres, it.postgres_number) = ("14.9".into(), 14_00_09)),
            told(|it| it.is_replica = true),
            told(|it| it.may_create_schema = false),
            told(|it| (it.owner, it.may_create_schema) = (Some("owner".into()), true)),
            told(|it| it.pgvector_available = None),
            told(|it| it.pgvector_available = Some("0.7.4".into())),
            told(|it| it.pgvector = Some("0.8.1.google-1".into())),
            told(|it| {
                it.pgvector = Some("0.8.0".into());
                it.pgvector_available = Some("0.8.0".into());
            }),
            told(|it| it.pgvector = Some("0.8.3".into())),
            told(|it| it.btree_gin_available = None),
        ];
        insta::assert_snapshot!(told.join("\n\n"));
    }

    #[test]
    fn versions_begin_with_three_numbers() {
        assert_eq!(numbers("0.8.1.google-1"), Some([0, 8, 1]));
        assert_eq!(numbers("0.8.10"), Some([0, 8, 10]));
        assert_eq!(numbers("unknown"), None);
    }
}
