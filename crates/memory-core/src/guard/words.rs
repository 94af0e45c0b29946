//! What all lists say of a word, found by one look-up: a prompt is short, and the lists are many.

use std::cell::RefCell;
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};
use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::alternatives::{self, Member};
use super::lexicon::Class;
use super::lexicon::{ENGLISH, FOREIGN, FUNCTION, GENERIC, IRREGULAR};
use super::{antonyms, negation, number_words, quantity, question, roles, units};

/// What the lists that go by the lower-case word say.
#[derive(Debug)]
pub(super) struct Word {
    pub class: Class,
    /// The canonical name of the unit it is.
    pub unit: Option<&'static str>,
    /// What it makes of the words it governs, as a preposition does.
    pub label: Option<&'static str>,
    /// An English grammar word that other Latin-script languages do not share.
    pub english: bool,
    /// A grammar word of another Latin-script language.
    pub foreign: bool,
    /// A quantity may start with it.
    pub counts: bool,
    /// It negates, at least in some places.
    pub negates: bool,
    /// It negates in another language.
    pub negates_elsewhere: bool,
    /// A phrase that is negative in form only may start with it.
    pub opens_polite: bool,
    /// It asks.
    pub asks: bool,
    /// A phrase that a preposition began ends before it.
    pub ends_phrase: bool,
    /// It turns a verb into its opposite when another stands in its place.
    pub turns: bool,
    stem: Option<(SmolStr, &'static Stem)>,
}

/// What the lists that go by the stem say.
#[derive(Debug, Default)]
pub(super) struct Stem {
    /// Its place in the closed sets.
    pub member: Option<Member>,
    /// It may stand for the other prompt's negation.
    pub softens: bool,
}

impl Word {
    const UNLISTED: Self = Self {
        class: Class::Content,
        unit: None,
        label: None,
        english: false,
        foreign: false,
        counts: false,
        negates: false,
        negates_elsewhere: false,
        opens_polite: false,
        asks: false,
        ends_phrase: false,
        turns: false,
        stem: None,
    };

    /// What the lists say of a lower-case word.
    pub fn of(key: &str) -> &'static Self {
        WORDS.get(key).unwrap_or(Self::unlisted())
    }

    /// What they say of a word that is on none of them.
    pub fn unlisted() -> &'static Self {
        static UNLISTED: Word = Word::UNLISTED;
        &UNLISTED
    }

    /// The word's stem in English, `key` being the word.
    pub fn stem(&self, key: &str) -> (SmolStr, &'static Stem) {
        self.stem.clone().unwrap_or_else(|| stem_of_unlisted(key))
    }
}

/// The stem of a word that is on no list. Stemming costs far more than looking it up, and prompts repeat their words.
fn stem_of_unlisted(key: &str) -> (SmolStr, &'static Stem) {
    // Longer ones are rare, and would need room of their own.
    const LONGEST: usize = 22;
    const KEPT: usize = 1 << 13;
    thread_local! {
        static STEMMED: RefCell<FxHashMap<SmolStr, (SmolStr, &'static Stem)>> = RefCell::default();
    }
    let stemmed = || {
        let stem = stem(key);
        let lists = Stem::of(&stem);
        (stem, lists)
    };
    if key.len() > LONGEST {
        return stemmed();
    }
    STEMMED.with_borrow_mut(|words| {
        if let Some(known) = words.get(key) {
            return known.clone();
        }
        if words.len() >= KEPT {
            words.clear();
        }
        let new = stemmed();
        words.insert(SmolStr::new(key), new.clone());
        new
    })
}

impl Stem {
    /// What the lists say of a stem.
    pub fn of(stem: &str) -> &'static Self {
        STEMS.get(stem).unwrap_or(Self::unlisted())
    }

    /// What they say of a stem that is on none of them.
    pub fn unlisted() -> &'static Self {
        static UNLISTED: Stem = Stem { member: None, softens: false };
        &UNLISTED
    }
}

/// The stem two English forms of one word share: "sorting", "sorts" and "sort"; "children" and "child".
pub(super) fn stem(key: &str) -> SmolStr {
    static STEMMER: LazyLock<Stemmer> = LazyLock::new(|| Stemmer::create(Algorithm::English));
    let base = BASE_FORMS.get(key).copied().unwrap_or(key);
    if base.is_ascii() { SmolStr::new(STEMMER.stem(base)) } else { SmolStr::new(base) }
}

static WORDS: LazyLock<FxHashMap<&'static str, Word>> = LazyLock::new(|| {
    let mut words: FxHashMap<&'static str, Word> = FxHashMap::default();
    let mut note = |key, note: &dyn Fn(&mut Word)| note(words.entry(key).or_insert(Word::UNLISTED));
    GENERIC.split_whitespace().for_each(|key| note(key, &|word| word.class = Class::Generic));
    FUNCTION.split_whitespace().for_each(|key| note(key, &|word| word.class = Class::Function));
    ENGLISH.iter().for_each(|key| note(key, &|word| word.english = true));
    FOREIGN.iter().for_each(|key| note(key, &|word| word.foreign = true));
    units::names().for_each(|(key, unit)| note(key, &|word| word.unit = Some(unit)));
    roles::labels().for_each(|(key, label)| note(key, &|word| word.label = Some(label)));
    number_words::all().chain(quantity::STARTS).for_each(|key| note(key, &|word| word.counts = true));
    negation::STRONG.iter().chain(negation::PREVENTING).for_each(|key| note(key, &|word| word.negates = true));
    negation::FOREIGN.iter().for_each(|key| note(key, &|word| word.negates_elsewhere = true));
    negation::POLITE.iter().for_each(|phrase| note(phrase[0], &|word| word.opens_polite = true));
    roles::ENDS_PHRASE.iter().for_each(|key| note(key, &|word| word.ends_phrase = true));
    let particles = antonyms::PARTICLES.into_iter().flat_map(<[_; 2]>::from);
    particles.for_each(|key| note(key, &|word| word.turns = true));
    question::WORDS.iter().for_each(|key| note(key, &|word| word.asks = true));
    for (key, word) in &mut words {
        let stem = stem(key);
        let lists = Stem::of(&stem);
        word.stem = Some((stem, lists));
    }
    words
});

static STEMS: LazyLock<FxHashMap<SmolStr, Stem>> = LazyLock::new(|| {
    let mut stems: FxHashMap<SmolStr, Stem> = FxHashMap::default();
    for (alias, member) in alternatives::members() {
        stems.entry(stem(alias)).or_default().member = Some(member);
    }
    for softener in negation::SOFT {
        stems.entry(SmolStr::new_static(softener)).or_default().softens = true;
    }
    stems
});

static BASE_FORMS: LazyLock<FxHashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let mut forms = FxHashMap::default();
    for line in IRREGULAR.lines() {
        let mut words = line.split_whitespace();
        if let Some(base) = words.next() {
            forms.extend(words.map(|word| (word, base)));
        }
    }
    forms
});
