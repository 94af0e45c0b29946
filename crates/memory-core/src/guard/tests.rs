//! Promises of `compare` as a whole, on prompts made at random.

use proptest::prelude::*;

use super::{Prepared, compare, tokens};

const WORDS: &[&str] = &[
    "how",
    "do",
    "I",
    "not",
    "turn",
    "on",
    "off",
    "from",
    "to",
    "London",
    "Paris",
    "5",
    "five",
    "kg",
    "$10",
    "the",
    "dog",
    "dogs",
    "cat",
    "than",
    "before",
    "after",
    "safe",
    "unsafe",
    "enable",
    "disable",
    "wi-fi",
    "wifi",
    "wi",
    "fi",
    "e0308",
    "main.rs",
    "and",
    "or",
    ",",
    "v1.2",
    "second",
    "a",
    "half",
    "twenty",
    "one",
    "hundred",
    "can't",
    "without",
    "NYC",
    "New",
    "York",
    "City",
    "of",
    "Python",
    "in",
    "sort",
    "sorted",
    "by",
    "who",
    "did",
    "\"quoted\"",
    "US",
    "May",
    "population",
    "all",
    "?",
    "covid-19",
    "19",
    "covid",
];

fn prompt() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(WORDS), 0..12).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_input_is_survived(asked in any::<String>(), cached in any::<String>()) {
        compare(&asked, &cached);
    }

    #[test]
    fn punctuation_soup_is_survived(asked in "[a-zA-Z0-9 '\"`.,:/_$€%#+()é不-]{0,40}", cached in "[a-z0-9 '\"$.,:/-]{0,40}") {
        compare(&asked, &cached);
        prop_assert!(compare(&asked, &asked).is_empty());
    }

    #[test]
    fn a_prompt_is_its_own_question(prompt in any::<String>()) {
        prop_assert!(compare(&prompt, &prompt).is_empty());
    }

    #[test]
    fn case_spacing_and_closing_marks_change_nothing(prompt in prompt()) {
        let spaced = format!("  {}?! ", prompt.replace(' ', "   "));
        for form in [prompt.to_lowercase(), prompt.to_uppercase(), spaced] {
            prop_assert!(compare(&form, &prompt).is_empty(), "{form}: {:?}", compare(&form, &prompt));
        }
    }

    #[test]
    fn a_prompt_read_once_gives_what_it_gives_read_again(
        asked in prompt(), cached in prop::collection::vec(prop_oneof![prompt(), any::<String>()], 0..8),
    ) {
        let prepared = Prepared::new(&asked);
        for cached in cached {
            prop_assert_eq!(prepared.compare(&cached), compare(&asked, &cached));
        }
    }

    #[test]
    fn a_prompt_reads_the_same_beside_any_other(one in prompt(), other in prompt(), foreign in any::<bool>()) {
        // Words have stems in English only.
        let other = if foreign { format!("wie kann ich das nicht und warum {other}") } else { other };
        let beside = tokens::read(&one, Some(&tokens::read(&other, None)));
        prop_assert_eq!(format!("{beside:?}"), format!("{:?}", tokens::read(&one, None)));
    }

    #[test]
    fn refusing_is_symmetric(asked in prompt(), cached in prompt()) {
        let (there, back) = (compare(&asked, &cached), compare(&cached, &asked));
        prop_assert_eq!(there.is_empty(), back.is_empty(), "{:?} / {:?}", there, back);
    }
}

#[test]
fn refusals_read_as_a_sentence() {
    let shown = |asked, cached| compare(asked, cached).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown("boil 3 eggs", "boil 5 eggs"), [r#"number: "3" against "5""#]);
    assert_eq!(shown("turn on dark mode", "turn off dark mode"), [r#"antonym: "on" against "off""#]);
    assert_eq!(shown("is it not safe", "is it safe"), [r#"negation: "not" against nothing"#]);
}

#[test]
fn very_long_prompts_stay_cheap() {
    let long = "the quick 7 brown \"fox\" jumps from A to B_1 ".repeat(5_000);
    let other = "a slow 8 red \"hen\" hops to C from D_2 ".repeat(5_000);
    assert!(!compare(&long, &other).is_empty());
    assert!(compare(&long, &long).is_empty());
}
