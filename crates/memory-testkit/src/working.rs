//! The contract of `memory_core::WorkingMemory`, a function for each promise.

mod sessions;
mod windows;

use std::time::Duration;

use memory_core::memory::MAX_METADATA_BYTES;
use memory_core::working::{
    DEFAULT_SESSION_TTL, MAX_APPEND_MESSAGES, MAX_CONTENT_BYTES, MAX_IDEMPOTENCY_KEY_BYTES, MAX_WINDOW_MESSAGES,
    estimate_tokens,
};
use memory_core::{
    AppendReceipt, AppendRequest, Clock as _, Error, IdempotencyKey, Metadata, NewMessage, Role, Scope, Window,
    WindowRequest, WorkingMemory,
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{WorkingFixture, make};

pub use sessions::{
    a_cleared_session_begins_anew, a_long_session_keeps_its_newest, a_session_ends_after_its_last_append,
    a_session_is_only_its_own, forgetting_a_scope_ends_its_sessions, forgetting_one_user_leaves_the_other,
};
pub use windows::{
    a_window_is_bounded_in_bytes, a_window_is_cut_by_count, a_window_is_cut_by_tokens, a_window_reads_on,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Messages are numbered from 1 without gaps and come back as they were written, with the time of their append.
pub async fn messages_come_back_in_order(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    let empty = window(&*memory, &scope).await;
    assert_eq!((&empty, empty.is_truncated()), (&Window::default(), false));
    let began = fixture.clock().now();
    let metadata = Metadata::from_iter([("tool_call".to_owned(), json!({"id": "a1", "cost": 0.1}))]);
    let written = vec![
        NewMessage::new(Role::System, "Be brief."),
        NewMessage { tokens: Some(7), ..NewMessage::new(Role::User, "Where is my order?") },
        NewMessage { metadata: metadata.clone(), ..NewMessage::new(Role::Tool, "{\"state\": \"sent\"}") },
    ];
    let receipt = memory.append(AppendRequest::new(scope.clone(), written)).await.expect("append");
    let expires_at = began + DEFAULT_SESSION_TTL;
    assert_eq!(receipt, AppendReceipt { first: 1, last: 3, total: 3, expires_at, replayed: false });
    fixture.clock().advance(MINUTE);
    let receipt = append(&*memory, &scope, ["It was sent."]).await;
    let expires_at = expires_at + MINUTE;
    assert_eq!(receipt, AppendReceipt { first: 4, last: 4, total: 4, expires_at, replayed: false });

    let window = window(&*memory, &scope).await;
    assert_eq!(contents(&window), ["Be brief.", "Where is my order?", "{\"state\": \"sent\"}", "It was sent."]);
    assert_eq!(sequences(&window), [1, 2, 3, 4]);
    let roles: Vec<Role> = window.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Tool, Role::User]);
    assert_eq!(window.messages[2].metadata, metadata);
    let times: Vec<_> = window.messages.iter().map(|message| message.appended_at - began).collect();
    let (at_first, later) = (chrono::TimeDelta::zero(), chrono::TimeDelta::minutes(1));
    assert_eq!(times, [at_first, at_first, at_first, later]);
    let tokens: Vec<u32> = window.messages.iter().map(|message| message.tokens).collect();
    let estimated = |at: usize| estimate_tokens(&window.messages[at].content);
    assert_eq!(tokens, [estimated(0), 7, estimated(2), estimated(3)]);
    assert_eq!(window.tokens, tokens.iter().map(|&tokens| u64::from(tokens)).sum::<u64>());
    assert_eq!((window.total, window.is_truncated(), window.expires_at), (4, false, Some(expires_at)));
}

/// One message that is not acceptable keeps all of its append out; a reader beside writers sees whole appends only.
pub async fn an_append_is_all_or_none(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    append(&*memory, &scope, ["before"]).await;
    let error = memory.append(request(&scope, ["good", " ", "good"])).await.expect_err("a blank message");
    assert!(error.to_string().starts_with("messages[1].content: given"), "{error}");
    assert_eq!(contents(&window(&*memory, &scope).await), ["before"]);

    let tuesday = make::session("acme", "ann", "tuesday");
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let (memory, tuesday) = (memory.clone(), tuesday.clone());
        writers.spawn(async move {
            for _ in 0..10 {
                append(&*memory, &tuesday, ["one", "two", "three"]).await;
            }
        });
    }
    while !writers.is_empty() {
        let seen = largest_window(&*memory, &tuesday).await;
        assert_eq!((seen.total % 3, seen.messages.len() % 3), (0, 0), "a part of an append is seen");
        while let Some(written) = writers.try_join_next() {
            written.expect("a writer");
        }
    }
    assert_eq!(window(&*memory, &tuesday).await.total, 120);
}

/// 32 writers at once: every number once and without gaps, each append together, and the appends of a writer in order.
pub async fn concurrent_appends_keep_one_order(fixture: &dyn WorkingFixture) {
    const WRITERS: usize = 32;
    const APPENDS: usize = 5;
    let memory = fixture.open().await;
    let scope = monday();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (memory, scope) = (memory.clone(), scope.clone());
        writers.spawn(async move {
            let mut receipts = Vec::new();
            for at in 0..APPENDS {
                let texts = (0..1 + (writer + at) % 3).map(|part| format!("{writer} {at} {part}"));
                receipts.push((writer, at, append(&*memory, &scope, texts).await));
            }
            receipts
        });
    }
    let receipts: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    let window = largest_window(&*memory, &scope).await;
    assert_eq!(sequences(&window), (1..=window.total).collect::<Vec<_>>());
    let mut seen = 0;
    for (writer, at, receipt) in &receipts {
        let texts: Vec<String> = (0..1 + (writer + at) % 3).map(|part| format!("{writer} {at} {part}")).collect();
        let there = &window.messages[receipt.first as usize - 1..receipt.last as usize];
        assert_eq!(there.iter().map(|message| message.content.as_str()).collect::<Vec<_>>(), texts);
        seen += texts.len() as u64;
    }
    assert_eq!(seen, window.total);
    for pair in receipts.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        assert!(pair[0].2.last < pair[1].2.first, "a writer's own order");
    }
}

/// A key sent again gives the first receipt and does nothing, prolongs nothing, and is a conflict with another body.
pub async fn one_key_one_effect(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    let first = memory.append(keyed(&scope, "hello", "key", 1)).await.expect("append");
    append(&*memory, &scope, ["more"]).await;
    fixture.clock().advance(MINUTE);
    let before = window(&*memory, &scope).await;
    let again = memory.append(keyed(&scope, "hello", "key", 1)).await.expect("replay");
    assert_eq!(again, AppendReceipt { replayed: true, ..first });
    let conflict = memory.append(keyed(&scope, "hello", "key", 2)).await.expect_err("another body");
    assert!(matches!(&conflict, Error::IdempotencyConflict { key } if key == "key"), "{conflict:?}");
    assert_eq!(window(&*memory, &scope).await, before, "nothing was written or prolonged");
    let tuesday = make::session("acme", "ann", "tuesday");
    let other = memory.append(keyed(&tuesday, "hello", "key", 2)).await.expect("a key is the session's own");
    assert_eq!((other.first, other.replayed), (1, false));
    let third = memory.append(keyed(&scope, "hello", "Key", 1)).await.expect("another key");
    assert_eq!((third.first, third.replayed), (3, false));
}

/// Sixteen at once under one key: one effect, and one receipt for all.
pub async fn one_key_at_once_has_one_effect(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    let mut senders = JoinSet::new();
    for _ in 0..16 {
        let (memory, request) = (memory.clone(), keyed(&scope, "hello", "key", 1));
        senders.spawn(async move { memory.append(request).await.expect("append") });
    }
    let receipts = senders.join_all().await;
    assert_eq!(receipts.iter().filter(|receipt| !receipt.replayed).count(), 1);
    assert!(receipts.iter().all(|receipt| (receipt.first, receipt.last, receipt.total) == (1, 1, 1)), "{receipts:?}");
    assert_eq!(window(&*memory, &scope).await.total, 1);
}

/// What is not acceptable is refused by the name of its field, and nothing is written.
pub async fn bad_requests_are_refused(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    let good = || request(&scope, ["good"]);
    let message = |content: &str| NewMessage::new(Role::User, content);
    let large = Metadata::from_iter([("large".to_owned(), json!("x".repeat(MAX_METADATA_BYTES)))]);
    let too_long = "x".repeat(MAX_CONTENT_BYTES + 1);
    let mut with_large = good();
    with_large.messages[0].metadata = large;
    let long_key = "k".repeat(MAX_IDEMPOTENCY_KEY_BYTES + 1);
    for (field, bad) in [
        ("scope.session", AppendRequest { scope: make::user("acme", "ann"), ..good() }),
        ("ttl", AppendRequest { ttl: Duration::ZERO, ..good() }),
        ("ttl", AppendRequest { ttl: memory_core::cache::MAX_TTL + Duration::from_nanos(1), ..good() }),
        ("messages", AppendRequest { messages: Vec::new(), ..good() }),
        ("messages", AppendRequest { messages: vec![message("x"); MAX_APPEND_MESSAGES + 1], ..good() }),
        ("messages[0].content", AppendRequest { messages: vec![message("")], ..good() }),
        ("messages[1].content", AppendRequest { messages: vec![message("x"), message(&too_long)], ..good() }),
        ("messages[0].metadata", with_large),
        ("idempotency_key", keyed(&scope, "x", "", 1)),
        ("idempotency_key", keyed(&scope, "x", &long_key, 1)),
    ] {
        let error = memory.append(bad).await.expect_err(field);
        assert_field(&error, field);
    }
    let reads =
        |max_messages, max_tokens| WindowRequest { max_messages, max_tokens, ..WindowRequest::new(scope.clone()) };
    for (field, bad) in [
        ("scope.session", WindowRequest::new(make::user("acme", "ann"))),
        ("max_messages", reads(0, None)),
        ("max_messages", reads(MAX_WINDOW_MESSAGES + 1, None)),
        ("max_tokens", reads(1, Some(0))),
    ] {
        let error = memory.window(&bad).await.expect_err(field);
        assert_field(&error, field);
    }
    assert_field(&memory.clear(&make::user("acme", "ann")).await.expect_err("no session"), "scope.session");
    assert_eq!(window(&*memory, &scope).await, Window::default(), "nothing was written");

    let longest = "x".repeat(MAX_CONTENT_BYTES);
    let most = AppendRequest {
        ttl: memory_core::cache::MAX_TTL,
        messages: (1..MAX_APPEND_MESSAGES).map(|_| message("x")).chain([message(&longest)]).collect(),
        ..keyed(&scope, "-", &long_key[1..], 1)
    };
    assert_eq!(memory.append(most).await.expect("at the limits").total, MAX_APPEND_MESSAGES as u64);
}

/// Quotes, scripts, wildcards, control characters and any script come back as they are, in every place for text.
pub async fn hostile_text_is_only_text(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let bystander = make::session("acme", "bystander", "monday");
    append(&*memory, &bystander, ["stays"]).await;
    let texts = [
        "'; DROP TABLE session; --",
        "\" OR 1=1 -- \\",
        "]] .. redis.call('FLUSHALL') .. [[",
        "redis.call('DEL', KEYS[1]) return 1",
        "%d %s %% $1 {{user}} ${PATH}",
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n",
        "12 0 {\"role\": \"system\"}",
        "last\u{0}first\u{0}expires",
        "\u{202e}gnp.exe \u{200b} 😀👩‍👩‍👧 e\u{301} 東京 שלום",
    ];
    for text in texts {
        let name: String = text.chars().filter(|c| !c.is_control()).collect();
        let scope = make::user("acme", &name).with_session(format!("s{name}")).expect("a valid name");
        let metadata = Metadata::from_iter([(text.to_owned(), json!([text, {"k": text}]))]);
        let message = NewMessage { metadata: metadata.clone(), ..NewMessage::new(Role::Tool, text) };
        let request = AppendRequest { messages: vec![message], ..keyed(&scope, "-", text, 1) };
        let first = memory.append(request.clone()).await.expect("append");
        assert_eq!(memory.append(request).await.expect("replay"), AppendReceipt { replayed: true, ..first });
        let window = window(&*memory, &scope).await;
        assert_eq!(contents(&window), [text]);
        assert_eq!((window.messages[0].role, &window.messages[0].metadata), (Role::Tool, &metadata));
        assert_eq!(memory.clear(&scope).await.expect("clear"), 1);
    }
    assert_eq!(contents(&window(&*memory, &bystander).await), ["stays"]);
}

fn monday() -> Scope {
    make::session("acme", "ann", "monday")
}

fn pair() -> Vec<NewMessage> {
    vec![NewMessage::new(Role::User, "?"), NewMessage::new(Role::Assistant, "!")]
}

fn request<T: Into<String>>(scope: &Scope, texts: impl IntoIterator<Item = T>) -> AppendRequest {
    let messages = texts.into_iter().map(|text| NewMessage::new(Role::User, text)).collect();
    AppendRequest::new(scope.clone(), messages)
}

/// One message under an idempotency key; `body` stands for the request's body.
fn keyed(scope: &Scope, text: &str, key: &str, body: u8) -> AppendRequest {
    let idempotency = Some(IdempotencyKey { key: key.into(), body_hash: [body; 32] });
    AppendRequest { idempotency, ..request(scope, [text]) }
}

async fn append<T: Into<String>>(
    memory: &dyn WorkingMemory,
    scope: &Scope,
    texts: impl IntoIterator<Item = T>,
) -> AppendReceipt {
    let request = request(scope, texts);
    memory.append(request).await.expect("append")
}

async fn window(memory: &dyn WorkingMemory, scope: &Scope) -> Window {
    memory.window(&WindowRequest::new(scope.clone())).await.expect("window")
}

async fn largest_window(memory: &dyn WorkingMemory, scope: &Scope) -> Window {
    let request = WindowRequest { max_messages: MAX_WINDOW_MESSAGES, ..WindowRequest::new(scope.clone()) };
    memory.window(&request).await.expect("window")
}

fn contents(window: &Window) -> Vec<&str> {
    window.messages.iter().map(|message| message.content.as_str()).collect()
}

fn sequences(window: &Window) -> Vec<u64> {
    window.messages.iter().map(|message| message.sequence).collect()
}

fn assert_field(error: &Error, expected: &str) {
    match error {
        Error::Invalid { field, .. } | Error::TooLarge { field, .. } => assert_eq!(field, expected, "{error}"),
        other => panic!("{expected}: {other:?}"),
    }
}
