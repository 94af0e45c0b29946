//! What a person sees: tables, colours on a terminal, and plain text elsewhere.

use std::io::{self, IsTerminal, Write};

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle, Width,
    presets,
};
use serde_json::Value;

/// The widest a table gets: longer lines are hard to read.
const WIDEST: u16 = 140;

/// The standard output, and how it is written to.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    json: bool,
    terminal: bool,
    colour: bool,
}

impl Screen {
    /// The standard output as it is: a terminal or a pipe. Colours are for terminals, unless `NO_COLOR` is set.
    pub fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { json, terminal, colour: terminal && !no_color && !dumb }
    }

    /// Whether the output is for programs.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints JSON over several lines.
    pub fn json(&self, value: &Value) -> io::Result<()> {
        self.line(&format!("{value:#}"))
    }

    /// Prints a line.
    pub fn line(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// Prints a line; on a terminal it is wrapped between words, and what follows is indented by `indent` spaces.
    pub fn wrapped(&self, line: &str, indent: usize) -> io::Result<()> {
        if !self.terminal {
            return self.line(line);
        }
        self.line(&wrap(line, usize::from(self.width()), indent))
    }

    /// Prints a line that is no data to the standard error.
    pub fn note(&self, line: &str) {
        // When nobody reads the standard error, nobody misses it.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// The text in bold where colours are shown.
    pub fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    /// The text dimmed where colours are shown.
    pub fn dim(&self, text: &str) -> String {
        self.styled("2", text)
    }

    /// The text in green where colours are shown.
    pub fn green(&self, text: &str) -> String {
        self.styled("32", text)
    }

    /// The text in yellow where colours are shown.
    pub fn yellow(&self, text: &str) -> String {
        self.styled("33", text)
    }

    /// The text in red where colours are shown.
    pub fn red(&self, text: &str) -> String {
        self.styled("31", text)
    }

    /// The text in cyan where colours are shown.
    pub fn cyan(&self, text: &str) -> String {
        self.styled("36", text)
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The width that lines may have.
    pub fn width(&self) -> u16 {
        if !self.terminal {
            return WIDEST;
        }
        Table::new().width().unwrap_or(80).min(WIDEST)
    }

    /// Prints a table. On a terminal the widest column is wrapped to fit; in a pipe a row is a line.
    pub fn table(&self, columns: &[Column], rows: Vec<Vec<String>>) -> io::Result<()> {
        let mut table = Table::new();
        table.force_no_tty();
        if self.terminal {
            let style = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
            // Rows of several lines are kept apart by an empty one.
            let tall = rows.iter().flatten().any(|text| text.contains('\n'));
            let style = if tall { style.row_separator(LineStyle::none().fill(' ').junction(' ')) } else { style };
            table.load_style(style).set_content_arrangement(ContentArrangement::Dynamic).set_width(self.width());
        } else {
            table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        }
        if self.colour {
            table.enforce_styling();
        }
        table.set_header(columns.iter().map(|column| Cell::new(column.title).add_attribute(Attribute::Bold)));
        for row in rows {
            table.add_row(row.into_iter().zip(columns).map(|(text, column)| {
                let text = if self.terminal { text } else { text.split_whitespace().collect::<Vec<_>>().join(" ") };
                let cell = Cell::new(text);
                match column.colour {
                    Some(colour) if self.colour => cell.fg(colour),
                    _ => cell,
                }
            }));
        }
        for (at, column) in columns.iter().enumerate() {
            if let Some(shown) = table.column_mut(at) {
                shown.set_padding((u16::from(at > 0), 1));
                if column.right {
                    shown.set_cell_alignment(CellAlignment::Right);
                }
                if self.terminal && !column.wraps {
                    shown.set_constraint(ColumnConstraint::ContentWidth);
                } else if self.terminal {
                    shown.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(12)));
                }
            }
        }
        self.line(&table.trim_fmt())
    }
}

/// The line cut between words into lines of at most `width` characters, where a word is not longer. Colours count as
/// nothing.
fn wrap(line: &str, width: usize, indent: usize) -> String {
    let mut wrapped = String::with_capacity(line.len());
    let mut column = 0;
    for (at, word) in line.split(' ').enumerate() {
        let length = visible(word);
        if at > 0 && column + 1 + length > width && column > indent {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            column = indent;
        } else if at > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}

/// How many characters of a text are seen: all but the colours.
fn visible(text: &str) -> usize {
    let mut in_colour = false;
    let seen = text.chars().filter(|&letter| {
        let hidden = in_colour || letter == '\u{1b}';
        in_colour = hidden && letter != 'm';
        !hidden
    });
    seen.count()
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    title: &'static str,
    right: bool,
    wraps: bool,
    colour: Option<Color>,
}

impl Column {
    /// A column of short texts.
    pub const fn new(title: &'static str) -> Self {
        Self { title, right: false, wraps: false, colour: None }
    }

    /// The column with its texts at the right, for numbers.
    pub const fn right(self) -> Self {
        Self { right: true, ..self }
    }

    /// The column with its texts wrapped to what room there is.
    pub const fn wraps(self) -> Self {
        Self { wraps: true, ..self }
    }

    /// The column in grey, for what is rarely looked at.
    pub const fn grey(self) -> Self {
        Self { colour: Some(Color::DarkGrey), ..self }
    }

    /// The column in a colour, for what sets the rows apart.
    pub const fn cyan(self) -> Self {
        Self { colour: Some(Color::Cyan), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_between_words_and_colours_count_as_nothing() {
        assert_eq!(wrap("one two three", 7, 2), "one two\n  three");
        assert_eq!(wrap("  \u{1b}[32mone\u{1b}[0m two", 9, 2), "  \u{1b}[32mone\u{1b}[0m two");
        assert_eq!(wrap("unbreakable word", 4, 1), "unbreakable\n word");
        assert_eq!(visible("\u{1b}[1;32mgrün\u{1b}[0m"), 4);
    }
}
