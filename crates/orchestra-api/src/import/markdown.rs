//! Notes in Markdown: a memory is a piece of at most about [`CHUNK_CHARS`] characters under one heading. Lists are cut
//! between items and prose between paragraphs, then sentences; a block of code stays whole.

use std::ops::ControlFlow;

use memory_core::{Metadata, Timestamp};
use serde_json::Value;

use super::record::{Collector, Found};
use super::{Flow, Place, time};

/// How long a piece may be, in characters, before it is cut.
pub const CHUNK_CHARS: usize = 1200;

pub(super) fn read(text: &str, file_name: &str, found: &mut Collector<'_, '_>) -> Flow {
    let (front, lines) = front_matter(text);
    let mut metadata = front.metadata;
    if file_name != "<stdin>" {
        metadata.entry("source").or_insert_with(|| file_name.into());
    }
    for chunk in chunks(lines) {
        let mut metadata = metadata.clone();
        let heading = chunk.headings.join(" > ");
        if !heading.is_empty() {
            metadata.insert("heading".into(), heading.as_str().into());
        }
        found.memory(Found {
            metadata,
            valid_from: front.date,
            distinction: heading,
            ..Found::new(Place::line(chunk.line), chunk.text)
        })?;
    }
    ControlFlow::Continue(())
}

#[derive(Debug, Default)]
struct FrontMatter {
    metadata: Metadata,
    date: Option<Timestamp>,
}

/// The front matter, if the text begins with one between `---` lines, and the numbered lines after it. Of YAML it reads
/// what notes have: `key: value`, `key: [a, b]` and lists of `- item`; what is nested deeper is left out.
fn front_matter(text: &str) -> (FrontMatter, Vec<(usize, &str)>) {
    let lines: Vec<(usize, &str)> = text.lines().enumerate().map(|(at, line)| (at + 1, line)).collect();
    let end = lines.iter().skip(1).position(|(_, line)| line.trim_end() == "---").map(|at| at + 1);
    let (Some((_, "---")), Some(end)) = (lines.first().map(|&(at, line)| (at, line.trim_end())), end) else {
        return (FrontMatter::default(), lines);
    };
    let mut front = FrontMatter::default();
    let mut list: Option<String> = None;
    for (_, line) in &lines[1..end] {
        if let (Some(item), Some(key)) = (line.trim_start().strip_prefix("- "), &list) {
            if let Some(Value::Array(items)) = front.metadata.get_mut(key) {
                items.push(scalar(item));
            }
            continue;
        }
        list = None;
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || line.starts_with([' ', '\t', '#']) {
            continue;
        }
        if matches!(key, "date" | "created")
            && let Some(date) = time::parse(value.trim_matches(['"', '\'']))
        {
            front.date = front.date.or(Some(date));
            continue;
        }
        let value = match value.strip_prefix('[').and_then(|value| value.strip_suffix(']')) {
            Some(items) => items.split(',').map(str::trim).filter(|item| !item.is_empty()).map(scalar).collect(),
            None if value.is_empty() => {
                list = Some(key.to_owned());
                Value::Array(Vec::new())
            }
            None => scalar(value),
        };
        front.metadata.insert(key.to_owned(), value);
    }
    (front, lines[end + 1..].to_vec())
}

fn scalar(text: &str) -> Value {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return inner.into();
        }
    }
    match text {
        "true" => true.into(),
        "false" => false.into(),
        _ => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
    }
}

/// A piece of a note.
#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    line: usize,
    headings: Vec<String>,
    text: String,
}

/// A part of a note that is cut only where it is too long, or not at all.
#[derive(Debug)]
struct Block {
    line: usize,
    text: String,
    kind: BlockKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Heading(usize),
    Paragraph,
    Item,
    Code,
}

fn chunks(lines: Vec<(usize, &str)>) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut headings: Vec<(usize, String)> = Vec::new();
    // Whether the last chunk may still grow, and what kind of block it ends with.
    let mut open: Option<BlockKind> = None;
    for block in blocks(&lines) {
        if let BlockKind::Heading(level) = block.kind {
            headings.retain(|(above, _)| *above < level);
            headings.push((level, block.text));
            open = None;
            continue;
        }
        let path: Vec<String> = headings.iter().map(|(_, heading)| heading.clone()).collect();
        let pieces = if block.kind == BlockKind::Paragraph { split(&block.text) } else { vec![block.text] };
        for piece in pieces {
            match (open, chunks.last_mut()) {
                (Some(before), Some(last)) if last.text.chars().count() + piece.chars().count() + 2 <= CHUNK_CHARS => {
                    let together = before == BlockKind::Item && block.kind == BlockKind::Item;
                    last.text.push_str(if together { "\n" } else { "\n\n" });
                    last.text.push_str(&piece);
                }
                _ => chunks.push(Chunk { line: block.line, headings: path.clone(), text: piece }),
            }
            open = Some(block.kind);
        }
    }
    chunks
}

fn blocks(lines: &[(usize, &str)]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut fence: Option<&str> = None;
    let mut open = false;
    for &(number, line) in lines {
        let trimmed = line.trim();
        if let Some(mark) = fence {
            append(&mut blocks, line);
            if trimmed.starts_with(mark) && trimmed.trim_start_matches(mark.chars().next().unwrap_or('`')).is_empty() {
                fence = None;
                open = false;
            }
            continue;
        }
        let in_item = open && blocks.last().is_some_and(|block| block.kind == BlockKind::Item);
        let mark = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        if let Some(mark) = mark {
            fence = Some(mark);
            if in_item && line.starts_with([' ', '\t']) {
                append(&mut blocks, line);
            } else {
                blocks.push(Block { line: number, text: line.to_owned(), kind: BlockKind::Code });
            }
            open = true;
        } else if trimmed.is_empty() {
            // A blank line ends a paragraph; an item goes on when what follows is indented.
            open = in_item;
        } else if let Some((level, title)) = heading(trimmed) {
            blocks.push(Block { line: number, text: title.to_owned(), kind: BlockKind::Heading(level) });
            open = false;
        } else if let Some(level) = underline(trimmed)
            && open
            && let Some(last) = blocks.last_mut()
            && last.kind == BlockKind::Paragraph
            && !last.text.contains('\n')
        {
            last.kind = BlockKind::Heading(level);
            open = false;
        } else if is_rule(trimmed) {
            open = false;
        } else if is_item(line) && !(in_item && line.starts_with([' ', '\t'])) {
            blocks.push(Block { line: number, text: line.trim_end().to_owned(), kind: BlockKind::Item });
            open = true;
        } else if open && (!in_item || line.starts_with([' ', '\t']) || !after_blank(lines, number)) {
            append(&mut blocks, line.trim_end());
        } else {
            blocks.push(Block { line: number, text: line.trim_end().to_owned(), kind: BlockKind::Paragraph });
            open = true;
        }
    }
    blocks
}

fn append(blocks: &mut [Block], line: &str) {
    if let Some(last) = blocks.last_mut() {
        last.text.push('\n');
        last.text.push_str(line);
    }
}

fn after_blank(lines: &[(usize, &str)], number: usize) -> bool {
    let first = lines.first().map_or(number, |&(first, _)| first);
    number.checked_sub(first + 1).and_then(|at| lines.get(at)).is_none_or(|(_, line)| line.trim().is_empty())
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let level = line.bytes().take_while(|&byte| byte == b'#').count();
    let title = line.get(level..)?;
    let title_text = title.trim().trim_end_matches('#').trim_end();
    ((1..=6).contains(&level) && title.starts_with(' ') && !title_text.is_empty()).then_some((level, title_text))
}

fn underline(line: &str) -> Option<usize> {
    let all = |mark: char| line.len() >= 3 && line.chars().all(|letter| letter == mark);
    if all('=') { Some(1) } else { all('-').then_some(2) }
}

fn is_rule(line: &str) -> bool {
    let marks: String = line.chars().filter(|letter| !letter.is_whitespace()).collect();
    marks.len() >= 3 && ['-', '*', '_'].into_iter().any(|mark| marks.chars().all(|letter| letter == mark))
}

fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    let after_mark = line.strip_prefix(['-', '*', '+']).or_else(|| {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 { None } else { line[digits..].strip_prefix(['.', ')']) }
    });
    after_mark.is_some_and(|rest| rest.starts_with([' ', '\t'])) && !is_rule(line)
}

/// Cuts a paragraph that is too long, after a sentence where there is one, else between words, else anywhere.
fn split(paragraph: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = paragraph;
    while let Some((limit, _)) = rest.char_indices().nth(CHUNK_CHARS) {
        let head = &rest[..limit];
        let sentence =
            [". ", "! ", "? ", ".\n", "!\n", "?\n"].iter().filter_map(|end| head.rfind(end)).max().map(|at| at + 1);
        // A cut in the first third would leave crumbs.
        let cut = sentence
            .filter(|&at| at > limit / 3)
            .or_else(|| head.rfind(char::is_whitespace))
            .filter(|&at| at > 0)
            .unwrap_or(limit);
        pieces.push(rest[..cut].trim().to_owned());
        rest = rest[cut..].trim_start();
    }
    if !rest.trim().is_empty() {
        pieces.push(rest.to_owned());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_word_of_prose_is_lost(words in proptest::collection::vec("[a-zäß]{1,12}[.!?]?", 1..600)) {
            let pieces = split(&words.join(" "));
            let together: Vec<&str> = pieces.iter().flat_map(|piece| piece.split_whitespace()).collect();
            prop_assert_eq!(together, words);
            prop_assert!(pieces.iter().all(|piece| piece.chars().count() <= CHUNK_CHARS));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "(\\PC|\n|#|-|`){0,200}") {
            let (_, lines) = front_matter(&text);
            let _ = chunks(lines);
        }
    }

    #[test]
    fn items_end_where_prose_begins() {
        let (_, lines) = front_matter("- one\n  more of one\n\n  and a paragraph of it\n- two\n\nProse.\n* * *\nNext.");
        let blocks: Vec<(BlockKind, String)> =
            blocks(&lines).into_iter().map(|block| (block.kind, block.text)).collect();
        assert_eq!(
            blocks,
            [
                (BlockKind::Item, "- one\n  more of one\n  and a paragraph of it".into()),
                (BlockKind::Item, "- two".into()),
                (BlockKind::Paragraph, "Prose.".into()),
                (BlockKind::Paragraph, "Next.".into()),
            ]
        );
    }
}
