//! The changes of objects for people: by default what a person would miss, on 80 columns; all of it with `-o wide`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::classes::Class;
use super::object_changes::{Change, ChangeKind, Changes, Object};
use crate::output::{Table, visible};

/// Columns of a terminal.
pub(super) const WIDTH: usize = 80;
/// Lines of names of each kind of change.
const LINES: usize = 12;
/// Least columns for names, should namespace and resource leave fewer.
const NAMES: usize = 24;
/// Names of nodes in a sentence.
const NODES: usize = 20;

const KINDS: [ChangeKind; 3] = [ChangeKind::Vanishes, ChangeKind::ComesBack, ChangeKind::Changes];

impl Changes {
    /// For people. `data` is what comes back: "the snapshot".
    pub(crate) fn text(&self, data: &str, wide: bool) -> String {
        let mut text = if wide { self.all() } else { self.missed(data) };
        let killed = self.objects.iter().filter(|one| one.kind == ChangeKind::Vanishes && one.resource == "pods");
        match killed.filter(|one| one.class != Class::Own).count() {
            0 => {}
            1 => text.push_str("\nThe kubelet stops the containers of 1 pod that would be deleted.\n"),
            pods => {
                let _infallible =
                    writeln!(text, "\nThe kubelets stop the containers of {pods} pods that would be deleted.");
            }
        }
        for (nodes, what) in [
            (&self.nodes_joined, "joined since, and register again when their kubelets restart"),
            (&self.nodes_gone, "were removed since, and would be listed again as NotReady"),
        ] {
            if !nodes.is_empty() {
                let _infallible = writeln!(text, "\nNodes that {what}:\n  {}", listed(nodes));
            }
        }
        text
    }

    /// Counts and names of everything.
    fn all(&self) -> String {
        let mut table = Table::new(&["RESOURCE", "DELETED", "COME BACK", "CHANGE BACK", "SAME"]);
        for Change { resource, vanish, come_back, change, stay } in &self.resources {
            let counts = [vanish, come_back, change, stay].map(ToString::to_string);
            table.row(std::iter::once(resource.clone()).chain(counts).collect());
        }
        let mut text = format!("\n{table}");
        if !self.objects.is_empty() {
            let mut names = Table::new(&["CHANGE", "RESOURCE", "NAMESPACE", "NAME"]);
            for one in &self.objects {
                let word = match one.kind {
                    ChangeKind::Vanishes => "deleted",
                    ChangeKind::ComesBack => "comes-back",
                    ChangeKind::Changes => "changes-back",
                };
                let namespace = one.namespace.clone().unwrap_or_default();
                names.row(vec![word.to_owned(), one.resource.clone(), namespace, one.name.clone()]);
            }
            let _infallible = write!(text, "\n{names}");
        }
        text
    }

    /// What a person would miss.
    fn missed(&self, data: &str) -> String {
        let mut text = String::new();
        let mut further = false;
        for kind in KINDS {
            let shown: Vec<&Object> =
                self.objects.iter().filter(|one| one.kind == kind && one.class.counts()).collect();
            let objects = match shown.len() {
                0 => continue,
                1 => "1 object".to_owned(),
                many => format!("{many} objects"),
            };
            let _infallible = match kind {
                ChangeKind::Vanishes => writeln!(text, "\nWould be deleted: {objects} not in {data}"),
                ChangeKind::ComesBack => writeln!(text, "\nWould come back: {objects} only in {data}"),
                ChangeKind::Changes => writeln!(text, "\nWould change back: {objects} with other content in {data}"),
            };
            let (lines, cut) = lines(&shown);
            text.push_str(&lines);
            further |= cut;
        }
        if text.is_empty() {
            text.push_str("\nNo object would be deleted, come back or change back.\n");
        }
        let hidden = self.objects.iter().any(|one| !one.class.counts());
        let _infallible = match (further, hidden) {
            (true, _) => writeln!(text, "\n-o wide names all objects."),
            (false, true) => {
                writeln!(text, "\nNot shown: leases, events, nodes' labels, taints and status (see -o wide).")
            }
            (false, false) => Ok(()),
        };
        text
    }
}

impl Class {
    /// Whether a person is told of such an object at all.
    fn counts(self) -> bool {
        matches!(self, Class::Named | Class::Derived)
    }
}

/// The names, a line for each namespace and resource, and how many others there are; and whether names are missing.
fn lines(objects: &[&Object]) -> (String, bool) {
    let mut groups: BTreeMap<(u8, &str, &str), Vec<&str>> = BTreeMap::new();
    let mut derived: BTreeMap<&str, usize> = BTreeMap::new();
    for one in objects {
        if one.class == Class::Named {
            let namespace = one.namespace.as_deref().unwrap_or("-");
            groups.entry((one.rank, namespace, &one.short)).or_default().push(&one.name);
        } else {
            *derived.entry(&one.short).or_default() += 1;
        }
    }
    let shown = || groups.iter().take(LINES);
    let column = |text: fn(&(u8, &str, &str)) -> String| shown().map(|(key, _)| text(key).width()).max().unwrap_or(0);
    let namespace = |key: &(u8, &str, &str)| visible::name(key.1).into_owned();
    let resource = |key: &(u8, &str, &str)| visible::name(key.2).into_owned();
    let (first, second) = (column(namespace), column(resource));
    let mut text = String::new();
    let mut cut = groups.len() > LINES;
    for (key, names) in shown() {
        let pad = |text: String, width: usize| format!("{text}{}", " ".repeat(width - text.width()));
        let room = WIDTH.saturating_sub(2 + first + 2 + second + 2).max(NAMES);
        let (names, all) = fitting(names, room);
        cut |= !all;
        let _infallible = writeln!(text, "  {}  {}  {names}", pad(namespace(key), first), pad(resource(key), second));
    }
    let rest: usize = groups.values().skip(LINES).map(Vec::len).sum();
    if rest > 0 {
        let _infallible = writeln!(text, "  and {rest} more");
    }
    if !derived.is_empty() {
        cut = true;
        let counts: Vec<String> = derived.iter().map(|(resource, count)| format!("{count} {resource}")).collect();
        let _infallible = writeln!(text, "{}", folded("  usually made by controllers: ", &counts, "    "));
    }
    (text, cut)
}

/// As many names as there is room for, at least one; and whether these are all.
fn fitting(names: &[&str], room: usize) -> (String, bool) {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let name = visible::name(name);
        let left = names.len() - index - 1;
        let more = if left > 0 { format!(" and {left} more").len() } else { 0 };
        if index > 0 && text.width() + 2 + name.width() + more > room {
            let _infallible = write!(text, " and {} more", left + 1);
            return (text, false);
        }
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&name);
    }
    (text, true)
}

/// Words with commas, folded at the width of a terminal.
fn folded(begin: &str, words: &[String], indent: &str) -> String {
    let mut text = begin.to_owned();
    let mut column = begin.width();
    for (index, word) in words.iter().enumerate() {
        let word = format!("{}{}", visible::name(word), if index + 1 < words.len() { ", " } else { "" });
        if column + word.trim_end().width() > WIDTH && index > 0 {
            text.truncate(text.trim_end().len());
            let _infallible = write!(text, "\n{indent}");
            column = indent.width();
        }
        column += word.width();
        text.push_str(&word);
    }
    text
}

fn listed(nodes: &[String]) -> String {
    let names: Vec<String> = nodes.iter().take(NODES).cloned().collect();
    let text = folded("", &names, "  ");
    match nodes.len().saturating_sub(NODES) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use etcd_objects::key::Prefix;

    use super::super::object_changes::Keys;
    use super::super::tests::keys;
    use super::*;

    fn between(live: &Keys, back: &Keys) -> Changes {
        Changes::between(live, back, &Prefix::default(), "kube-system")
    }

    #[test]
    fn what_a_person_would_miss_is_named_and_the_rest_is_counted() {
        let live = keys(&[
            ("/registry/namespaces/shop", 9),
            ("/registry/deployments/shop/web", 9),
            ("/registry/deployments/shop/cart", 9),
            ("/registry/pods/shop/web-1", 9),
            ("/registry/pods/shop/web-2", 9),
            ("/registry/replicasets/shop/web", 9),
            ("/registry/configmaps/default/changes", 9),
            ("/registry/pods/kube-system/etcd-sidecar-0a1b2c3d-x4z9k", 9),
            ("/registry/leases/kube-node-lease/cp1", 9),
            ("/registry/minions/cp1", 9),
            ("/registry/events/default/a", 9),
        ]);
        let back = keys(&[
            ("/registry/configmaps/default/changes", 2),
            ("/registry/configmaps/default/goes", 3),
            ("/registry/leases/kube-node-lease/cp1", 4),
            ("/registry/minions/cp1", 4),
        ]);
        let changes = between(&live, &back);
        let expected = "
Would be deleted: 6 objects not in the snapshot
  -     namespaces   shop
  shop  deployments  cart, web
  usually made by controllers: 2 pods, 1 replicasets

Would come back: 1 object only in the snapshot
  default  configmaps  goes

Would change back: 1 object with other content in the snapshot
  default  configmaps  changes

-o wide names all objects.

The kubelets stop the containers of 2 pods that would be deleted.
";
        assert_eq!(changes.text("the snapshot", false), expected);
        let wide = changes.text("the snapshot", true);
        for part in ["etcd-sidecar-0a1b2c3d-x4z9k", "kube-node-lease", "deployments.apps", "changes-back   nodes"] {
            assert!(wide.contains(part), "{part} is not in\n{wide}");
        }
        let json = serde_json::to_value(&changes).expect("data");
        assert_eq!(json["objects"].as_array().map(Vec::len), Some(12));
        let own = json["objects"].as_array().and_then(|all| all.iter().find(|one| one["class"] == "own"));
        assert_eq!(own.map(|one| &one["fate"]), Some(&"vanishes".into()));
        let same = between(&back, &back).text("the snapshot", false);
        assert_eq!(same, "\nNo object would be deleted, come back or change back.\n");
    }

    #[test]
    fn what_is_not_shown_is_told() {
        let live = keys(&[("/registry/minions/cp1", 9), ("/registry/configmaps/a/b", 9)]);
        let back = keys(&[("/registry/minions/cp1", 4)]);
        let text = between(&live, &back).text("the snapshot", false);
        let told = "Not shown: leases, events, nodes' labels, taints and status (see -o wide).";
        assert!(text.ends_with(&format!("\n{told}\n")) && told.len() <= WIDTH, "{text}");
    }

    #[test]
    fn a_plan_is_short_however_much_changes_and_fits_a_terminal() {
        let mut all: Vec<String> = (0..100).map(|number| format!("/registry/configmaps/a/{number:03}")).collect();
        all.extend((0..40).map(|number| format!("/registry/secrets/namespace-{number:02}/one")));
        let live = keys(&all.iter().map(|key| (key.as_str(), 5)).collect::<Vec<_>>());
        let text = between(&live, &Keys::new()).text("the snapshot", false);
        assert!(text.contains("a             configmaps  000, 001, 002,") && text.contains(" more\n"), "{text}");
        assert!(text.contains("\n  and 29 more\n\n-o wide names all objects.\n"), "{text}");
        assert!(text.lines().count() < 20 && text.lines().all(|line| line.width() <= WIDTH), "{text}");
        let wide = between(&live, &Keys::new()).text("the snapshot", true);
        assert!(wide.contains("namespace-39") && wide.contains("099"), "{wide}");
    }

    #[test]
    fn names_of_a_file_and_of_a_cluster_forge_nothing() {
        let hostile = "x\u{1b}[2J\nNodes that joined: none\u{202e}";
        let (node, map) = (format!("/registry/minions/{hostile}"), format!("/registry/configmaps/a/{hostile}"));
        let own = keys(&[(node.as_str(), 1), (map.as_str(), 1), ("/registry/namespaces/default", 1)]);
        for changes in [between(&own, &Keys::new()), between(&Keys::new(), &own)] {
            for wide in [false, true] {
                let text = changes.text("the snapshot", wide);
                assert!(text.contains(r"x\x1b[2J\nNodes that joined: none\u202e"), "{text:?}");
                assert!(text.chars().all(|c| (!c.is_control() && c != '\u{202e}') || c == '\n'), "{text:?}");
                assert!(!text.lines().any(|line| line.starts_with("Nodes that joined: none")), "{text}");
            }
        }
    }
}
