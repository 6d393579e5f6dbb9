//! Tables as kubectl prints them: upper-case headers, three spaces between columns, `<none>` for what is not there.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::visible;

/// Rows of cells under headers.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Whether an empty cell stays empty.
    blanks: bool,
    /// Whether the headers are left out.
    bare: bool,
    /// How wide a line may be: cells of the widest columns are cut until it fits.
    width: Option<usize>,
}

/// A line of a terminal.
const TERMINAL: usize = 80;
/// What is left of a column, however little room there is.
const LEAST: usize = 12;

impl Table {
    pub(crate) fn new(headers: &[&str]) -> Table {
        Table {
            rows: vec![headers.iter().map(|&h| visible::name(h).into_owned()).collect()],
            blanks: false,
            bare: false,
            width: None,
        }
    }

    /// Leaves empty cells empty, as kubectl does in the tables of an API server.
    #[must_use]
    pub(crate) fn with_blanks(self) -> Table {
        Table { blanks: true, ..self }
    }

    /// Leaves the headers out.
    #[must_use]
    pub(crate) fn without_headers(self, bare: bool) -> Table {
        Table { bare, ..self }
    }

    /// Cuts cells that are too long for a terminal, unless the table is a wide one.
    #[must_use]
    pub(crate) fn fitted(self, wide: bool) -> Table {
        Table { width: if wide { None } else { Some(TERMINAL) }, ..self }
    }

    /// Adds a row; it must have as many cells as there are headers.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.rows[0].len());
        let shown = |cell: String| match cell.is_empty() && !self.blanks {
            true => "<none>".to_owned(),
            false => visible::name(&cell).into_owned(),
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows[0].len();
        let rows = &self.rows[usize::from(self.bare)..];
        let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..columns).map(width).collect();
        while self.width.is_some_and(|most| widths.iter().sum::<usize>() + 3 * (columns - 1) > most) {
            match widths.iter_mut().max().filter(|widest| **widest > LEAST) {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let cell = cut(cell, *width);
                line.push_str(&cell);
                line.extend(std::iter::repeat_n(' ', width - cell.width() + 3));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A cell in so much room.
fn cut(cell: &str, width: usize) -> Cow<'_, str> {
    if cell.width() <= width {
        return Cow::Borrowed(cell);
    }
    let mut short = String::new();
    for c in cell.chars() {
        if short.width() + c.width().unwrap_or(0) + 3 > width {
            break;
        }
        short.push(c);
    }
    Cow::Owned(short + "...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "AGE"]);
        table.row(vec!["a-long-name".into(), "3m".into()]);
        table.row(vec!["b".into(), String::new()]);
        assert_eq!(table.to_string(), "NAME          AGE\na-long-name   3m\nb             <none>\n");
    }

    #[test]
    fn a_table_of_kubectl_has_empty_cells_and_may_have_no_headers() {
        let mut table = Table::new(&["A", "LONG HEADER", "C"]).with_blanks().without_headers(true);
        table.row(vec!["a".into(), String::new(), "c".into()]);
        assert_eq!(table.to_string(), "a      c\n");
    }

    #[test]
    fn no_line_is_longer_than_a_terminal_unless_it_is_wide() {
        let long = ["x".repeat(30), "y".repeat(70), "z".to_owned()];
        let table = |wide| {
            let mut table = Table::new(&["A", "B", "C"]).fitted(wide);
            table.row(long.to_vec());
            table.row(vec!["\u{4f60}".repeat(40), "b".to_owned(), "c".to_owned()]);
            table.to_string()
        };
        assert!(table(false).lines().all(|line| line.width() <= 80), "{}", table(false));
        assert!(table(false).contains("yyy...   z") && table(true).contains(&long[1]), "{}", table(false));
    }

    #[test]
    fn a_cell_is_one_line_of_what_it_looks_like() {
        let mut table = Table::new(&["NAME", "AGE"]);
        table.row(vec!["a\u{1b}[2K\nb\u{202e}".into(), "3m".into()]);
        table.row(vec!["\u{4f60}\u{597d}".into(), "4m".into()]);
        assert_eq!(
            table.to_string(),
            "NAME                AGE\na\\x1b[2K\\nb\\u202e   3m\n\u{4f60}\u{597d}                4m\n"
        );
    }
}
