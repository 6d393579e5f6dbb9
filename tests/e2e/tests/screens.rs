//! Every screen of README.md and docs/: a block marked `console` is run in the lab and compared with what is printed, after what varies was
//! made equal. `UPDATE_SCREENS=1` writes what was printed into the files.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use e2e::{Scene, plugin, run, workspace};
use lab::{Etcd, Options};

/// Columns of a terminal.
const WIDTH: usize = 80;

/// A command, and what stands below it.
#[derive(Debug)]
struct Screen {
    command: String,
    output: String,
}

/// A file's text, with its console blocks taken apart.
#[derive(Debug)]
enum Piece {
    Text(String),
    Console(Vec<Screen>),
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = vec![Piece::Text(String::new())];
    for line in text.split_inclusive('\n') {
        let inside = matches!(pieces.last(), Some(Piece::Console(_)));
        match (inside, line.trim_end()) {
            (false, "```console") => pieces.push(Piece::Console(Vec::new())),
            (true, "```") => pieces.push(Piece::Text(String::new())),
            _ => match pieces.last_mut() {
                Some(Piece::Text(text)) => text.push_str(line),
                Some(Piece::Console(screens)) => match (line.strip_prefix("$ "), screens.last_mut()) {
                    (Some(command), _) => {
                        screens.push(Screen { command: command.trim_end().to_owned(), output: String::new() });
                    }
                    (None, Some(screen)) => screen.output.push_str(line),
                    (None, None) => panic!("output without a command: {line}"),
                },
                None => unreachable!("there is always a piece"),
            },
        }
    }
    pieces
}

fn text(pieces: &[Piece]) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Console(screens) => {
                text.push_str("```console\n");
                screens.iter().for_each(|one| write!(text, "$ {}\n{}", one.command, one.output).expect("a string"));
                text.push_str("```\n");
            }
        }
    }
    text
}

/// Makes equal what is another in every run: numbers, identifiers, times, units, who leads, and the width of columns.
fn normal(output: &str) -> Vec<String> {
    let word = |word: &str| {
        let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_hex = core.len() >= 8 && core.chars().all(|c| c.is_ascii_hexdigit());
        // The ID of a restore ends with random letters.
        let is_id =
            core.len() == 21 && core.chars().take(8).all(|c| c.is_ascii_digit()) && core.matches('-').count() == 2;
        match core {
            "leader" | "follower" => "ROLE".to_owned(),
            "B" | "kB" | "MB" | "GB" | "s" | "ms" | "min" => "UNIT".to_owned(),
            // A cell without a value is one that could have one.
            "" if word == "-" => "N".to_owned(),
            _ if is_hex || is_id => word.replace(core, "N"),
            _ => {
                let mut all = String::new();
                for c in word.chars() {
                    match c.is_ascii_digit() || (matches!(c, '.' | ',' | ':') && all.ends_with('N')) {
                        true if all.ends_with('N') => {}
                        true => all.push('N'),
                        false => all.push(c),
                    }
                }
                all
            }
        }
    };
    let mut lines: Vec<String> = Vec::new();
    for line in output.lines() {
        let words = line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
        match lines.last_mut() {
            // The rest of a line that was wrapped, which a longer number does elsewhere.
            Some(last) if line.starts_with("        ") => *last = format!("{last} {words}"),
            _ => lines.push(words),
        }
    }
    lines
}

fn files() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(workspace().join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    let mut docs: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    docs.sort();
    std::iter::once(workspace().join("README.md")).chain(docs).collect()
}

/// A cluster with something in it, and a name of its own.
fn scene() -> Scene {
    // Not 3.5.1, of which every plan warns.
    let etcd = Etcd::Dir(workspace().join("target/tools/etcd-3.5.16"));
    let scene = Scene::with(Options { nodes: 3, etcd, ..Options::default() });
    let current = run(scene.kubectl(&["config", "current-context"])).expect_code(0).stdout;
    run(scene.kubectl(&["config", "rename-context", current.trim(), "prod-eu"])).expect_code(0);
    let mut manifest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n".to_owned();
    for (kind, name) in [("ConfigMap", "settings"), ("ConfigMap", "prices"), ("Secret", "payment")] {
        writeln!(manifest, "---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}")
            .expect("a string");
    }
    scene.apply(&manifest);
    scene
}

/// What happens to the cluster before a command is typed, so that it has something to show.
fn before(scene: &Scene, command: &str) {
    if command.starts_with("kubectl etcd restore etcd.db --dry-run=client") {
        run(scene.kubectl(&["delete", "configmap", "settings", "-n", "shop"])).expect_code(0);
        let patch = r#"{"data":{"discount":"90"}}"#;
        run(scene.kubectl(&["patch", "configmap", "prices", "-n", "shop", "--type=merge", "-p", patch])).expect_code(0);
        scene.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: since, namespace: shop}\n");
    }
}

/// Types a command as a user would; what is printed, in the order of a terminal.
fn typed(scene: &Scene, command: &str) -> String {
    before(scene, command);
    let mut bash: Command = scene.kubectl(&[]);
    let path = bash.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value.map(ToOwned::to_owned));
    bash = Command::new("bash");
    bash.args(["-c", &format!("exec 2>&1; {command}")]).current_dir(scene.folder.path());
    bash.env("PATH", path.expect("a PATH")).env("KUBECONFIG", scene.lab.kubeconfig());
    bash.env("HOME", scene.lab.kubeconfig().parent().expect("a folder")).stdin(std::process::Stdio::null());
    run(bash).stdout
}

#[test]
fn every_screen_is_what_is_printed() {
    assert!(plugin().exists());
    let update = std::env::var_os("UPDATE_SCREENS").is_some();
    let scene = scene();
    let (mut shown, mut wrong) = (0, String::new());
    for file in files() {
        let before = std::fs::read_to_string(&file).expect("text");
        let mut pieces = pieces(&before);
        assert_eq!(text(&pieces), before, "{}: a block is not closed", file.display());
        for piece in &mut pieces {
            let Piece::Console(screens) = piece else { continue };
            for screen in screens {
                shown += 1;
                let printed = typed(&scene, &screen.command);
                let wide = |line: &&str| line.chars().count() > WIDTH;
                for line in printed.lines().chain([screen.command.as_str()]).filter(wide) {
                    writeln!(wrong, "{}: wider than {WIDTH}: {line}", screen.command).expect("a string");
                }
                if update {
                    screen.output = printed;
                } else if normal(&printed) != normal(&screen.output) {
                    let (file, command, output) = (file.display(), &screen.command, &screen.output);
                    write!(wrong, "{file}: {command}\nis\n{printed}and not\n{output}\n").expect("a string");
                }
            }
        }
        if update {
            std::fs::write(&file, text(&pieces)).expect("the file is written");
        }
    }
    assert!(shown >= 3, "the README shows {shown} screens");
    assert!(wrong.is_empty(), "{wrong}UPDATE_SCREENS=1 writes what is printed");
    // A screen leaves nothing in the cluster.
    assert!(scene.sidecars().is_empty());
}

#[test]
fn what_varies_is_equal_and_what_is_said_is_not() {
    let same = |a: &str, b: &str| assert_eq!(normal(a), normal(b));
    same("NODE  ROLE    SIZE\ncp1   leader  1.2 MB", "NODE ROLE SIZE\ncp1  follower  980 kB");
    same("etcd-prod-20261126T190000Z.db 12 s", "etcd-prod-20270101T000001Z.db 3.4 s");
    same("member 8557bf15a498b372 at 10.89.1.11:2379", "member 1fe7bf15a498b37a at 10.89.12.13:2379");
    same("ID: 20261126-195458-fzzwf", "ID: 20270101-000001-22r6b");
    same("Stops:    87 and then 9\n          on all nodes", "Stops:    100087 and then\n          9 on all nodes");
    assert_ne!(normal("3 members healthy"), normal("3 members are healthy"));
    assert_ne!(normal("a\nb"), normal("a b"));
}
