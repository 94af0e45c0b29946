//! How long a session lives, and whose it is.

use std::time::Duration;

use memory_core::working::{DEFAULT_SESSION_TTL, MAX_APPEND_MESSAGES, MAX_SESSION_MESSAGES, MAX_WINDOW_MESSAGES};
use memory_core::{AppendReceipt, AppendRequest, Clock as _, Scope, Window, WindowRequest};
use tokio::task::JoinSet;

use super::{MINUTE, append, contents, keyed, largest_window, monday, pair, request, sequences, window};
use crate::{WorkingFixture, make};

/// A session lives for the time to live of its last append and not a microsecond longer, whatever reads it.
pub async fn a_session_ends_after_its_last_append(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let (scope, clock) = (monday(), fixture.clock());
    let microsecond = Duration::from_micros(1);
    let short = |text: &str| AppendRequest { ttl: MINUTE, ..keyed(&scope, text, "key", 1) };
    memory.append(request(&scope, ["one"])).await.expect("append");
    memory.append(short("two")).await.expect("append");
    clock.advance(MINUTE - microsecond);
    let alive = window(&*memory, &scope).await;
    assert_eq!((alive.total, alive.expires_at), (2, Some(clock.now() + microsecond)), "the last append decides");
    memory.append(short("two")).await.expect("replay");
    clock.advance(microsecond);
    assert_eq!(window(&*memory, &scope).await, Window::default(), "reads and replays prolong nothing");
    assert_eq!(memory.clear(&scope).await.expect("clear"), 0);
    let anew = memory.append(short("three")).await.expect("its key is gone");
    assert_eq!((anew.first, anew.total, anew.replayed), (1, 1, false));
    assert_eq!(contents(&window(&*memory, &scope).await), ["three"]);
    clock.advance(MINUTE - microsecond);
    append(&*memory, &scope, ["four"]).await;
    clock.advance(DEFAULT_SESSION_TTL - microsecond);
    assert_eq!(contents(&window(&*memory, &scope).await), ["three", "four"], "an append prolongs");
    clock.advance(microsecond);
    assert_eq!(append(&*memory, &scope, ["five"]).await.first, 1);
    assert_eq!(contents(&window(&*memory, &scope).await), ["five"], "what has ended stays away");
}

/// Another tenant, user, agent or session, set or not, neither sees nor ends anything of a session.
pub async fn a_session_is_only_its_own(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    let session = |scope: Scope| scope.with_session("monday").expect("a valid name");
    let others = [
        make::session("globex", "ann", "monday"),
        make::session("acme", "bob", "monday"),
        make::session("acme", "ann", "tuesday"),
        make::session("acme", "annmonday", "m"),
        scope.clone().with_agent("planner").expect("a valid name"),
        session(Scope::tenant("acme").expect("a valid name")),
        session(Scope::tenant("acme").and_then(|scope| scope.with_agent("ann")).expect("valid names")),
    ];
    memory.append(keyed(&scope, "ann's", "key", 1)).await.expect("append");
    for other in &others {
        assert_eq!(window(&*memory, other).await, Window::default(), "{other:?}");
        assert_eq!(memory.clear(other).await.expect("clear"), 0, "{other:?}");
        let receipt = memory.append(keyed(other, "theirs", "key", 2)).await.expect("append");
        assert_eq!((receipt.first, receipt.replayed), (1, false), "{other:?}");
    }
    for other in &others {
        assert_eq!(contents(&window(&*memory, other).await), ["theirs"], "{other:?}");
        assert_eq!(memory.clear(other).await.expect("clear"), 1, "{other:?}");
    }
    assert_eq!(contents(&window(&*memory, &scope).await), ["ann's"]);
}

/// Clearing takes messages and keys, says how many messages, and may be done twice.
pub async fn a_cleared_session_begins_anew(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    memory.append(keyed(&scope, "one", "key", 1)).await.expect("append");
    append(&*memory, &scope, ["two", "three"]).await;
    assert_eq!(memory.clear(&scope).await.expect("clear"), 3);
    assert_eq!(window(&*memory, &scope).await, Window::default());
    assert_eq!(memory.clear(&scope).await.expect("clear"), 0);
    let anew = memory.append(keyed(&scope, "one", "key", 1)).await.expect("append");
    assert_eq!((anew.first, anew.total, anew.replayed), (1, 1, false), "a key from before is a new one");
    assert_eq!(contents(&window(&*memory, &scope).await), ["one"]);
}

/// Forgetting a scope ends every session that it covers, whoever it belongs to within, and says how many messages went.
pub async fn forgetting_a_scope_ends_its_sessions(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let acme = Scope::tenant("acme").expect("a valid name");
    let session = |scope: Scope| scope.with_session("monday").expect("a valid name");
    let sessions = [
        session(acme.clone()),
        make::session("acme", "ann", "monday"),
        make::session("acme", "ann", "tuesday"),
        make::session("acme", "bob", "monday").with_agent("planner").expect("a valid name"),
    ];
    let elsewhere = make::session("globex", "ann", "monday");
    append(&*memory, &elsewhere, ["stays"]).await;
    for scope in &sessions {
        memory.append(keyed(scope, "one", "key", 1)).await.expect("append");
        append(&*memory, scope, ["two"]).await;
    }
    let ended = make::session("acme", "ann", "ended");
    memory.append(AppendRequest { ttl: MINUTE, ..request(&ended, ["over"]) }).await.expect("append");
    fixture.clock().advance(MINUTE);
    assert_eq!(memory.forget_within(&acme, true).await.expect("dry run"), 8, "what has ended is not there");
    for scope in &sessions {
        assert_eq!(window(&*memory, scope).await.total, 2, "a dry run ends nothing");
    }
    assert_eq!(memory.forget_within(&acme, false).await.expect("forget"), 8);
    for scope in &sessions {
        assert_eq!(window(&*memory, scope).await, Window::default(), "{scope:?}");
        let anew = memory.append(keyed(scope, "one", "key", 1)).await.expect("append");
        assert_eq!((anew.first, anew.total, anew.replayed), (1, 1, false), "its keys are gone: {scope:?}");
    }
    assert_eq!(contents(&window(&*memory, &elsewhere).await), ["stays"], "another tenant's");
    assert_eq!(
        memory.forget_within(&acme, false).await.expect("forget"),
        4,
        "what began since is forgotten like the rest"
    );
    assert_eq!(memory.forget_within(&acme, false).await.expect("forget"), 0, "it may be done twice");
}

/// A narrower scope ends only what it covers: one user's, one agent's, or the sessions of one name.
pub async fn forgetting_one_user_leaves_the_other(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let acme = Scope::tenant("acme").expect("a valid name");
    let planner = acme.clone().with_agent("planner").expect("a valid name");
    let nobodys = acme.clone().with_session("monday").expect("a valid name");
    let sessions = [
        make::session("acme", "ann", "monday"),
        make::session("acme", "ann", "tuesday"),
        make::session("acme", "bob", "monday"),
        make::session("acme", "bob", "ann"),
        planner.clone().with_session("ann").expect("a valid name"),
        nobodys.clone(),
    ];
    for (scope, left) in [
        (make::user("acme", "ann"), [false, false, true, true, true, true]),
        (make::session("acme", "bob", "monday"), [true, true, false, true, true, true]),
        (planner, [true, true, true, true, false, true]),
        (nobodys, [false, true, false, true, true, false]),
    ] {
        memory.forget_within(&acme, false).await.expect("forget");
        for session in &sessions {
            append(&*memory, session, ["said"]).await;
        }
        let expected = left.iter().filter(|left| !**left).count() as u64;
        assert_eq!(memory.forget_within(&scope, true).await.expect("dry run"), expected, "{scope:?}");
        assert_eq!(memory.forget_within(&scope, false).await.expect("forget"), expected, "{scope:?}");
        let mut found = Vec::new();
        for session in &sessions {
            found.push(window(&*memory, session).await.total == 1);
        }
        assert_eq!(found, left, "{scope:?}");
    }
    // More than a provider looks through at once.
    let mut writers = JoinSet::new();
    for at in 0..1200 {
        let (memory, scope) = (memory.clone(), make::session("acme", "many", &at.to_string()));
        writers.spawn(async move { append(&*memory, &scope, ["said"]).await });
    }
    writers.join_all().await;
    assert_eq!(memory.forget_within(&make::user("acme", "many"), false).await.expect("forget"), 1200);
    assert_eq!(memory.forget_within(&make::user("acme", "many"), true).await.expect("dry run"), 0);
    assert_eq!(window(&*memory, &sessions[3]).await.total, 1, "bob's");
}

/// Beyond its most messages a session drops the oldest, with the keys of appends that are gone whole.
pub async fn a_long_session_keeps_its_newest(fixture: &dyn WorkingFixture) {
    let memory = fixture.open().await;
    let scope = monday();
    let pair = |key: &str| AppendRequest { messages: pair(), ..keyed(&scope, "-", key, 1) };
    memory.append(pair("first")).await.expect("append");
    let second = memory.append(pair("second")).await.expect("append");
    let mut last = 4;
    while last < MAX_SESSION_MESSAGES {
        let room = usize::try_from(MAX_SESSION_MESSAGES - last).expect("a small number").min(MAX_APPEND_MESSAGES);
        let receipt = append(&*memory, &scope, (0..room).map(|at| format!("{}", last + 1 + at as u64))).await;
        last += room as u64;
        assert_eq!((receipt.last, receipt.total), (last, last));
    }
    let receipt = append(&*memory, &scope, ["a", "b", "c"]).await;
    assert_eq!((receipt.first, receipt.last, receipt.total), (last + 1, last + 3, MAX_SESSION_MESSAGES));
    let window = largest_window(&*memory, &scope).await;
    assert_eq!((window.total, window.messages.len()), (MAX_SESSION_MESSAGES, MAX_WINDOW_MESSAGES));
    assert_eq!(sequences(&window), (last + 4 - MAX_WINDOW_MESSAGES as u64..=last + 3).collect::<Vec<_>>());
    assert_eq!(window.messages[0].content, window.messages[0].sequence.to_string());
    let begins = WindowRequest { max_messages: 1, after: Some(0), ..WindowRequest::new(scope.clone()) };
    assert_eq!(sequences(&memory.window(&begins).await.expect("window")), [last + 4 - MAX_SESSION_MESSAGES]);
    // Its second message is the oldest that is kept.
    let again = memory.append(pair("second")).await.expect("replay");
    assert_eq!(again, AppendReceipt { replayed: true, ..second });
    let anew = memory.append(pair("first")).await.expect("append");
    assert_eq!((anew.first, anew.replayed), (last + 4, false), "its messages have dropped off, and its key with them");
    assert_eq!(memory.clear(&scope).await.expect("clear"), MAX_SESSION_MESSAGES);
}
