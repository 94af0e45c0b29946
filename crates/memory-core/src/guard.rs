//! The cache guard: what changes a question's meaning although its vector hardly moves.
//!
//! Similarity alone serves the answer to "turn on dark mode" for "turn off dark mode". The guard compares the words
//! themselves, one check a file, and names its reasons. It holds no state and does no I/O.
//!
//! ```
//! use memory_core::guard::{GuardCheck, compare};
//!
//! assert!(compare("How do I boil two eggs?", "how do i boil 2 eggs").is_empty());
//! let refusals = compare("How do I boil 3 eggs?", "How do I boil 5 eggs?");
//! assert_eq!(refusals[0].check, GuardCheck::Number);
//! assert_eq!(refusals[0].to_string(), r#"number: "3" against "5""#);
//! ```

mod additions;
mod aliases;
mod alignment;
mod alternatives;
mod antonyms;
mod chunks;
mod lexicon;
mod names;
mod negation;
mod number_words;
mod numbers;
mod quantity;
mod question;
mod roles;
mod scripts;
mod tokens;
mod units;
mod word_order;
mod words;

use std::fmt;

use serde::{Deserialize, Serialize};

use self::alignment::Alignment;
use self::scripts::Foreign;
use self::tokens::{Prompt, Token};

/// Why the guard refuses to treat two prompts as one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GuardCheck {
    /// A number of one prompt has no equal in the other.
    Number,
    /// The number is the same and its unit is not, or two units stand alone.
    Unit,
    /// Only one prompt negates.
    Negation,
    /// Names, codes or quotations differ, or two members of one closed set do.
    Name,
    /// A word of one prompt is the opposite of a word of the other.
    Antonym,
    /// The same words have exchanged their roles.
    WordOrder,
    /// One prompt asks for less: it says all the other says, and something that narrows it.
    Addition,
    /// The same content is asked for its time in one prompt, its place, person, reason or amount in the other.
    Question,
}

/// One refusal with its evidence: what stood in the asked prompt, what in the cached one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GuardRefusal {
    /// The check that refuses.
    pub check: GuardCheck,
    /// What the asked prompt says; empty when it says nothing there.
    pub asked: String,
    /// What the cached prompt says; empty when it says nothing there.
    pub cached: String,
}

/// Compares what changes meaning; an empty `Vec` means the guard has nothing against serving `cached`'s answer to `asked`.
///
/// Symmetric in whether it refuses, and blind to case, spacing and closing punctuation. Takes some microseconds for
/// short prompts and grows with their length. Checks that need English words are skipped for other languages.
pub fn compare(asked: &str, cached: &str) -> Vec<GuardRefusal> {
    Prepared::new(asked).compare(cached)
}

/// A prompt that is read, to be compared with many: reading takes most of the time of a comparison.
#[derive(Debug, Clone)]
pub struct Prepared {
    prompt: Prompt,
    foreign: Foreign,
}

impl Prepared {
    /// Reads a prompt.
    pub fn new(prompt: &str) -> Self {
        Self { prompt: tokens::read(prompt, None), foreign: Foreign::of(prompt) }
    }

    /// What [`compare`] gives for this prompt as the asked one.
    pub fn compare(&self, cached: &str) -> Vec<GuardRefusal> {
        let cached = Self { prompt: tokens::read(cached, Some(&self.prompt)), foreign: Foreign::of(cached) };
        let mut refusals = Vec::new();
        let same_words = is_same_wording(&self.prompt, &cached.prompt);
        scripts::check(&self.foreign, &cached.foreign, same_words, &mut refusals);
        if same_words {
            return refusals;
        }
        let pair = Alignment::new(&self.prompt, &cached.prompt);
        check_all(&pair, &mut refusals);
        if refusals.is_empty() {
            // Words are paired first with first, so repeated words can pair otherwise the other way round.
            check_all(&pair.swapped(), &mut refusals);
            refusals.iter_mut().for_each(|GuardRefusal { asked, cached, .. }| std::mem::swap(asked, cached));
        }
        refusals
    }
}

/// Runs every check one way.
fn check_all(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    let mut negations = Vec::new();
    negation::check(pair, &mut negations);
    let denial_only = antonyms::check(pair, refusals);
    if denial_only && !negations.is_empty() {
        // "not safe" is "unsafe": the two refusals say the same of each other.
        refusals.retain(|refusal| refusal.check != GuardCheck::Antonym);
        negations.clear();
    }
    refusals.append(&mut negations);
    numbers::check(pair, refusals);
    names::check(pair, refusals);
    alternatives::check(pair, refusals);
    word_order::check(pair, refusals);
    additions::check(pair, refusals);
    question::check(pair, refusals);
}

fn is_same_wording(asked: &Prompt, cached: &Prompt) -> bool {
    let same = |a: &Token, c: &Token| a.key == c.key && a.unit == c.unit;
    asked.by_stem.len() == cached.by_stem.len() && asked.words().zip(cached.words()).all(|(a, c)| same(a, c))
}

impl GuardCheck {
    /// The name as configuration, metrics and JSON spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Unit => "unit",
            Self::Negation => "negation",
            Self::Name => "name",
            Self::Antonym => "antonym",
            Self::WordOrder => "word_order",
            Self::Addition => "addition",
            Self::Question => "question",
        }
    }
}

impl fmt::Display for GuardCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for GuardRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} against {}", self.check, Evidence(&self.asked), Evidence(&self.cached))
    }
}

/// A quoted piece of a prompt, or "nothing".
struct Evidence<'a>(&'a str);

impl fmt::Display for Evidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("nothing") } else { write!(f, "\"{}\"", self.0) }
    }
}

#[cfg(test)]
mod tests;
