//! Tables as kubectl prints them: upper-case headers, three spaces between columns, `<none>` for what is not there.

use unicode_width::UnicodeWidthStr as _;

use super::visible;

/// Rows of cells under headers.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Whether an empty cell stays empty.
    blanks: bool,
    /// Whether the headers are left out.
    bare: bool,
}

impl Table {
    pub(crate) fn new(headers: &[&str]) -> Table {
        Table {
            rows: vec![headers.iter().map(|&h| visible::name(h).into_owned()).collect()],
            blanks: false,
            bare: false,
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
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.width() + 3));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
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
