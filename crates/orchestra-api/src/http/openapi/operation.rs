//! What the document says of one route beside its place in the table: said in the resource's own file.

use axum::http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::parameter::Parameter;

/// Gives the schema of a type, and those that it is made of to the generator.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The routes of one resource.
pub struct Resource {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its routes.
    pub operations: Vec<Operation>,
}

/// One route.
pub struct Operation {
    /// The route's name in the table, by which both are found together.
    pub route: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What there is to know beyond that.
    pub description: &'static str,
    /// What it takes beside a body.
    pub parameters: Vec<Parameter>,
    /// What it takes as a body.
    pub body: Option<Content>,
    /// What it answers when it is done, the usual answer first.
    pub answers: Vec<Answer>,
    /// The codes with which it refuses, beside those that follow from what it takes and needs.
    pub refusals: Vec<&'static str>,
}

/// A body with examples of it.
pub struct Content {
    /// Its media type.
    pub media_type: &'static str,
    /// Its schema.
    pub schema: SchemaOf,
    /// Each with its name.
    pub examples: Vec<(&'static str, Value)>,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// What it says.
    pub about: &'static str,
    /// Its headers, of those in [`super::header`].
    pub headers: &'static [&'static str],
    /// Its body.
    pub content: Content,
}

impl Operation {
    /// The route of this name, which does this.
    pub fn new(route: &'static str, summary: &'static str, description: &'static str) -> Self {
        let (parameters, body, answers, refusals) = Default::default();
        Self { route, summary, description, parameters, body, answers, refusals }
    }

    /// It takes these parameters.
    pub fn takes(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// It takes a `T` as JSON.
    pub fn reads<T: JsonSchema>(mut self, examples: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        self.body = Some(Content::new::<T>("application/json", examples));
        self
    }

    /// It answers with a `T` as JSON.
    pub fn answers<T: JsonSchema>(
        self,
        status: StatusCode,
        about: &'static str,
        examples: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        self.answers_with(status, about, Content::new::<T>("application/json", examples))
    }

    /// It answers with a text of this media type.
    pub fn answers_text(self, media_type: &'static str, about: &'static str) -> Self {
        self.answers_with(StatusCode::OK, about, Content::new::<String>(media_type, []))
    }

    fn answers_with(mut self, status: StatusCode, about: &'static str, content: Content) -> Self {
        self.answers.push(Answer { status, about, headers: &[], content });
        self
    }

    /// The answer said last has these headers.
    pub fn with_headers(mut self, headers: &'static [&'static str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers = headers;
        }
        self
    }

    /// It refuses with these codes too.
    pub fn refuses(mut self, codes: &[&'static str]) -> Self {
        self.refusals.extend(codes);
        self
    }

    /// Whether it has a query.
    pub fn has_query(&self) -> bool {
        self.parameters.iter().any(|parameter| parameter.place == super::parameter::Place::Query)
    }

    /// The name of a function that calls it.
    pub fn id(&self) -> String {
        self.route.replace('.', "_")
    }
}

impl Content {
    fn new<T: JsonSchema>(media_type: &'static str, examples: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let examples = examples.into_iter().collect();
        Self { media_type, schema: SchemaGenerator::subschema_for::<T>, examples }
    }
}

/// The codes that follow from the method, the need and what the operation takes.
pub fn usual_refusals(operation: &Operation, method: &Method, asks_who: bool) -> Vec<&'static str> {
    let mut codes = vec!["wrong_host"];
    if asks_who {
        codes.extend(["unauthenticated", "invalid_key", "expired_key", "access_denied", "rate_limited"]);
        codes.extend(["shutting_down", "store_unavailable", "store_unusable", "internal"]);
    }
    if operation.has_query() || asks_who && method != Method::POST {
        codes.extend(["invalid", "invalid_utf8", "duplicate_field", "unknown_field", "tenant_from_identity"]);
    }
    if operation.body.is_some() {
        codes.extend(["invalid", "invalid_json", "invalid_utf8", "incomplete_body", "duplicate_field"]);
        codes.extend(["missing_field", "unknown_field", "tenant_from_identity", "body_timeout", "too_large"]);
        codes.push("unsupported_media_type");
    }
    codes
}
