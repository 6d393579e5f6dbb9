//! Pages of HTML, for a browser or a printer: no script, nothing from elsewhere, light and dark as the reader has it.
//!
//! A page is made of a JSON document, which `-o json` prints as well. Every value of that stands in an element with its path (`data-field`).

use serde_json::Value;

use super::{bytes, visible};

const STYLE: &str = include_str!("html.css");

/// A page. `title` is text; `style`, which comes after the style of all pages, and `body` are HTML.
pub(crate) fn page(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
    )
}

/// The JSON document of a page. Paths have dots: `resources.0.bytes`.
pub(crate) struct Document<'a>(pub(crate) &'a Value);

impl Document<'_> {
    /// A value; null where there is none.
    pub(crate) fn at(&self, path: &str) -> &Value {
        self.0.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null)
    }

    /// How many values a list has.
    pub(crate) fn all(&self, path: &str) -> usize {
        self.at(path).as_array().map_or(0, Vec::len)
    }

    /// A number; 0 where there is none.
    pub(crate) fn number(&self, path: &str) -> u64 {
        self.at(path).as_u64().unwrap_or_default()
    }

    /// A value as the document has it, as text.
    pub(crate) fn text(&self, path: &str) -> String {
        match self.at(path) {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// A value in its element, shown as it is.
    pub(crate) fn field(&self, path: &str) -> String {
        match self.at(path) {
            Value::Null => format!("<data class=\"none\" data-field=\"{path}\" value=\"null\">not known</data>"),
            _ => self.shown(path, &self.text(path)),
        }
    }

    /// A value in its element, shown in other words.
    pub(crate) fn shown(&self, path: &str, words: &str) -> String {
        let value = escape(&self.text(path));
        format!("<data data-field=\"{path}\" value=\"{value}\">{}</data>", escape(words))
    }

    /// A yes or a no in its element.
    pub(crate) fn yes(&self, path: &str) -> String {
        self.shown(path, if self.at(path) == &Value::Bool(true) { "yes" } else { "no" })
    }

    /// A number of bytes in its element, and how much that is.
    pub(crate) fn size(&self, path: &str) -> String {
        let human = self.at(path).as_u64().map(|size| format!(" bytes ({})", bytes(size))).unwrap_or_default();
        format!("{}{human}", self.field(path))
    }

    /// The values of a list, one below the other; nothing where there are none.
    pub(crate) fn list(&self, heading: &str, path: &str) -> String {
        let items: String =
            (0..self.all(path)).map(|at| format!("<li>{}</li>\n", self.field(&format!("{path}.{at}")))).collect();
        match items.is_empty() {
            true => String::new(),
            false => format!("<section>\n<h2>{heading}</h2>\n<ul>\n{items}</ul>\n</section>\n"),
        }
    }

    /// What the document is.
    pub(crate) fn document(&self) -> String {
        format!("{} {}", self.field("kind"), self.field("apiVersion"))
    }
}

/// HTML as code.
pub(crate) fn code(html: &str) -> String {
    format!("<code>{html}</code>")
}

/// Names and their values, which are HTML.
pub(crate) fn facts(heading: &str, facts: &[(&str, String)]) -> String {
    let rows: String = facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n")).collect();
    format!("<section>\n<h2>{heading}</h2>\n<dl>\n{rows}</dl>\n</section>\n")
}

/// A table of HTML, or nothing where it has no row.
pub(crate) fn table(heading: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let row = |cells: Vec<String>| {
        let cells: String = cells.into_iter().map(|cell| format!("<td>{cell}</td>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = rows.map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head: String = columns.iter().map(|column| format!("<th scope=\"col\">{column}</th>")).collect();
    format!(
        "<section>\n<h2>{heading}</h2>\n<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</section>\n"
    )
}

/// A bar as long as `part` is of `whole`.
pub(crate) fn bar(part: f64, whole: f64) -> String {
    let width = if whole > 0.0 { (part / whole * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    format!("<span class=\"bar\" style=\"width:{width:.1}%\"></span>")
}

/// A text for an element or an attribute; control characters are shown.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in visible::name(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// All values of a document, with their paths.
    pub(crate) fn leaves(document: &Value) -> Vec<(String, Value)> {
        let mut into = Vec::new();
        gather("", document, &mut into);
        into
    }

    fn gather(path: &str, value: &Value, into: &mut Vec<(String, Value)>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| gather(&below(name), value, into)),
            Value::Array(all) => {
                all.iter().enumerate().for_each(|(at, value)| gather(&below(&at.to_string()), value, into));
            }
            leaf => into.push((path.to_owned(), leaf.clone())),
        }
    }

    /// What a page shows for a value of its document; `None` if it has no element with exactly this value.
    pub(crate) fn shown<'a>(page: &'a str, path: &str, value: &Value) -> Option<&'a str> {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let element = format!("data-field=\"{path}\" value=\"{}\">", escape(&text));
        page.split(&element).nth(1)?.split("</data>").next()
    }

    /// Checks that nothing of a page is fetched or runs, and that nothing hidden stands in it.
    pub(crate) fn assert_harmless(page: &str) {
        let tags: Vec<&str> = page.split('<').skip(1).filter_map(|tag| tag.split('>').next()).collect();
        for never in [
            "<script", "<img", "<link", "<iframe", "<svg", "url(", "@import", "http://", "https://", "\u{1b}",
            "\u{202e}",
        ] {
            assert!(!page.contains(never), "{never}");
        }
        for tag in tags {
            // Values of attributes are quoted, and quotes in them are escaped.
            let names = tag.split('"').step_by(2).collect::<String>();
            assert!(!names.contains(" on") && !names.contains("src=") && !names.contains("href="), "{tag}");
        }
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
    }

    #[test]
    fn a_bar_is_as_long_as_the_part() {
        assert!(bar(1.0, 4.0).contains("width:25.0%"));
        assert!(bar(1.0, 0.0).contains("width:0.0%") && bar(5.0, 4.0).contains("width:100.0%"));
    }

    #[test]
    fn every_character_that_html_reads_is_escaped() {
        assert_eq!(
            escape("<a b='c' d=\"e\">&\u{1b}\n\u{202e}"),
            "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;\\x1b\\n\\u202e"
        );
    }
}
