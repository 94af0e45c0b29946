//! What a collector of OpenTelemetry gets from a server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, until};
use crate::process::Process;
use crate::setup::Setup;

/// The span of the caller.
const CALLER: &str = "00f067aa0ba902b7";

/// A server on the test's machine that keeps what it is sent, with the headers.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

impl Kept {
    async fn serve(self, path: &str, answer: fn(&[u8]) -> String) -> String {
        let keep = move |State(kept): State<Self>, headers: HeaderMap, body: Bytes| async move {
            let answer = answer(&body);
            kept.0.lock().unwrap().push((headers, body));
            ([("content-type", "application/json")], answer)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route(path, post(keep)).with_state(self);
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn all(&self) -> Vec<(HeaderMap, Bytes)> {
        self.0.lock().unwrap().clone()
    }

    /// The spans of a trace by their names.
    fn spans(&self, trace: &str) -> BTreeMap<String, Span> {
        let requests = self.all().into_iter().map(|(_, body)| ExportTraceServiceRequest::decode(body).unwrap());
        let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans).filter(|span| hex(&span.trace_id) == trace);
        spans.map(|span| (span.name.clone(), span)).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn trace(number: u32) -> String {
    format!("4bf92f3577b34da6a3ce929d{number:08x}")
}

/// Calls as a part of the caller's trace of that number.
async fn call(client: &Client, number: u32, flags: &str, path: &str, body: Value) -> Value {
    let traceparent = format!("00-{}-{CALLER}-{flags}", trace(number));
    let answer = client.send(Method::POST, path, &[("traceparent", &traceparent)], Some(body)).await;
    assert!(answer.status < 300, "{:#}", answer.body);
    answer.body
}

fn attribute(span: &Span, name: &str) -> String {
    let value = span.attributes.iter().find(|attribute| attribute.key == name);
    match value.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Attribute::StringValue(text)) => text.clone(),
        Some(Attribute::IntValue(number)) => number.to_string(),
        other => panic!("{name} is {other:?} of {span:?}"),
    }
}

/// An embedder's server: every text has the same vector.
fn embeddings(body: &[u8]) -> String {
    let asked: Value = serde_json::from_slice(body).unwrap();
    let data = asked["input"].as_array().unwrap().iter().enumerate();
    let data: Vec<Value> = data.map(|(index, _)| json!({"index": index, "embedding": [0.6, 0.8]})).collect();
    json!({"object": "list", "data": data, "model": "m"}).to_string()
}

/// Every tier's span is below that of the manager, that below the request's, and that below the caller's.
async fn check(setup: &Setup, store: &str, cache: &str) {
    let (collector, embedder) = (Kept::default(), Kept::default());
    let endpoint = collector.clone().serve("/v1/traces", |_| "{}".into()).await;
    let base_url = embedder.clone().serve("/v1/embeddings", embeddings).await + "/v1";
    let (_process, client) = Process::start(
        setup,
        &[
            ("ORCHESTRA_TELEMETRY_OTLP_ENDPOINT", &endpoint),
            ("ORCHESTRA_EMBEDDER", "openai"),
            ("ORCHESTRA_EMBEDDER_URL", &base_url),
            ("ORCHESTRA_EMBEDDER_MODEL", "m"),
            ("ORCHESTRA_EMBEDDER_DIMENSIONS", "2"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ],
    );
    until("every tier is ready", async || client.get("/readyz").await.ok(200)["short_term"]["status"] == "ready").await;
    let memory = json!({"text": "The vault opens with marzipan", "scope": {"user": "marzipan-lover"}});
    call(&client, 1, "01", "/v1/memories", memory).await;
    call(&client, 2, "00", "/v1/memories/search", json!({"query": "marzipan"})).await;
    call(&client, 3, "01", "/v1/memories/search", json!({"query": "marzipan"})).await;
    call(&client, 4, "01", "/v1/cache/entries", json!({"prompt": "marzipan?", "response": "marzipan!"})).await;
    let found = call(&client, 5, "01", "/v1/cache/lookup", json!({"prompt": "marzipan?"})).await;
    assert_eq!(found["hit"], true);
    for (number, route, operation, tiers) in [
        (1, "POST /v1/memories", "remember", vec![format!("{store} insert"), "embeddings m".into()]),
        (3, "POST /v1/memories/search", "recall", vec![format!("{store} search"), "embeddings m".into()]),
        (4, "POST /v1/cache/entries", "cache_store", vec![format!("{cache} store")]),
        (5, "POST /v1/cache/lookup", "cache_lookup", vec![format!("{cache} lookup")]),
    ] {
        until(route, async || collector.spans(&trace(number)).contains_key(route)).await;
        let spans = collector.spans(&trace(number));
        let request = &spans[route];
        assert_eq!((hex(&request.parent_span_id), request.kind()), (CALLER.into(), SpanKind::Server));
        assert_eq!(format!("POST {}", attribute(request, "http.route")), route);
        assert_eq!(attribute(request, "http.request.method"), "POST");
        assert!(attribute(request, "http.response.status_code").starts_with("20"));
        assert_eq!(spans[operation].parent_span_id, request.span_id, "{operation} is below the request");
        for tier in tiers {
            let span = spans.get(&tier).unwrap_or_else(|| panic!("no {tier} among {:?}", spans.keys()));
            assert_eq!(span.parent_span_id, spans[operation].span_id, "{tier} is below {operation}");
            assert_eq!(span.status.as_ref().map_or(StatusCode::Unset, |status| status.code()), StatusCode::Unset);
            match tier.split_once(' ').unwrap() {
                ("embeddings", model) => assert_eq!(attribute(span, "gen_ai.request.model"), model),
                (system, operation) => {
                    assert_eq!(attribute(span, "db.system.name"), system);
                    assert_eq!(attribute(span, "db.operation.name"), operation);
                }
            }
            assert!(span.events.is_empty() && span.end_time_unix_nano >= span.start_time_unix_nano);
        }
    }
    assert_eq!(collector.spans(&trace(2)).len(), 0, "its caller takes no trace of it");
    let carried: Vec<String> = embedder.all().iter().map(|(headers, _)| text(headers, "traceparent")).collect();
    let expected = hex(&collector.spans(&trace(3))["embeddings m"].span_id);
    assert!(carried.contains(&format!("00-{}-{expected}-01", trace(3))), "{carried:?}");
    for (headers, body) in collector.all() {
        assert_eq!(text(&headers, "content-type"), "application/x-protobuf");
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.contains("orchestra"), "the service says its name");
        assert!(!body.contains("marzipan") && !body.contains("tenant") && !body.contains("default"), "{body}");
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_traced_through_every_tier_embedded() {
    check(&Setup::embedded().await.unwrap(), "sqlite", "sqlite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_traced_through_every_tier_on_redis_and_postgres() {
    let Some(setup) = Setup::redis_and_postgres().await else { return };
    check(&setup, "postgresql", "redis").await;
}

/// The last spans are sent when the server is told to stop, and the variables that all programs share name the collector.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_sent_at_the_end() {
    let setup = Setup::embedded().await.unwrap();
    let collector = Kept::default();
    let endpoint = collector.clone().serve("/v1/traces", |_| "{}".into()).await;
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let (process, client) = Process::start(&setup, &variables);
    call(&client, 1, "01", "/v1/memories/search", json!({"query": "marzipan"})).await;
    drop(client);
    process.stop();
    assert!(collector.spans(&trace(1)).contains_key("POST /v1/memories/search"));
}
