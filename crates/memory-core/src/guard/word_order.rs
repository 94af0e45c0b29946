//! Word order: the same words in other roles ask another question, the same roles in another order do not.

use super::alignment::{Alignment, Side};
use super::lexicon::Class;
use super::roles::{self, Role};
use super::tokens::{Kind, Token};
use super::{GuardCheck, GuardRefusal};

/// Refuses when shared words have exchanged their roles.
///
/// Fronting ("In Python, how do I ..."), lists in another order ("A and B", "B and A") and "X of Y" for "Y X" pass.
pub(super) fn check(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    if !pair.english {
        return foreign(pair, refusals);
    }
    let shared = shared(pair);
    let found = exchanged(&shared)
        .or_else(|| reversed(pair, &shared))
        .or_else(|| passive_turned(pair))
        .or_else(|| reordered(pair, &shared))
        .or_else(|| subject_and_object(pair, &shared));
    if let Some((first, second)) = found {
        let show = |side: Side<'_>, a: usize, b: usize| {
            let (a, b) = (a.min(b), a.max(b));
            format!("{} … {}", side.prompt.tokens[a].text, side.prompt.tokens[b].text)
        };
        refusals.push(GuardRefusal {
            check: GuardCheck::WordOrder,
            asked: show(pair.asked_side(), first.asked.at, second.asked.at),
            cached: show(pair.cached_side(), first.cached.at, second.cached.at),
        });
    }
}

/// Beyond this many shared words only exchanged labels are looked for, which takes linear time.
const MAX_ORDERED: usize = 64;

/// A word both prompts have, with its role in each.
#[derive(Debug, Clone, Copy)]
struct Shared {
    asked: Role,
    cached: Role,
}

fn shared(pair: &Alignment<'_>) -> Vec<Shared> {
    let mut shared = Vec::with_capacity(pair.asked.roles.len());
    for asked in &pair.asked.roles {
        let Some(at) = pair.asked_partner[asked.at].filter(|&at| pair.cached_partner[at] == Some(asked.at)) else {
            continue;
        };
        if let Ok(found) = pair.cached.roles.binary_search_by_key(&at, |role| role.at) {
            shared.push(Shared { asked: *asked, cached: pair.cached.roles[found] });
        }
    }
    shared
}

/// Two words that took each other's label: "A to B" and "B to A", "A than B" and "B than A".
fn exchanged(shared: &[Shared]) -> Option<(Shared, Shared)> {
    let mut moved: Vec<Shared> = shared.iter().copied().filter(|word| word.asked.label != word.cached.label).collect();
    moved.sort_by_key(|word| (word.asked.label, word.cached.label));
    moved.iter().find_map(|word| {
        let back = moved.binary_search_by_key(&(word.cached.label, word.asked.label), |other| {
            (other.asked.label, other.cached.label)
        });
        back.ok().map(|at| (*word, moved[at]))
    })
}

/// A word that has the reverse label on the other side: "flights to Rome" and "flights from Rome".
fn reversed(pair: &Alignment<'_>, shared: &[Shared]) -> Option<(Shared, Shared)> {
    let is_doing = |word: &&Shared| {
        pair.asked.tokens[word.asked.at].key.ends_with("ing") || pair.cached.tokens[word.cached.at].key.ends_with("ing")
    };
    let found = shared
        .iter()
        .filter(|word| !is_doing(word))
        .find(|word| roles::reverse(word.asked.label) == Some(word.cached.label));
    found.map(|word| (*word, *word))
}

/// "Was A beaten by B" and "Did A beat B": the passive keeps the order and turns the roles.
fn passive_turned(pair: &Alignment<'_>) -> Option<(Shared, Shared)> {
    let turned = |passive: Side<'_>, passive_roles: &[Role], active: Side<'_>, active_roles: &[Role]| {
        let by = passive_roles.iter().position(|role| role.label == "by").filter(|&by| by >= 2)?;
        let (subject, verb, agent) = (passive_roles[by - 2], passive_roles[by - 1], passive_roles[by]);
        let is_passive = passive.key_after(verb.at) == "by" && is_participle(&passive.prompt.tokens[verb.at]);
        if !is_passive || active_roles.iter().any(|role| role.label == "by") {
            return None;
        }
        let place = |role: Role| passive.partner[role.at].filter(|&at| active.partner[at] == Some(role.at));
        let (s, v, a) = (place(subject)?, place(verb)?, place(agent)?);
        let role_at =
            |at: usize| active_roles.binary_search_by_key(&at, |role| role.at).ok().map(|found| active_roles[found]);
        if s < v && v < a { Some(((subject, role_at(s)?), (agent, role_at(a)?))) } else { None }
    };
    let (asked, cached) = (pair.asked_side(), pair.cached_side());
    if let Some((subject, agent)) = turned(asked, &pair.asked.roles, cached, &pair.cached.roles) {
        return Some((Shared { asked: subject.0, cached: subject.1 }, Shared { asked: agent.0, cached: agent.1 }));
    }
    let (subject, agent) = turned(cached, &pair.cached.roles, asked, &pair.asked.roles)?;
    Some((Shared { asked: subject.1, cached: subject.0 }, Shared { asked: agent.1, cached: agent.0 }))
}

fn is_participle(token: &Token) -> bool {
    token.key.ends_with("ed") || token.key.ends_with("en") || token.stem != token.key
}

/// Words of one label in another order, unless moving a single word explains it.
fn reordered(pair: &Alignment<'_>, shared: &[Shared]) -> Option<(Shared, Shared)> {
    if shared.len() > MAX_ORDERED || unmatched(pair.asked_side()) > 1 || unmatched(pair.cached_side()) > 1 {
        return None;
    }
    let mut inverted: Vec<(usize, usize)> = Vec::new();
    for (i, first) in shared.iter().enumerate() {
        for (j, second) in shared.iter().enumerate().skip(i + 1) {
            if second.cached.at < first.cached.at && !is_harmless(pair, first, second) {
                inverted.push((i, j));
            }
        }
    }
    let &(i, j) = inverted.first()?;
    let explains = |word: usize| inverted.iter().all(|&(a, b)| a == word || b == word);
    let moved_modifier = |word: usize| explains(word) && modifies_another(pair, &shared[word]);
    let is_single_move = (explains(i) || explains(j)) && !moved_modifier(i) && !moved_modifier(j);
    if is_single_move { None } else { Some((shared[i], shared[j])) }
}

/// Whether a word stands directly before one shared word here and before another there: "bad boys" and "bad girls".
fn modifies_another(pair: &Alignment<'_>, word: &Shared) -> bool {
    let next = |tokens: &[Token], at: usize| {
        tokens.get(at + 1).filter(|next| next.class == Class::Content && next.kind == Kind::Word).map(|_| at + 1)
    };
    match (next(&pair.asked.tokens, word.asked.at), next(&pair.cached.tokens, word.cached.at)) {
        (Some(asked), Some(cached)) => {
            pair.asked_partner[asked].is_some_and(|at| at != cached) && pair.cached_partner[cached].is_some()
        }
        _ => false,
    }
}

fn unmatched(side: Side<'_>) -> usize {
    side.unmatched().filter(|(_, token)| token.class == Class::Content).count()
}

/// Whether two words may change places: other labels, other clauses, other phrases of place and time, or a list.
fn is_harmless(pair: &Alignment<'_>, first: &Shared, second: &Shared) -> bool {
    let other_clause = first.asked.clause != second.asked.clause || first.cached.clause != second.cached.clause;
    let other_label = first.asked.label != second.asked.label
        || first.cached.label != second.cached.label
        || first.asked.label != first.cached.label;
    let other_phrase = roles::is_adjunct(first.asked.label)
        && first.asked.phrase != second.asked.phrase
        && first.cached.phrase != second.cached.phrase;
    other_clause
        || other_label
        || other_phrase
        || (is_list(&pair.asked.tokens, first.asked.at, second.asked.at)
            && is_list(&pair.cached.tokens, second.cached.at, first.cached.at))
}

/// Whether only "and", "or", commas, articles and few words stand between two words.
fn is_list(tokens: &[Token], from: usize, to: usize) -> bool {
    let between = &tokens[from + 1..to];
    let is_joint = |token: &Token| matches!(&*token.key, "and" | "or" | "," | "/" | "&" | "nor");
    let is_light = |token: &Token| {
        is_joint(token) || token.class != Class::Function || matches!(&*token.key, "the" | "a" | "an" | "my" | "your")
    };
    between.len() <= 6 && between.iter().any(is_joint) && between.iter().all(is_light)
}

/// "Who beat A" and "Who did A beat".
fn subject_and_object(pair: &Alignment<'_>, shared: &[Shared]) -> Option<(Shared, Shared)> {
    let asks_object = |side: Side<'_>| {
        let mut tokens = side.tokens();
        let (_, first) = tokens.next()?;
        matches!(&*first.key, "who" | "whom" | "what" | "which")
            .then(|| tokens.any(|(_, token)| matches!(&*token.key, "do" | "does" | "did")))
    };
    let (asked, cached) = (asks_object(pair.asked_side())?, asks_object(pair.cached_side())?);
    if asked == cached || unmatched(pair.asked_side()) + unmatched(pair.cached_side()) > 0 {
        return None;
    }
    let is_inverted =
        |pair: &&[Shared]| pair[1].cached.at < pair[0].cached.at && pair[0].asked.label == pair[1].asked.label;
    shared.windows(2).find(is_inverted).map(|pair| (pair[0], pair[1]))
}

/// Without a stop list: the same tokens with more than one of them moved.
fn foreign(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    let order: Option<Vec<usize>> = pair.asked_side().tokens().map(|(at, _)| pair.asked_partner[at]).collect();
    let Some(order) =
        order.filter(|order| order.len() <= MAX_ORDERED && pair.cached_side().tokens().count() == order.len())
    else {
        return;
    };
    let mut inverted = Vec::new();
    for i in 0..order.len() {
        inverted.extend((i + 1..order.len()).filter(|&j| order[j] < order[i]).map(|j| (i, j)));
    }
    let Some(&(i, j)) = inverted.first() else { return };
    let explains = |word: usize| inverted.iter().all(|&(a, b)| a == word || b == word);
    if !explains(i) && !explains(j) {
        let texts = |side: Side<'_>| side.tokens().map(|(_, token)| &*token.text).collect::<Vec<_>>().join(" ");
        refusals.push(GuardRefusal {
            check: GuardCheck::WordOrder,
            asked: texts(pair.asked_side()),
            cached: texts(pair.cached_side()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GuardCheck, compare};

    fn refused(asked: &str, cached: &str) -> bool {
        compare(asked, cached).iter().any(|r| r.check == GuardCheck::WordOrder)
    }

    #[test]
    fn exchanged_roles_are_refused() {
        for (a, b) in [
            ("flights from London to Paris", "flights from Paris to London"),
            ("convert PDF to Word", "convert Word to PDF"),
            ("Is Python faster than Java?", "Is Java faster than Python?"),
            ("Should I brush before breakfast?", "Should I have breakfast before I brush?"),
            ("Can a bad person become good?", "Can a good person become bad?"),
            ("Why do girls like bad boys?", "Why do bad girls like boys?"),
            ("What did Alice say to Bob?", "What did Bob say to Alice?"),
            ("Do cats chase dogs?", "Do dogs chase cats?"),
            ("Who killed Brutus?", "Who did Brutus kill?"),
            ("Did Brutus kill Caesar?", "Was Brutus killed by Caesar?"),
            ("history of science", "science of history"),
            ("divide 10 by 2", "divide 2 by 10"),
            ("trains to Rome", "trains from Rome"),
            ("pasta with cheese without salt", "pasta with salt without cheese"),
            ("Züge von Berlin nach Hamburg", "Züge von Hamburg nach Berlin"),
        ] {
            assert!(refused(a, b), "{a} / {b}");
            assert!(refused(b, a), "{b} / {a}");
        }
    }

    #[test]
    fn harmless_moves_pass() {
        for (a, b) in [
            ("In Python, how do I sort a list?", "How do I sort a list in Python?"),
            ("flights to Paris from London", "flights from London to Paris"),
            ("the difference between RAM and ROM", "the difference between ROM and RAM"),
            ("France's population", "the population of France"),
            ("Did Brutus kill Caesar?", "Was Caesar killed by Brutus?"),
            ("If my card is lost, what should I do?", "What should I do if my card is lost?"),
            ("Which is faster, Rust or Zig?", "Is Rust or Zig faster?"),
            ("How do I turn the lights off?", "How do I turn off the lights?"),
            ("password reset", "reset my password"),
            ("hotels in Rome in May", "hotels in May in Rome"),
        ] {
            assert!(!refused(a, b), "{a} / {b}: {:?}", compare(a, b));
        }
    }
}
