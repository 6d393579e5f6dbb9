//! Keys that were changed between backups: what opens with which, what counts by which, and that the key which is missing is named.

use e2e::{Ran, names, unpacked};
use etcd_store::Name;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::offline::{Keys, Offline};

/// Backups of six times, the oldest first: three with the old keys, one for both recipients with the new signature, and two with the new keys.
struct Ring {
    offline: Offline,
    /// The recipients.
    old: String,
    new: String,
    /// Days ago, and the name.
    backups: Vec<(i64, Name)>,
}

const OLD: &str = "sign.pub";
const NEW: &str = "stranger.pub";

impl Ring {
    fn new() -> Ring {
        let offline = Offline::new();
        let (old, new) = (offline.recipient.clone(), recipient(&offline, "other.txt"));
        let snapshot = unpacked("snapshots/kubeadm-ha.db.zst");
        let keys = |recipients: &[&String], sign| Keys {
            recipients: recipients.iter().map(|one| (*one).clone()).collect(),
            sign,
        };
        let backups = [
            (9, keys(&[&old], "sign")),
            (8, keys(&[&old], "sign")),
            (7, keys(&[&old], "sign")),
            (6, keys(&[&old, &new], "stranger")),
            (5, keys(&[&new], "stranger")),
            (0, keys(&[&new], "stranger")),
        ];
        let now = Timestamp::now() - SignedDuration::from_mins(1);
        let backups = backups.iter().map(|(days, keys)| {
            (*days, offline.backup_with(&snapshot, now - SignedDuration::from_hours(24 * days), keys))
        });
        let backups = backups.collect();
        Ring { offline, old, new, backups }
    }

    fn named(&self, days: i64) -> &Name {
        &self.backups.iter().find(|(ago, _)| *ago == days).unwrap().1
    }

    fn run(&self, args: &[&str], keys: &[&str]) -> Ran {
        let trust = keys.iter().flat_map(|key| ["--trust-key", *key]);
        self.offline.run(&args.iter().copied().chain(trust).collect::<Vec<_>>())
    }
}

fn recipient(offline: &Offline, identity: &str) -> String {
    offline.tool("age-keygen", &["-y", identity]).stdout.trim().to_owned()
}

/// The fingerprint of a public key, as `ssh-keygen` prints it.
fn fingerprint(offline: &Offline, key: &str) -> String {
    let told = offline.tool("ssh-keygen", &["-l", "-f", key]).stdout;
    told.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_backup_opens_with_the_identity_of_its_time() {
    let ring = Ring::new();
    let verify = |days: i64, identities: &[&str]| {
        let reference = ring.offline.url(&ring.named(days).to_string());
        let identities = identities.iter().flat_map(|one| ["--identity", *one]);
        ring.run(&["verify", &reference].into_iter().chain(identities).collect::<Vec<_>>(), &[OLD, NEW])
    };
    let (old, new) = ("identity.txt", "other.txt");
    for (days, fits) in [(9, &[old][..]), (6, &[old, new]), (5, &[new]), (0, &[new])] {
        for identity in [old, new] {
            let ran = verify(days, &[identity]);
            if fits.contains(&identity) {
                assert!(ran.expect_code(0).stdout.contains("is whole"), "{days} {identity}");
                continue;
            }
            // Whose identity is wanted, and whose was given.
            let (wanted, given) = if identity == old { (&ring.new, &ring.old) } else { (&ring.old, &ring.new) };
            let said = format!("is encrypted for {wanted}, and the identity that is given is of {given}");
            ran.expect_code(2).expect_error(&[&said, "--identity FILE"]);
        }
        // Whoever keeps both opens all.
        verify(days, &[old, new]).expect_code(0);
    }
    // A file with both is as good, and a restore goes by the same.
    let both = ["identity.txt", "other.txt"].map(|one| std::fs::read_to_string(ring.offline.path(one)).unwrap());
    std::fs::write(ring.offline.path("ring.txt"), both.concat()).unwrap();
    let restore = |days: i64, identity: &str, to: &str| {
        let reference = ring.offline.url(&ring.named(days).to_string());
        let args = ["restore", &reference, "--data-dir", to, "--name", "cp1", "--identity", identity];
        ring.run(&args, &[OLD, NEW])
    };
    restore(9, new, "none").expect_code(2).expect_error(&[&ring.old]);
    assert!(!ring.offline.path("none").exists());
    for (days, to) in [(9, "from-old"), (0, "from-new")] {
        restore(days, "ring.txt", to).expect_code(0);
        assert!(ring.offline.path(to).join("member/snap/db").is_file());
    }
}

#[test]
fn a_backup_counts_by_the_signing_key_of_its_time() {
    let ring = Ring::new();
    let (url, latest) = (ring.offline.url(""), ring.offline.latest());
    let (old, new) = (fingerprint(&ring.offline, OLD), fingerprint(&ring.offline, NEW));
    let identities = ["--identity", "identity.txt", "--identity", "other.txt"];
    let verify = |reference: &str, keys: &[&str]| ring.run(&[&["verify", reference], &identities[..]].concat(), keys);
    // Of one that is named, the key that is missing is told.
    for (days, right, wrong, missing) in [(9, OLD, NEW, &old), (6, NEW, OLD, &new), (0, NEW, OLD, &new)] {
        let reference = ring.offline.url(&ring.named(days).to_string());
        verify(&reference, &[right]).expect_code(0);
        verify(&reference, &[OLD, NEW]).expect_code(0);
        let refused = verify(&reference, &[wrong]).expect_code(4);
        refused.expect_error(&[&format!("it is of key {missing}, which is not trusted"), "--trust-key FILE"]);
    }
    // The latest is the newest that counts; what is passed over is told with the key that is missing.
    for (keys, days) in [(&[OLD][..], 7), (&[NEW], 0), (&[OLD, NEW], 0)] {
        let told = verify(&latest, keys).expect_code(0);
        let signed = format!("backup {} is signed by ", ring.named(days));
        assert!(told.stderr.contains(&signed), "{keys:?}: {}", told.stderr);
        let passed_over = told.stderr.matches("is passed over").count();
        assert_eq!(passed_over, if keys == [OLD] { 3 } else { 0 }, "{keys:?}: {}", told.stderr);
        assert!(passed_over == 0 || told.stderr.contains(&new), "{}", told.stderr);
        let fresh = ring.run(&["freshness", &url, "--max-age=24h", "-o", "json"], keys);
        let item = fresh.json()["items"][0].clone();
        assert_eq!(item["name"], ring.named(days).to_string(), "{keys:?}: {item}");
        assert_eq!(fresh.status.code(), Some(if days == 0 { 0 } else { 1 }), "{keys:?}: {}", fresh.stderr);
    }
    // All are listed, whoever has signed them.
    let listed = ring.run(&["list", &url, "-o", "json"], &[]).expect_code(0).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(ring.backups.len()));
    // A key that is trusted up to a time counts up to that time, whenever it has signed: `valid-before` is no way to retire it.
    let key = std::fs::read_to_string(ring.offline.path(OLD)).unwrap();
    std::fs::write(ring.offline.path("retired"), format!("ci valid-before=\"20200101\" {key}")).unwrap();
    let reference = ring.offline.url(&ring.named(9).to_string());
    verify(&reference, &["retired", NEW]).expect_code(4).expect_error(&[&old, "is valid only before 2020-01-01"]);
    // A copy into another store goes by the same keys, and takes the old ones along.
    std::fs::create_dir(ring.offline.path("vault")).unwrap();
    let vault = format!("file://{}", ring.offline.path("vault").display());
    ring.run(&["copy", &reference, &vault], &[NEW]).expect_code(4).expect_error(&[&old]);
    assert_eq!(names(&ring.offline.path("vault")), [""; 0]);
    ring.run(&["copy", &reference, &vault], &[NEW, OLD]).expect_code(0);
    verify(&format!("{vault}/latest"), &[OLD]).expect_code(0);
}

#[test]
fn backups_of_both_keys_are_pruned_by_both() {
    let ring = Ring::new();
    let url = ring.offline.url("");
    let prune = |keys: &[&str], more: &[&str]| ring.run(&[&["prune", &url, "--keep-last=1"], more].concat(), keys);
    let folder = ring.offline.path("store/v1").join(ring.offline.cluster.as_str());
    let all = names(&folder);
    let decided = |plan: &Value| -> Vec<(String, bool)> {
        let of = |one: &Value| (one["name"].as_str().unwrap().to_owned(), one["delete"].as_bool().unwrap());
        plan["backups"].as_array().unwrap().iter().map(of).collect()
    };
    let expected = |backups: &[(i64, bool)]| -> Vec<(String, bool)> {
        backups.iter().map(|(days, delete)| (ring.named(*days).to_string(), *delete)).collect()
    };
    let dry = ["--dry-run=client", "-o", "json"];
    // By the old key alone the newest is too old: nothing is deleted.
    let held = prune(&[OLD], &dry).expect_code(4).expect_error(&["the newest backup is stale"]);
    assert!(decided(&held.json()).iter().all(|(_, delete)| !delete));
    // By the new key alone those of the old are left alone, and the newest three of the new stay.
    let plan = prune(&[NEW], &dry).expect_code(0).json();
    assert_eq!(decided(&plan), expected(&[(0, false), (5, false), (6, false)]));
    let untouched = plan["untouched"].to_string();
    assert!([7, 8, 9].iter().all(|days| untouched.contains(&ring.named(*days).to_string())), "{untouched}");
    assert!(untouched.contains(&fingerprint(&ring.offline, OLD)) && untouched.contains("not trusted"), "{untouched}");
    prune(&[NEW], &["--confirm=prod-eu"]).expect_code(0).expect_error(&["nothing to delete"]);
    assert_eq!(names(&folder), all);
    // By both, the newest three stay whoever has signed them.
    let plan = prune(&[OLD, NEW], &dry).expect_code(0).json();
    let both = [(0, false), (5, false), (6, false), (7, true), (8, true), (9, true)];
    assert_eq!(decided(&plan), expected(&both));
    prune(&[OLD, NEW], &["--confirm=prod-eu"]).expect_code(0).expect_error(&["3 of 3 backups deleted (12 objects)"]);
    let left: Vec<String> = names(&folder);
    let stays =
        |file: &&String| both.iter().any(|(days, delete)| !delete && file.starts_with(&ring.named(*days).to_string()));
    assert_eq!(left, all.iter().filter(stays).cloned().collect::<Vec<_>>());
    // The newest opens with the new identity.
    let identity = ["verify", &ring.offline.latest(), "--identity", "other.txt"];
    ring.run(&identity, &[NEW]).expect_code(0);
}

#[test]
fn the_first_backup_of_a_new_key_leaves_the_newest_of_the_old() {
    let ring = Ring::new();
    // Only the newest is of the new key.
    let folder = ring.offline.path("store/v1").join(ring.offline.cluster.as_str());
    for days in [5, 6] {
        for file in names(&folder).iter().filter(|file| file.starts_with(&ring.named(days).to_string())) {
            std::fs::remove_file(folder.join(file)).unwrap();
        }
    }
    let url = ring.offline.url("");
    let prune = |keys: &[&str]| ring.run(&["prune", &url, "--keep-last=1", "--confirm=prod-eu"], keys);
    prune(&[OLD, NEW]).expect_code(0).expect_error(&["1 of 1 backups deleted"]);
    let left = names(&folder);
    for (days, stays) in [(0, true), (7, true), (8, true), (9, false)] {
        let name = ring.named(days).to_string();
        assert_eq!(left.iter().any(|file| file.starts_with(&name)), stays, "{days}: {left:?}");
    }
}
