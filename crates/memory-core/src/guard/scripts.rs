//! Words of other scripts, and emoji: an English model has no vector for them, so two prompts that differ in nothing else
//! look alike to it.

use unicode_normalization::UnicodeNormalization;

use super::{GuardCheck, GuardRefusal};

/// Refuses for letters of other scripts that are not the same on both sides, unless the prompts have the same words, and
/// for emoji that differ.
pub(super) fn check(asked: &Foreign, cached: &Foreign, same_words: bool, refusals: &mut Vec<GuardRefusal>) {
    // An emoji on one side only decorates.
    let symbols_differ = !asked.symbols.is_empty() && !cached.symbols.is_empty() && asked.symbols != cached.symbols;
    let (asked, cached) = if !same_words && asked.letters != cached.letters {
        (&asked.letters, &cached.letters)
    } else if symbols_differ {
        (&asked.symbols, &cached.symbols)
    } else {
        return;
    };
    let shown = |characters: &[char]| characters.iter().take(40).collect();
    refusals.push(GuardRefusal { check: GuardCheck::Name, asked: shown(asked), cached: shown(cached) });
}

/// What of a prompt is neither Latin nor a plain sign, sorted: the order of words is not judged here.
#[derive(Debug, Clone, Default)]
pub(super) struct Foreign {
    letters: Vec<char>,
    symbols: Vec<char>,
}

impl Foreign {
    pub fn of(text: &str) -> Self {
        if text.is_ascii() {
            return Self::default();
        }
        const MARKS_AND_FORMS: [std::ops::RangeInclusive<char>; 3] =
            ['\u{3000}'..='\u{303f}', '\u{fe00}'..='\u{fe0f}', '\u{1f3fb}'..='\u{1f3ff}'];
        let mut found = Self::default();
        for c in text.nfkd().flat_map(char::to_lowercase) {
            match c {
                // Greek writes one letter in two ways, and one mark as a letter in capitals.
                'ς' => found.letters.push('σ'),
                '\u{345}' => found.letters.push('ι'),
                c if unicode_normalization::char::is_combining_mark(c) => {}
                c if c.is_alphabetic() && c > '\u{24f}' && !('\u{1e00}'..='\u{1eff}').contains(&c) => {
                    found.letters.push(c)
                }
                c if c >= '\u{2190}'
                    && !c.is_alphanumeric()
                    && !MARKS_AND_FORMS.iter().any(|range| range.contains(&c)) =>
                {
                    found.symbols.push(c);
                }
                _ => {}
            }
        }
        found.letters.sort_unstable();
        found.symbols.sort_unstable();
        found.symbols.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare;

    #[test]
    fn another_word_of_another_script_is_refused() {
        for (a, b) in [
            ("What does 你好 mean?", "What does 再见 mean?"),
            ("translate 🙂", "translate 🙃"),
            ("кто написал Войну и мир", "кто написал Анну Каренину"),
            ("What does 你好 mean?", "What does it mean?"),
        ] {
            assert!(!compare(a, b).is_empty() && !compare(b, a).is_empty(), "{a} / {b}");
        }
    }

    #[test]
    fn the_same_words_in_other_case_and_decoration_pass() {
        for (a, b) in [
            ("Кто это?", "КТО ЭТО"),
            ("ΟΔΟΣ", "οδος"),
            ("How do I reset my password? 🙏", "How do I reset my password?"),
            ("café menu", "cafe\u{301} menu"),
        ] {
            assert!(compare(a, b).is_empty(), "{a} / {b}: {:?}", compare(a, b));
        }
    }
}
