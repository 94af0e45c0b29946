//! Opposites: "enable" and "disable", "buy" and "sell", "turn on" and "turn off", "highest" and "lowest".

use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use smol_str::{SmolStr, format_smolstr};

use super::alignment::{Alignment, Side};
use super::lexicon::Class;
use super::tokens::{Kind, Token};
use super::words::stem;
use super::{GuardCheck, GuardRefusal};

/// Refuses when an unmatched word of one prompt is the opposite of an unmatched word of the other.
///
/// Gives true when the only opposite found is a denying prefix ("unsafe" against "safe"), which a negation on the plain
/// word's side would undo.
pub(super) fn check(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) -> bool {
    if !pair.english {
        return false;
    }
    let before = refusals.len();
    let (asked, cached) = (words(pair.asked_side()), words(pair.cached_side()));
    if asked.is_empty() || cached.is_empty() {
        particles(pair, refusals);
        return false;
    }
    let mut by_form: FxHashMap<&str, &Token> = FxHashMap::default();
    for word in &cached {
        for form in &word.forms {
            by_form.insert(form, word.token);
        }
    }
    let mut only_denials = true;
    for word in &asked {
        let listed = word
            .forms
            .iter()
            .filter_map(|form| ANTONYMS.get(&**form))
            .flatten()
            .find_map(|other| by_form.get(&**other));
        let denied = cached.iter().take(MAX_UNMATCHED).find(|other| is_denial(&word.token.key, &other.token.key));
        let swapped = cached.iter().take(MAX_UNMATCHED).find(|other| is_prefix_swap(&word.token.key, &other.token.key));
        only_denials &= denied.is_some() || (listed.is_none() && swapped.is_none());
        if let Some(other) = denied.or(swapped).map(|other| other.token).or(listed.copied()) {
            refusals.push(refusal(word.token, other));
        }
    }
    particles(pair, refusals);
    only_denials && refusals.len() == before + 1 && asked.len() == 1 && cached.len() == 1
}

const MAX_UNMATCHED: usize = 64;

/// An unmatched word with the forms under which a list may know it.
struct Word<'a> {
    token: &'a Token,
    forms: Vec<SmolStr>,
}

fn words(side: Side<'_>) -> Vec<Word<'_>> {
    side.tokens()
        .filter(|(at, token)| side.partner[*at].is_none() && token.kind == Kind::Word && is_listed_word(token))
        .map(|(_, token)| Word { token, forms: forms(token) })
        .take(MAX_UNMATCHED)
        .collect()
}

/// Verbs of all work have opposites in WordNet ("make" and "break") that mean nothing in a question.
fn is_listed_word(token: &Token) -> bool {
    match token.class {
        Class::Function => {
            matches!(&*token.key, "before" | "after" | "above" | "below" | "inside" | "outside" | "all" | "none")
        }
        Class::Generic => !LIGHT.contains(&&*token.stem),
        Class::Content => true,
    }
}

const LIGHT: &[&str] =
    &["make", "take", "give", "get", "go", "come", "like", "love", "use", "find", "ask", "answer", "stuck"];

/// The stem, and for comparatives and superlatives the stem of the plain adjective: "highest" is "high".
fn forms(token: &Token) -> Vec<SmolStr> {
    let mut forms = vec![token.stem.clone()];
    for ending in ["est", "er"] {
        if let Some(base) = token.key.strip_suffix(ending).filter(|base| base.len() > 2) {
            forms.push(base.into());
            forms.push(format_smolstr!("{base}e"));
            if let Some(base) = base.strip_suffix('i') {
                forms.push(stem(&format_smolstr!("{base}y")));
            }
            let last = base.chars().next_back();
            if base.chars().rev().nth(1) == last && base.is_ascii() {
                forms.push(base[..base.len() - 1].into());
            }
        }
    }
    forms
}

/// "safe" and "unsafe", either way round.
fn is_denial(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let denied = DENYING
        .iter()
        .filter_map(|prefix| long.strip_prefix(prefix))
        .any(|rest| rest.len() > 2 && same_word(rest, short));
    denied || long.strip_suffix("less").is_some_and(|root| root.len() > 2 && short.strip_suffix("ful") == Some(root))
}

/// "encrypt" and "decrypt", "import" and "export", "overweight" and "underweight".
fn is_prefix_swap(a: &str, b: &str) -> bool {
    SWAPPED.iter().any(|(one, other)| {
        let swapped = |x: &str, y: &str| match (x.strip_prefix(one), y.strip_prefix(other)) {
            (Some(x), Some(y)) => x.len() > 2 && same_word(x, y),
            _ => false,
        };
        swapped(a, b) || swapped(b, a)
    })
}

fn same_word(a: &str, b: &str) -> bool {
    a == b || (a.len() > 3 && b.len() > 3 && a.as_bytes()[..3] == b.as_bytes()[..3] && stem(a) == stem(b))
}

const DENYING: &[&str] =
    &["un", "in", "im", "ir", "il", "dis", "de", "non", "mis", "re", "anti", "a", "under", "over", "pre", "post"];

const SWAPPED: &[(&str, &str)] = &[
    ("en", "de"),
    ("en", "dis"),
    ("in", "de"),
    ("in", "ex"),
    ("im", "ex"),
    ("in", "out"),
    ("inter", "exter"),
    ("inter", "intra"),
    ("up", "down"),
    ("over", "under"),
    ("pre", "post"),
    ("hyper", "hypo"),
    ("as", "des"),
    ("a", "de"),
    ("max", "min"),
    ("macro", "micro"),
    ("multi", "single"),
    ("pro", "anti"),
    ("long", "short"),
    ("fore", "hind"),
    ("with", "de"),
];

/// "turn on" and "turn off": small words that are opposites only when each stands on one side alone.
fn particles(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    let (asked, cached) = (pair.asked_side(), pair.cached_side());
    let any_alone = |side: Side<'_>| side.tokens().any(|(at, token)| token.word.turns && side.partner[at].is_none());
    if !any_alone(asked) || !any_alone(cached) {
        return;
    }
    for (one, other) in PARTICLES {
        for (one, other) in [(one, other), (other, one)] {
            if let (Some(a), Some(c)) = (alone(asked, one), alone(cached, other)) {
                refusals.push(refusal(a, c));
                return;
            }
        }
    }
}

/// Particles and their opposites.
pub(super) const PARTICLES: [(&str, &str); 5] =
    [("on", "off"), ("up", "down"), ("in", "out"), ("with", "without"), ("over", "under")];

/// The unmatched token `key`, for "in" and "out" only behind a verb they change the sense of.
fn alone<'a>(side: Side<'a>, key: &str) -> Option<&'a Token> {
    let phrasal = |at: usize| !matches!(key, "in" | "out") || PHRASAL.contains(&side.key_before(at));
    let mut tokens = side.tokens();
    tokens.find(|(at, token)| token.key == key && side.partner[*at].is_none() && phrasal(*at)).map(|(_, token)| token)
}

const PHRASAL: &[&str] = &[
    "log", "logged", "logging", "logs", "sign", "signed", "signing", "check", "checked", "checking", "opt", "opted",
    "opting", "clock", "zoom", "zooming", "move", "moving", "phase", "fade", "punch", "swipe", "plug", "lock",
    "locked", "going", "coming",
];

fn refusal(asked: &Token, cached: &Token) -> GuardRefusal {
    GuardRefusal { check: GuardCheck::Antonym, asked: asked.text.to_string(), cached: cached.text.to_string() }
}

/// Stem to the stems of its opposites, from WordNet's list and ours.
static ANTONYMS: LazyLock<FxHashMap<SmolStr, Vec<SmolStr>>> = LazyLock::new(|| {
    let lists = [include_str!("../../data/antonyms.tsv"), include_str!("../../data/antonyms_extra.tsv")];
    let mut antonyms: FxHashMap<SmolStr, Vec<SmolStr>> = FxHashMap::default();
    for (a, b) in lists.iter().flat_map(|list| list.lines()).filter_map(|line| line.split_once('\t')) {
        let (a, b) = (stem(a), stem(b));
        antonyms.entry(a.clone()).or_default().push(b.clone());
        antonyms.entry(b).or_default().push(a);
    }
    antonyms
});

#[cfg(test)]
mod tests {
    use super::super::{GuardCheck, compare};

    fn refused(asked: &str, cached: &str) -> bool {
        compare(asked, cached).iter().any(|r| r.check == GuardCheck::Antonym)
    }

    #[test]
    fn opposites_are_refused_both_ways() {
        for (a, b) in [
            ("enable dark mode", "disable dark mode"),
            ("turn on dark mode", "turn off dark mode"),
            ("how do I log in to my account", "how do I log out of my account"),
            ("where to buy a bike", "where to sell a bike"),
            ("the highest mountain in Asia", "the lowest mountain in Asia"),
            ("install the driver", "uninstall the driver"),
            ("encrypt a file", "decrypt a file"),
            ("importing photos", "exporting photos"),
            ("is my cat overweight", "is my cat underweight"),
            ("is it legal to park here", "is it illegal to park here"),
            ("volume up", "volume down"),
            ("the biggest city", "the smallest city"),
            ("stretch before a run", "stretch after a run"),
        ] {
            assert!(refused(a, b), "{a} / {b}");
            assert!(refused(b, a), "{b} / {a}");
        }
    }

    #[test]
    fn a_word_in_both_prompts_has_no_opposite() {
        assert!(!refused("how do I turn the lights off on my phone", "how do I turn off the lights on my phone"));
        assert!(!refused("buy or sell stocks now", "should I sell or buy stocks"));
    }

    #[test]
    fn small_words_need_to_stand_alone() {
        assert!(!refused("find out how to sort in Python", "sort in Python"));
    }
}
