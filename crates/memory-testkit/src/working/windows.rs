//! What a window holds.

use memory_core::working::{MAX_CONTENT_BYTES, MAX_WINDOW_BYTES};
use memory_core::{AppendRequest, NewMessage, Role, Window, WindowRequest};

use super::{append, contents, monday, sequences, window};
use crate::{WorkingFixture, make};

/// The newest so many, oldest first, and the rest is said to be left out.
pub async fn a_window_is_cut_by_count(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    append(&*memory, &scope, (1..=5).map(|at| at.to_string())).await;
    for (max_messages, expected) in
        [(1, &["5"][..]), (4, &["2", "3", "4", "5"]), (5, &["1", "2", "3", "4", "5"]), (6, &["1", "2", "3", "4", "5"])]
    {
        let request = WindowRequest { max_messages, ..WindowRequest::new(scope.clone()) };
        let window = memory.window(&request).await.expect("window");
        assert_eq!(contents(&window), expected);
        assert_eq!((window.total, window.is_truncated()), (5, max_messages < 5));
    }
}

/// The newest that the budget holds, none left out in the middle; a newest one over the budget leaves it empty.
pub async fn a_window_is_cut_by_tokens(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    let messages = [("a", 2), ("b", 40), ("c", 10), ("d", 30)]
        .map(|(text, tokens)| NewMessage { tokens: Some(tokens), ..NewMessage::new(Role::User, text) });
    memory.append(AppendRequest::new(scope.clone(), messages.into())).await.expect("append");
    for (max_tokens, expected, tokens) in [
        (1, &[][..], 0),
        (29, &[], 0),
        (30, &["d"], 30),
        (39, &["d"], 30),
        (40, &["c", "d"], 40),
        (79, &["c", "d"], 40),
        (80, &["b", "c", "d"], 80),
        (82, &["a", "b", "c", "d"], 82),
        (u64::MAX, &["a", "b", "c", "d"], 82),
    ] {
        let request = WindowRequest { max_tokens: Some(max_tokens), ..WindowRequest::new(scope.clone()) };
        let window = memory.window(&request).await.expect("window");
        assert_eq!((contents(&window), window.tokens), (expected.to_vec(), tokens), "{max_tokens}");
        assert_eq!((window.total, window.is_truncated()), (4, expected.len() < 4));
        assert!(window.expires_at.is_some());
    }
    let both = WindowRequest { max_messages: 2, max_tokens: Some(80), ..WindowRequest::new(scope) };
    assert_eq!(contents(&memory.window(&both).await.expect("window")), ["c", "d"], "both limits hold");
}

/// A window of the longest messages is cut by their bytes, and says so.
pub async fn a_window_is_bounded_in_bytes(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    let most = MAX_WINDOW_BYTES / MAX_CONTENT_BYTES;
    let longest = "ü".repeat(MAX_CONTENT_BYTES / 2);
    for _ in 0..2 {
        append(&*memory, &scope, vec![longest.clone(); most / 2]).await;
    }
    let whole = window(&*memory, &scope).await;
    assert_eq!((whole.messages.len(), whole.is_truncated()), (most, false));
    assert!(whole.messages.iter().all(|message| message.content == longest));
    append(&*memory, &scope, ["x"]).await;
    let cut = window(&*memory, &scope).await;
    assert_eq!((cut.messages.len(), cut.total), (most, most as u64 + 1));
    assert_eq!(cut.messages[most - 1].content, "x");
}

/// Windows that read on hold every message once, in order, within the same limits.
pub async fn a_window_reads_on(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    append(&*memory, &scope, (1..=5).map(|at| at.to_string())).await;
    for (after, max_messages, expected) in [
        (0, 2, &["1", "2"][..]),
        (2, 2, &["3", "4"]),
        (4, 2, &["5"]),
        (5, 2, &[]),
        (u64::MAX, 2, &[]),
        (0, 5, &["1", "2", "3", "4", "5"]),
    ] {
        let request = WindowRequest { max_messages, after: Some(after), ..WindowRequest::new(scope.clone()) };
        let window = memory.window(&request).await.expect("window");
        assert_eq!((contents(&window), window.total), (expected.to_vec(), 5), "{after}");
        let numbers: Vec<u64> = expected.iter().map(|text| text.parse().expect("a number")).collect();
        assert_eq!(sequences(&window), numbers);
    }
    let budget = WindowRequest { max_tokens: Some(2), after: Some(1), ..WindowRequest::new(scope.clone()) };
    let cheap = memory.window(&budget).await.expect("window");
    assert_eq!((contents(&cheap), cheap.tokens), (vec!["2", "3"], 2), "the oldest that the budget holds");
    let nobody = WindowRequest { after: Some(0), ..WindowRequest::new(make::session("acme", "bob", "monday")) };
    assert_eq!(memory.window(&nobody).await.expect("window"), Window::default());
}
