//! What takes the space of a file as one HTML page, with a map that needs no script.
//!
//! Its figures are those of the JSON document; the map has the same keys in finer parts. No value of an object stands on it.

use std::cmp::Reverse;
use std::fmt::Write as _;

use serde_json::Value;

use super::space::{By, FRAME, Part, Resource, Tile};
use super::treemap::Rect;
use crate::output::bytes;
use crate::output::html::{self, Document, bar, code, escape, facts, table};

const STYLE: &str = include_str!("page.css");

/// Rows of a table that have a line of their own; the others are added up.
const ROWS: usize = 100;

/// Colours of the largest resources, as hues; smaller ones are grey.
const HUES: [u16; 10] = [212, 28, 150, 340, 265, 55, 185, 0, 95, 305];

/// The height of a line on a map, and what is above and below all lines, in the units of a map.
const LINE: f64 = 17.0;
const MARGIN: f64 = 6.0;

/// What is narrower has no text on a map, and what is narrower than the second none on a small screen.
const NARROW: f64 = 34.0;
const NARROW_IF_SMALL: f64 = 130.0;

/// The name of a resource goes beyond the first area if that is narrower.
const NARROW_NAME: f64 = 80.0;

/// Resources that are too small to be shown by themselves.
const OTHERS: &str = "other resources";

/// The page of an inspection: its document, and its keys as parts of a map.
pub(super) fn page(inspection: &Value, space: &Part) -> String {
    let page = Page(Document(inspection));
    let document = &page.0;
    let namespace = match document.at("namespace") {
        Value::Null => String::new(),
        _ => format!(", namespace {}", document.field("namespace")),
    };
    let body = format!(
        "<header>\n<p class=\"kind\">Where the space of an etcd snapshot goes</p>\n<h1>{}{namespace}</h1>\n</header>\n\
         {}{}{}{}{}{}{}{}{}{}{}<footer>{}. Figures are those of <code>-o json</code>. Names and sizes; no values.</footer>\n",
        document.field("file"),
        page.tiles(),
        maps(space),
        page.resources(),
        page.namespaces(),
        page.objects("Largest objects", "largest", "bytes"),
        page.history(),
        page.objects("Objects with most revisions", "mostRevisions", "revisions"),
        page.encryption(),
        page.unreadable(),
        page.file(),
        document.list("Not looked at: prefixes of other API servers", "otherPrefixes"),
        document.document(),
    );
    html::page(&format!("Space: {}", document.text("file")), STYLE, &body)
}

struct Page<'a>(Document<'a>);

impl Page<'_> {
    fn tiles(&self) -> String {
        format!(
            "<section class=\"tiles\">\n<p><b>{}</b><span>the database</span></p>\n<p><b>{}</b><span>values, as they are now</span></p>\n\
             <p><b>{}</b><span>keys</span></p>\n<p><b>{}</b><span>revision; history from {}</span></p>\n</section>\n",
            self.short("totalSize"),
            self.short("bytes"),
            self.0.field("keys"),
            self.0.field("revision"),
            self.0.field("oldestRevision"),
        )
    }

    /// A number of bytes, shown in a larger unit on one line.
    fn short(&self, path: &str) -> String {
        self.0.shown(path, &bytes(self.0.number(path)).replace(' ', "\u{a0}"))
    }

    /// The paths of all resources, the highest first; keys that are no objects are a resource as well.
    fn all_resources(&self, figure: &str) -> Vec<String> {
        let of = |list: &'static str| (0..self.0.all(list)).map(move |at| format!("{list}.{at}"));
        self.descending(of("resources").chain(of("otherKeys")).collect(), figure)
    }

    fn descending(&self, mut paths: Vec<String>, figure: &str) -> Vec<String> {
        paths.sort_by_key(|path| Reverse(self.0.number(&format!("{path}.{figure}"))));
        paths
    }

    /// The sum of a figure.
    fn sum(&self, paths: &[String], figure: &str) -> u64 {
        paths.iter().map(|path| self.0.number(&format!("{path}.{figure}"))).sum()
    }

    fn resource_name(&self, path: &str) -> String {
        let name = self.0.field(&format!("{path}.resource"));
        if path.starts_with("otherKeys") { format!("({name})") } else { name }
    }

    fn resources(&self) -> String {
        let (has_encrypted, has_unreadable) = (self.0.all("encryption") > 0, self.0.number("unreadable") > 0);
        let mut columns = vec!["Resource", "Objects", "Bytes", "", "Revisions"];
        columns.extend(has_encrypted.then_some("Encrypted"));
        columns.extend(has_unreadable.then_some("Cannot be read"));
        let all = self.all_resources("bytes");
        let (shown, rest) = all.split_at(all.len().min(ROWS));
        let whole = self.sum(&all, "bytes");
        let rows = shown.iter().map(|path| {
            let of = |figure: &str| format!("{path}.{figure}");
            let mut row = vec![
                self.resource_name(path),
                self.0.field(&of("objects")),
                self.short(&of("bytes")),
                bar(self.0.number(&of("bytes")) as f64, whole as f64),
                self.0.field(&of("revisions")),
            ];
            row.extend(has_encrypted.then(|| self.0.field(&of("encrypted"))));
            row.extend(has_unreadable.then(|| self.0.field(&of("unreadable"))));
            row
        });
        let others = (!rest.is_empty()).then(|| {
            let of = |figure: &str| self.sum(rest, figure);
            let mut row = vec![
                format!("{} others", rest.len()),
                of("objects").to_string(),
                bytes(of("bytes")),
                bar(of("bytes") as f64, whole as f64),
                of("revisions").to_string(),
            ];
            row.extend(has_encrypted.then(|| of("encrypted").to_string()));
            row.extend(has_unreadable.then(|| of("unreadable").to_string()));
            row
        });
        table("Resources", &columns, rows.chain(others))
    }

    fn namespaces(&self) -> String {
        let all = (0..self.0.all("namespaces")).map(|at| format!("namespaces.{at}")).collect();
        let all = self.descending(all, "bytes");
        let (shown, rest) = all.split_at(all.len().min(ROWS));
        let whole = self.sum(&all, "bytes");
        let rows = shown.iter().map(|path| {
            let of = |figure: &str| format!("{path}.{figure}");
            let exists = match self.0.at(&of("exists")) {
                Value::Bool(false) => self.0.shown(&of("exists"), "no: it was deleted, and something is left"),
                _ => self.0.yes(&of("exists")),
            };
            vec![
                self.0.field(&of("namespace")),
                self.0.field(&of("objects")),
                self.short(&of("bytes")),
                bar(self.0.number(&of("bytes")) as f64, whole as f64),
                exists,
            ]
        });
        let others = (!rest.is_empty()).then(|| {
            let size = self.sum(rest, "bytes");
            let objects = self.sum(rest, "objects").to_string();
            vec![format!("{} others", rest.len()), objects, bytes(size), bar(size as f64, whole as f64), String::new()]
        });
        table("Namespaces", &["Namespace", "Objects", "Bytes", "", "Exists"], rows.chain(others))
    }

    fn objects(&self, heading: &str, list: &str, figure: &str) -> String {
        let of = |at: usize, name: &str| format!("{list}.{at}.{name}");
        let most = (0..self.0.all(list)).map(|at| self.0.number(&of(at, figure))).max().unwrap_or_default();
        let rows = (0..self.0.all(list)).map(|at| {
            vec![
                format!("{} {}", self.0.field(&of(at, "resource")), self.0.field(&of(at, "name"))),
                self.namespace(&of(at, "namespace")),
                self.short(&of(at, "bytes")),
                self.0.field(&of(at, "revisions")),
                bar(self.0.number(&of(at, figure)) as f64, most as f64),
            ]
        });
        table(heading, &["Object", "Namespace", "Bytes", "Revisions", ""], rows)
    }

    /// A namespace; nothing for an object that is in none.
    fn namespace(&self, path: &str) -> String {
        if self.0.at(path).is_null() { String::new() } else { self.0.field(path) }
    }

    /// Resources whose objects have earlier revisions in the file.
    fn history(&self) -> String {
        let mut changed = self.all_resources("revisions");
        changed.retain(|path| {
            self.sum(std::slice::from_ref(path), "revisions") > self.0.number(&format!("{path}.objects"))
        });
        let (shown, rest) = changed.split_at(changed.len().min(ROWS));
        let most = changed.first().map_or(0, |path| self.0.number(&format!("{path}.revisions")));
        let row = |name: String, revisions: u64, shown: String, objects: u64| {
            let each = revisions as f64 / objects.max(1) as f64;
            vec![name, shown, objects.to_string(), format!("{each:.1}"), bar(revisions as f64, most as f64)]
        };
        let rows = shown.iter().map(|path| {
            let of = |figure: &str| format!("{path}.{figure}");
            let revisions = of("revisions");
            let (count, objects) = (self.0.number(&revisions), self.0.number(&of("objects")));
            row(self.resource_name(path), count, self.0.field(&revisions), objects)
        });
        let others = (!rest.is_empty()).then(|| {
            let revisions = self.sum(rest, "revisions");
            row(format!("{} others", rest.len()), revisions, revisions.to_string(), self.sum(rest, "objects"))
        });
        let columns = ["Resource", "Revisions", "Objects", "Revisions an object", ""];
        table("History: what has earlier revisions", &columns, rows.chain(others))
    }

    fn encryption(&self) -> String {
        let secrets = (0..self.0.all("resources")).map(|at| format!("resources.{at}"));
        let secrets = secrets.filter(|path| self.0.text(&format!("{path}.resource")) == "secrets");
        let of_secrets: String = secrets
            .map(|path| {
                let (all, encrypted) = (format!("{path}.objects"), format!("{path}.encrypted"));
                let clear = self.0.number(&all) > self.0.number(&encrypted);
                let (class, rest) = match clear {
                    true => ("open", "; whoever has this file can read the others"),
                    false => ("good", ""),
                };
                let (encrypted, all) = (self.0.field(&encrypted), self.0.field(&all));
                format!(
                    "<p><span class=\"mark {class}\">{encrypted} of {all}</span> Secrets are encrypted{rest}.</p>\n"
                )
            })
            .collect();
        let decrypted =
            (0..self.0.all("encryption")).any(|at| !self.0.at(&format!("encryption.{at}.decrypted")).is_null());
        let rows = (0..self.0.all("encryption")).map(|at| {
            let of = |name: &str| format!("encryption.{at}.{name}");
            let by = format!("{} {}", self.0.field(&of("provider")), self.0.field(&of("version")));
            let mut row = vec![by, code(&self.0.field(&of("key"))), self.0.field(&of("objects"))];
            row.extend(decrypted.then(|| self.0.field(&of("decrypted"))));
            row
        });
        let columns = ["Encrypted by", "Key", "Objects", "Decrypted"];
        let keys = table("Keys by which values are encrypted", &columns[..if decrypted { 4 } else { 3 }], rows);
        match of_secrets.is_empty() {
            true => keys,
            false => format!("<section>\n<h2>Encryption</h2>\n{of_secrets}</section>\n{keys}"),
        }
    }

    fn unreadable(&self) -> String {
        let rows = (0..self.0.all("unreadableObjects")).map(|at| {
            let of = |name: &str| format!("unreadableObjects.{at}.{name}");
            vec![
                format!("{} {}", self.0.field(&of("resource")), self.0.field(&of("name"))),
                self.namespace(&of("namespace")),
                self.0.field(&of("reason")),
            ]
        });
        table("Objects that cannot be read", &["Object", "Namespace", "Why"], rows)
    }

    fn file(&self) -> String {
        facts(
            "The file",
            &[
                ("Database", self.0.size("totalSize")),
                ("Values", self.0.size("bytes")),
                ("Prefix of the keys", code(&self.0.field("prefix"))),
                ("Revision", self.0.field("revision")),
                ("Oldest revision", self.0.field("oldestRevision")),
                ("Objects that cannot be read", self.0.field("unreadable")),
            ],
        )
    }
}

/// The maps, of which one is shown.
fn maps(space: &Part) -> String {
    if space.amount.keys == 0 {
        return "<section>\n<h2>Where the space goes</h2>\n<p>There are no keys.</p>\n</section>\n".to_owned();
    }
    let largest = space.largest();
    let map = |class: &str, by: By, says: &str| {
        let resources = space.map(by);
        let parts: String = resources.iter().map(|one| resource(one, by, &largest)).collect();
        format!("<div class=\"map {class}\" role=\"img\" aria-label=\"{says}\">\n{parts}</div>\n")
    };
    format!(
        "<section class=\"space\">\n<h2>Where the space goes</h2>\n\
         <input type=\"radio\" name=\"by\" id=\"by-bytes\" checked><label for=\"by-bytes\">Bytes</label>\
         <input type=\"radio\" name=\"by\" id=\"by-revisions\"><label for=\"by-revisions\">Revisions</label>\n\
         {}{}<p class=\"key\">An area is in proportion to <span class=\"of-bytes\">the bytes of values as they are now</span>\
         <span class=\"of-revisions\">the revisions of keys that are there</span>. A colour and a strong frame are a resource, a thin frame is a \
         namespace; the tables below have the figures. Point at an area to see its own. Keys, earlier revisions and free pages of the \
         database take room as well, and have no area.</p>\n</section>\n",
        map("of-bytes", By::Bytes, "Map of resources, namespaces and objects by bytes"),
        map("of-revisions", By::Revisions, "Map of resources, namespaces and objects by revisions"),
    )
}

/// A resource on a map. Its name is above what fills it: beside the first area only if that is too narrow.
fn resource(of: &Resource<'_>, by: By, largest: &[&str]) -> String {
    let rank = of.name.and_then(|name| largest.iter().position(|one| *one == name));
    let hue = rank.and_then(|rank| HUES.get(rank));
    let (hue, full) = hue.map_or((210, 8), |hue| (*hue, 55));
    let name = escape(of.name.unwrap_or(OTHERS));
    let mut html = format!(
        "<div data-resource=\"{}\" style=\"--hue:{hue};--full:{full}%\">\n",
        of.name.map(escape).unwrap_or_default()
    );
    let is_named = of.rect.width >= NARROW && of.rect.height >= LINE + MARGIN;
    for (at, one) in of.tiles.iter().enumerate() {
        html.push_str(&tile(one, of.name, by, is_named && at == 0));
    }
    let first = of.tiles.first().map_or(0.0, |tile| tile.rect.width);
    let wide = if first >= NARROW_NAME { first / of.rect.width * 100.0 } else { 100.0 };
    let label = if is_named { format!("<b style=\"max-width:{wide:.1}%\">{name}</b>") } else { String::new() };
    let class = if of.rect.width < NARROW_IF_SMALL { "resource small" } else { "resource" };
    let frames: String = of.namespaces.iter().map(|rect| format!("<i style=\"{}\"></i>\n", place(rect))).collect();
    format!("{html}{frames}<i class=\"{class}\" style=\"{}\">{label}</i>\n</div>\n", place(&of.rect))
}

fn place(rect: &Rect) -> String {
    let of = |part: f64, whole: f64| part / whole * 100.0;
    format!(
        "left:{:.3}%;top:{:.3}%;width:{:.3}%;height:{:.3}%",
        of(rect.left, FRAME.width),
        of(rect.top, FRAME.height),
        of(rect.width, FRAME.width),
        of(rect.height, FRAME.height)
    )
}

/// An object on a map, or several, with as much text as there is room for. Below the name of a resource the first line is free; the first of a
/// namespace names that as well.
fn tile(tile: &Tile<'_>, resource: Option<&str>, by: By, is_below_name: bool) -> String {
    let (size, revisions) = (bytes(tile.amount.bytes), count(tile.amount.revisions, "revision"));
    // Only the names of resources whose keys are objects have no parenthesis.
    let keys = match resource {
        Some(resource) if !resource.starts_with('(') => count(tile.amount.keys, "small object"),
        _ => count(tile.amount.keys, "key"),
    };
    let namespace = tile.namespace.filter(|namespace| !namespace.is_empty());
    let name = tile.name.map_or(keys, str::to_owned);
    let mut title = escape(resource.unwrap_or(OTHERS));
    if let Some(namespace) = namespace {
        let _infallible = write!(title, ", namespace {}", escape(namespace));
    }
    let _infallible = write!(title, "&#10;{}&#10;{size}, {revisions}", escape(&name));
    let room = ((tile.rect.height - MARGIN) / LINE).max(0.0) as usize;
    let class = if tile.rect.width < NARROW_IF_SMALL || room == 0 { " class=\"small\"" } else { "" };
    // What matters most comes first; lines stand in the order that they have on the map.
    let mut lines = Vec::new();
    if is_below_name {
        lines.push((0, "&nbsp;".to_owned()));
    }
    lines.push((2, escape(&name)));
    if let Some(namespace) = namespace.filter(|_| tile.begins) {
        lines.push((1, escape(namespace)));
    }
    lines.push((3, if by == By::Bytes { size } else { revisions }));
    lines.truncate(if tile.rect.width < NARROW { 0 } else { room });
    lines.sort_by_key(|(order, _)| *order);
    let lines: String = lines.into_iter().map(|(_, line)| format!("<span>{line}</span>")).collect();
    format!(
        "<p{class} style=\"{}\" title=\"{title}\" data-keys=\"{}\" data-bytes=\"{}\" data-revisions=\"{}\">{lines}</p>\n",
        place(&tile.rect),
        tile.amount.keys,
        tile.amount.bytes,
        tile.amount.revisions
    )
}

fn count(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use etcd_objects::Neighbours;
    use etcd_snapshot::{EncryptionKey, LiveKey, LiveKeys};

    use super::super::{Broken, Encryption, Inspection};
    use super::*;
    use crate::output::html::tests::{assert_harmless, leaves, shown};

    /// A file whose objects have these keys, bytes and revisions; those of Secrets are encrypted.
    fn inspected(keys: &[(&str, u64, u32)]) -> (Value, Part) {
        let by = std::sync::Arc::new(EncryptionKey {
            provider: "aescbc".into(),
            version: "v1".into(),
            name: "key1<b>".into(),
        });
        let keys: LiveKeys = keys
            .iter()
            .map(|(key, value_bytes, versions)| {
                let encrypted_by = key.contains("/secrets/").then(|| std::sync::Arc::clone(&by));
                let value_bytes = *value_bytes;
                (
                    key.as_bytes().to_vec(),
                    LiveKey { mod_revision: 5, versions: *versions, value_bytes, encrypted_by, value: None },
                )
            })
            .collect();
        let mut inspection = Inspection {
            api_version: "kubectl-etcd/v1",
            kind: "Inspection",
            file: "a.db".into(),
            prefix: "/registry".into(),
            revision: 99,
            oldest_revision: 3,
            total_size: 400_000,
            keys: keys.len() as u64,
            bytes: keys.values().map(|live| live.value_bytes).sum(),
            ..Inspection::default()
        };
        inspection.count(&Neighbours::default(), &keys, |key, _| key.ends_with(b"/broken"));
        if inspection.unreadable > 0 {
            let reason = "field 3: it ends too early".into();
            let (resource, namespace, name) = ("pods".into(), Some("gone".into()), "broken".into());
            inspection.unreadable_objects = vec![Broken { resource, namespace, name, reason }];
        }
        (serde_json::to_value(&inspection).expect("JSON"), Part::of(&Neighbours::default(), &keys))
    }

    const FILE: [(&str, u64, u32); 8] = [
        ("/registry/pods/shop/a", 1000, 1),
        ("/registry/pods/gone/broken", 3000, 3),
        ("/registry/secrets/shop/password", 2000, 12),
        ("/registry/configmaps/shop/large", 150_000, 2),
        ("/registry/namespaces/shop", 500, 1),
        ("/registry/masterleases/10.0.0.1", 200, 1),
        ("compact_rev_key", 10, 7),
        ("/other/thing", 400, 1),
    ];

    #[test]
    fn the_page_has_every_value_of_the_document_and_the_same() {
        let (document, space) = inspected(&FILE);
        let page = page(&document, &space);
        let all = leaves(&document);
        assert!(all.len() > 70, "{}", all.len());
        for (path, value) in all {
            // An object that is in no namespace has an empty place for it.
            if value.is_null() && path.ends_with(".namespace") {
                continue;
            }
            let words = shown(&page, &path, &value).unwrap_or_else(|| panic!("{path} is not on the page"));
            match &value {
                Value::Number(number) if path.to_lowercase().ends_with("bytes") || path == "totalSize" => {
                    let size = bytes(number.as_u64().expect("a size"));
                    // On one line.
                    assert_eq!(words, size.replace(' ', "\u{a0}"), "{path}");
                }
                Value::Number(number) => assert_eq!(words, number.to_string(), "{path}"),
                Value::Bool(false) => assert!(words.starts_with("no"), "{path}: {words}"),
                Value::Bool(true) => assert_eq!(words, "yes", "{path}"),
                Value::String(text) => assert_eq!(words, escape(text), "{path}"),
                other => panic!("{path}: {other}"),
            }
        }
        let file = page.split("<h2>The file</h2>").nth(1).expect("the figures of the file");
        assert!(file.contains("400000</data> bytes (400 kB)"), "{file}");
    }

    /// The figures on the areas of one map, by resource.
    fn on_map(page: &str, class: &str) -> BTreeMap<String, [u64; 3]> {
        let map = page.split(&format!("<div class=\"map {class}\"")).nth(1).expect("a map");
        let map = map.split("</div>\n</div>").next().expect("its end");
        let mut found: BTreeMap<String, [u64; 3]> = BTreeMap::new();
        for part in map.split("data-resource=\"").skip(1) {
            let (resource, tiles) = part.split_once('"').expect("a name");
            let sums = found.entry(resource.to_owned()).or_default();
            for tile in tiles.split("<p").skip(1) {
                for (sum, figure) in sums.iter_mut().zip(["keys", "bytes", "revisions"]) {
                    let value = tile.split(&format!("data-{figure}=\"")).nth(1).expect(figure);
                    *sum += value.split('"').next().expect(figure).parse::<u64>().expect(figure);
                }
            }
        }
        found
    }

    #[test]
    fn both_maps_have_the_figures_of_the_document() {
        let (document, space) = inspected(&FILE);
        let page = page(&document, &space);
        let figures = |list: &str| {
            let name = move |name: &str| if list == "resources" { name.to_owned() } else { format!("({name})") };
            let all = document[list].as_array().expect(list).iter();
            let figure = |one: &Value, figure: &str| one[figure].as_u64().expect("a number");
            all.map(|one| {
                let sums = [figure(one, "objects"), figure(one, "bytes"), figure(one, "revisions")];
                (name(one["resource"].as_str().expect("a name")), sums)
            })
            .collect::<Vec<_>>()
        };
        let all: BTreeMap<_, _> = figures("resources").into_iter().chain(figures("otherKeys")).collect();
        assert!(all.len() > 5, "{all:?}");
        assert_eq!(on_map(&page, "of-revisions"), all);
        let mut by_bytes = on_map(&page, "of-bytes");
        // What is less than a thousandth of all has a place together.
        let small = by_bytes.remove("").expect("other resources");
        let missing: Vec<_> = all.iter().filter(|(name, _)| !by_bytes.contains_key(*name)).collect();
        assert_eq!(small, [0, 1, 2].map(|at| missing.iter().map(|(_, sums)| sums[at]).sum::<u64>()));
        assert_eq!(small[1], 10);
        assert!(by_bytes.iter().all(|(name, sums)| all[name] == *sums));
    }

    #[test]
    fn nothing_of_a_name_becomes_a_part_of_the_page_and_nothing_comes_from_elsewhere() {
        let (mut document, space) = inspected(&[
            ("/registry/pods/<script>alert(1)<-script>/\"><img src=x onerror='a'>\u{1b}\u{202e}", 1000, 2),
            ("/registry/evil.example.com/\" style=\"x/ns/</p></div><b>", 2000, 3),
            ("/registry/secrets/shop/a&b", 1000, 1),
        ]);
        document["file"] = "</title><script>x</script>".into();
        let page = page(&document, &space);
        assert_harmless(&page);
        for shown in [
            "&lt;script&gt;alert(1)&lt;-script&gt;",
            "&quot;&gt;&lt;img src=x onerror=&#39;a&#39;&gt;\\x1b\\u202e",
            "a&amp;b",
            "key1&lt;b&gt;",
            "<title>Space: &lt;/title&gt;",
        ] {
            assert!(page.contains(shown), "{shown} is not in\n{page}");
        }
        assert!(!page.contains("<b>\"") && !page.contains("</p></div><b>"), "{page}");
    }

    #[test]
    fn a_page_of_a_large_file_is_bounded_and_adds_up_the_others() {
        let keys: Vec<String> = (0..30_000)
            .map(|at| format!("/registry/r{}.example.com/things{}/n{}/o{at}", at % 300, at % 300, at % 777))
            .collect();
        let keys: Vec<_> = keys.iter().map(|key| (key.as_str(), 100, 2)).collect();
        let (document, space) = inspected(&keys);
        let page = page(&document, &space);
        assert!(page.len() < 1_000_000, "{}", page.len());
        let rows = page.split("<h2>Resources</h2>").nth(1).and_then(|rest| rest.split("</table>").next());
        assert!(rows.is_some_and(|rows| rows.contains("<td>200 others</td><td>20000</td><td>2.0 MB</td>")), "{rows:?}");
        let rows = page.split("<h2>Namespaces</h2>").nth(1).and_then(|rest| rest.split("</table>").next());
        assert!(rows.is_some_and(|rows| rows.contains("<td>677 others</td>")), "{rows:?}");
        assert_eq!(on_map(&page, "of-bytes").values().map(|sums| sums[0]).sum::<u64>(), 30_000);
    }

    #[test]
    fn what_there_is_nothing_of_has_no_heading() {
        let (document, space) = inspected(&[]);
        let page = page(&document, &space);
        assert!(page.contains("There are no keys."), "{page}");
        for heading in ["Encryption", "cannot be read</h2>", "Namespaces", "History"] {
            assert!(!page.contains(&format!("<h2>{heading}")), "{heading}");
        }
    }

    #[test]
    fn secrets_in_clear_are_told() {
        let (mut document, space) = inspected(&FILE);
        let told = |document: &Value| page(document, &space).contains("can read the others");
        assert!(!told(&document));
        let resources = document["resources"].as_array_mut().expect("resources");
        resources.iter_mut().filter(|one| one["resource"] == "secrets").for_each(|one| one["encrypted"] = 0.into());
        assert!(told(&document));
    }

    #[test]
    fn decrypted_values_have_a_column_where_they_were_counted() {
        let (mut document, space) = inspected(&FILE);
        assert!(!page(&document, &space).contains("<th scope=\"col\">Decrypted"));
        let encryption = Encryption {
            provider: "aescbc".into(),
            version: "v1".into(),
            key: "key1".into(),
            objects: 1,
            decrypted: Some(1),
        };
        document["encryption"] = serde_json::json!([encryption]);
        assert!(page(&document, &space).contains("data-field=\"encryption.0.decrypted\" value=\"1\""));
    }
}
