//! Two prompts side by side: which tokens of one have a partner in the other.

use std::borrow::Cow;
use std::cmp::Ordering;

use smol_str::{SmolStr, format_smolstr};

use super::aliases;
use super::lexicon::Class;
use super::tokens::{Kind, Prompt, Token, squash};

/// A pair of prompts with their partners.
#[derive(Debug)]
pub(super) struct Alignment<'a> {
    pub asked: Cow<'a, Prompt>,
    pub cached: Cow<'a, Prompt>,
    /// For each asked token, its partner in the cached prompt, and the reverse: equal stems, first to first.
    pub asked_partner: Vec<Option<usize>>,
    pub cached_partner: Vec<Option<usize>>,
    /// Both prompts are English, so stop lists and antonyms apply.
    pub english: bool,
    /// Some words are partners although their stems differ.
    has_aliases: bool,
}

/// One side of an [`Alignment`], as most checks look at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    pub prompt: &'a Prompt,
    pub partner: &'a [Option<usize>],
}

impl<'a> Alignment<'a> {
    /// Aligns two prompts, after joining what one writes apart and the other together ("wi-fi" and "wifi").
    pub fn new(asked: &'a Prompt, cached: &'a Prompt) -> Self {
        let (joins_asked, joins_cached) = (joins(asked, cached), joins(cached, asked));
        Self::of_joined(join(asked, joins_asked), join(cached, joins_cached))
    }

    /// The same the other way round. Aliases are sought in the order of the asked prompt, so they may be others.
    pub fn swapped(self) -> Self {
        if self.has_aliases {
            return Self::of_joined(self.cached, self.asked);
        }
        Self {
            asked: self.cached,
            cached: self.asked,
            asked_partner: self.cached_partner,
            cached_partner: self.asked_partner,
            ..self
        }
    }

    fn of_joined(asked: Cow<'a, Prompt>, cached: Cow<'a, Prompt>) -> Self {
        let english = asked.english && cached.english;
        let (mut asked_partner, mut cached_partner) = partners(&asked, &cached);
        let has_aliases = english && aliases::pair_up(&asked, &cached, &mut asked_partner, &mut cached_partner);
        Self { asked, cached, asked_partner, cached_partner, english, has_aliases }
    }

    pub fn asked_side(&self) -> Side<'_> {
        Side { prompt: &self.asked, partner: &self.asked_partner }
    }

    pub fn cached_side(&self) -> Side<'_> {
        Side { prompt: &self.cached, partner: &self.cached_partner }
    }
}

impl<'a> Side<'a> {
    /// Tokens without a partner that are neither grammar nor marks.
    pub fn unmatched(self) -> impl Iterator<Item = (usize, &'a Token)> {
        self.tokens().filter(move |(at, token)| self.partner[*at].is_none() && token.class != Class::Function)
    }

    /// All tokens but marks.
    pub fn tokens(self) -> impl Iterator<Item = (usize, &'a Token)> {
        self.prompt.tokens.iter().enumerate().filter(|(_, token)| token.kind != Kind::Mark)
    }

    /// The key of the token before `at`, or "" at the start.
    pub fn key_before(self, at: usize) -> &'a str {
        at.checked_sub(1).map_or("", |before| &self.prompt.tokens[before].key)
    }

    /// The key of the token after `at`, or "" at the end.
    pub fn key_after(self, at: usize) -> &'a str {
        self.prompt.tokens.get(at + 1).map_or("", |token| &token.key)
    }
}

/// Pairs tokens of equal stem, first with first. A content word that one side only repeats more often shares a partner.
fn partners(asked: &Prompt, cached: &Prompt) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
    let (mut of_asked, mut of_cached) = (vec![None; asked.tokens.len()], vec![None; cached.tokens.len()]);
    let (mut i, mut j) = (0, 0);
    while i < asked.by_stem.len() && j < cached.by_stem.len() {
        let (a, c) = (asked.by_stem[i], cached.by_stem[j]);
        match asked.tokens[a].stem.cmp(&cached.tokens[c].stem) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => {
                (of_asked[a], of_cached[c]) = (Some(c), Some(a));
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    share_repeats(asked, &mut of_asked);
    share_repeats(cached, &mut of_cached);
    (of_asked, of_cached)
}

fn share_repeats(prompt: &Prompt, partner: &mut [Option<usize>]) {
    for pair in prompt.by_stem.windows(2) {
        let (before, at) = (pair[0], pair[1]);
        let [former, token] = [&prompt.tokens[before], &prompt.tokens[at]];
        let repeats = token.class != Class::Function && partner[at].is_none() && former.stem == token.stem;
        if repeats {
            partner[at] = partner[before];
        }
    }
}

/// Where `prompt` writes apart what `other` writes as one word ("wi fi", "wifi"), and that word.
fn joins(prompt: &Prompt, other: &Prompt) -> Vec<(usize, Token)> {
    let is_new = |token: &&Token| token.key.len() > 2 && prompt.with_key(&token.key).is_none();
    let mut found: Vec<(usize, Token)> = Vec::new();
    let mut models: Vec<(SmolStr, &Token)> =
        other.words().filter(is_new).map(|token| (squash(&token.key), token)).collect();
    if models.is_empty() {
        return found;
    }
    models.sort_by(|a, b| a.0.cmp(&b.0));
    let begins_one = |letter: Option<char>| models.binary_search_by(|(key, _)| key.chars().next().cmp(&letter)).is_ok();

    let mut joined = String::new();
    for (at, pair) in prompt.tokens.windows(2).enumerate() {
        let is_taken = found.last().is_some_and(|(last, _)| last + 1 == at);
        if is_taken || pair.iter().any(|token| token.kind == Kind::Mark) {
            continue;
        }
        let mut letters = pair.iter().flat_map(|token| token.key.chars()).filter(|c| c.is_alphanumeric());
        let first = letters.next();
        if !begins_one(first) {
            continue;
        }
        joined.clear();
        joined.extend(first.into_iter().chain(letters));
        if let Ok(model) = models.binary_search_by(|(key, _)| (**key).cmp(&joined)) {
            found.push((at, models[model].1.clone()));
        }
    }
    found
}

fn join(prompt: &Prompt, joins: Vec<(usize, Token)>) -> Cow<'_, Prompt> {
    if joins.is_empty() {
        return Cow::Borrowed(prompt);
    }
    let mut joins = joins.into_iter().peekable();
    let mut tokens = Vec::with_capacity(prompt.tokens.len());
    let mut old = prompt.tokens.iter().cloned().enumerate();
    while let Some((at, mut token)) = old.next() {
        if let Some((_, model)) = joins.next_if(|(start, _)| *start == at) {
            if let Some((_, second)) = old.next() {
                token.text = format_smolstr!("{} {}", token.text, second.text);
            }
            let Token { key, stem, word, of_stem, kind, class, .. } = model;
            token = Token { key, stem, word, of_stem, kind, class, ..token };
        }
        tokens.push(token);
    }
    Cow::Owned(Prompt::new(tokens, prompt.quotes.clone(), prompt.english, prompt.cased))
}
