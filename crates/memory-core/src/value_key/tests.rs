use proptest::prelude::*;

use super::*;

fn scope() -> Scope {
    Scope::tenant("acme").and_then(|scope| scope.with_user("ann")).unwrap()
}

fn is_same(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|text| ValueKeys::of(&scope(), text).both());
    one.iter().any(|key| other.contains(key))
}

#[test]
fn spellings_of_one_value_are_one_value() {
    for spelling in [
        "  the VAULT\tcode is\n\nTangerine 7  ",
        "The vault code is: \"tangerine\" 7!!!",
        "the vault... code — is; tangerine (7)",
        "th\u{200b}e va\u{ad}ult c\u{2060}ode is t\u{feff}angerine\u{e0041} 7",
        "\u{202e}the vault code is tangerine 7\u{202c}",
        "the\u{2003}vault\u{a0}code\u{3000}is tangerine\u{2800}7",
        // Full width, mathematical, circled.
        "ｔｈｅ　ｖａｕｌｔ code is 𝐭𝐚𝐧𝐠𝐞𝐫𝐢𝐧𝐞 ７",
        "the ⓥⓐⓤⓛⓣ code is tangerine ⑦",
        // Cyrillic, Greek, Armenian and Cherokee look-alikes, small and capital.
        "thе vаult соdе is tаngеrinе 7",
        "Τhe νault cοde is tangerine 7",
        "ΤНЕ vault СОDЕ іѕ tangerine 7",
        "the vaսlt code is tangerine 7",
        "Ꭲhe vault code is tangerine 7",
    ] {
        assert!(is_same("The vault code is tangerine 7.", spelling), "{spelling:?}");
    }
    for (one, other) in [
        // The case of other scripts, which look-alikes do not mind.
        ("Код от сейфа — мандарин", "КОД ОТ СЕЙФА: МАНДАРИН"),
        ("Ο κωδικός είναι νέος", "Ο ΚΩΔΙΚΌΣ ΕΊΝΑΙ ΝΈΟΣ"),
        ("Die Straße ist naß", "DIE STRASSE IST NASS"),
        // Latin letters in a Russian text.
        ("Код от сейфа", "Koд oт ceйфa"),
        ("Іvan sings", "Ivan sings"),
        ("Вob sings", "bob sings"),
        ("أحمد يحب القهوة؟", "أحمد يحب القهوة"),
    ] {
        assert!(is_same(one, other), "{one:?} {other:?}");
    }
}

#[test]
fn other_values_are_other_values() {
    for (one, other) in [
        ("The vault code is tangerine 7", "The vault code is tangerine 8"),
        ("The vault code is tangerine 7", "The code of the vault is tangerine 7"),
        ("The vault code is tangerine 7", "The vault opens with tangerine and seven"),
        ("the modem is old", "the modern is old"),
        ("a mall", "a mail"),
        ("Al sings", "AI sings"),
        ("room 10", "room lo"),
        ("it is -5 degrees", "it is 5 degrees"),
        ("it is \u{2212}5 degrees", "it is 5 degrees"),
        ("10.5", "105"),
        ("1.0", "10"),
        ("C# is hard", "C is hard"),
        ("C++ is hard", "C is hard"),
        ("a < b", "a > b"),
        ("it costs $5", "it costs €5"),
        ("tiene un año", "tiene un ano"),
        ("now here", "nowhere"),
        ("غرفة ١٠", "غرفة ١"),
        ("?", "!"),
        ("🍎", "🍐"),
    ] {
        assert!(!is_same(one, other), "{one:?} {other:?}");
    }
    assert!(is_same("it is -5 degrees", "it is \u{2212}5 degrees") && is_same("2023-05-08", "2023 05 08"));
}

#[test]
fn a_key_is_of_its_scope_and_every_session() {
    let keys = |scope: Scope| ValueKeys::of(&scope, "Ann sings").reads;
    let tenant = || Scope::tenant("acme").unwrap();
    let scopes = [
        tenant(),
        Scope::tenant("globex").unwrap(),
        tenant().with_user("ann").unwrap(),
        tenant().with_agent("ann").unwrap(),
        tenant().with_user("an").unwrap().with_agent("n").unwrap(),
        tenant().with_user("ann").unwrap().with_agent("n").unwrap(),
    ];
    let all: std::collections::HashSet<_> = scopes.iter().cloned().map(keys).collect();
    assert_eq!(all.len(), scopes.len());
    assert_eq!(keys(scope()), keys(scope().with_session("monday").unwrap()));
}

#[test]
fn a_key_is_written_in_hexadecimal() {
    let key = ValueKeys::of(&scope(), "Ann sings").reads;
    assert_eq!(key.to_string().parse::<ValueKey>().unwrap(), key);
    assert_eq!(serde_json::from_value::<ValueKey>(serde_json::to_value(key).unwrap()).unwrap(), key);
    for bad in ["", "00", &"g".repeat(64), &"0".repeat(65)] {
        assert!(bad.parse::<ValueKey>().unwrap_err().to_string().starts_with("key: given"), "{bad}");
    }
}

/// Each character that a form may hold stands for itself, or the second text with it would be told from the first.
#[test]
fn every_character_has_a_last_form() {
    // The other planes are ideographs and what is not assigned, but for those that stand for another.
    for c in ('\u{80}'..='\u{1ffff}').chain('\u{2f800}'..='\u{2fa1f}') {
        for each in [read, drawn] {
            let once = form(&format!("a{c}a"), each);
            assert_eq!(form(&once, each), once, "{:x}", c as u32);
        }
    }
}

proptest! {
    #[test]
    fn a_form_is_its_own_form(text in any::<String>()) {
        for each in [read, drawn] {
            let once = form(&text, each);
            prop_assert_eq!(&form(&once, each), &once);
        }
    }

    #[test]
    fn case_space_marks_and_the_unseen_do_not_matter(words in prop::collection::vec("[a-z0-9]{1,8}", 1..8), seed in any::<u64>()) {
        const BETWEEN: [&str; 8] = [" ", "  ", ", ", "... ", "\t\u{200b}", "\u{a0}", ";\n", "\u{202e} \u{202c}"];
        const INSIDE: [&str; 6] = ["", "\u{200b}", "\u{ad}", "\u{2060}", "\u{feff}", "\u{e0061}"];
        let mut attacked = String::new();
        let mut state = seed;
        let mut pick = |of: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % of
        };
        for (at, word) in words.iter().enumerate() {
            if at > 0 {
                attacked.push_str(BETWEEN[pick(BETWEEN.len())]);
            }
            for c in word.chars() {
                attacked.push(if pick(2) == 0 { c.to_ascii_uppercase() } else { c });
                attacked.push_str(INSIDE[pick(INSIDE.len())]);
            }
        }
        prop_assert!(is_same(&words.join(" "), &attacked), "{:?}", attacked);
    }

    #[test]
    fn look_alikes_do_not_matter(text in "[aceiopsxyABCEHIKMOPSTXY]{1,6}( [aceiopsxyABCEHIKMOPSTXY0-9]{1,6}){0,4}", which in any::<u32>()) {
        const CYRILLIC: &str = "асеіорѕхуАВСЕНІКМОРЅТХУ";
        const PLAIN: &str = "aceiopsxyABCEHIKMOPSTXY";
        let attacked: String = text.chars().enumerate().map(|(at, c)| {
            let like = PLAIN.chars().position(|plain| plain == c).and_then(|at| CYRILLIC.chars().nth(at));
            like.filter(|_| which >> (at % 32) & 1 == 1).unwrap_or(c)
        }).collect();
        prop_assert!(is_same(&text, &attacked), "{:?}", attacked);
    }

    #[test]
    fn another_word_is_another_value(one in "[a-z]{1,8}", other in "[a-z]{1,8}", rest in "[a-z]{1,8}") {
        prop_assume!(one != other);
        let [one, other] = [one, other].map(|word| format!("{rest} {word}"));
        prop_assert!(!is_same(&one, &other));
    }
}
