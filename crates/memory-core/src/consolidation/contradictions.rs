//! Facts that a later statement contradicts. Two facts may both be true although they differ ("likes tea", "likes coffee"),
//! so this looks for what can have one value only, and for nothing else.

use std::collections::HashSet;

use super::record::last_stated;
use super::{Settings, Step, Window, is_candidate, same_voice, trust};
use crate::guard::{self, GuardCheck, GuardRefusal};
use crate::{Memory, MemoryId, Tier, Timestamp, text};

/// Plans to close facts at the time of the first later statement that contradicts them.
pub(super) fn supersede(
    window: &Window,
    settings: &Settings,
    now: Timestamp,
    closed: &mut HashSet<MemoryId>,
    steps: &mut Vec<Step>,
) {
    let mut pairs: Vec<(&std::sync::Arc<Memory>, &std::sync::Arc<Memory>)> = window
        .near
        .iter()
        .filter(|pair| pair.similarity >= settings.contradiction_similarity && pair.a != pair.b)
        .map(|pair| (&window.memories[pair.a], &window.memories[pair.b]))
        .filter(|(a, b)| [a, b].iter().all(|memory| is_candidate(memory, now) && memory.kind.tier() == Tier::LongTerm))
        .filter_map(|(a, b)| match last_stated(a).cmp(&last_stated(b)) {
            std::cmp::Ordering::Less => Some((a, b)),
            std::cmp::Ordering::Greater => Some((b, a)),
            std::cmp::Ordering::Equal => None,
        })
        .filter(|(earlier, later)| same_voice(earlier, later) && may_overrule(later, earlier))
        .collect();
    pairs.sort_by_key(|(earlier, later)| (earlier.id, last_stated(later), later.id));
    for (earlier, later) in pairs {
        if closed.contains(&earlier.id) || earlier.expires_at.is_none() && later.expires_at.is_some() {
            continue;
        }
        if let Some(refusal) = contradiction(&earlier.text, &later.text) {
            closed.insert(earlier.id);
            steps.push(Step::Supersede { earlier: earlier.clone(), later: later.clone(), refusal });
        }
    }
}

/// A statement is only overruled by one that is trusted at least as much: what a tool or a file says does not close what a
/// user said.
fn may_overrule(later: &Memory, earlier: &Memory) -> bool {
    trust(&later.origin) >= trust(&earlier.origin) && later.valid_to.is_none()
}

/// The one difference by which `later` contradicts `earlier`.
fn contradiction(earlier: &str, later: &str) -> Option<GuardRefusal> {
    let mut refusals = guard::compare(earlier, later);
    let refusal = refusals.pop().filter(|_| refusals.is_empty())?;
    let (before, after): (Vec<String>, Vec<String>) = (text::words(earlier).collect(), text::words(later).collect());
    let contradicts = match refusal.check {
        GuardCheck::Negation => without_denial(&before) == without_denial(&after) && before != after,
        GuardCheck::Number | GuardCheck::Name => {
            let (start, old, new) = one_change(&before, &after)?;
            let named = |evidence: &str, words: &[String]| text::words(evidence).any(|word| words.contains(&word));
            named(&refusal.asked, old) && named(&refusal.cached, new) && has_one_value(&before[..start], refusal.check)
        }
        _ => false,
    };
    contradicts.then_some(refusal)
}

/// The words without those that deny or that only a denial needs: "does not eat" and "eats" are the same without them.
fn without_denial(words: &[String]) -> Vec<String> {
    const DENIAL: [&str; 12] =
        ["not", "no", "never", "longer", "don", "doesn", "didn", "isn", "aren", "do", "does", "anymore"];
    let kept: Vec<&str> = words.iter().map(String::as_str).filter(|word| !DENIAL.contains(word)).collect();
    text::stems(&kept.join(" "))
}

/// Where two texts that are otherwise equal differ, and how: one run of at most three words on each side.
fn one_change<'a>(before: &'a [String], after: &'a [String]) -> Option<(usize, &'a [String], &'a [String])> {
    const LONGEST: usize = 3;
    let same = |(a, b): &(&String, &String)| a == b;
    let start = before.iter().zip(after).take_while(same).count();
    let (old, new) = (&before[start..], &after[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    let short = |words: &[String]| (1..=LONGEST).contains(&words.len());
    (short(old) && short(new)).then_some((start, old, new))
}

/// Whether what follows `said` can have one value only, by a closed list: "lives in …", "my deadline is …", "has … cats".
fn has_one_value(said: &[String], check: GuardCheck) -> bool {
    let mut said: Vec<&str> = said.iter().map(String::as_str).filter(|word| !FILLERS.contains(word)).collect();
    let number = check == GuardCheck::Number;
    if SINGLE_PLACES.iter().any(|place| said.ends_with(place)) {
        return true;
    }
    // "is on May 3", "is at 5": what stands between the verb and the value says what kind of value it is.
    while said.last().is_some_and(|word| BETWEEN.contains(word)) {
        said.pop();
    }
    match said.split_last() {
        Some((verb, subject)) if COPULAS.contains(verb) => {
            number && !subject.is_empty() || subject.iter().any(|word| ATTRIBUTES.contains(word))
        }
        Some((verb, subject)) => number && COUNTING.contains(verb) && !subject.is_empty(),
        None => false,
    }
}

const FILLERS: [&str; 7] = ["now", "currently", "only", "just", "about", "exactly", "presently"];
const BETWEEN: [&str; 20] = [
    "on",
    "at",
    "in",
    "the",
    "a",
    "due",
    "set",
    "to",
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const COPULAS: [&str; 3] = ["is", "are", "am"];
const COUNTING: [&str; 8] = ["has", "have", "costs", "cost", "weighs", "weigh", "earns", "earn"];
const SINGLE_PLACES: [&[&str]; 12] = [
    &["lives", "in"],
    &["live", "in"],
    &["living", "in"],
    &["based", "in"],
    &["resides", "in"],
    &["works", "at"],
    &["work", "at"],
    &["works", "for"],
    &["work", "for"],
    &["employed", "by"],
    &["is", "called"],
    &["is", "named"],
];
const ATTRIBUTES: [&str; 36] = [
    "address",
    "age",
    "birthday",
    "boss",
    "budget",
    "capital",
    "city",
    "code",
    "color",
    "colour",
    "country",
    "date",
    "deadline",
    "email",
    "employer",
    "favorite",
    "favourite",
    "height",
    "home",
    "hometown",
    "job",
    "landlord",
    "launch",
    "manager",
    "name",
    "nickname",
    "number",
    "owner",
    "password",
    "phone",
    "price",
    "status",
    "surname",
    "time",
    "timezone",
    "title",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_one_value_is_contradicted_by_another() {
        for (earlier, later) in [
            ("Ann lives in Lisbon", "Ann lives in Porto"),
            ("I work for Acme", "I work for Globex"),
            ("My favourite city is Lisbon", "My favourite city is Porto"),
            ("The deadline is on May 3", "The deadline is on May 5"),
            ("Ann has 2 cats", "Ann has 3 cats"),
            ("Ann is 30 years old", "Ann is 31 years old"),
            ("Ann eats meat", "Ann does not eat meat"),
            ("The door is locked", "The door is not locked"),
        ] {
            assert!(
                contradiction(earlier, later).is_some(),
                "{earlier} / {later}: {:?}",
                guard::compare(earlier, later)
            );
        }
    }

    #[test]
    fn what_can_both_be_true_is_left_alone() {
        for (earlier, later) in [
            ("Ann likes Lisbon", "Ann likes Porto"),
            ("Ann visited Lisbon in 2023", "Ann visited Lisbon in 2024"),
            ("Ann's brother is Tom", "Ann's brother is Bob"),
            ("Room 3 is on the left", "Room 5 is on the left"),
            ("Ann has 2 cats", "Ann has 3 dogs"),
            ("The Monday meeting is at 5", "The Tuesday meeting is at 5"),
            ("Ann lives in Lisbon", "Bob lives in Lisbon"),
            ("Ann lives in Lisbon", "Ann lives in Lisbon with 2 cats"),
            ("Ann ran 5 km", "Ann ran 6 km"),
            ("Ann speaks French", "Ann speaks German"),
            ("Turn on dark mode", "Turn off dark mode"),
            ("Ann lives in Lisbon", "Ann lives in Lisbon"),
        ] {
            assert!(contradiction(earlier, later).is_none(), "{earlier} / {later}");
        }
    }
}
