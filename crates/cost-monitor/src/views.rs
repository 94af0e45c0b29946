//! The views over the billing export, and bringing a dataset to them.
//!
//! A plan says what would change; applying it twice changes nothing the second time.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use similar::TextDiff;

use crate::tables;
use crate::warehouse::{Place, Result, Warehouse, is_name};

/// Name and text of every view; one that another reads comes before it.
pub const VIEWS: [(&str, &str); 10] = [
    ("lines", include_str!("../../../monitoring/sql/lines.sql")),
    ("anomalies", include_str!("../../../monitoring/sql/views/anomalies.sql")),
    ("cost_by_label", include_str!("../../../monitoring/sql/views/cost_by_label.sql")),
    ("cost_by_sku", include_str!("../../../monitoring/sql/views/cost_by_sku.sql")),
    ("cost_daily", include_str!("../../../monitoring/sql/views/cost_daily.sql")),
    ("cost_monthly", include_str!("../../../monitoring/sql/views/cost_monthly.sql")),
    ("credits", include_str!("../../../monitoring/sql/views/credits.sql")),
    ("savings", include_str!("../../../monitoring/sql/views/savings.sql")),
    ("tenant_cost", include_str!("../../../monitoring/sql/views/tenant_cost.sql")),
    ("unit_costs", include_str!("../../../monitoring/sql/views/unit_costs.sql")),
];

/// The text of a view for a place and an export's table.
///
/// # Errors
/// When the table's name has other characters than names have.
pub fn render(text: &str, place: &Place, export: &str) -> Result<String> {
    is_name(export)?;
    let filled = [("${project}", &*place.project), ("${dataset}", &*place.dataset), ("${export}", export)];
    Ok(filled.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value)))
}

/// What is to be done to one view or table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A table that is not there.
    MakeTable(&'static str),
    /// A view that is not there.
    Make(&'static str),
    /// One with another text, shown line by line.
    Replace(&'static str, String),
    /// One that is as it should be.
    Keep(&'static str),
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(pub Vec<Change>);

impl Plan {
    /// Whether there is anything to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|change| matches!(change, Change::Keep(_)))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.0 {
            match change {
                Change::MakeTable(name) => writeln!(f, "+ table {name}")?,
                Change::Make(name) => writeln!(f, "+ view  {name}")?,
                Change::Keep(name) => writeln!(f, "  view  {name}")?,
                Change::Replace(name, diff) => {
                    writeln!(f, "~ view  {name}")?;
                    diff.lines().try_for_each(|line| writeln!(f, "    {line}"))?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Existing {
    table_name: String,
    view_definition: String,
}

/// The views of an export's table in a dataset.
#[derive(Debug, Clone)]
pub struct Views<'a> {
    warehouse: &'a Warehouse,
    texts: Vec<(&'static str, String)>,
}

impl<'a> Views<'a> {
    /// The views over the table `export`, which is in the same dataset.
    ///
    /// # Errors
    /// When that is no name of a table.
    pub fn new(warehouse: &'a Warehouse, export: &str) -> Result<Self> {
        let text = |text: &str| -> Result<String> {
            let text = render(text, warehouse.place(), export)?;
            // The emulator keeps a text of its own making, and comments: by this one it is known again.
            let mark = blake3::hash(text.as_bytes()).to_hex();
            Ok(if warehouse.is_emulator() { format!("-- {}\n{text}", &mark[..16]) } else { text })
        };
        let texts = VIEWS.iter().map(|&(name, sql)| Ok((name, text(sql)?))).collect::<Result<_>>()?;
        Ok(Self { warehouse, texts })
    }

    /// What would change. Makes the dataset, empty, when there is none: nothing can be asked about it otherwise.
    ///
    /// # Errors
    /// When BigQuery refuses.
    pub async fn plan(&self) -> Result<Plan> {
        self.warehouse.ensure_dataset().await?;
        let existing = self.warehouse.existing().await?;
        let missing = tables::ALL.iter().filter(|table| !existing.iter().any(|name| name == table.name));
        let mut changes: Vec<Change> = missing.map(|table| Change::MakeTable(table.name)).collect();
        let Place { project, dataset, .. } = self.warehouse.place();
        let sql = format!("SELECT table_name, view_definition FROM `{project}.{dataset}`.INFORMATION_SCHEMA.VIEWS");
        let found = self.warehouse.query::<Existing>(&sql, &[]).await?;
        let found: BTreeMap<String, String> =
            found.into_iter().map(|view| (view.table_name, view.view_definition)).collect();
        changes.extend(self.texts.iter().map(|(name, text)| match found.get(*name) {
            None => Change::Make(name),
            Some(existing) if self.is_same(existing, text) => Change::Keep(name),
            Some(existing) => {
                let diff = TextDiff::from_lines(existing.trim(), text.trim());
                Change::Replace(name, diff.unified_diff().context_radius(1).to_string())
            }
        }));
        Ok(Plan(changes))
    }

    fn is_same(&self, existing: &str, text: &str) -> bool {
        let mark = text.lines().next().unwrap_or_default().trim_start_matches("-- ");
        existing.trim() == text.trim() || (self.warehouse.is_emulator() && existing.contains(mark))
    }

    /// Does what the plan says.
    ///
    /// # Errors
    /// When BigQuery refuses; what was done before stays done.
    pub async fn apply(&self, plan: &Plan) -> Result<()> {
        for change in &plan.0 {
            match change {
                Change::Keep(_) => {}
                Change::MakeTable(name) => {
                    for table in tables::ALL.iter().filter(|table| table.name == *name) {
                        self.warehouse.ensure_table(name, table).await?;
                    }
                }
                Change::Make(name) | Change::Replace(name, _) => {
                    for (_, text) in self.texts.iter().filter(|(view, _)| view == name) {
                        let view = self.warehouse.place().table(name)?;
                        self.warehouse.execute(&format!("CREATE OR REPLACE VIEW {view} AS\n{text}"), &[]).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the views, and nothing else. Gives the names of those that were there.
    ///
    /// # Errors
    /// When BigQuery refuses.
    pub async fn drop(&self) -> Result<Vec<&'static str>> {
        let existing = self.warehouse.existing().await?;
        let mut dropped = Vec::new();
        for (name, _) in self.texts.iter().rev().filter(|(name, _)| existing.iter().any(|found| found == name)) {
            let view = self.warehouse.place().table(name)?;
            self.warehouse.execute(&format!("DROP VIEW IF EXISTS {view}"), &[]).await?;
            dropped.push(*name);
        }
        Ok(dropped)
    }
}
