//! Odd names, of prefixes, of clusters and in records: each command finds the backup again, and nothing lies outside its prefix.

mod support;

use std::process::Command;

use bytes::Bytes;
use etcd_store::fetch::Found;
use etcd_store::{ClusterUid, Key, Store, StoredObject, Wanted};
use jiff::{SignedDuration, Timestamp};
use stores::{Azurite, Gcs, Seaweed, encoded};
use support::{Planted, Ran, keys, open, plugin, read, run, sha256, trust_key, uid};

/// Prefixes as they are, of characters that mean something to URLs, to shells, to XML or to this layout.
fn prefixes() -> Vec<String> {
    let long = format!("{}/{}/{}", "l".repeat(250), "\u{f6}".repeat(120), "n".repeat(250));
    let odd = [
        "a b",
        "it's",
        "\"quoted\"",
        "100%",
        "a%2Fb",
        "%2e%2e/%2e",
        "a+b&c=d;e:f,g@h",
        "$(id)`id`!*",
        "(a)[b]{c}<d>|e^f~",
        "...",
        "a/..b/c..",
        ".hidden/-rf",
        "&amp;&#47;",
        "\u{65e5}\u{672c}\u{8a9e}/\u{fc}",
        "e\u{301}",
        "\u{202e}gnol",
        "v1",
        "latest",
        "#1",
        "what?",
    ];
    odd.into_iter().map(str::to_owned).chain([long]).collect()
}

fn planted() -> Planted {
    Planted::new(&uid(), Timestamp::now(), Bytes::from_static(b"sealed"), Some(Bytes::from_static(b"sealed, too")))
}

/// The objects of a backup below a prefix, by their whole paths.
fn paths<'a>(prefix: &'a str, backup: &'a Planted) -> impl Iterator<Item = String> + 'a {
    backup.objects.iter().map(move |(key, _)| format!("{prefix}/{key}"))
}

#[tokio::test]
async fn a_backup_below_any_prefix_is_found_by_every_command() {
    let server = Seaweed::start().unwrap();
    let key = trust_key();
    let trust = ["--trust-key", key.to_str().unwrap()];
    let ok = |args: &[&str]| -> Ran {
        let ran = run(plugin(args, server.variables()));
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        ran
    };
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for prefix in prefixes() {
        let (url, copies) = (server.url(&encoded(&prefix)), format!("{prefix}/copy of {prefix}"));
        let backup = planted();
        backup.put(&open(&url, server.variables())).await;
        let items = ok(&["list", &url, "-o", "json"]).json()["items"].clone();
        assert_eq!(items.as_array().map(Vec::len), Some(1), "{prefix}: {items}");
        assert_eq!((&items[0]["name"], &items[0]["state"]), (&backup.name.to_string().into(), &"committed".into()));
        // As it is listed, it can be typed.
        let reference = items[0]["reference"].as_str().unwrap();
        let named = ok(&["list", &url, "-o", "name"]).stdout;
        assert_eq!(named.trim_end_matches('\n'), reference);
        assert_eq!(
            ok(&[&["verify", reference, "-o", "json"], &trust[..]].concat()).json()["level"],
            "read",
            "{prefix}"
        );
        let plan =
            ok(&[&["prune", &url, "--keep-last=1", "--dry-run=client", "-o", "json"], &trust[..]].concat()).json();
        assert_eq!(plan["backups"][0]["name"], backup.name.to_string(), "{prefix}: {plan}");
        let beside = folder.path().join(format!("copy {}", expected.len()));
        std::fs::create_dir(&beside).unwrap();
        ok(&[&["copy", reference, beside.to_str().unwrap()], &trust[..]].concat());
        for (key, bytes) in &backup.objects {
            assert!(std::fs::read(beside.join(key.file())).unwrap() == *bytes, "{prefix}: {key}");
        }
        expected.extend(paths(&prefix, &backup));
        // Only what can still have a name is copied below another prefix.
        if copies.len() < 800 {
            let copied = server.url(&encoded(&copies));
            ok(&[&["copy", reference, &copied], &trust[..]].concat());
            ok(&[&["freshness", &copied, "--max-age=3h"], &trust[..]].concat());
            expected.extend(paths(&copies, &backup));
        }
    }
    // All that is in the bucket is where it was put, and nothing else is there.
    expected.sort();
    let mut there: Vec<String> = server.contents().unwrap().into_keys().collect();
    there.sort();
    assert_eq!(there, expected);
}

/// A backup is written, listed, read and taken away again; another store's URL that ends in a part of the prefix sees nothing of it.
async fn round(store: &Store, prefix: &str) {
    let backup = planted();
    backup.put(store).await;
    let mut all: Vec<Key> = backup.objects.iter().map(|(key, _)| key.clone()).collect();
    all.sort();
    assert_eq!(keys(store).await, all, "{prefix}");
    assert_eq!(store.clusters().await.unwrap(), [uid()], "{prefix}");
    let found = Found::find(store, None, &Wanted::Latest, None, Timestamp::now()).await.unwrap();
    assert_eq!(found.backup.name, backup.name, "{prefix}");
    for (key, bytes) in &backup.objects {
        assert!(read(store, key).await == *bytes, "{prefix}: {key}");
        store.delete(key).await.unwrap();
    }
    assert_eq!(keys(store).await, [], "{prefix}");
}

#[tokio::test]
async fn every_kind_of_store_takes_odd_prefixes() {
    let (azure, gcs) = (Azurite::start().unwrap(), Gcs::start().unwrap());
    let folder = tempfile::tempdir().unwrap();
    for prefix in prefixes().iter().map(String::as_str).chain(["back\\slash"]) {
        let below = folder.path().join(prefix);
        std::fs::create_dir_all(&below).unwrap();
        let url = format!("file://{}", encoded(below.to_str().unwrap()));
        round(&open(&url, [].into()), prefix).await;
        assert!(below.join("v1").is_dir(), "{prefix}");
        let typed = encoded(prefix);
        round(&open(&gcs.url(&typed), gcs.variables()), prefix).await;
        // Azure takes a backslash for a slash.
        if !prefix.contains('\\') {
            round(&open(&azure.url(&typed), azure.variables()), prefix).await;
        }
    }
    // What no server can have: nothing is written anywhere else.
    let long = "x".repeat(1000);
    for (url, variables) in [(gcs.url(&long), gcs.variables()), (format!("file:///{long}"), [].into())] {
        let store = open(&url, variables);
        let backup = planted();
        let error = store.create(&backup.objects[0].0, backup.objects[0].1.clone()).await.unwrap_err();
        assert!(!error.is_outcome_unknown() && error.to_string().lines().count() == 1, "{error}");
    }
    for above in ["%2e%2e", "a/%2E%2E/b", "a//b", "%2fa", "."] {
        for begin in ["s3://backups/", "gs://backups/", "az://account/backups/", "file:///a/"] {
            let ran = run(plugin(&["list", &format!("{begin}{above}")], [].into()));
            assert_eq!(ran.code, Some(2), "{begin}{above}: {}", ran.stderr);
        }
    }
}

/// What clusters can be called in a kubeconfig.
fn clusters() -> Vec<(ClusterUid, String)> {
    let long = "x".repeat(3000);
    let odd = [
        "prod eu",
        "a/b\\c",
        "it's \"quoted\" $(id) `id`; rm -rf /",
        "100%s %2F..",
        "../../etc/passwd",
        "\u{65e5}\u{672c}\u{8a9e} \u{fc}",
        "\u{202e}evil",
        "-confirm",
        "two\nlines\tand \u{1b}[2J",
        &long,
    ];
    let uid = |number: usize| format!("{number:08x}-9f4b-4b0e-8f0e-0d6a4b1f2c3d").parse().unwrap();
    odd.iter().enumerate().map(|(number, name)| (uid(number), (*name).to_owned())).collect()
}

/// The store with those clusters, six backups of each; and the name of the newest of each.
async fn fleet(server: &Gcs) -> Vec<(ClusterUid, String, String)> {
    let store = open(&server.url("fleet"), server.variables());
    let mut fleet = Vec::new();
    for (uid, name) in clusters() {
        let mut newest = String::new();
        for days in (0..6).rev() {
            let taken = Timestamp::now() - SignedDuration::from_hours(24 * days);
            let data = Bytes::from_static(b"sealed");
            let backup = Planted::changed(&uid, taken, data, None, |record| record.cluster.name = Some(name.clone()));
            backup.put(&store).await;
            server.backdate(&backup.name.to_string(), backup.name.taken());
            newest = backup.name.to_string();
        }
        fleet.push((uid, name, newest));
    }
    fleet
}

/// What moves a cursor or turns the direction of writing.
fn is_hidden(c: char) -> bool {
    c.is_control() || c == '\u{202e}'
}

#[track_caller]
fn is_plain(text: &str) {
    assert!(!text.contains(|c: char| is_hidden(c) && !"\n\t".contains(c)), "{text:?}");
}

#[tokio::test]
async fn a_cluster_of_any_name_is_told_and_confirmed_by_it() {
    let server = Gcs::start().unwrap();
    let fleet = fleet(&server).await;
    let (url, key) = (server.url("fleet"), trust_key());
    let trust = ["--trust-key", key.to_str().unwrap()];
    let ran = |args: &[&str]| run(plugin(args, server.variables()));
    let ok = |args: &[&str]| -> Ran {
        let ran = ran(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        is_plain(&ran.stderr);
        is_plain(&ran.stdout);
        ran
    };
    for command in [&["list", &url][..], &["freshness", &url, "--max-age=3h"]] {
        let table = ok(&[command, &["--all-clusters"]].concat());
        assert_eq!(table.stdout.lines().count(), 1 + fleet.len(), "{}", table.stdout);
        let items = ok(&[command, &["--all-clusters", "-o", "json"]].concat()).json()["items"].clone();
        for (uid, name, newest) in &fleet {
            let item = items.as_array().unwrap().iter().find(|item| item["kubeSystemUid"] == uid.as_str());
            let item = item.unwrap_or_else(|| panic!("{uid}: {items}"));
            assert_eq!((&item["cluster"], &item["name"]), (&name.as_str().into(), &newest.as_str().into()));
        }
    }
    let metrics = ok(&["freshness", &url, "--max-age=3h", "--all-clusters", "-o", "prometheus"]).stdout;
    assert_eq!(metrics.lines().filter(|line| line.starts_with("kubectl_etcd_backup_fresh{")).count(), fleet.len());

    for (uid, name, newest) in &fleet {
        let (one, latest) = (server.url(&format!("fleet/{uid}")), server.url(&format!("fleet/{uid}/latest")));
        let one = one.as_str();
        ok(&[&["verify", &latest], &trust[..]].concat());
        let prune = [&["prune", one, "--keep-last=1"], &trust[..]].concat();
        // The name has to be given; how, the hint says as a shell takes it.
        let refused = ran(&prune);
        assert_eq!(refused.code, Some(4), "{name:?}: {}", refused.stderr);
        is_plain(&refused.stderr);
        let hint = refused.stderr.lines().find_map(|line| line.trim_start().strip_prefix("--confirm"));
        let hint = hint.unwrap_or_else(|| panic!("{}", refused.stderr));
        let script = format!("printf '%s\\0' --confirm{hint}");
        let words = Command::new("bash").args(["-c", &script]).output().unwrap().stdout;
        let words = String::from_utf8(words).unwrap();
        // A shell is given what is shown: where that is not all there is, the flag is typed otherwise.
        let whole = format!("--confirm={name}");
        let words: Vec<&str> =
            if name.contains(is_hidden) { vec![&whole] } else { words.split_terminator('\0').collect() };
        assert_eq!(ran(&[&prune[..], &["--confirm", "other"]].concat()).code, Some(4), "{name:?}");
        let pruned = ok(&[&prune[..], &words].concat());
        assert!(pruned.stderr.contains("3 of 3 backups deleted (9 objects)"), "{name:?}: {}", pruned.stderr);
        let left = ok(&["list", one, "-o", "json"]).json()["items"].clone();
        assert_eq!((left.as_array().map(Vec::len), &left[0]["name"]), (Some(3), &newest.as_str().into()), "{name:?}");
    }
    // Of each cluster the newest three are left, and of none anything else was taken.
    assert_eq!(keys(&open(&url, server.variables())).await.len(), fleet.len() * 3 * 3);
}

#[tokio::test]
async fn a_record_names_nothing_outside_its_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (root, target) = (folder.path().join("store"), folder.path().join("target"));
    std::fs::create_dir(&root).unwrap();
    std::fs::create_dir(&target).unwrap();
    std::fs::write(folder.path().join("outside"), "mine").unwrap();
    let url = format!("file://{}", root.display());
    let store = open(&url, [].into());
    let key = trust_key();
    let trust = ["--trust-key", key.to_str().unwrap()];
    for odd in [
        "../outside",
        "../../../outside",
        "/etc/passwd",
        "a b",
        "",
        ".",
        "\u{65e5}\u{672c}\u{8a9e}",
        "x\n\u{1b}[2J",
        &"x".repeat(5000),
    ] {
        let outside = StoredObject {
            name: odd.to_owned(),
            size: 4,
            sha256: sha256(b"mine"),
            recipients: vec![support::RECIPIENT.to_owned()],
        };
        let data = Bytes::from_static(b"sealed");
        let backup = Planted::changed(&uid(), Timestamp::now(), data, None, |record| record.objects.push(outside));
        backup.put(&store).await;
        let latest = format!("{url}/latest");
        for args in [&["verify", &latest][..], &["copy", &latest, target.to_str().unwrap()]] {
            let ran = run(plugin(&[args, &trust[..]].concat(), [].into()));
            assert_eq!(ran.code, Some(3), "{odd:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("contradicts the store"), "{odd:?}: {}", ran.stderr);
            is_plain(&ran.stderr);
        }
        let wide = run(plugin(&["list", &url, "-o", "wide"], [].into()));
        assert!(wide.code == Some(0) && wide.stdout.contains("contradicts"), "{odd:?}: {}", wide.stdout);
        is_plain(&wide.stdout);
        let fresh = run(plugin(&[&["freshness", &url, "--max-age=3h"], &trust[..]].concat(), [].into()));
        assert_eq!(fresh.code, Some(1), "{odd:?}: {}", fresh.stderr);
        is_plain(&fresh.stderr);
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "{odd:?}");
        assert_eq!(std::fs::read(folder.path().join("outside")).unwrap(), b"mine");
        for (key, _) in &backup.objects {
            store.delete(key).await.unwrap();
        }
    }
}
