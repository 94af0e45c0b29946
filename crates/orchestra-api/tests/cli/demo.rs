//! The tour.

use std::time::{Duration, Instant};

use super::support::Orchestra;

#[test]
fn the_tour_holds_what_it_tells() {
    let orchestra = Orchestra::new();
    let begun = Instant::now();
    let ran = orchestra.ok(&["demo", "--fast"]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(!ran.out.contains('✗') && ran.out.contains("What to try next"), "{}", ran.out);
    for part in [
        "1. Import",
        "2. Recall",
        "3. Semantic cache",
        "4. Correct",
        "5. Forget",
        "exact hit",
        "hit by meaning",
        "refused",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(!orchestra.data().exists(), "the tour has a folder of its own");
}

#[test]
fn the_tours_memory_can_be_kept() {
    let orchestra = Orchestra::new();
    let told = orchestra.json(&["demo", "--keep", "kept"]);
    assert_eq!(told["held"], true);
    assert!(told["checks"].as_array().unwrap().len() > 20);
    let list = orchestra.json(&["list", "--data", "kept", "--limit", "100"]);
    assert_eq!(list["memories"].as_array().unwrap().len(), 45);
    let again = orchestra.run(&["demo", "--keep", "kept"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("holds a memory already"), "{}", again.err);
}
