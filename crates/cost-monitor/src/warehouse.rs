//! BigQuery, as far as the monitor needs it: queries into values, tables, and files loaded into them.

mod load;

use std::time::Duration;

use gcp_bigquery_client::Client;
use gcp_bigquery_client::client_builder::ClientBuilder;
use gcp_bigquery_client::error::BQError;
use gcp_bigquery_client::model::clustering::Clustering;
use gcp_bigquery_client::model::data_format_options::DataFormatOptions;
use gcp_bigquery_client::model::dataset::Dataset;
use gcp_bigquery_client::model::error_proto::ErrorProto;
use gcp_bigquery_client::model::field_type::FieldType;
use gcp_bigquery_client::model::get_query_results_parameters::GetQueryResultsParameters;
use gcp_bigquery_client::model::query_parameter::QueryParameter;
use gcp_bigquery_client::model::query_parameter_type::QueryParameterType;
use gcp_bigquery_client::model::query_parameter_value::QueryParameterValue;
use gcp_bigquery_client::model::query_request::QueryRequest;
use gcp_bigquery_client::model::table::Table;
use gcp_bigquery_client::model::table_field_schema::TableFieldSchema;
use gcp_bigquery_client::model::table_row::TableRow;
use gcp_bigquery_client::model::table_schema::TableSchema;
use gcp_bigquery_client::model::time_partitioning::TimePartitioning;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::auth::{self, Access};

const GOOGLE: &str = "https://bigquery.googleapis.com";
/// How long BigQuery holds a request open before it says that the query goes on.
const WAIT_MS: i32 = 20_000;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why BigQuery did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no access to it.
    #[error(transparent)]
    Access(#[from] auth::Error),
    /// The name cannot be one: it would be spliced into SQL.
    #[error("{0:?} is no name of a project, a dataset or a table")]
    Name(String),
    /// It was not reached, or refused the request.
    #[error("bigquery: {operation} failed")]
    Request {
        /// What was asked.
        operation: &'static str,
        /// Why.
        source: Box<BQError>,
    },
    /// It refused a query, or what was to be loaded.
    #[error("bigquery: {operation} failed: {message}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// What it says.
        message: String,
    },
    /// It was not reached while a file was loaded.
    #[error("bigquery: a load was not carried")]
    Load(#[source] reqwest::Error),
    /// What it answered is not what was asked for.
    #[error("bigquery: a row is not as expected")]
    Row(#[source] serde_json::Error),
}

/// What this crate's BigQuery functions give.
pub type Result<T> = std::result::Result<T, Error>;

/// Where the figures are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The project that holds the dataset, and that pays for the queries.
    pub project: String,
    /// The dataset of the export and of the monitor's own tables and views.
    pub dataset: String,
    /// Where the dataset is, such as `US`.
    pub location: String,
}

impl Place {
    /// Checks the names, which become a part of SQL.
    ///
    /// # Errors
    /// When one has other characters than names have.
    pub fn new(project: &str, dataset: &str, location: &str) -> Result<Self> {
        for name in [project, dataset, location] {
            is_name(name)?;
        }
        Ok(Self { project: project.to_owned(), dataset: dataset.to_owned(), location: location.to_owned() })
    }

    /// A table or view of the dataset, as SQL names it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn table(&self, name: &str) -> Result<String> {
        is_name(name)?;
        Ok(format!("`{}.{}.{name}`", self.project, self.dataset))
    }
}

/// Checks that a name can be a part of SQL.
pub(crate) fn is_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':');
    match !name.is_empty() && name.len() <= 300 && name.bytes().all(fits) {
        true => Ok(()),
        false => Err(Error::Name(name.to_owned())),
    }
}

/// A table of the monitor's own, or of a simulated export.
#[derive(Debug, Clone, Copy)]
pub struct TableForm {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub about: &'static str,
    /// Its fields, as BigQuery's JSON has them.
    pub schema: &'static str,
    /// `DAY` or `MONTH`.
    pub partition: &'static str,
    /// What it is partitioned by; the time of loading when empty.
    pub field: &'static str,
    /// What rows of a partition are ordered by.
    pub clustering: &'static [&'static str],
}

impl TableForm {
    /// The names of its columns, in order.
    pub(crate) fn columns(&self) -> Vec<String> {
        self.fields().into_iter().map(|field| field.name).collect()
    }

    fn fields(&self) -> Vec<TableFieldSchema> {
        serde_json::from_str(self.schema).expect("the schemas are tested")
    }
}

/// A dataset in BigQuery or in its emulator.
#[derive(Clone)]
pub struct Warehouse {
    client: Client,
    /// For what the client cannot do: loading a file.
    http: reqwest::Client,
    access: Access,
    base: String,
    place: Place,
}

impl std::fmt::Debug for Warehouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warehouse").field("base", &self.base).field("place", &self.place).finish_non_exhaustive()
    }
}

impl Warehouse {
    /// Prepares access; nothing is asked yet. `emulator` is the URL of an emulator, with or without `http://`.
    ///
    /// # Errors
    /// When there are no credentials and no emulator.
    pub async fn connect(place: Place, emulator: Option<&str>) -> Result<Self> {
        let (base, access) = match emulator {
            Some(url) if url.contains("://") => (url.trim_end_matches('/').to_owned(), Access::Emulator),
            Some(host) => (format!("http://{host}"), Access::Emulator),
            None => (GOOGLE.to_owned(), Access::google()?),
        };
        Self::with_access(place, base, access).await
    }

    pub(crate) async fn with_access(place: Place, base: String, access: Access) -> Result<Self> {
        auth::choose_tls();
        let client = ClientBuilder::new()
            .with_v2_base_url(format!("{base}/bigquery/v2"))
            .build_from_authenticator(access.for_bigquery())
            .await
            .map_err(|source| Error::Request { operation: "connect", source: Box::new(source) })?;
        let http = reqwest::Client::builder().timeout(PATIENCE).build().map_err(Error::Load)?;
        Ok(Self { client, http, access, base, place })
    }

    /// Where the figures are.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Who asks.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// Whether it is the emulator, which rewrites the text of views.
    #[must_use]
    pub fn is_emulator(&self) -> bool {
        matches!(self.access, Access::Emulator)
    }

    /// Makes the dataset unless it is there. Gives whether it was made.
    ///
    /// # Errors
    /// When BigQuery refuses.
    pub async fn ensure_dataset(&self) -> Result<bool> {
        let dataset = Dataset::new(&self.place.project, &self.place.dataset).location(&self.place.location);
        made("make the dataset", self.client.dataset().create(dataset).await)
    }

    /// Makes a table unless it is there. Gives whether it was made.
    ///
    /// # Errors
    /// When BigQuery refuses.
    pub async fn ensure_table(&self, name: &str, form: &TableForm) -> Result<bool> {
        is_name(name)?;
        let Place { project, dataset, .. } = &self.place;
        let field = (!form.field.is_empty()).then(|| form.field.to_owned());
        let mut table = Table::new(project, dataset, name, TableSchema::new(form.fields()))
            .description(form.about)
            .time_partitioning(TimePartitioning { field, ..TimePartitioning::new(form.partition.to_owned()) });
        if !form.clustering.is_empty() {
            let fields = form.clustering.iter().map(|&field| field.to_owned()).collect();
            table.clustering = Some(Clustering { fields: Some(fields) });
        }
        made("make a table", self.client.table().create(table).await)
    }

    /// The names of the dataset's tables and views that there are of these.
    ///
    /// # Errors
    /// When BigQuery refuses.
    pub async fn existing(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Named {
            table_name: String,
        }
        let Place { project, dataset, .. } = &self.place;
        let sql = format!("SELECT table_name FROM `{project}.{dataset}`.INFORMATION_SCHEMA.TABLES ORDER BY table_name");
        Ok(self.query::<Named>(&sql, &[]).await?.into_iter().map(|named| named.table_name).collect())
    }

    /// Runs a statement whose rows nobody wants.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn execute(&self, sql: &str, parameters: &[(&str, &str)]) -> Result<()> {
        self.query::<Value>(sql, parameters).await.map(drop)
    }

    /// Runs a query, waits for it, and gives every row. Values are bound as strings, by name: `@name`.
    ///
    /// # Errors
    /// When BigQuery refuses it, or the rows do not have this form.
    pub async fn query<T: DeserializeOwned>(&self, sql: &str, parameters: &[(&str, &str)]) -> Result<Vec<T>> {
        let failed = |source| Error::Request { operation: "query", source: Box::new(source) };
        let format = DataFormatOptions { use_int64_timestamp: Some(true) };
        let mut request = QueryRequest::new(sql);
        request.use_legacy_sql = false;
        request.timeout_ms = Some(WAIT_MS);
        request.location = Some(self.place.location.clone());
        request.format_options = Some(format.clone());
        if !parameters.is_empty() {
            request.parameter_mode = Some("NAMED".to_owned());
            request.query_parameters = Some(parameters.iter().map(|(name, value)| string(name, value)).collect());
        }
        let project = &self.place.project;
        let answer = self.client.job().query(project, request).await.map_err(failed)?;
        refused(answer.errors.as_deref())?;
        let mut fields = answer.schema.and_then(|schema| schema.fields);
        let mut pages = vec![answer.rows.unwrap_or_default()];
        let mut complete = answer.job_complete.unwrap_or(true);
        let mut token = answer.page_token;
        let job = answer.job_reference.and_then(|job| job.job_id);
        while let Some(job) = job.as_deref().filter(|_| !complete || token.is_some()) {
            let parameters = GetQueryResultsParameters {
                page_token: token.take(),
                timeout_ms: Some(WAIT_MS),
                location: Some(self.place.location.clone()),
                format_options: Some(format.clone()),
                ..GetQueryResultsParameters::default()
            };
            let page = self.client.job().get_query_results(project, job, parameters).await.map_err(failed)?;
            refused(page.errors.as_deref())?;
            fields = fields.or(page.schema.and_then(|schema| schema.fields));
            pages.push(page.rows.unwrap_or_default());
            complete = page.job_complete.unwrap_or(true);
            token = page.page_token;
        }
        let fields = fields.unwrap_or_default();
        let rows = pages.into_iter().flatten().map(|row| serde_json::from_value(object(&fields, row)));
        rows.collect::<std::result::Result<_, _>>().map_err(Error::Row)
    }
}

fn made<T>(operation: &'static str, answer: std::result::Result<T, BQError>) -> Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(BQError::ResponseError { error }) if error.error.code == 409 => Ok(false),
        Err(source) => Err(Error::Request { operation, source: Box::new(source) }),
    }
}

/// The emulator answers 200 to a query that fails.
fn refused(errors: Option<&[ErrorProto]>) -> Result<()> {
    let messages: Vec<&str> = errors.unwrap_or_default().iter().filter_map(|error| error.message.as_deref()).collect();
    match messages.is_empty() {
        true => Ok(()),
        false => Err(Error::Refused { operation: "query", message: messages.join("; ") }),
    }
}

fn string(name: &str, value: &str) -> QueryParameter {
    QueryParameter {
        name: Some(name.to_owned()),
        parameter_type: Some(QueryParameterType { array_type: None, struct_types: None, r#type: "STRING".to_owned() }),
        parameter_value: Some(QueryParameterValue {
            array_values: None,
            struct_values: None,
            value: Some(value.to_owned()),
        }),
    }
}

/// A row by the names of its fields. BigQuery sends every cell as a string.
fn object(fields: &[TableFieldSchema], row: TableRow) -> Value {
    let cells = row.columns.unwrap_or_default().into_iter();
    let named = fields.iter().zip(cells).map(|(field, cell)| {
        let value = match (cell.value.unwrap_or(Value::Null), &field.r#type) {
            (Value::String(text), FieldType::String | FieldType::Date) => Value::String(text),
            (Value::String(text), FieldType::Boolean | FieldType::Bool) => Value::Bool(text == "true"),
            (Value::String(text), _) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            (value, _) => value,
        };
        (field.name.clone(), value)
    });
    Value::Object(named.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_end_their_quotes_are_refused() {
        let place = Place::new("my-project", "cost", "US").unwrap();
        assert_eq!(place.table("lines").unwrap(), "`my-project.cost.lines`");
        for name in ["", "a`b", "a b", "a\nb", "a;b", "ä"] {
            Place::new("my-project", name, "US").unwrap_err();
            place.table(name).unwrap_err();
        }
    }
}
