//! A file to import, held in memory.

use std::io::{self, Read};
use std::path::Path;

use super::{Broken, Place};

/// A file to import: its name and its bytes.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    bytes: Vec<u8>,
}

impl Source {
    /// A source from its name, as messages show it, and its bytes.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }

    /// Reads a file, or the standard input for `-`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes)?;
            return Ok(Self::new("<stdin>", bytes));
        }
        Ok(Self::new(path.display().to_string(), std::fs::read(path)?))
    }

    /// The name, as messages show it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name without its folder.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.name.rsplit(['/', '\\']).next().unwrap_or(&self.name)
    }

    /// The size, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The text, without a byte order mark.
    ///
    /// # Errors
    /// Where the bytes cease to be UTF-8.
    pub fn text(&self) -> Result<&str, Broken> {
        if self.bytes.starts_with(&[0xff, 0xfe]) || self.bytes.starts_with(&[0xfe, 0xff]) {
            let message = "the file is UTF-16; expected UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`";
            return Err(Broken::new(Place::line(1), message).fatal());
        }
        let text = std::str::from_utf8(&self.bytes).map_err(|error| {
            let good = &self.bytes[..error.valid_up_to()];
            let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
            let column = 1 + good.iter().rev().take_while(|&&byte| byte != b'\n').count();
            let byte = self.bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            Broken::new(
                Place { line, column },
                format!("byte 0x{byte:02x} is not UTF-8; expected a text file in UTF-8"),
            )
            .fatal()
        })?;
        Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_utf8_names_its_place() {
        let broken = Source::new("notes.md", b"fine\nal\xffso".to_vec()).text().unwrap_err();
        assert_eq!(broken.place, Some(Place { line: 2, column: 3 }));
        assert!(broken.message.contains("0xff"), "{broken}");
        assert!(Source::new("x", b"\xff\xfeh\0i\0".to_vec()).text().unwrap_err().message.contains("UTF-16"));
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        assert_eq!(Source::new("x", "\u{feff}[]").text().unwrap(), "[]");
        assert_eq!(Source::new("a/b/notes.md", "").file_name(), "notes.md");
    }
}
