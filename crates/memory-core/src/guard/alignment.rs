//! Two prompts side by side: which tokens of one have a partner in the other.

use std::cmp::Ordering;

use super::aliases;
use super::lexicon::Class;
use super::roles::{self, Role};
use super::tokens::{Kind, Prompt, Token, squash};

/// A pair of prompts with their partners.
#[derive(Debug)]
pub(super) struct Alignment {
    pub asked: Prompt,
    pub cached: Prompt,
    /// For each asked token, its partner in the cached prompt, and the reverse: equal stems, first to first.
    pub asked_partner: Vec<Option<usize>>,
    pub cached_partner: Vec<Option<usize>>,
    /// What governs each content word.
    pub asked_roles: Vec<Role>,
    pub cached_roles: Vec<Role>,
    /// Both prompts are English, so stop lists and antonyms apply.
    pub english: bool,
}

/// One side of an [`Alignment`], as most checks look at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    pub prompt: &'a Prompt,
    pub partner: &'a [Option<usize>],
}

impl Alignment {
    /// Aligns two prompts, after joining what one writes apart and the other together ("wi-fi" and "wifi").
    pub fn new(mut asked: Prompt, mut cached: Prompt) -> Self {
        let (joins_asked, joins_cached) = (joins(&asked, &cached), joins(&cached, &asked));
        join(&mut asked, joins_asked);
        join(&mut cached, joins_cached);
        let english = asked.english && cached.english;
        let (mut asked_partner, mut cached_partner) = partners(&asked.tokens, &cached.tokens);
        if english {
            aliases::pair_up(&asked, &cached, &mut asked_partner, &mut cached_partner);
        }
        let (asked_roles, cached_roles) = (roles::read(&asked.tokens), roles::read(&cached.tokens));
        Self { asked, cached, asked_partner, cached_partner, asked_roles, cached_roles, english }
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
fn partners(asked: &[Token], cached: &[Token]) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
    let (by_stem_a, by_stem_c) = (sorted_by_stem(asked), sorted_by_stem(cached));
    let (mut of_asked, mut of_cached) = (vec![None; asked.len()], vec![None; cached.len()]);
    let (mut i, mut j) = (0, 0);
    while i < by_stem_a.len() && j < by_stem_c.len() {
        let (a, c) = (by_stem_a[i], by_stem_c[j]);
        match asked[a].stem.cmp(&cached[c].stem) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => {
                (of_asked[a], of_cached[c]) = (Some(c), Some(a));
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    share_repeats(asked, &by_stem_a, &mut of_asked);
    share_repeats(cached, &by_stem_c, &mut of_cached);
    (of_asked, of_cached)
}

fn sorted_by_stem(tokens: &[Token]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tokens.len()).filter(|&at| tokens[at].kind != Kind::Mark).collect();
    order.sort_by(|&a, &b| tokens[a].stem.cmp(&tokens[b].stem).then(a.cmp(&b)));
    order
}

fn share_repeats(tokens: &[Token], by_stem: &[usize], partner: &mut [Option<usize>]) {
    for pair in by_stem.windows(2) {
        let (before, at) = (pair[0], pair[1]);
        let repeats = tokens[before].stem == tokens[at].stem && tokens[at].class != Class::Function;
        if repeats && partner[at].is_none() {
            partner[at] = partner[before];
        }
    }
}

/// Where `prompt` writes apart what `other` writes as one word ("wi fi", "wifi"), and that word.
fn joins(prompt: &Prompt, other: &Prompt) -> Vec<(usize, Token)> {
    let mut own: Vec<&str> = prompt.tokens.iter().map(|token| &*token.key).collect();
    own.sort_unstable();
    let is_new =
        |token: &&Token| token.kind != Kind::Mark && token.key.len() > 2 && own.binary_search(&&*token.key).is_err();
    let mut models: Vec<(String, &Token)> =
        other.tokens.iter().filter(is_new).map(|token| (squash(&token.key), token)).collect();
    models.sort_by(|a, b| a.0.cmp(&b.0));

    let mut found: Vec<(usize, Token)> = Vec::new();
    let mut joined = String::new();
    for (at, pair) in prompt.tokens.windows(2).enumerate() {
        let is_taken = found.last().is_some_and(|(last, _)| last + 1 == at);
        if models.is_empty() || is_taken || pair.iter().any(|token| token.kind == Kind::Mark) {
            continue;
        }
        joined.clear();
        let letters = pair.iter().flat_map(|token| token.key.chars()).filter(|c| c.is_alphanumeric());
        joined.extend(letters);
        if let Ok(model) = models.binary_search_by(|(key, _)| key.cmp(&joined)) {
            found.push((at, models[model].1.clone()));
        }
    }
    found
}

fn join(prompt: &mut Prompt, joins: Vec<(usize, Token)>) {
    if joins.is_empty() {
        return;
    }
    let mut joins = joins.into_iter().peekable();
    let mut tokens = Vec::with_capacity(prompt.tokens.len());
    let mut old = std::mem::take(&mut prompt.tokens).into_iter().enumerate();
    while let Some((at, mut token)) = old.next() {
        if let Some((_, model)) = joins.next_if(|(start, _)| *start == at) {
            if let Some((_, second)) = old.next() {
                token.text = format!("{} {}", token.text, second.text);
            }
            (token.key, token.stem, token.kind, token.class) = (model.key, model.stem, model.kind, model.class);
        }
        tokens.push(token);
    }
    prompt.tokens = tokens;
}
