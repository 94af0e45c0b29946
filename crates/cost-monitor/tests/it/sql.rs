//! The views' texts, and bringing a dataset to them.

use cost_monitor::billing::EXPORT;
use cost_monitor::tables;
use cost_monitor::views::{Change, VIEWS, Views, render};
use cost_monitor::warehouse::Place;
use sqlparser::dialect::BigQueryDialect;
use sqlparser::parser::Parser;

use crate::dataset::dataset;

/// The emulator has a parser of its own; this one is by others. Nothing of the views is beyond either.
#[test]
fn a_second_parser_reads_every_view_as_bigquery() {
    let place = Place::new("my-project", "cost", "US").unwrap();
    for (name, text) in VIEWS {
        let text = render(text, &place, "gcp_billing_export_v1_X").unwrap();
        assert!(!text.contains("${"), "{name}");
        let parsed = Parser::parse_sql(&BigQueryDialect {}, &text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(parsed.len(), 1, "{name}");
    }
    Parser::parse_sql(&BigQueryDialect {}, "SELECT FROM WHERE").unwrap_err();
}

#[test]
fn every_file_of_views_is_a_view() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../monitoring/sql");
    let files = [folder.to_owned(), format!("{folder}/views")].into_iter().flat_map(|folder| {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| file.extension() == Some("sql".as_ref()))
    });
    let mut files: Vec<String> = files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let mut names: Vec<&str> = VIEWS.iter().map(|(name, _)| *name).collect();
    files.sort_unstable();
    names.sort_unstable();
    assert_eq!(files, names);
}

#[tokio::test]
async fn views_are_made_once_replaced_when_they_differ_and_dropped() {
    let Some(warehouse) = dataset("views").await else { return };
    warehouse.ensure_table(EXPORT.name, &EXPORT).await.unwrap();
    let views = Views::new(&warehouse, EXPORT.name).unwrap();
    let plan = views.plan().await.unwrap();
    let made = |change: &&Change| matches!(change, Change::Make(_) | Change::MakeTable(_));
    assert_eq!(plan.0.iter().filter(made).count(), VIEWS.len() + tables::ALL.len());
    insta::assert_snapshot!(plan.to_string(), @"
    + table alerts
    + table watch_events
    + table usage
    + table prices
    + view  lines
    + view  anomalies
    + view  cost_by_label
    + view  cost_by_sku
    + view  cost_daily
    + view  cost_monthly
    + view  credits
    + view  savings
    + view  tenant_cost
    + view  unit_costs
    ");
    for _ in 0..2 {
        views.apply(&plan).await.unwrap();
        assert!(views.plan().await.unwrap().is_empty());
    }
    // Someone changes one by hand.
    let view = warehouse.place().table("credits").unwrap();
    warehouse.execute(&format!("CREATE OR REPLACE VIEW {view} AS SELECT 1 AS one"), &[]).await.unwrap();
    let plan = views.plan().await.unwrap();
    let changed: Vec<_> = plan.0.iter().filter(|change| !matches!(change, Change::Keep(_))).collect();
    let [Change::Replace("credits", diff)] = changed[..] else { panic!("{changed:?}") };
    assert!(diff.contains("-SELECT 1 AS one") && diff.contains("+GROUP BY invoice_month"), "{diff}");
    views.apply(&plan).await.unwrap();
    assert!(views.plan().await.unwrap().is_empty());
    assert_eq!(views.drop().await.unwrap().len(), VIEWS.len());
    assert_eq!(views.drop().await.unwrap(), [""; 0]);
    let kept = warehouse.existing().await.unwrap();
    assert_eq!(kept, ["alerts", EXPORT.name, "prices", "usage", "watch_events"]);
}

#[tokio::test]
async fn a_query_that_fails_is_an_error() {
    let Some(warehouse) = dataset("failing").await else { return };
    let error = warehouse.execute("SELECT no_such_column FROM UNNEST([1]) AS x", &[]).await.unwrap_err();
    assert!(error.to_string().contains("no_such_column"), "{error}");
    let error = Views::new(&warehouse, "export` WHERE 1=1 --").unwrap_err();
    assert!(error.to_string().contains("is no name"), "{error}");
}
