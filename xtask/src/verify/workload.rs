//! The bundled workload of the cache: people ask the same things again and again, often in other words, and now and then
//! something that only looks the same.
//!
//! The questions are those of the labelled pairs of `memory-testkit`. How often each is asked follows Zipf's law, as it
//! does where many people ask one assistant; one time in five a question comes in its other words. A question that is not
//! served is answered and filed, as an application does it. The workload begins with an empty cache, so the first asking
//! of everything is a miss and counts.

use std::collections::HashMap;

use anyhow::{Result, bail};
use memory_testkit::labelled::{self, Pair};
use serde_json::{Value, json};

use super::Deployment;
use super::check::Verdict;

/// How many questions are asked.
const ASKED: usize = 3000;
const ASKED_QUICKLY: usize = 1200;
/// What share of them is served, at least.
const HIT_RATE: f64 = 0.85;
/// What share of the questions of another meaning is served, at most.
const FALSE_HIT_RATE: f64 = 0.02;
/// The same in words.
pub const FALSE_HITS_GOAL: &str = "< 2 % of questions that mean something else";
/// One in so many comes in other words.
const OTHER_WORDS: u64 = 5;

/// Asks the questions of the workload, and counts how many are served.
pub fn hit_rate(deployment: &mut Deployment) -> Result<Verdict> {
    let pairs: Vec<Pair> = labelled::pairs().into_iter().filter(|pair| pair.same).collect();
    let count = if deployment.quick { ASKED_QUICKLY } else { ASKED };
    let topics = topics(&pairs);
    let (mut served, mut by_meaning, mut wrong) = (0, 0, 0);
    for (place, in_other_words) in asked(pairs.len(), count) {
        let pair = &pairs[place];
        let prompt = if in_other_words { &pair.asked } else { &pair.cached };
        let topic = topics[pair.cached.as_str()].to_string();
        let answer = look_up(deployment, "all", prompt)?;
        if answer["hit"] == true {
            served += 1;
            by_meaning += usize::from(answer["kind"] == "semantic");
            wrong += usize::from(answer["response"] != *topic);
        } else {
            store(deployment, "all", prompt, &topic)?;
        }
    }
    let rate = served as f64 / count as f64;
    let seen = format!(
        "{:.1} % of {count} questions, {by_meaning} of them by meaning; {wrong} got another question's answer",
        rate * 100.0
    );
    Ok(Verdict::of(rate > HIT_RATE, seen))
}

/// Asks, beside each filed question, the one of its pair that means something else.
pub fn false_hits(deployment: &mut Deployment) -> Result<Verdict> {
    let mut pairs: Vec<Pair> = labelled::pairs().into_iter().filter(|pair| !pair.same).collect();
    if deployment.quick {
        pairs = pairs.into_iter().step_by(4).collect();
    }
    let mut served = Vec::new();
    for pair in &pairs {
        // Alone in its scope: the labels say how two questions compare, not how one compares with all others.
        store(deployment, &pair.id, &pair.cached, &pair.id)?;
        if look_up(deployment, &pair.id, &pair.asked)?["hit"] == true {
            served.push(format!("{:?} to {:?}", pair.cached, pair.asked));
        }
    }
    let rate = served.len() as f64 / pairs.len() as f64;
    let seen = format!("{:.1} %: {} of {}", rate * 100.0, served.len(), pairs.len());
    let example = served.first().map(|pair| format!(", such as that of {pair}")).unwrap_or_default();
    Ok(Verdict::of(rate < FALSE_HIT_RATE, seen + &example))
}

fn look_up(deployment: &Deployment, place: &str, prompt: &str) -> Result<Value> {
    let body = json!({ "prompt": prompt, "scope": scope(deployment, place), "model": "verify" });
    deployment.client.post("/v1/cache/lookup", &body)?.ok()
}

fn store(deployment: &Deployment, place: &str, prompt: &str, response: &str) -> Result<()> {
    let body = json!({
        "prompt": prompt, "response": response, "scope": scope(deployment, place), "model": "verify",
        "tags": [deployment.run], "ttl_seconds": 900,
    });
    let stored = deployment.client.post("/v1/cache/entries", &body)?.ok()?;
    if stored["id"].is_null() {
        bail!("the cache is switched off");
    }
    Ok(())
}

fn scope(deployment: &Deployment, place: &str) -> Value {
    json!({ "user": format!("{}-{place}", deployment.user()) })
}

/// Which questions are one: those of a pair, and those of pairs that share a question.
fn topics(pairs: &[Pair]) -> HashMap<&str, usize> {
    let mut topics: HashMap<&str, usize> = HashMap::new();
    for (number, pair) in pairs.iter().enumerate() {
        let texts = [pair.cached.as_str(), pair.asked.as_str()];
        let known: Vec<usize> = texts.iter().filter_map(|text| topics.get(text).copied()).collect();
        let topic = known.first().copied().unwrap_or(number);
        for other in topics.values_mut().filter(|other| known.contains(other)) {
            *other = topic;
        }
        topics.extend(texts.map(|text| (text, topic)));
    }
    topics
}

/// Which question is asked each time, and whether in its other words: the same in every run.
fn asked(questions: usize, count: usize) -> impl Iterator<Item = (usize, bool)> {
    let weights: Vec<f64> = (1..=questions).map(|rank| 1.0 / rank as f64).collect();
    let all: f64 = weights.iter().sum();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    // Marsaglia's xorshift, 2003: enough for a draw that is the same everywhere.
    let mut draw = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count).map(move |_| {
        let mut left = (draw() >> 11) as f64 / (1_u64 << 53) as f64 * all;
        let place = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        (place.unwrap_or(questions - 1), draw() % OTHER_WORDS == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_is_the_same_each_time_and_few_questions_are_much_of_it() {
        let once: Vec<_> = asked(100, 2000).collect();
        assert_eq!(once, asked(100, 2000).collect::<Vec<_>>());
        let of_ten = once.iter().filter(|(place, _)| *place < 10).count();
        assert!((900..1400).contains(&of_ten), "{of_ten}");
        let in_other_words = once.iter().filter(|(_, other)| *other).count();
        assert!((300..500).contains(&in_other_words), "{in_other_words}");
    }

    #[test]
    fn pairs_that_share_a_question_are_one_topic() {
        let pair = |cached: &str, asked: &str| Pair {
            id: String::new(),
            cached: cached.into(),
            asked: asked.into(),
            same: true,
            kind: String::new(),
            split: String::new(),
        };
        let pairs = [pair("a", "b"), pair("c", "d"), pair("b", "d"), pair("e", "f")];
        let topics = topics(&pairs);
        assert!(["b", "c", "d"].iter().all(|text| topics[text] == topics["a"]), "{topics:?}");
        assert_ne!(topics["e"], topics["a"]);
    }
}
