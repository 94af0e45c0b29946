//! One name in two forms: "German" and "Germany", "NYC" and "New York City".

use super::alternatives;
use super::lexicon::Class;
use super::tokens::{Kind, Prompt, Token};

/// Pairs, among the words without a partner, those that name one thing in two forms. Gives whether it paired any.
pub(super) fn pair_up(
    asked: &Prompt,
    cached: &Prompt,
    asked_partner: &mut [Option<usize>],
    cached_partner: &mut [Option<usize>],
) -> bool {
    let mut paired = false;
    for a in unmatched(asked, asked_partner) {
        for c in unmatched(cached, cached_partner) {
            let (one, other) = (&asked.tokens[a], &cached.tokens[c]);
            if asked_partner[a].is_none() && (is_derived(&one.key, &other.key) || alternatives::is_alias(one, other)) {
                (asked_partner[a], cached_partner[c]) = (Some(c), Some(a));
                paired = true;
            }
        }
    }
    paired |= spell_out(asked, asked_partner, cached, cached_partner);
    paired | spell_out(cached, cached_partner, asked, asked_partner)
}

const MAX_UNMATCHED: usize = 32;

fn unmatched(prompt: &Prompt, partner: &[Option<usize>]) -> Vec<usize> {
    let is_open = |at: &usize| {
        let token = &prompt.tokens[*at];
        partner[*at].is_none() && token.kind == Kind::Word && token.class == Class::Content
    };
    (0..prompt.tokens.len()).filter(is_open).take(MAX_UNMATCHED).collect()
}

/// "Germany" and "German", "India" and "Indian".
fn is_derived(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let is_ending = |rest: &str| matches!(rest, "n" | "an" | "ian" | "y" | "s" | "es" | "ese" | "ish" | "i");
    short.len() >= 4 && long.strip_prefix(short).is_some_and(is_ending)
}

/// Pairs an acronym of `short` with the run of words of `long` that it stands for. Gives whether it paired any.
fn spell_out(
    short: &Prompt,
    short_partner: &mut [Option<usize>],
    long: &Prompt,
    long_partner: &mut [Option<usize>],
) -> bool {
    let mut paired = false;
    for at in unmatched(short, short_partner) {
        let acronym = &short.tokens[at];
        if !is_acronym(&acronym.text) {
            continue;
        }
        let run = unmatched(long, long_partner)
            .into_iter()
            .find_map(|start| run_of_initials(&long.tokens, start, &acronym.key));
        if let Some(run) = run {
            short_partner[at] = run.first().copied();
            run.iter().for_each(|&word| long_partner[word] = Some(at));
            paired = true;
        }
    }
    paired
}

fn is_acronym(text: &str) -> bool {
    let letters = text.chars().filter(|&c| c != '.');
    (2..=6).contains(&text.len()) && letters.clone().all(|c| c.is_ascii_uppercase())
}

/// The words from `start` on, grammar skipped, whose initials spell `acronym`.
fn run_of_initials(tokens: &[Token], start: usize, acronym: &str) -> Option<Vec<usize>> {
    let mut words =
        (start..tokens.len()).filter(|&at| tokens[at].class != Class::Function && tokens[at].kind != Kind::Mark);
    let run: Vec<usize> =
        acronym.chars().map_while(|letter| words.next().filter(|&at| tokens[at].key.starts_with(letter))).collect();
    (run.len() == acronym.chars().count()).then_some(run)
}

#[cfg(test)]
mod tests {
    use super::super::compare;

    #[test]
    fn another_form_of_a_name_is_the_name() {
        assert!(compare("rent in NYC", "rent in New York City").is_empty());
        assert!(
            compare("Who was the first US president?", "Who was the first president of the United States?").is_empty()
        );
        assert!(compare("the Bhutanese king", "the king of Bhutan").is_empty());
    }

    #[test]
    fn other_initials_are_another_name() {
        assert!(!compare("rent in NYC", "rent in New Orleans").is_empty());
    }
}
