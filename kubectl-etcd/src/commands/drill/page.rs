//! A drill as one HTML page that an auditor can read and print: no script, nothing from elsewhere, light and dark as the reader has it.
//!
//! It is made of the JSON document and of nothing else. Every value of that stands in an element with its path (`data-field`).

use serde_json::Value;

use crate::output::html::{self, Document, bar, code, facts, table};
use crate::output::seconds;

const STYLE: &str = include_str!("page.css");

/// The page of a document as docs/DRILL.md describes it.
pub(super) fn page(drill: &Value) -> String {
    let page = Page(Document(drill));
    let passed = page.0.text("verdict") == "passed";
    let (class, says) = match passed {
        true => ("passed", "A real etcd has served this backup as it was recorded."),
        false => ("failed", "This backup cannot be relied on."),
    };
    let title = format!("Drill {class}: {}", page.0.text("backup.file"));
    let body = format!(
        "<header>\n<p class=\"kind\">Restore drill of an etcd backup</p>\n<h1>{}</h1>\n\
         <p class=\"verdict {class}\"><strong>{}</strong> {says}</p>\n</header>\n\
         {}{}{}{}{}{}{}{}{}{}<footer>{} {}, a document of {}. Figures are those of <code>-o json</code>.</footer>\n",
        page.0.field("backup.file"),
        page.word("verdict"),
        page.tiles(),
        page.0.list("Why it failed", "reasons"),
        page.backup(),
        page.checks(),
        page.time(),
        page.resources(),
        page.encryption(),
        page.api_server(),
        page.0.list("Remarks", "remarks"),
        page.circumstances(),
        page.0.field("by.program"),
        page.0.field("by.version"),
        page.0.document(),
    );
    html::page(&title, STYLE, &body)
}

struct Page<'a>(Document<'a>);

impl Page<'_> {
    /// One of a few words, with a colour of its own.
    fn word(&self, path: &str) -> String {
        let value = self.0.text(path);
        let (class, words) = match value.as_str() {
            "passed" | "equal" | "read" | "listed" => ("good", value.as_str()),
            "failed" | "different" => ("bad", value.as_str()),
            "notProved" => ("open", "not proved"),
            _ => ("", value.as_str()),
        };
        format!("<span class=\"mark {class}\">{}</span>", self.0.shown(path, words))
    }

    fn tiles(&self) -> String {
        let age = match self.0.at("rpo.seconds").as_i64() {
            Some(age) => {
                format!("{}&nbsp;s</b><span>RPO: the backup was {} old", self.0.field("rpo.seconds"), seconds(age))
            }
            None => format!("{}</b><span>RPO: the time of the backup was not recorded", self.0.field("rpo.seconds")),
        };
        format!(
            "<section class=\"tiles\">\n<p><b>{age}</span></p>\n\
             <p><b>{}&nbsp;s</b><span>RTO: until etcd served it</span></p>\n\
             <p><b>{}</b><span>etcd revision</span></p>\n<p><b>{}</b><span>etcd that served it</span></p>\n</section>\n",
            self.0.field("rto.seconds"),
            self.0.field("backup.revision"),
            self.0.field("etcd.version"),
        )
    }

    fn backup(&self) -> String {
        facts(
            "Backup",
            &[
                ("Cluster", self.0.field("backup.cluster")),
                ("UID of kube-system", code(&self.0.field("backup.kubeSystemUid"))),
                ("Taken at", self.0.field("backup.takenAt")),
                ("SHA-256 of the snapshot", code(&self.0.field("backup.sha256"))),
                ("Size", self.0.size("backup.size")),
                ("etcd's digest vouches for it", self.0.yes("backup.digest")),
                ("Signed by", self.0.field("backup.signer")),
                ("Taken from etcd", self.0.field("backup.etcdVersion")),
                ("Needs at least etcd", self.0.field("backup.etcdMinor")),
                ("Leases", self.0.field("backup.leases")),
                ("Authentication is on", self.0.yes("backup.auth")),
            ],
        )
    }

    fn checks(&self) -> String {
        let rows = (0..self.0.all("checks")).map(|at| {
            let of = |name: &str| format!("checks.{at}.{name}");
            let note = match self.0.at(&of("note")) {
                Value::Null => String::new(),
                _ => format!("<br><small>{}</small>", self.0.field(&of("note"))),
            };
            vec![
                self.0.field(&of("name")),
                format!("{}{note}", code(&self.0.field(&of("expected")))),
                self.0.field(&of("source")),
                code(&self.0.field(&of("served"))),
                self.word(&of("result")),
            ]
        });
        table("Compared with the record", &["Check", "Expected", "By", "Served", "Result"], rows)
    }

    fn time(&self) -> String {
        let phases = self.0.all("rto.phases");
        let of = |at: usize, name: &str| format!("rto.phases.{at}.{name}");
        let taken = |at: usize| self.0.at(&of(at, "seconds")).as_f64().unwrap_or_default();
        let longest = (0..phases).map(taken).fold(0.001, f64::max);
        let rows = (0..phases).map(|at| {
            vec![
                self.0.field(&of(at, "name")),
                format!("{}&nbsp;s", self.0.field(&of(at, "seconds"))),
                self.0.yes(&of(at, "counts")),
                bar(taken(at), longest),
            ]
        });
        table("Time", &["Phase", "Took", "Counts for the RTO", ""], rows)
    }

    fn resources(&self) -> String {
        let rows = (0..self.0.all("resources")).map(|at| {
            let of = |name: &str| format!("resources.{at}.{name}");
            vec![
                self.0.field(&of("resource")),
                self.0.field(&of("objects")),
                self.word(&of("result")),
                self.reason(&of("reason")),
            ]
        });
        table("One object of every resource, read through etcd", &["Resource", "Objects", "Result", "Why"], rows)
    }

    fn encryption(&self) -> String {
        let rows = (0..self.0.all("encryption")).map(|at| {
            let of = |name: &str| format!("encryption.{at}.{name}");
            vec![
                code(&self.0.field(&of("key"))),
                self.0.field(&of("objects")),
                self.word(&of("result")),
                self.reason(&of("reason")),
            ]
        });
        table("One value of every encryption key", &["Key", "Values", "Result", "Why"], rows)
    }

    /// Nothing, where no API server was started.
    fn api_server(&self) -> String {
        if self.0.at("apiServer").is_null() {
            return String::new();
        }
        let seconds = if self.0.at("apiServer.readySeconds").is_null() { "" } else { "&nbsp;s" };
        let server = facts(
            "The cluster's API server",
            &[
                ("Version", self.0.field("apiServer.version")),
                ("Image", self.0.field("apiServer.image")),
                ("Ready after", format!("{}{seconds}", self.0.field("apiServer.readySeconds"))),
                ("Objects listed", self.0.field("apiServer.objects")),
                ("Result", format!("{} {}", self.word("apiServer.result"), self.reason("apiServer.reason"))),
            ],
        );
        let rows = (0..self.0.all("apiServer.resources")).map(|at| {
            let of = |name: &str| format!("apiServer.resources.{at}.{name}");
            vec![
                self.0.field(&of("resource")),
                self.reason(&of("version")),
                self.0.field(&of("objects")),
                self.reason(&of("listed")),
                self.word(&of("result")),
                self.reason(&of("reason")),
            ]
        });
        let heads = ["Resource", "Version", "In the file", "Listed", "Result", "Why"];
        format!("{server}{}", table("Every resource, listed by the API server", &heads, rows))
    }

    /// Nothing, where there is none.
    fn reason(&self, path: &str) -> String {
        if self.0.at(path).is_null() { String::new() } else { self.0.field(path) }
    }

    fn circumstances(&self) -> String {
        let mut rows = vec![
            ("User", self.0.field("by.user")),
            ("Host", self.0.field("by.host")),
            ("Platform", self.0.field("by.platform")),
            ("etcd program", code(&self.0.field("etcd.path"))),
        ];
        let details = [
            ("Image", "etcd.image"),
            ("Image ID", "etcd.imageId"),
            ("Container run by", "etcd.engine"),
            ("Node of the pod", "etcd.node"),
        ];
        for (name, path) in details {
            if *self.0.at(path) != Value::Null {
                rows.push((name, self.0.field(path)));
            }
        }
        rows.extend([("Started at", self.0.field("startedAt")), ("Ended at", self.0.field("endedAt"))]);
        facts("Who, where and when", &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::sample;
    use super::*;

    use crate::output::html::escape;
    use crate::output::html::tests::{assert_harmless, leaves, shown};

    #[test]
    fn the_page_has_every_value_of_the_document_and_the_same() {
        let document = serde_json::to_value(sample()).expect("JSON");
        let page = page(&document);
        let all = leaves(&document);
        assert!(all.len() > 60, "{}", all.len());
        for (path, value) in all {
            // A reason or a note that there is not needs no place.
            let may_be_absent = ["reason", "note", "listed", "resources.1.version"];
            if value.is_null() && may_be_absent.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            let shown = shown(&page, &path, &value).unwrap_or_else(|| panic!("{path} is not on the page"));
            let words = match &value {
                Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
                Value::Null => "not known".to_owned(),
                Value::String(word) if word == "notProved" => "not proved".to_owned(),
                Value::String(text) => escape(text),
                other => other.to_string(),
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
        assert_harmless(&page);
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J\\u202e"), "{page}");
        assert!(page.contains("&lt;img src=x onerror=&#39;a&#39;&gt;"), "{page}");
    }

    #[test]
    fn what_there_is_nothing_of_has_no_heading() {
        let mut drill = sample();
        drill.encryption.clear();
        drill.api_server = None;
        let page = page(&serde_json::to_value(drill).expect("JSON"));
        assert!(!page.contains("API server"), "{page}");
        assert!(!page.contains("encryption key") && !page.contains("Why it failed"), "{page}");
    }
}
