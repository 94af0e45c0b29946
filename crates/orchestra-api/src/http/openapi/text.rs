//! Documentation of Rust items as other programs show it.

/// A doc comment without the links that only rustdoc follows, its broken lines put together.
pub fn plain(documentation: &str) -> String {
    let paragraphs: Vec<String> = documentation.split("\n\n").map(|text| unlinked(&text.replace('\n', " "))).collect();
    paragraphs.join("\n\n")
}

/// `[label](target)` and `[label]` as `label`, unless the target is an address.
fn unlinked(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once('[') {
        plain.push_str(before);
        let Some((label, after)) = inside.split_once(']') else {
            plain.push('[');
            rest = inside;
            continue;
        };
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        rest = match target {
            Some((target, after)) if !target.starts_with("http") => {
                plain.push_str(label);
                after
            }
            None if label.starts_with('`') => {
                plain.push_str(label);
                after
            }
            _ => {
                plain.push('[');
                plain.push_str(label);
                plain.push(']');
                after
            }
        };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_only_rustdoc_follows_become_their_labels() {
        for (documentation, expected) in [
            ("The [guard](crate::guard): numbers,\nnames.", "The guard: numbers, names."),
            (
                "Sees [`Scope::covers`] and [RFC 3339](https://rfc.example).",
                "Sees `Scope::covers` and [RFC 3339](https://rfc.example).",
            ),
            ("Like `{\"in\": [\"travel\"]}`.\n\nAnd more.", "Like `{\"in\": [\"travel\"]}`.\n\nAnd more."),
            ("open [ only", "open [ only"),
        ] {
            assert_eq!(plain(documentation), expected);
        }
    }
}
