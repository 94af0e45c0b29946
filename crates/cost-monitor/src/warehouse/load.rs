//! Loading rows as a file: one job, all of it or nothing, and free of charge.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Error, Place, Result, TableForm, Warehouse, is_name};

/// How long until a job is asked for again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
/// Between the parts of a request. It is in no JSON text: a line break is escaped there.
const BOUNDARY: &str = "cost-monitor-part";

impl Warehouse {
    /// Appends rows to a table, in one job. With `replace` they take the place of what was in it.
    ///
    /// # Errors
    /// When BigQuery refuses a row; then none was loaded.
    pub async fn load<T: Serialize>(&self, table: &str, form: &TableForm, rows: &[T], replace: bool) -> Result<()> {
        is_name(table)?;
        let Place { project, dataset, location } = self.place();
        let configuration = json!({
            "jobReference": { "projectId": project, "location": location },
            "configuration": { "load": {
                "destinationTable": { "projectId": project, "datasetId": dataset, "tableId": table },
                "sourceFormat": "NEWLINE_DELIMITED_JSON",
                "schema": { "fields": form.fields() },
                "createDisposition": "CREATE_NEVER",
                "writeDisposition": if replace { "WRITE_TRUNCATE" } else { "WRITE_APPEND" },
            } },
        });
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{configuration}\r\n\
             --{BOUNDARY}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        for row in rows {
            serde_json::to_writer(&mut body, row).map_err(Error::Row)?;
            body.push(b'\n');
        }
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let url = format!("{}/upload/bigquery/v2/projects/{project}/jobs?uploadType=multipart", self.base);
        let request = self.http.post(url).header("Content-Type", format!("multipart/related; boundary={BOUNDARY}"));
        let mut job = self.ask(request.body(body)).await?;
        while job["status"]["state"] != "DONE" {
            let id = job["jobReference"]["jobId"].as_str().unwrap_or_default().to_owned();
            if id.is_empty() {
                return Err(Error::Refused { operation: "load", message: "the job has no id".to_owned() });
            }
            tokio::time::sleep(PAUSE).await;
            let url = format!("{}/bigquery/v2/projects/{project}/jobs/{id}?location={location}", self.base);
            job = self.ask(self.http.get(url)).await?;
        }
        match job["status"]["errorResult"]["message"].as_str() {
            None => Ok(()),
            Some(message) => Err(Error::Refused { operation: "load", message: message.to_owned() }),
        }
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let answer = request.bearer_auth(self.access.token().await?).send().await.map_err(Error::Load)?;
        let status = answer.status();
        if !status.is_success() {
            let text = answer.text().await.map_err(Error::Load)?;
            let error: Value = serde_json::from_str(&text).unwrap_or_default();
            let message = error["error"]["message"].as_str().unwrap_or("no reason given");
            return Err(Error::Refused { operation: "load", message: format!("{status}: {message}") });
        }
        answer.json().await.map_err(Error::Load)
    }
}
