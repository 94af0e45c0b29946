//! Memories that say the same.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::record::last_stated;
use super::{Because, Derived, Record, Role, Settings, Step, Window, is_candidate, same_voice};
use crate::memory::MAX_EVIDENCE;
use crate::{Memory, MemoryId, Timestamp, Writer, guard, text};

/// Plans to close what an earlier run wrote a successor for, in the versions that the successor was made from.
pub(super) fn finish(window: &Window, now: Timestamp, closed: &mut HashSet<MemoryId>, steps: &mut Vec<Step>) {
    let by_id: HashMap<MemoryId, &Arc<Memory>> = window.memories.iter().map(|memory| (memory.id, memory)).collect();
    for successor in window.memories.iter().filter(|memory| is_candidate(memory, now)) {
        let record = Record::of(successor);
        if successor.origin.writer != Writer::Consolidation || record.role != Some(Role::Merged) {
            continue;
        }
        let sources: Vec<Arc<Memory>> = successor
            .evidence
            .iter()
            .zip(&record.versions)
            .filter_map(|(id, version)| by_id.get(id).filter(|source| source.version == *version))
            .filter(|source| is_candidate(source, now) && same_voice(source, successor) && closed.insert(source.id))
            .map(|source| Arc::clone(source))
            .collect();
        if !sources.is_empty() {
            steps.push(Step::Finish { successor: successor.clone(), sources });
        }
    }
}

/// Plans the merging of near-duplicates, each group around the one that says it most fully, else last.
pub(super) fn merge(
    window: &Window,
    settings: &Settings,
    now: Timestamp,
    closed: &mut HashSet<MemoryId>,
    steps: &mut Vec<Step>,
) {
    let mut near: HashMap<usize, Vec<(usize, f32)>> = HashMap::new();
    for pair in window.near.iter().filter(|pair| pair.similarity >= settings.duplicate_similarity && pair.a != pair.b) {
        near.entry(pair.a).or_default().push((pair.b, pair.similarity));
        near.entry(pair.b).or_default().push((pair.a, pair.similarity));
    }
    let mut order: Vec<usize> = near.keys().copied().collect();
    order.sort_by_cached_key(|&at| {
        let memory = &window.memories[at];
        (Reverse(text::words(&memory.text).count()), Reverse(last_stated(memory)), memory.id)
    });
    for at in order {
        let kept = &window.memories[at];
        if !is_candidate(kept, now) || closed.contains(&kept.id) {
            continue;
        }
        let mut sources = vec![kept.clone()];
        let mut successor = None;
        let mut least = 1.0_f32;
        let mut others = near[&at].clone();
        others.sort_by(|a, b| b.1.total_cmp(&a.1).then(window.memories[a.0].id.cmp(&window.memories[b.0].id)));
        others.dedup_by_key(|(other, _)| *other);
        for (other, similarity) in others {
            let other = &window.memories[other];
            if sources.len() == MAX_EVIDENCE
                || !is_candidate(other, now)
                || closed.contains(&other.id)
                || sources.iter().any(|source| source.id == other.id)
                || !same_voice(kept, other)
                || !same_meaning(&kept.text, &other.text)
            {
                continue;
            }
            sources.push(other.clone());
            match Derived::merged(kept, &kept.text, &sources, settings) {
                Some(derived) => {
                    successor = Some(derived);
                    least = least.min(similarity);
                }
                None => {
                    sources.pop();
                }
            }
        }
        if let Some(successor) = successor {
            closed.extend(sources.iter().map(|source| source.id));
            sources.sort_by_key(|source| source.id);
            steps.push(Step::Merge {
                successor: Box::new(successor),
                sources,
                because: Because::Duplicates(least.clamp(-1.0, 1.0)),
            });
        }
    }
}

/// Whether two texts say the same: the same words carry their content, and the guard finds no difference. Of "likes tea" and
/// "likes tea in summer" neither can stand for the other.
fn same_meaning(a: &str, b: &str) -> bool {
    content(a) == content(b) && guard::compare(a, b).is_empty()
}

/// Whether `words` has every word of `text` that carries content.
pub(super) fn covers(words: &HashSet<String>, text: &str) -> bool {
    content(text).is_subset(words)
}

/// The stems of a text's words that carry content. A number is none: the guard compares numbers by their value.
pub(super) fn content(text: &str) -> HashSet<String> {
    let carries = |word: &String| !text::is_stop_word(word) && !word.chars().all(|letter| letter.is_ascii_digit());
    text::words(text).filter(carries).flat_map(|word| text::stems(&word)).collect()
}
