//! Lines of a plan: a name and what it is, folded at the width of a terminal.

use unicode_width::UnicodeWidthStr as _;

use super::show::WIDTH;
use crate::output::visible;

/// Columns before the values.
const INDENT: usize = 12;

/// Named values, one below the other.
#[derive(Debug, Default)]
pub(crate) struct Fields(String);

impl Fields {
    /// Adds a line, and as many below it as the value takes. A word is never cut.
    pub(crate) fn line(&mut self, name: &str, value: &str) {
        let value = visible::name(value);
        let mut line = format!("{:<INDENT$}", format!("{name}:"));
        let mut empty = true;
        for word in value.split(' ') {
            if !empty && line.width() + 1 + word.width() > WIDTH {
                self.push(&line);
                line = " ".repeat(INDENT);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.push(&line);
    }

    fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_folded_between_words_and_forge_no_line() {
        let mut fields = Fields::default();
        fields.line("Cluster", "a\nServer: b");
        fields.line("Stops", &["word"; 20].join(" "));
        fields.line("Long", &"x".repeat(100));
        let text = fields.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Cluster:    a\\nServer: b");
        assert!(lines[1].len() <= WIDTH && lines[2].starts_with("            word"), "{text}");
        assert_eq!((lines.len(), lines[3].len()), (4, 112));
    }
}
