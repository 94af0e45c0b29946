//! What the indexes are worth: searches beside the same question to a table of the same rows without any index.

use std::time::{Duration, Instant};

use anyhow::Result;
use memory_core::{MemoryStore as _, SearchRequest};
use pgvector::Vector;
use sqlx::{AssertSqlSafe, Executor as _};

use super::database::Database;
use super::goals::Goals;
use crate::report::{Report, Table, Times, micros};

/// How often each is asked, in turn.
const ROUNDS: usize = 21;

/// Asks both in turn.
pub async fn run(database: &Database, report: &mut Report, goals: &mut Goals) -> Result<()> {
    database.owner.execute("CREATE TABLE orchestra.plain AS SELECT * FROM orchestra.memories").await?;
    database.owner.execute("VACUUM (ANALYZE) orchestra.plain").await?;
    let mut table = Table::new(
        format!("{} memories of {} dimensions, one search at a time", database.size.rows, database.size.dimensions),
        &["scope", "without indexes p50", "search p50", "faster by"],
    );
    for searched in database.searched()? {
        let scope = &searched.scope;
        let condition = match (scope.user(), scope.agent()) {
            (Some(_), _) => " AND user_id = $3",
            (_, Some(_)) => " AND agent_id = $3",
            _ => " AND $3::text IS NULL",
        };
        let statement = format!(
            "SELECT id, text FROM orchestra.plain WHERE tenant = $1{condition} AND (expires_at IS NULL OR expires_at > now()) \
             ORDER BY embedding <#> $2 LIMIT 10"
        );
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let embedding = database.query(round);
            let begun = Instant::now();
            sqlx::query(AssertSqlSafe(statement.as_str()))
                .bind(scope.tenant_name())
                .bind(Vector::from(embedding.values().to_vec()))
                .bind(scope.user().or(scope.agent()))
                .fetch_all(&database.owner)
                .await?;
            plain.push(begun.elapsed());
            let request = SearchRequest {
                scope: scope.clone(),
                also: Vec::new(),
                embedding: Some(embedding),
                text: None,
                filter: None,
                candidates: 10,
                neighbours: false,
                at_least: None,
                as_of: None,
                best: None,
            };
            let begun = Instant::now();
            database.provider.search(&request).await?;
            ours.push(begun.elapsed());
        }
        let p50 = |times: Vec<Duration>| Times::from_times(times).p50();
        let (plain, ours) = (p50(plain), p50(ours));
        let saved = 1.0 - ours.as_secs_f64() / plain.as_secs_f64();
        goals.faster.note(saved);
        table.row([searched.name.to_owned(), micros(plain), micros(ours), format!("{:.0} %", saved * 100.0)]);
    }
    database.owner.execute("DROP TABLE orchestra.plain").await?;
    report.table(table);
    Ok(())
}
