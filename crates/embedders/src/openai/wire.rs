//! The JSON of `/v1/embeddings`, and its conversion to and from our types.

use std::collections::HashSet;
use std::sync::Arc;

use memory_core::{Embedding, EmbeddingSpace};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;

/// What is asked.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) input: &'a [String],
    /// The official servers default to it, others to whatever their client prefers.
    pub(super) encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct Response {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    /// Which text it belongs to. Servers that leave it out answer in the order of the texts.
    index: Option<usize>,
    /// JSON has no NaN; what fails to be a number arrives as null.
    embedding: Vec<Option<f32>>,
}

/// The vectors of an answer to `count` texts, in the order of the texts. The error says what is wrong with it, without
/// a word of its content.
pub(super) fn embeddings(body: &[u8], count: usize, space: &Arc<EmbeddingSpace>) -> Result<Vec<Embedding>, String> {
    let response: Response = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => format!("it is not a list of embeddings (line {line}, column {column})"),
            _ => format!("it is not JSON (line {line}, column {column}): check `base_url`"),
        }
    })?;
    if response.data.len() != count {
        return Err(format!("it has {} embeddings for {count} texts", response.data.len()));
    }
    let mut embeddings: Vec<Option<Embedding>> = vec![None; count];
    for (position, item) in response.data.into_iter().enumerate() {
        let index = item.index.unwrap_or(position);
        let Some(slot) = embeddings.get_mut(index).filter(|slot| slot.is_none()) else {
            return Err(format!("it has index {index} twice or out of range, for {count} texts"));
        };
        *slot = Some(embedding(item.embedding, index, space)?);
    }
    // As many as texts, and none twice: none is missing.
    Ok(embeddings.into_iter().flatten().collect())
}

fn embedding(values: Vec<Option<f32>>, index: usize, space: &Arc<EmbeddingSpace>) -> Result<Embedding, String> {
    if values.len() != space.dimensions {
        return Err(format!(
            "its embeddings have {actual} dimensions, `dimensions` says {expected}: set `dimensions` to {actual}, or `send_dimensions` \
             when the model can shorten its vectors",
            actual = values.len(),
            expected = space.dimensions,
        ));
    }
    let values = values.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect();
    Embedding::new(Arc::clone(space), values)
        .map_err(|error| format!("its embedding of text {index} is no vector: {error}"))
}

/// What a server says about a request it refuses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Its sentence for people, at most 300 characters on one line.
    pub(super) message: Option<String>,
    /// Its word for programs: `insufficient_quota`.
    pub(super) code: Option<String>,
}

impl Refusal {
    /// Reads `{"error": {"message", "code"}}` of OpenAI and the shapes of others (`{"error": "…"}`, `{"detail": "…"}`,
    /// `{"message": "…"}`); anything else is an empty refusal.
    pub(super) fn read(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(shortened);
        let error = &body["error"];
        Self {
            message: [&error["message"], error, &body["detail"], &body["message"]].into_iter().find_map(text),
            code: [&error["code"], &error["type"], &body["code"]].into_iter().find_map(text),
        }
    }

    /// Leaves the message out when it repeats a part of one of the secrets, so that neither a key nor a text gets into
    /// an error, which may be logged. A part is `run` bytes, or all of a shorter secret.
    pub(super) fn without<'a>(mut self, secrets: impl IntoIterator<Item = &'a str>, run: usize) -> Self {
        if let Some(message) = &self.message {
            let shown: HashSet<&[u8]> = message.as_bytes().windows(run).collect();
            let repeats = secrets.into_iter().any(|secret| match secret.len() {
                // Too short to be told from any other word.
                0..6 => false,
                length if length < run => message.contains(secret),
                _ => secret.as_bytes().windows(run).any(|part| shown.contains(part)),
            });
            if repeats {
                self.message = None;
            }
        }
        self
    }
}

fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    let mut words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_owned();
    let line = words.fold(first, |line, word| line + " " + word);
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, count: usize) -> Result<Vec<Vec<f32>>, String> {
        let space = Arc::new(EmbeddingSpace::new("m", "1", 2).unwrap());
        let embeddings = embeddings(body.as_bytes(), count, &space)?;
        Ok(embeddings.iter().map(|embedding| embedding.values().to_vec()).collect())
    }

    #[test]
    fn the_order_is_that_of_the_texts() {
        let shuffled = r#"{"object":"list","data":[{"index":1,"embedding":[0,2]},{"index":0,"embedding":[3.0,0]}]}"#;
        assert_eq!(read(shuffled, 2).unwrap(), [[1.0, 0.0], [0.0, 1.0]]);
        let unnumbered = r#"{"data":[{"embedding":[1,0]},{"embedding":[0,1]}]}"#;
        assert_eq!(read(unnumbered, 2).unwrap(), [[1.0, 0.0], [0.0, 1.0]]);
        assert!(read(r#"{"data":[]}"#, 0).unwrap().is_empty());
    }

    #[test]
    fn a_bad_answer_is_refused_with_the_reason() {
        let reasons = [
            ("<html>", 1),
            (r#"{"data":[{"index":0,"embedding":[1,NaN]}]}"#, 1),
            (r#"{"data":[{"index":0,"embedding":"AACAPw=="}]}"#, 1),
            (r#"{"error":"secret text"}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[1,0]}]}"#, 2),
            (r#"{"data":[{"index":0,"embedding":[1,0]},{"index":0,"embedding":[1,0]}]}"#, 2),
            (r#"{"data":[{"index":9,"embedding":[1,0]}]}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[1,0,0]}]}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[1,null]}]}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[1,1e39]}]}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[0,0]}]}"#, 1),
        ]
        .map(|(body, count)| read(body, count).unwrap_err());
        insta::assert_snapshot!(reasons.join("\n"), @"
        it is not JSON (line 1, column 1): check `base_url`
        it is not JSON (line 1, column 36): check `base_url`
        it is not a list of embeddings (line 1, column 42)
        it is not a list of embeddings (line 1, column 23)
        it has 1 embeddings for 2 texts
        it has index 0 twice or out of range, for 2 texts
        it has index 9 twice or out of range, for 1 texts
        its embeddings have 3 dimensions, `dimensions` says 2: set `dimensions` to 3, or `send_dimensions` when the model can shorten its vectors
        its embedding of text 0 is no vector: embedding[1]: given NaN, allowed: a finite 32-bit number
        it is not JSON (line 1, column 39): check `base_url`
        its embedding of text 0 is no vector: embedding: given all zeros, allowed: a vector with a direction
        ");
    }

    #[test]
    fn every_servers_refusal_is_understood() {
        let message = |body: &str| Refusal::read(body.as_bytes()).message;
        for body in [
            r#"{"error":{"message":"too\n  long","type":"invalid_request_error","param":null,"code":null}}"#,
            r#"{"error":"too long"}"#,
            r#"{"detail":"too long"}"#,
            r#"{"object":"error","message":"too long","code":400}"#,
        ] {
            assert_eq!(message(body).as_deref(), Some("too long"), "{body}");
        }
        for body in ["", "<html>", "[]", "{}", r#"{"error":{"message":""}}"#, r#"{"detail":[{"input":"text"}]}"#] {
            assert_eq!(Refusal::read(body.as_bytes()), Refusal::default(), "{body}");
        }
        let quota = r#"{"error":{"message":"m","type":"t","code":"insufficient_quota"}}"#;
        assert_eq!(Refusal::read(quota.as_bytes()).code.as_deref(), Some("insufficient_quota"));
        let long = format!(r#"{{"error":"{}"}}"#, "é".repeat(400));
        assert_eq!(message(&long).unwrap().chars().count(), 301);
    }

    #[test]
    fn a_message_that_repeats_a_secret_is_left_out() {
        let refusal = || Refusal { message: Some("cannot embed 'my cat is called Tom'".to_owned()), code: None };
        assert_eq!(refusal().without(["today my cat is called Tom Tiger"], 12).message, None);
        assert_eq!(refusal().without(["called"], 12).message, None);
        assert!(refusal().without(["my dog is called Rex", "Tom", "", "cannot wait"], 12).message.is_some());
    }
}
