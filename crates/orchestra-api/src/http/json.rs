//! JSON in: the body's bytes, and the values that are read from them, with errors that name the field.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use memory_core::Error;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::params::Params;
use super::wire::tenant_refused;
use crate::error::Problem;
use crate::state::AppState;
use crate::usage;

/// How long a client may send nothing in the middle of its body.
pub(super) const BODY_STALL: Duration = Duration::from_secs(30);
/// How much of a body that is too large is still read, in bodies of the allowed size. A client that is refused while it
/// sends sees a broken connection in place of the answer.
const DRAINED_BODIES: usize = 4;

/// A request's JSON, as text. What it holds is read with [`parse`](Self::parse).
#[derive(Debug)]
pub struct JsonBody(String);

impl JsonBody {
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The value that the text says.
    ///
    /// # Errors
    /// A 400 that names the field, or the line and column where the text is no JSON.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        parse(&self.0, "")
    }
}

impl FromRequest<AppState> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        Self::read(request, state.settings().limits.body_bytes).await
    }
}

impl JsonBody {
    /// The body of a request, `limit` bytes at most.
    ///
    /// # Errors
    /// As for every body: a 400, 408, 413 or 415.
    pub async fn read(request: Request, limit: usize) -> Result<Self, Problem> {
        // All that these routes are told is in the body. Those that change one memory take their parameters themselves.
        if request.method() == Method::POST {
            Params::read(request.uri().query().unwrap_or_default())?.finish()?;
        }
        check_content_type(request.headers())?;
        let bytes = read_body(request, limit).await?;
        usage::note(|usage| usage.bytes_in += bytes.len() as u64);
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid_utf8",
                format!("the body is not UTF-8: the byte at offset {at} does not fit"),
            )
            .about("body")
        })?;
        Ok(Self(text))
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE);
    // As nearly everybody spells it.
    if given.is_some_and(|value| value == "application/json") {
        return Ok(());
    }
    let given = given.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let essence =
        given.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let given = given.unwrap_or_else(|| "none".into());
    let detail = format!("the body's Content-Type is {given}; send application/json");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail).about("Content-Type"))
}

/// The body's bytes, `limit` at most.
pub(crate) async fn read_body(request: Request, limit: usize) -> Result<Vec<u8>, Problem> {
    let asks_first = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    let declared = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let too_large =
        |given_bytes: usize| Problem::from(Error::TooLarge { field: "body".into(), given_bytes, allowed_bytes: limit });
    if let Some(declared) = declared
        && declared > limit
    {
        if !asks_first {
            drain(&mut body, limit.saturating_mul(DRAINED_BODIES)).await;
        }
        return Err(too_large(declared));
    }
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0).min(1 << 20));
    while let Some(chunk) = next_chunk(&mut body).await? {
        if bytes.len() + chunk.len() > limit {
            let given = bytes.len() + chunk.len() + drain(&mut body, limit.saturating_mul(DRAINED_BODIES)).await;
            return Err(too_large(given));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads on and keeps nothing, up to about `at_most` bytes. Gives how many there were.
async fn drain(body: &mut Body, at_most: usize) -> usize {
    let mut drained = 0;
    while drained < at_most
        && let Ok(Some(chunk)) = next_chunk(body).await
    {
        drained += chunk.len();
    }
    drained
}

async fn next_chunk(body: &mut Body) -> Result<Option<axum::body::Bytes>, Problem> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        match tokio::time::timeout(BODY_STALL, frame).await {
            Err(_) => {
                let detail = format!("the body stopped arriving for {} s", BODY_STALL.as_secs());
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail).about("body"));
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => {
                let detail = format!("the body ended before it was complete: {error}");
                return Err(Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", detail).about("body"));
            }
            // Frames that are not data are trailers, which nothing here reads.
            Ok(Some(Ok(frame))) => {
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
        }
    }
}

/// How much of a field's path an error shows.
const MAX_PATH_CHARS: usize = 120;

/// The value that a JSON text says, which is an object. `place` names the text in errors; empty for a body.
///
/// # Errors
/// A 400 that names the field, or the line and column where the text is no JSON.
pub fn parse<T: DeserializeOwned>(text: &str, place: &str) -> Result<T, Problem> {
    // To keep the path of what is read takes longer than to read it; so it is kept only once it is known that it will be told.
    if let Ok(Fields(value)) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let Fields(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        problem(place, if path == "." { "" } else { &path }, &error.into_inner())
    })?;
    deserializer.end().map_err(|error| problem(place, "", &error))?;
    Ok(value)
}

/// What `serde_json` says, as a problem with its parts.
fn problem(place: &str, path: &str, error: &serde_json::Error) -> Problem {
    let root = if place.is_empty() { "body" } else { place };
    // A path is as deep as the caller makes it.
    let shortened = path.char_indices().nth(MAX_PATH_CHARS).map(|(end, _)| format!("{}…", &path[..end]));
    let path = shortened.as_deref().unwrap_or(path);
    let field = |inside: &str| match (place, inside) {
        (_, "") => root.to_owned(),
        ("", inside) => inside.to_owned(),
        (place, inside) if inside.starts_with('[') => format!("{place}{inside}"),
        (place, inside) => format!("{place}.{inside}"),
    };
    let message = error.to_string();
    if !error.is_data() {
        let detail = format!("{root} is not valid JSON: {message}");
        return Problem::new(StatusCode::BAD_REQUEST, "invalid_json", detail).about(field(path));
    }
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&position).unwrap_or(&message);
    let quoted = |text: &str| text.split('`').nth(1).unwrap_or(text).to_owned();
    // The path of an unknown or repeated field ends in its name, or in its parent's: one name, either way.
    let child = |name: &str| match path {
        "" => field(name),
        path if path == name || path.ends_with(&format!(".{name}")) => field(path),
        path => field(&format!("{path}.{name}")),
    };
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let (name, allowed) = rest.split_once(", ").unwrap_or((rest, ""));
        let allowed = allowed.trim_start_matches("expected ").trim_start_matches("one of ").replace('`', "");
        let name = quoted(name);
        // A field of that name anywhere is an attempt to speak for another tenant.
        if name == "tenant" {
            return tenant_refused(&child(&name));
        }
        return Problem::bad_argument("unknown_field", child(&name), "an unknown field", allowed);
    }
    if let Some(name) = message.strip_prefix("missing field ") {
        let name = quoted(name);
        let name = if path.is_empty() { name } else { format!("{path}.{name}") };
        return Problem::bad_argument("missing_field", field(&name), "nothing", "a value; the field is required");
    }
    if let Some(name) = message.strip_prefix("duplicate field ") {
        return Problem::bad_argument("duplicate_field", child(&quoted(name)), "the field twice", "each field once");
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((given, expected)) = message.strip_prefix(prefix).and_then(|rest| rest.rsplit_once(", expected ")) {
            return Problem::bad_argument("invalid", field(path), what_was_given(given), in_words(expected));
        }
    }
    if let Some((given, expected)) =
        message.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected "))
    {
        let allowed = expected.trim_start_matches("one of ").replace('`', "");
        return Problem::bad_argument("invalid", field(path), quoted(given), allowed);
    }
    Problem::new(StatusCode::BAD_REQUEST, "invalid", format!("{}: {message}", field(path))).about(field(path))
}

/// What serde calls a value, in a caller's words.
fn what_was_given(given: &str) -> String {
    match given {
        "sequence" => "a list".into(),
        "map" => "an object".into(),
        given => {
            let kinds = ["integer ", "floating point ", "boolean ", "string "];
            kinds.iter().find_map(|kind| given.strip_prefix(kind)).unwrap_or(given).replace('`', "")
        }
    }
}

/// What serde calls a type, in a caller's words.
fn in_words(expected: &str) -> String {
    match expected {
        "usize" | "u64" | "u32" => "a whole number, 0 or more".into(),
        "i64" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a string" => "a text".into(),
        "a sequence" => "a list".into(),
        "a map" => "an object".into(),
        "a boolean" => "true or false".into(),
        other if other.starts_with("struct ") => "an object".into(),
        other => other.into(),
    }
}

/// A struct that is written as an object. Left to itself serde takes a list of the struct's fields in their order too.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldsVisitor<T> {
            type Value = Fields<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Fields<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Fields<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A JSON object that says no key twice: of two values one would be lost in silence.
#[derive(Debug, Clone, Default)]
pub struct Object(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object, A::Error> {
                strict_map(members).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

impl JsonSchema for Object {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Object".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": true})
    }
}

fn strict_map<'de, A: MapAccess<'de>>(mut members: A) -> Result<Map<String, Value>, A::Error> {
    let mut map = Map::new();
    while let Some(key) = members.next_key::<String>()? {
        if map.contains_key(&key) {
            return Err(de::Error::custom(format_args!("duplicate field `{key}`")));
        }
        let value = members.next_value_seed(Strict)?;
        map.insert(key, value);
    }
    Ok(map)
}

/// Reads any JSON; `null` is `None`. Refuses an object that says a key twice.
///
/// # Errors
/// The deserializer's own, with the key named.
pub fn some_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Ok(match Strict.deserialize(deserializer)? {
        Value::Null => None,
        value => Some(value),
    })
}

/// Reads a field that may be absent and may not be `null`.
///
/// # Errors
/// The deserializer's own.
pub fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads a field that may be absent (`None`), `null` (`Some(None)`) or a value.
///
/// # Errors
/// The deserializer's own.
#[expect(clippy::option_option, reason = "absent and null are two different things in a patch")]
pub fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Reads any JSON value in which no object says a key twice.
#[derive(Clone, Copy)]
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Value, A::Error> {
        strict_map(members).map(Value::Object)
    }
}
