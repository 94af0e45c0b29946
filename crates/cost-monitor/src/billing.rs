//! The lines of a billing export, in the form of the detailed export as far as the views read it. A simulation writes them.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::warehouse::TableForm;

/// A table like that of the detailed export, for a simulation. A real one is made by Google.
pub const EXPORT: TableForm = TableForm {
    name: "gcp_billing_export_resource_v1_SIMULATED",
    about: "A simulated billing export",
    schema: include_str!("billing/export.json"),
    partition: "DAY",
    field: "",
    clustering: &[],
};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportLine {
    /// Whose bill it is on.
    pub billing_account_id: &'static str,
    /// What was used.
    pub service: Described,
    /// What of it.
    pub sku: Described,
    /// When the use began.
    pub usage_start_time: DateTime<Utc>,
    /// When it ended.
    pub usage_end_time: DateTime<Utc>,
    /// Whose use it was; none for what is charged to the whole account.
    pub project: Option<Project>,
    /// The labels of what was used.
    pub labels: Vec<Label>,
    /// Where.
    pub location: Location,
    /// When the line was written.
    pub export_time: DateTime<Utc>,
    /// Before credits, in the currency.
    pub cost: f64,
    /// As ISO 4217 has it.
    pub currency: &'static str,
    /// How much.
    pub usage: Amount,
    /// What is taken off; amounts are negative.
    pub credits: Vec<Credit>,
    /// The invoice it is on.
    pub invoice: Invoice,
    /// `regular`, `tax`, `adjustment` or `rounding_error`.
    pub cost_type: &'static str,
    /// What exactly was used.
    pub resource: Resource,
}

/// A service or a SKU.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Described {
    /// Its id.
    pub id: &'static str,
    /// Its name.
    pub description: &'static str,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// Its number.
    pub number: &'static str,
    /// Its name.
    pub name: String,
}

/// A label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Label {
    /// Its name.
    pub key: &'static str,
    /// Its value.
    pub value: &'static str,
}

/// Where something was used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Location {
    /// A region, or `global`.
    pub region: &'static str,
}

/// How much was used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Amount {
    /// In the unit of the use.
    pub amount: f64,
    /// That unit.
    pub unit: &'static str,
    /// In the unit of the price.
    pub amount_in_pricing_units: f64,
    /// That unit.
    pub pricing_unit: &'static str,
}

/// Something taken off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Credit {
    /// Its name.
    pub name: &'static str,
    /// Negative.
    pub amount: f64,
    /// What for, such as `FREE_TIER`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// An invoice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Invoice {
    /// Its year and month: `202601`.
    pub month: String,
}

/// What exactly was used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Resource {
    /// Its name.
    pub name: &'static str,
}
