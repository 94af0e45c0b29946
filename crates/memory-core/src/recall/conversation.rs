//! The conversation that goes on, as candidates of a recall. Pure functions of its messages.
//!
//! Messages are compared by words alone. To embed them would cost a call of the embedder in every recall, and whoever talks
//! has the newest of them before their eyes. So of two that say the same about a question the durable one, which meaning
//! speaks for too, comes first; a message still answers where nothing else does.

use std::collections::{HashMap, HashSet};

use uuid::Builder;

use crate::arena::{Bm25Query, Bm25Statistics, LexicalArena};
use crate::store::{Arm, ArmReport, Candidate};
use crate::{
    ContentHash, Filter, FusionStrategy, Memory, MemoryId, MemoryKind, Origin, Role, Scope, SessionMessage, Window,
    Writer,
};

/// How much of a message is read for words, in bytes from its beginning: what a tool gives back can be long, and a recall
/// waits for it.
const READ_BYTES: usize = 8 * 1024;
/// The way that the messages of working memory came, as their origin tells.
const PATH: &str = "working";

/// The messages of sessions, as memories.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    /// In the order of the sessions, oldest first in each.
    messages: Vec<Memory>,
}

impl Conversation {
    /// Adds the window of a session, without the messages that do not match.
    pub(crate) fn add(&mut self, session: &Scope, window: Window, filter: Option<&Filter>) {
        let expires_at = window.expires_at;
        let messages = window.messages.into_iter().map(|message| Memory { expires_at, ..memory(session, message) });
        self.messages.extend(messages.filter(|memory| filter.is_none_or(|filter| filter.matches(memory))));
    }

    /// The messages that share a word with the query or, where the strategy asks for them, are next to one that does; and
    /// what was compared.
    pub(crate) fn candidates(self, query: &str, strategy: &FusionStrategy) -> (Vec<Candidate>, ArmReport) {
        let mut arena = LexicalArena::default();
        for (row, memory) in self.messages.iter().enumerate() {
            let text = memory.lexical_text();
            arena.set(row, &text[..text.floor_char_boundary(READ_BYTES)]);
        }
        let (query, mut statistics) = (Bm25Query::new(query), Bm25Statistics::default());
        arena.add_statistics(&query, &mut statistics, true, |_| true);
        let scores = arena.scores(&query, &statistics, |_| true);
        let places: Vec<(MemoryId, Scope)> =
            self.messages.iter().map(|memory| (memory.id, memory.scope.clone())).collect();
        let beside = |row: usize, other: Option<usize>| {
            let other = other.filter(|&other| places.get(other).is_some_and(|(_, scope)| *scope == places[row].1));
            other.filter(|_| strategy.uses_neighbours())
        };
        let considered = self.messages.len() as u64;
        let mut candidates = Vec::new();
        for (row, memory) in self.messages.into_iter().enumerate() {
            let (previous, next) = (beside(row, row.checked_sub(1)), beside(row, Some(row + 1)));
            let speaks = |row: Option<usize>| row.is_some_and(|row| scores.get(row) > 0.0);
            if speaks(Some(row)) || speaks(previous) || speaks(next) {
                let id = |row: Option<usize>| row.map(|row| places[row].0);
                let (bm25, previous, next) = (scores.get(row), id(previous), id(next));
                candidates.push(Candidate { memory: memory.into(), similarity: None, bm25, previous, next });
            }
        }
        let returned = candidates.len() as u64;
        (candidates, ArmReport { arm: Arm::Working, exact: true, considered, returned, shortfall: 0, index: None })
    }
}

/// The messages that are not among the durable candidates as well, promoted or stored beside: the durable one counts.
pub(crate) fn without_copies(messages: Vec<Candidate>, durable: &[Candidate]) -> Vec<Candidate> {
    let sessions: HashSet<&Scope> = messages.iter().map(|message| &message.memory.scope).collect();
    let mut stored: HashMap<(&Scope, ContentHash), Vec<Option<&str>>> = HashMap::new();
    for Candidate { memory, .. } in durable {
        if sessions.contains(&memory.scope) {
            stored.entry((&memory.scope, memory.content_hash())).or_default().push(memory.actor.as_deref());
        }
    }
    let is_stored = |message: &Candidate| {
        let actors = stored.get(&(&message.memory.scope, message.memory.content_hash()));
        // A turn without an actor, or of the same one, is this message; one of another actor is not.
        actors.is_some_and(|actors| {
            let role = message.memory.actor.as_deref().unwrap_or_default();
            actors.iter().any(|actor| actor.is_none_or(|actor| actor.eq_ignore_ascii_case(role)))
        })
    };
    messages.into_iter().filter(|message| !is_stored(message)).collect()
}

fn memory(session: &Scope, message: SessionMessage) -> Memory {
    let (actor, writer) = match message.role {
        Role::User => ("user", Writer::User),
        Role::Assistant => ("assistant", Writer::Agent),
        Role::System => ("system", Writer::Agent),
        Role::Tool => ("tool", Writer::Tool),
    };
    Memory {
        id: id(session, message.sequence),
        version: 1,
        scope: session.clone(),
        kind: MemoryKind::Message,
        text: message.content,
        actor: Some(actor.into()),
        metadata: message.metadata,
        importance: crate::Draft::DEFAULT_IMPORTANCE,
        origin: Origin::new(writer, PATH),
        evidence: Vec::new(),
        valid_from: None,
        valid_to: None,
        recorded_at: message.appended_at,
        superseded_at: None,
        expires_at: None,
    }
}

/// The same for the same message in every recall, so that answers are ordered alike.
fn id(session: &Scope, sequence: u64) -> MemoryId {
    let mut hasher = blake3::Hasher::new();
    let parts = [Some(session.tenant_name()), session.user(), session.agent(), session.session()];
    for part in parts {
        // A length that no part has stands for one that is not there.
        hasher.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        hasher.update(part.unwrap_or_default().as_bytes());
    }
    hasher.update(&sequence.to_le_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Builder::from_custom_bytes(bytes).into_uuid().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metadata, Timestamp};

    fn monday() -> Scope {
        Scope::tenant("acme").unwrap().with_user("ann").unwrap().with_session("monday").unwrap()
    }

    fn window(contents: &[&str]) -> Window {
        let message = |(at, content): (usize, &&str)| SessionMessage {
            sequence: at as u64 + 1,
            role: if at % 2 == 0 { Role::User } else { Role::Assistant },
            content: (*content).to_owned(),
            tokens: 1,
            metadata: Metadata::new(),
            appended_at: Timestamp::UNIX_EPOCH,
        };
        Window { messages: contents.iter().enumerate().map(message).collect(), ..Window::default() }
    }

    fn candidates(contents: &[&str], query: &str, strategy: &FusionStrategy) -> Vec<Candidate> {
        let mut conversation = Conversation::default();
        conversation.add(&monday(), window(contents), None);
        conversation.candidates(query, strategy).0
    }

    fn texts(candidates: &[Candidate]) -> Vec<&str> {
        candidates.iter().map(|candidate| candidate.memory.text.as_str()).collect()
    }

    #[test]
    fn a_message_is_a_candidate_by_its_words_or_by_those_beside_it() {
        let contents = ["Where do we meet?", "At the harbour", "Fine", "Bring the map"];
        let found = candidates(&contents, "harbour", &FusionStrategy::default());
        assert_eq!(texts(&found), contents[..3]);
        assert!(found[1].bm25 > 0.0 && found[0].bm25 == 0.0);
        assert_eq!(found[0].next, Some(found[1].memory.id));
        assert_eq!(found[2].previous, Some(found[1].memory.id));
        assert_eq!(texts(&candidates(&contents, "harbour", &FusionStrategy::RRF)), ["At the harbour"]);
        assert!(candidates(&contents, "volcano", &FusionStrategy::default()).is_empty());
    }

    #[test]
    fn sessions_are_not_next_to_each_other_and_a_filter_counts() {
        let tuesday = Scope::tenant("acme").unwrap().with_session("tuesday").unwrap();
        let mut conversation = Conversation::default();
        conversation.add(&monday(), window(&["the harbour"]), None);
        conversation.add(&tuesday, window(&["something else"]), None);
        let (found, report) = conversation.candidates("harbour", &FusionStrategy::default());
        assert_eq!((texts(&found), found[0].next, report.considered), (vec!["the harbour"], None, 2));
        let assistant = Filter::from_json(&serde_json::json!({"actor": "assistant"})).unwrap();
        let mut conversation = Conversation::default();
        conversation.add(&monday(), window(&["the harbour", "a harbour"]), Some(&assistant));
        let (found, report) = conversation.candidates("harbour", &FusionStrategy::RRF);
        assert_eq!((texts(&found), report.considered), (vec!["a harbour"], 1));
    }

    #[test]
    fn a_message_that_is_stored_too_counts_once() {
        let messages = || candidates(&["The Harbour", "The harbour"], "harbour", &FusionStrategy::RRF);
        let stored = |scope: &Scope, actor: Option<&str>| {
            let mut candidate = messages().remove(0);
            let mut memory = (*candidate.memory).clone();
            (memory.id, memory.text) = (uuid::Uuid::from_u128(1).into(), "the  harbour".into());
            (memory.scope, memory.actor) = (scope.clone(), actor.map(Into::into));
            candidate.memory = memory.into();
            candidate
        };
        let left = |durable: Candidate| {
            let left = without_copies(messages(), &[durable]);
            left.iter().map(|message| message.memory.actor.clone().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(left(stored(&monday(), Some("User"))), ["assistant"]);
        assert_eq!(left(stored(&monday(), None)), [""; 0]);
        assert_eq!(left(stored(&monday(), Some("Bob"))), ["user", "assistant"]);
        assert_eq!(left(stored(&monday().whole_tenant(), Some("user"))), ["user", "assistant"], "another scope");
    }

    #[test]
    fn a_long_message_is_read_from_its_beginning() {
        let long = format!("harbour {} volcano", "é ".repeat(READ_BYTES));
        assert_eq!(candidates(&[&long], "harbour", &FusionStrategy::RRF)[0].memory.text, long);
        assert!(candidates(&[&long], "volcano", &FusionStrategy::RRF).is_empty());
    }

    #[test]
    fn a_message_keeps_its_id() {
        let ids = |contents: &[&str]| {
            candidates(contents, "harbour", &FusionStrategy::RRF)
                .iter()
                .map(|found| found.memory.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&["harbour"])[0], ids(&["harbour", "harbour"])[0]);
        assert_ne!(ids(&["harbour", "harbour"])[0], ids(&["harbour", "harbour"])[1]);
    }
}
