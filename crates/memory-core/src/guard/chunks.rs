//! Splits one whitespace-free chunk of a prompt into tokens: contractions, numbers with units, codes, compounds.

use smol_str::StrExt as _;

use super::tokens::{Kind, Token, push, push_mark};

/// Appends the tokens of `chunk`, punctuation included.
pub(super) fn split(chunk: &str, tokens: &mut Vec<Token>) {
    let core = chunk.trim_start_matches(is_opening);
    let core = if core.is_empty() { return push_marks(chunk, tokens) } else { core };
    let inner = core.trim_end_matches(|c| is_closing(c) || is_ending(c));
    let (inner, tail) = (keep_code_suffix(core, inner), &core[keep_code_suffix(core, inner).len()..]);
    core_tokens(inner, tokens);
    push_marks(tail, tokens);
}

fn is_opening(c: char) -> bool {
    matches!(c, '"' | '\'' | '(' | '[' | '{' | '<' | '`' | '*' | '¿' | '¡' | '“')
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}' | '>' | '`' | '*')
}

fn is_ending(c: char) -> bool {
    matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '…')
}

/// Gives back the closing "()" of a call such as `main()`.
fn keep_code_suffix<'a>(core: &'a str, inner: &'a str) -> &'a str {
    if core[inner.len()..].starts_with("()") && !inner.is_empty() { &core[..inner.len() + 2] } else { inner }
}

fn push_marks(tail: &str, tokens: &mut Vec<Token>) {
    for c in tail.chars().filter(|&c| is_ending(c)) {
        push_mark(tokens, if c == ',' { ',' } else { '.' });
    }
    if tail.chars().all(|c| c == '-' || c == '/' || c == '|') && !tail.is_empty() {
        push_mark(tokens, ',');
    }
}

fn core_tokens(core: &str, tokens: &mut Vec<Token>) {
    if core.is_empty() {
        return;
    }
    if core.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return word_tokens(core, &core.to_ascii_lowercase_smolstr(), tokens);
    }
    if core.bytes().all(|byte| byte.is_ascii_digit()) {
        return push(tokens, core, core, Kind::Number);
    }
    let key = core.to_lowercase();
    if key.starts_with(|c: char| c.is_ascii_digit()) || is_signed(&key) || is_price(&key) {
        return number_tokens(core, &key, tokens);
    }
    if let Some(letters) = dotted_abbreviation(&key) {
        return push(tokens, core, &letters, Kind::Word);
    }
    if let Some(version) = key.strip_prefix('v').filter(|rest| is_decimal(rest)) {
        return push(tokens, core, version, Kind::Number);
    }
    if is_code(&key) {
        return push(tokens, core, &code_key(&key), Kind::Code);
    }
    if key.chars().any(|c| c.is_ascii_digit()) {
        return push(tokens, core, &code_key(&key), Kind::Code);
    }
    if let Some(at) = key.find(['-', '/']).filter(|_| core.len() == key.len()) {
        if key.as_bytes()[at] == b'/' {
            core_tokens(&core[..at], tokens);
            push_mark(tokens, '/');
            return core_tokens(&core[at + 1..], tokens);
        }
        core_tokens(&core[..at], tokens);
        return core_tokens(&core[at + 1..], tokens);
    }
    word_tokens(core, &key, tokens);
}

fn is_currency(c: char) -> bool {
    matches!(c, '$' | '€' | '£' | '¥' | '₹')
}

/// A currency sign alone or before digits; "$HOME" is a code.
fn is_price(key: &str) -> bool {
    let mut chars = key.chars();
    chars.next().is_some_and(is_currency) && chars.next().is_none_or(|c| c.is_ascii_digit() || c == '.')
}

/// "-5", "+3", ".5", "#12" and "~10" are numbers written with a sign.
fn is_signed(key: &str) -> bool {
    let mut chars = key.chars();
    matches!(chars.next(), Some('-' | '+' | '.' | '#' | '~')) && chars.next().is_some_and(|c| c.is_ascii_digit())
}

/// Digits with single dots or commas inside.
fn is_decimal(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// "u.s.", "p.m" and "e.g" without their dots.
fn dotted_abbreviation(key: &str) -> Option<String> {
    let letters: Vec<&str> = key.split('.').filter(|part| !part.is_empty()).collect();
    let single = letters.len() > 1
        && letters.iter().all(|part| part.chars().count() == 1 && part.chars().all(char::is_alphabetic));
    single.then(|| letters.concat())
}

/// Text that names one exact thing by its spelling: paths, addresses, identifiers with punctuation inside, flags.
fn is_code(key: &str) -> bool {
    let inside = key.trim_matches('_');
    let slashes = key.matches('/').count();
    key.contains(['_', '@', '\\', '=', '{', '}', '(', ')', '$', '<', '>', '^', '~', '|'])
        || key.contains("::")
        || key.starts_with("--")
        || key.starts_with(['/', '#', '.'])
        || key.ends_with(['#', '+'])
        || slashes > 1
        || (slashes == 1 && key.contains('.'))
        || (inside.contains('.') && !inside.contains(".."))
        || (key.contains(':') && !key.ends_with(':'))
}

/// One spelling of a code: "UTF-8", "utf8" and "Utf_8" are one, "gpt4.1" and "gpt41" are two.
fn code_key(key: &str) -> String {
    if key.starts_with('-') {
        return key.to_owned();
    }
    let has_digit = key.chars().any(|c| c.is_ascii_digit());
    let squashed: String = key.chars().filter(|&c| !matches!(c, '-' | '_') && (has_digit || c != '.')).collect();
    if squashed.is_empty() { key.to_owned() } else { squashed }
}

fn number_tokens(core: &str, key: &str, tokens: &mut Vec<Token>) {
    if core.len() != key.len() {
        return push(tokens, core, key, Kind::Code);
    }
    let sign = key.chars().next().filter(|&c| is_currency(c));
    if let Some(sign) = sign {
        push(tokens, &core[..sign.len_utf8()], sign.encode_utf8(&mut [0; 4]), Kind::Word);
        let rest = &core[sign.len_utf8()..];
        return core_tokens(rest, tokens);
    }
    let start = usize::from(key.starts_with(['#', '~', '+']));
    let digits = start
        + key[start..]
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ',' | ':' | '-' | '/'))
            .unwrap_or(key.len() - start);
    let head = key[start..digits].trim_end_matches(['.', ',', ':', '-', '/']);
    let end = start + head.len();
    let suffix = &key[end..];
    if is_date(head) || !suffix.is_empty() && !is_suffix(suffix) {
        return number_or_code(core, key, start, end, tokens);
    }
    push_number_run(&core[start..end], head, tokens);
    suffix_tokens(&core[end..], suffix, tokens);
}

/// What may follow digits without a space and still be a unit, an ordinal ending or a second part.
fn is_suffix(suffix: &str) -> bool {
    suffix.starts_with(['-', '/', '%', '°', '+', '$', '€', '£', '\''])
        || (suffix.len() <= 5
            && suffix.chars().all(|c| c.is_alphabetic() || matches!(c, '/' | 'µ' | '.'))
            && super::units::is_suffix(suffix))
}

fn is_date(head: &str) -> bool {
    let parts = head.split(['-', '/', '.']).count();
    let separators = ['-', '/'].iter().filter(|&&mark| head.contains(mark)).count();
    parts == 3 && separators == 1 && !head.starts_with('-')
}

fn number_or_code(core: &str, key: &str, start: usize, end: usize, tokens: &mut Vec<Token>) {
    let head = &key[start..end];
    if is_date(head) && end == key.len() {
        let parts: Vec<&str> = head.split(['-', '/', '.']).map(|part| part.trim_start_matches('0')).collect();
        return push(tokens, core, &parts.join("-"), Kind::Number);
    }
    push(tokens, core, &code_key(key), Kind::Code);
}

/// "10-20" and "24/7" are two numbers, "1.5", "10,000", "17:30", "1/2" and "3.10" one.
fn push_number_run(text: &str, head: &str, tokens: &mut Vec<Token>) {
    let negative = head.starts_with('-');
    for (part, shown) in head.trim_start_matches('-').split('-').zip(text.trim_start_matches('-').split('-')) {
        if part.is_empty() {
            continue;
        }
        let mut key = without_thousands(part);
        if negative {
            key.insert(0, '-');
        }
        push(tokens, shown, &key, Kind::Number);
    }
}

/// "10,000" is 10000 and "3,5" is 3.5; "1,000.50" is 1000.50.
fn without_thousands(part: &str) -> String {
    let groups: Vec<&str> = part.split(',').collect();
    let thousands = groups[1..].iter().all(|group| group.split('.').next().is_some_and(|digits| digits.len() == 3));
    match groups.len() {
        1 => part.to_owned(),
        2 if !thousands => part.replace(',', "."),
        _ => groups.concat(),
    }
}

fn suffix_tokens(text: &str, suffix: &str, tokens: &mut Vec<Token>) {
    let bare = suffix.trim_matches(['-', '+', '\'']);
    if bare.is_empty() {
        return;
    }
    if bare.len() == suffix.len() {
        return push(tokens, text, &bare.replace('.', ""), Kind::Word);
    }
    core_tokens(bare, tokens);
}

fn word_tokens(core: &str, key: &str, tokens: &mut Vec<Token>) {
    if let Some((first, second)) = SPELT_TOGETHER.iter().find(|(whole, ..)| *whole == key).map(|(_, a, b)| (*a, *b)) {
        push(tokens, core, first, Kind::Word);
        return push(tokens, second, second, Kind::Word);
    }
    let Some(at) = key.find('\'').filter(|_| core.len() == key.len()) else {
        return cjk_or_word(core, key, tokens);
    };
    let (base, ending) = (&key[..at], &key[at + 1..]);
    let expansion = match ending {
        "t" if base.ends_with('n') => {
            let verb = match base {
                "can" => "can",
                "won" => "will",
                "shan" => "shall",
                "ain" => "is",
                _ => &base[..base.len() - 1],
            };
            push(tokens, &core[..at], verb, Kind::Word);
            return push(tokens, core, "not", Kind::Word);
        }
        "re" => "are",
        "ve" => "have",
        "ll" => "will",
        "d" => "would",
        "m" => "am",
        "s" if IS_AFTER.contains(&base) => "is",
        "s" => return push(tokens, core, base, Kind::Word),
        _ => return push(tokens, core, &key.replace('\'', ""), Kind::Word),
    };
    if !base.is_empty() {
        push(tokens, &core[..at], base, Kind::Word);
    }
    push(tokens, &core[at..], expansion, Kind::Word);
}

/// Chinese and Japanese have no spaces: there each character is a word.
fn cjk_or_word(core: &str, key: &str, tokens: &mut Vec<Token>) {
    let is_cjk = |c: char| ('\u{3040}'..='\u{9fff}').contains(&c);
    if !key.contains(is_cjk) {
        return push(tokens, core, key, Kind::Word);
    }
    let mut run = String::new();
    for c in key.chars() {
        if is_cjk(c) || is_ending(c) {
            flush(&mut run, tokens);
            let mut buffer = [0; 4];
            let c = c.encode_utf8(&mut buffer);
            push(tokens, c, c, Kind::Word);
        } else {
            run.push(c);
        }
    }
    flush(&mut run, tokens);
}

fn flush(run: &mut String, tokens: &mut Vec<Token>) {
    if !run.is_empty() {
        push(tokens, run, run, Kind::Word);
        run.clear();
    }
}

const IS_AFTER: &[&str] =
    &["what", "who", "where", "when", "why", "how", "it", "he", "she", "that", "there", "here", "which", "this"];

const SPELT_TOGETHER: &[(&str, &str, &str)] = &[
    ("cannot", "can", "not"),
    ("cant", "can", "not"),
    ("dont", "do", "not"),
    ("doesnt", "does", "not"),
    ("didnt", "did", "not"),
    ("isnt", "is", "not"),
    ("arent", "are", "not"),
    ("wasnt", "was", "not"),
    ("wont", "will", "not"),
    ("couldnt", "could", "not"),
    ("shouldnt", "should", "not"),
    ("wouldnt", "would", "not"),
    ("hasnt", "has", "not"),
    ("havent", "have", "not"),
    ("whats", "what", "is"),
    ("hows", "how", "is"),
    ("wheres", "where", "is"),
    ("whos", "who", "is"),
    ("im", "i", "am"),
    ("ive", "i", "have"),
    ("wanna", "want", "to"),
    ("gonna", "going", "to"),
    ("lets", "let", "us"),
];

#[cfg(test)]
mod tests {
    fn keys(prompt: &str) -> Vec<smol_str::SmolStr> {
        let mut tokens = Vec::new();
        prompt.split_whitespace().for_each(|chunk| super::split(chunk, &mut tokens));
        tokens.into_iter().map(|token| token.key).collect()
    }

    #[test]
    fn contractions_are_spelt_out() {
        assert_eq!(keys("I can't, won't and what's"), ["i", "can", "not", ",", "will", "not", "and", "what", "is"]);
    }

    #[test]
    fn numbers_part_from_their_units() {
        assert_eq!(keys("5kg, $10,000 and 50%"), ["5", "kg", ",", "$", "10000", "and", "50", "%"]);
        assert_eq!(keys("10-20 at 17:30 v1.2.3"), ["10", "20", "at", "17:30", "1.2.3"]);
        assert_eq!(keys("a 65-year-old"), ["a", "65", "year", "old"]);
    }

    #[test]
    fn codes_keep_together() {
        assert_eq!(keys("E0308 main.rs foo::bar c++ --force"), ["e0308", "mainrs", "foo::bar", "c++", "--force"]);
        assert_eq!(keys("UTF-8 utf8"), ["utf8", "utf8"]);
    }

    #[test]
    fn abbreviations_lose_their_dots() {
        assert_eq!(keys("in the U.S. at 5 p.m."), ["in", "the", "us", ".", "at", "5", "pm", "."]);
    }
}
