//! A drill as one HTML page that an auditor can read and print: no script, nothing from elsewhere, light and dark as the reader has it.
//!
//! It is made of the JSON document and of nothing else. Every value of that stands in an element with its path (`data-field`).

use serde_json::Value;

use crate::output::{bytes, seconds, visible};

const STYLE: &str = include_str!("page.css");

/// The page of a document as docs/DRILL.md describes it.
pub(super) fn page(drill: &Value) -> String {
    let page = Page(drill);
    let passed = page.text("verdict") == "passed";
    let (class, says) = match passed {
        true => ("passed", "A real etcd has served this backup as it was recorded."),
        false => ("failed", "This backup cannot be relied on."),
    };
    let file = escape(&page.text("backup.file"));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Drill {class}: {file}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<p class=\"kind\">Restore drill of an etcd backup</p>\n<h1>{}</h1>\n\
         <p class=\"verdict {class}\"><strong>{}</strong> {says}</p>\n</header>\n\
         {}{}{}{}{}{}{}{}{}<footer>{} {}, a document of {}. Figures are those of <code>-o json</code>.</footer>\n\
         </main>\n</body>\n</html>\n",
        page.field("backup.file"),
        page.word("verdict"),
        page.tiles(),
        page.list("Why it failed", "reasons"),
        page.backup(),
        page.checks(),
        page.time(),
        page.resources(),
        page.encryption(),
        page.list("Remarks", "remarks"),
        page.circumstances(),
        page.field("by.program"),
        page.field("by.version"),
        page.document(),
    )
}

struct Page<'a>(&'a Value);

impl Page<'_> {
    fn at(&self, path: &str) -> &Value {
        self.0.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null)
    }

    fn all(&self, path: &str) -> usize {
        self.at(path).as_array().map_or(0, Vec::len)
    }

    /// A value as the document has it.
    fn text(&self, path: &str) -> String {
        match self.at(path) {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// A value in its element, shown as it is.
    fn field(&self, path: &str) -> String {
        match self.at(path) {
            Value::Null => format!("<data class=\"none\" data-field=\"{path}\" value=\"null\">not known</data>"),
            _ => self.shown(path, &self.text(path)),
        }
    }

    /// A value in its element, shown in other words.
    fn shown(&self, path: &str, words: &str) -> String {
        let value = escape(&self.text(path));
        format!("<data data-field=\"{path}\" value=\"{value}\">{}</data>", escape(words))
    }

    /// One of a few words, with a colour of its own.
    fn word(&self, path: &str) -> String {
        let value = self.text(path);
        let (class, words) = match value.as_str() {
            "passed" | "equal" | "read" => ("good", value.as_str()),
            "failed" | "different" => ("bad", value.as_str()),
            "notProved" => ("open", "not proved"),
            _ => ("", value.as_str()),
        };
        format!("<span class=\"mark {class}\">{}</span>", self.shown(path, words))
    }

    fn yes(&self, path: &str) -> String {
        self.shown(path, if self.at(path) == &Value::Bool(true) { "yes" } else { "no" })
    }

    /// A number of bytes, and how much that is.
    fn size(&self, path: &str) -> String {
        let human = self.at(path).as_u64().map(|size| format!(" bytes ({})", bytes(size))).unwrap_or_default();
        format!("{}{human}", self.field(path))
    }

    fn tiles(&self) -> String {
        let age = match self.at("rpo.seconds").as_i64() {
            Some(age) => {
                format!("{}&nbsp;s</b><span>RPO: the backup was {} old", self.field("rpo.seconds"), seconds(age))
            }
            None => format!("{}</b><span>RPO: the time of the backup was not recorded", self.field("rpo.seconds")),
        };
        format!(
            "<section class=\"tiles\">\n<p><b>{age}</span></p>\n\
             <p><b>{}&nbsp;s</b><span>RTO: until etcd served it</span></p>\n\
             <p><b>{}</b><span>etcd revision</span></p>\n<p><b>{}</b><span>etcd that served it</span></p>\n</section>\n",
            self.field("rto.seconds"),
            self.field("backup.revision"),
            self.field("etcd.version"),
        )
    }

    fn list(&self, heading: &str, path: &str) -> String {
        let items: String =
            (0..self.all(path)).map(|at| format!("<li>{}</li>\n", self.field(&format!("{path}.{at}")))).collect();
        match items.is_empty() {
            true => String::new(),
            false => format!("<section>\n<h2>{heading}</h2>\n<ul>\n{items}</ul>\n</section>\n"),
        }
    }

    fn backup(&self) -> String {
        facts(
            "Backup",
            &[
                ("Cluster", self.field("backup.cluster")),
                ("UID of kube-system", code(&self.field("backup.kubeSystemUid"))),
                ("Taken at", self.field("backup.takenAt")),
                ("SHA-256 of the snapshot", code(&self.field("backup.sha256"))),
                ("Size", self.size("backup.size")),
                ("etcd's digest vouches for it", self.yes("backup.digest")),
                ("Signed by", self.field("backup.signer")),
                ("Taken from etcd", self.field("backup.etcdVersion")),
                ("Needs at least etcd", self.field("backup.etcdMinor")),
                ("Leases", self.field("backup.leases")),
                ("Authentication is on", self.yes("backup.auth")),
            ],
        )
    }

    fn checks(&self) -> String {
        let rows = (0..self.all("checks")).map(|at| {
            let of = |name: &str| format!("checks.{at}.{name}");
            let note = match self.at(&of("note")) {
                Value::Null => String::new(),
                _ => format!("<br><small>{}</small>", self.field(&of("note"))),
            };
            vec![
                self.field(&of("name")),
                format!("{}{note}", code(&self.field(&of("expected")))),
                self.field(&of("source")),
                code(&self.field(&of("served"))),
                self.word(&of("result")),
            ]
        });
        table("Compared with the record", &["Check", "Expected", "By", "Served", "Result"], rows)
    }

    fn time(&self) -> String {
        let phases = self.all("rto.phases");
        let of = |at: usize, name: &str| format!("rto.phases.{at}.{name}");
        let taken = |at: usize| self.at(&of(at, "seconds")).as_f64().unwrap_or_default();
        let longest = (0..phases).map(taken).fold(0.001, f64::max);
        let rows = (0..phases).map(|at| {
            let width = (taken(at) / longest * 100.0).clamp(0.0, 100.0);
            vec![
                self.field(&of(at, "name")),
                format!("{}&nbsp;s", self.field(&of(at, "seconds"))),
                self.yes(&of(at, "counts")),
                format!("<span class=\"bar\" style=\"width:{width:.1}%\"></span>"),
            ]
        });
        table("Time", &["Phase", "Took", "Counts for the RTO", ""], rows)
    }

    fn resources(&self) -> String {
        let rows = (0..self.all("resources")).map(|at| {
            let of = |name: &str| format!("resources.{at}.{name}");
            vec![
                self.field(&of("resource")),
                self.field(&of("objects")),
                self.word(&of("result")),
                self.reason(&of("reason")),
            ]
        });
        table("One object of every resource, read through etcd", &["Resource", "Objects", "Result", "Why"], rows)
    }

    fn encryption(&self) -> String {
        let rows = (0..self.all("encryption")).map(|at| {
            let of = |name: &str| format!("encryption.{at}.{name}");
            vec![
                code(&self.field(&of("key"))),
                self.field(&of("objects")),
                self.word(&of("result")),
                self.reason(&of("reason")),
            ]
        });
        table("One value of every encryption key", &["Key", "Values", "Result", "Why"], rows)
    }

    fn reason(&self, path: &str) -> String {
        if self.at(path).is_null() { String::new() } else { self.field(path) }
    }

    fn circumstances(&self) -> String {
        facts(
            "Who, where and when",
            &[
                ("User", self.field("by.user")),
                ("Host", self.field("by.host")),
                ("Platform", self.field("by.platform")),
                ("etcd program", code(&self.field("etcd.path"))),
                ("Started at", self.field("startedAt")),
                ("Ended at", self.field("endedAt")),
            ],
        )
    }

    fn document(&self) -> String {
        format!("{} {}", self.field("kind"), self.field("apiVersion"))
    }
}

fn code(html: &str) -> String {
    format!("<code>{html}</code>")
}

fn facts(heading: &str, facts: &[(&str, String)]) -> String {
    let rows: String = facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n")).collect();
    format!("<section>\n<h2>{heading}</h2>\n<dl>\n{rows}</dl>\n</section>\n")
}

/// A table, or nothing where it has no row.
fn table(heading: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
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

/// A text for an element or an attribute; control characters are shown.
fn escape(text: &str) -> String {
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
mod tests {
    use super::super::table::tests::sample;
    use super::*;

    /// All values of a document, with their paths.
    fn leaves(path: &str, value: &Value, into: &mut Vec<(String, Value)>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| leaves(&below(name), value, into)),
            Value::Array(all) => {
                all.iter().enumerate().for_each(|(at, value)| leaves(&below(&at.to_string()), value, into));
            }
            leaf => into.push((path.to_owned(), leaf.clone())),
        }
    }

    #[test]
    fn the_page_has_every_value_of_the_document_and_the_same() {
        let document = serde_json::to_value(sample()).expect("JSON");
        let page = page(&document);
        let mut all = Vec::new();
        leaves("", &document, &mut all);
        assert!(all.len() > 60, "{}", all.len());
        for (path, value) in all {
            let text = match &value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let element = format!("data-field=\"{path}\" value=\"{}\">", escape(&text));
            // A reason or a note that there is not needs no place.
            if value.is_null() && (path.ends_with("reason") || path.ends_with("note")) {
                continue;
            }
            let shown = page.split(&element).nth(1).unwrap_or_else(|| panic!("{path} is not on the page"));
            let shown = shown.split("</data>").next().expect("its end");
            let words = match &value {
                Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
                Value::Null => "not known".to_owned(),
                Value::String(word) if word == "notProved" => "not proved".to_owned(),
                _ => escape(&text),
            };
            assert_eq!(shown, words, "{path}");
        }
    }

    #[test]
    fn nothing_of_a_name_becomes_a_part_of_the_page_and_nothing_comes_from_elsewhere() {
        let mut drill = sample();
        drill.backup.file = "<script>alert(1)</script>\u{1b}[2J\u{202e}".into();
        drill.remarks = vec!["\"><img src=x onerror='a'>".into()];
        let page = page(&serde_json::to_value(drill).expect("JSON"));
        for never in [
            "<script", "<img", "<link", "src=", "href=", "url(", "@import", "http://", "https://", "\u{1b}", "\u{202e}",
        ] {
            let found = page.match_indices(never).next();
            let is_shown = never == "src="
                && page.contains("&lt;img src=x onerror=&#39;a&#39;&gt;")
                && page.matches("src=").count() == 2;
            assert!(found.is_none() || is_shown, "{never}");
        }
        assert!(page.contains("default-src 'none'") && page.contains("prefers-color-scheme"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J\\u202e"), "{page}");
    }

    #[test]
    fn what_there_is_nothing_of_has_no_heading() {
        let mut drill = sample();
        drill.encryption.clear();
        let page = page(&serde_json::to_value(drill).expect("JSON"));
        assert!(!page.contains("encryption key") && !page.contains("Why it failed"), "{page}");
    }
}
