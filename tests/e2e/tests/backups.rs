//! `kubectl etcd list`, `freshness` and `prune` of a store, through the binary: a folder with the layout of a store, and no cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::{Ran, names, plugin, run};
use serde_json::{Value, json};

const OURS: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
const OTHER: &str = "00000000-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// A store, and keys that sign.
struct Offline {
    folder: tempfile::TempDir,
    now: u64,
}

/// A backup to be made.
#[derive(Clone)]
struct Make {
    cluster: &'static str,
    /// Seconds ago, by its name. Negative: to come.
    taken: i64,
    /// Seconds ago, by the store.
    stored: i64,
    class: &'static str,
    level: &'static str,
    size: usize,
    key: Option<&'static str>,
    called: &'static str,
}

impl Make {
    fn new(ago: u64) -> Make {
        let ago = i64::try_from(ago).expect("seconds");
        Make {
            cluster: OURS,
            taken: ago,
            stored: ago,
            class: "scheduled",
            level: "written",
            size: 100,
            key: None,
            called: "prod",
        }
    }
}

impl Offline {
    fn new() -> Offline {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let offline = Offline { folder: tempfile::tempdir().expect("a folder"), now };
        for key in ["good", "bad"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"]).arg(offline.path(key));
            run(keygen).expect_code(0);
        }
        std::fs::create_dir(offline.path("s")).expect("a store");
        offline
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self) -> String {
        format!("file://{}", self.path("s").display())
    }

    fn cluster(&self, cluster: &str) -> PathBuf {
        self.path("s").join("v1").join(cluster)
    }

    /// A time as names have it, and as records have it.
    fn times(&self, ago: i64) -> (String, String) {
        let mut date = Command::new("date");
        let second = i64::try_from(self.now).expect("seconds") - ago;
        date.args(["-u", "-d", &format!("@{second}"), "+%Y%m%dT%H%M%SZ %Y-%m-%dT%H:%M:%SZ"]);
        let both = run(date).expect_code(0).stdout;
        let (name, record) = both.trim().split_once(' ').expect("two times");
        (name.to_owned(), record.to_owned())
    }

    fn write(&self, path: &Path, content: &[u8], ago: i64) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        std::fs::write(path, content).expect("a file");
        let second = u64::try_from(i64::try_from(self.now).expect("seconds") - ago).expect("after 1970");
        let then = UNIX_EPOCH + Duration::from_secs(second);
        std::fs::File::options().write(true).open(path).expect("the file").set_modified(then).expect("its time");
    }

    /// Makes a backup, and gives its name.
    fn make(&self, make: &Make) -> String {
        let (time, taken_at) = self.times(make.taken);
        let name = format!("{time}-48211-{}-aaaaaaaa", make.class);
        let at = |suffix: &str| self.cluster(make.cluster).join(format!("{name}{suffix}"));
        let record = json!({
            "apiVersion": "kubectl-etcd/v1", "kind": "StoredBackup", "name": name, "class": make.class, "takenAt": taken_at,
            "program": {"name": "kubectl-etcd", "version": "0.1.0"}, "level": make.level,
            "cluster": {"uid": make.cluster, "name": make.called, "etcdClusterId": "1"},
            "source": {"node": "cp1", "name": "cp1", "memberId": "1", "role": "leader", "etcdVersion": "3.5.16"},
            "snapshot": {"size": 1000, "sha256": "00"}, "recipients": ["age1x"],
            "objects": [{"name": format!("{name}.db.zst.age"), "size": 100, "sha256": "00", "recipients": ["age1x"]}],
            "recoveryPlan": {},
        });
        let record = record.to_string();
        self.write(&at(".db.zst.age"), &vec![b'x'; make.size], make.stored);
        self.write(&at(".json"), record.as_bytes(), make.stored);
        if let Some(key) = make.key {
            let mut sign = Command::new("ssh-keygen");
            sign.args(["-q", "-Y", "sign", "-n", "kubectl-etcd", "-f"]).arg(self.path(key)).arg(at(".json"));
            sign.stdin(Stdio::null());
            run(sign).expect_code(0);
        }
        name
    }

    fn plugin(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(plugin());
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("KUBECONFIG", "/nonexistent").env("HOME", self.folder.path());
        run(command)
    }

    fn freshness(&self, args: &[&str]) -> Ran {
        self.plugin(&[&["freshness", &self.url(), "-o", "json"], args].concat())
    }

    fn files(&self) -> Vec<String> {
        names(&self.cluster(OURS))
    }
}

fn promtool(metrics: &str) {
    use std::io::Write;
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool is installed by tests/install");
    child.stdin.take().expect("stdin").write_all(metrics.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{metrics}", String::from_utf8_lossy(&said));
}

#[test]
fn freshness_is_about_the_newest_backup_that_counts() {
    let offline = Offline::new();
    let asked = ["--max-age", "3h"];
    let state = |ran: &Ran| ran.json()["items"][0]["state"].clone();
    let ran = offline.freshness(&asked).expect_code(1).expect_error(&["none: there is no backup"]);
    assert_eq!(state(&ran), "none");

    let old = offline.make(&Make { key: Some("good"), ..Make::new(5 * HOUR) });
    let ran = offline.freshness(&asked).expect_code(1).expect_error(&["stale: the newest backup is "]);
    assert_eq!((state(&ran), &ran.json()["items"][0]["name"]), ("stale".into(), &old.as_str().into()));
    let fresh = offline.freshness(&["--max-age", "6h"]).expect_code(0);
    assert_eq!((state(&fresh), &fresh.json()["items"][0]["cluster"]), ("fresh".into(), &"prod".into()));
    assert!(fresh.stderr.contains("was not checked") && fresh.stderr.contains("--trust-key FILE"), "{}", fresh.stderr);
    let trusted = offline.freshness(&["--max-age", "6h", "--trust-key", "good.pub"]).expect_code(0);
    assert!(trusted.stderr.is_empty(), "{}", trusted.stderr);

    // None of these counts, whatever it is called: a digest, another size, from the future, ahead of its store.
    offline.make(&Make { level: "digest", key: Some("good"), ..Make::new(HOUR) });
    offline.make(&Make { size: 99, key: Some("good"), ..Make::new(HOUR / 2) });
    offline.make(&Make { taken: -86_400, stored: 600, ..Make::new(0) });
    offline.make(&Make { taken: 0, stored: 86_400, class: "manual", ..Make::new(0) });
    let ran = offline.freshness(&asked).expect_code(1).expect_error(&["stale: "]);
    let item = &ran.json()["items"][0];
    assert_eq!((&item["name"], &item["suspects"]), (&old.as_str().into(), &2.into()));
    assert_eq!(item["passedOver"].as_array().map(Vec::len), Some(2));

    // A planted one counts only as long as no key is trusted.
    let planted = offline.make(&Make { key: Some("bad"), class: "manual", ..Make::new(60) });
    let unsigned = offline.make(&Make { class: "pre-restore", ..Make::new(30) });
    let ran = offline.freshness(&asked).expect_code(0);
    assert_eq!(ran.json()["items"][0]["name"], unsigned.as_str());
    let ran = offline.freshness(&["--max-age", "3h", "--trust-key", "good.pub"]).expect_code(1);
    let item = &ran.json()["items"][0];
    assert_eq!(item["name"], old.as_str());
    let reason = |name: &str| {
        let found = item["passedOver"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name));
        found.and_then(|one| one["reason"].as_str()).unwrap_or_default().to_owned()
    };
    assert!(reason(&planted).contains("which is not trusted"), "{item}");
    assert_eq!(reason(&unsigned), "its record is not signed");
    // A signature of another record.
    let folder = offline.cluster(OURS);
    std::fs::copy(folder.join(format!("{old}.json.sig")), folder.join(format!("{unsigned}.json.sig"))).expect("a copy");
    let ran = offline.freshness(&["--max-age", "3h", "--trust-key", "good.pub"]).expect_code(1);
    assert!(ran.stdout.contains("it is a signature of other bytes"), "{}", ran.stdout);
    // A higher level takes a proof.
    offline.freshness(&["--max-age", "9h", "--level", "opened"]).expect_code(1).expect_error(&["opened is asked for"]);
    // What a proof is called proves nothing: it says of which record and level it is, and it is signed where keys are given.
    let proof = folder.join(format!("{old}.opened-20261127T113000Z-b.proof"));
    let opened = ["--max-age", "9h", "--level", "opened"];
    let signed = [&opened[..], &["--trust-key", "good.pub"]].concat();
    let sha256 = |name: &str| {
        let mut sum = Command::new("sha256sum");
        sum.arg(folder.join(name));
        run(sum).expect_code(0).stdout.split(' ').next().unwrap_or_default().to_owned()
    };
    let of = |level: &str, record: &str| {
        let by = json!({ "name": "kubectl-etcd", "version": "0.1.0" });
        let proof = json!({
            "apiVersion": "kubectl-etcd/v1", "kind": "BackupProof", "level": level, "at": "2026-11-27T11:30:00Z", "by": by,
            "recordSha256": sha256(record),
        });
        proof.to_string().into_bytes()
    };
    let (right, other) = (format!("{old}.json"), format!("{unsigned}.json"));
    for content in [b"".to_vec(), b"{}".to_vec(), of("read", &right), of("opened", &other)] {
        offline.write(&proof, &content, 60);
        offline.freshness(&opened).expect_code(1).expect_error(&["opened is asked for"]);
    }
    offline.write(&proof, &of("opened", &right), 60);
    let ran = offline.freshness(&opened).expect_code(0);
    assert_eq!(ran.json()["items"][0]["level"], "opened");
    offline.freshness(&signed).expect_code(1);
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-Y", "sign", "-n", "kubectl-etcd", "-f"]).arg(offline.path("good")).arg(&proof);
    sign.stdin(Stdio::null());
    run(sign).expect_code(0);
    offline.freshness(&signed).expect_code(0);
}

#[test]
fn nobody_can_tell_of_a_store_that_is_away_or_whose_clock_is_off() {
    let offline = Offline::new();
    let gone = format!("file://{}", offline.path("gone").display());
    let away = ["freshness", &gone, "--max-age", "3h"];
    offline.plugin(&away).expect_code(4).expect_error(&["the folder does not exist", "hint: "]);
    // Whoever reads the output learns that, too.
    for all in [&[][..], &["--all-clusters"]] {
        let ran = offline.plugin(&[&away[..], all, &["-o", "prometheus"]].concat()).expect_code(4);
        promtool(&ran.stdout);
        let failed = "kubectl_etcd_backup_check_success{cluster_uid=\"\",cluster=\"\"} 0";
        assert!(ran.stdout.contains(failed), "{}", ran.stdout);
        let document = offline.plugin(&[&away[..], all, &["-o", "json"]].concat()).expect_code(4).json();
        assert_eq!((&document["items"][0]["state"], &document["items"][0]["fresh"]), (&"unknown".into(), &().into()));
    }
    let mut command = Command::new(plugin());
    command.args(["freshness", "s3://b/p?region=x&endpoint=https://127.0.0.1:1", "--max-age", "3h"]);
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "secret-for-a-test").env("NO_PROXY", "*");
    let ran = run(command).expect_code(4);
    assert!(!ran.stderr.contains("secret-for-a-test"), "{}", ran.stderr);
    offline.make(&Make::new(HOUR));
    offline.make(&Make { taken: 60, stored: -7200, ..Make::new(60) });
    let ran = offline.freshness(&["--max-age", "3h"]).expect_code(4).expect_error(&["one of the clocks is wrong"]);
    assert_eq!((&ran.json()["items"][0]["fresh"], &ran.json()["items"][0]["state"]), (&Value::Null, &"unknown".into()));
    let usage = offline.plugin(&["freshness", "s3://user:pw@b/p", "--max-age", "3h"]).expect_code(2);
    assert!(!usage.stderr.contains("pw@"), "{}", usage.stderr);
    offline.freshness(&["--max-age", "3h", "--trust-key", "nosuch.pub"]).expect_code(2);
}

#[test]
fn a_fleet_is_told_a_line_and_a_metric_a_cluster() {
    let offline = Offline::new();
    offline.make(&Make::new(HOUR));
    offline.make(&Make { cluster: OTHER, called: "st\"ag\u{1b}[2J\ning", ..Make::new(9 * HOUR) });
    offline
        .freshness(&["--max-age", "3h"])
        .expect_code(2)
        .expect_error(&["has backups of 2 clusters", "--cluster-uid "]);
    let ours = format!("{}/{OURS}", offline.url());
    offline.plugin(&["freshness", &ours, "--max-age", "3h"]).expect_code(0);
    let all = offline.freshness(&["--max-age", "3h", "--all-clusters"]).expect_code(1);
    assert_eq!(all.json()["items"].as_array().map(Vec::len), Some(2));
    let url = offline.url();
    let metrics = offline.plugin(&["freshness", &url, "--max-age", "3h", "--all-clusters", "-o", "prometheus"]);
    let metrics = metrics.expect_code(1).stdout;
    promtool(&metrics);
    let line = |metric: &str, uid: &str| {
        let start = format!("{metric}{{cluster_uid=\"{uid}\",");
        metrics.lines().find_map(|line| line.strip_prefix(start.as_str())).map(str::to_owned)
    };
    assert_eq!(line("kubectl_etcd_backup_fresh", OURS).as_deref(), Some("cluster=\"prod\"} 1"));
    assert_eq!(line("kubectl_etcd_backup_level", OURS).as_deref(), Some("cluster=\"prod\"} 1"));
    assert!(line("kubectl_etcd_backup_fresh", OTHER).is_some_and(|line| line.ends_with("\\ning\"} 0")), "{metrics}");
    let list = offline.plugin(&["list", &url, "--all-clusters"]).expect_code(0).stdout;
    assert!(list.lines().count() == 3 && !list.contains('\u{1b}'), "{list}");
}

#[test]
fn a_store_and_a_folder_are_listed_in_one_table() {
    let offline = Offline::new();
    let newest = offline.make(&Make { key: Some("good"), ..Make::new(HOUR) });
    let older = offline.make(&Make { class: "manual", level: "digest", ..Make::new(2 * HOUR) });
    let late = offline.make(&Make { taken: 30 * 86_400, stored: 60, ..Make::new(0) });
    let folder = offline.cluster(OURS);
    offline.write(&folder.join("20200101T000000Z-1-manual-bbbbbbbb.db.zst.age"), b"half", 60);
    offline.write(&folder.join("a\u{1b}[2J b.json"), b"{}", 60);
    let url = offline.url();
    let list = |args: &[&str]| offline.plugin(&[&["list", &url], args].concat());
    let ran = list(&["-o", "json"]).expect_code(0).expect_error(&["1 other objects in "]);
    let shown: Vec<(Value, Value, Value)> = ran.json()["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| (item["name"].clone(), item["state"].clone(), item["level"].clone()))
        .collect();
    let unfinished = "20200101T000000Z-1-manual-bbbbbbbb";
    let expected = [
        (newest.as_str(), "committed", "written".into()),
        (older.as_str(), "committed", Value::Null),
        (late.as_str(), "backdated", Value::Null),
        (unfinished, "unfinished", Value::Null),
    ];
    assert_eq!(shown, expected.map(|(name, state, level)| (name.into(), state.into(), level)));
    let wide = list(&["-o", "wide"]).expect_code(0).stdout;
    assert!(wide.lines().nth(2).is_some_and(|line| line.split_whitespace().nth(6) == Some("digest")), "{wide}");
    let names = list(&["-o", "name"]).expect_code(0).stdout;
    assert!(names.starts_with(&format!("{url}/{OURS}/{newest}\n")), "{names}");
    // With a folder of files beside it.
    std::fs::create_dir(offline.path("files")).expect("a folder");
    offline.write(&offline.path("files/etcd.db"), b"no snapshot", 60);
    let ran = list(&["files", "--no-verify"]).expect_code(0);
    assert!(ran.stdout.contains("files/etcd.db") && ran.stdout.contains(&newest), "{}", ran.stdout);
    let ran = list(&["files"]).expect_code(3).expect_error(&["1 of 1 snapshots is damaged"]);
    assert!(ran.stdout.contains(&newest), "{}", ran.stdout);
    offline.plugin(&["list", "files", "--all-clusters"]).expect_code(2).expect_error(&["files is not a store"]);
    offline.plugin(&["list", "file:///nosuch/store"]).expect_code(1).expect_error(&["the folder does not exist"]);
}

#[test]
fn prune_deletes_what_no_rule_keeps_and_nothing_else() {
    let offline = Offline::new();
    let url = offline.url();
    let prune = |args: &[&str]| offline.plugin(&[&["prune", &url], args].concat());
    let good = |ago: u64| Make { key: Some("good"), ..Make::new(ago) };
    let scheduled: Vec<String> = (1..=8).map(|day| offline.make(&good(day * DAY + HOUR))).collect();
    let manual = offline.make(&Make { class: "manual", ..good(40 * DAY) });
    let planted = offline.make(&Make { key: Some("bad"), ..Make::new(30 * DAY) });
    let late = offline.make(&Make { taken: 50 * 86_400, stored: 86_400, ..good(0) });
    let other = offline.make(&Make { cluster: OTHER, ..good(60 * DAY) });
    let left = offline.cluster(OURS).join("20200101T000000Z-1-manual-bbbbbbbb.db.zst.age");
    offline.write(&left, b"half", 8 * 86_400);
    // Of a writer that was killed, and of one that may be at work.
    let (killed, at_work) = (offline.cluster(OURS).join(".part-killed"), offline.cluster(OURS).join(".part-at-work"));
    offline.write(&killed, b"half", 25 * 3600);
    offline.write(&at_work, b"half", 3600);
    // Put beside a backup that goes.
    let foreign = format!("{}.db.zst", scheduled[4]);
    offline.write(&offline.cluster(OURS).join(&foreign), b"foreign", 3600);
    let before = offline.files();
    let ours = ["--cluster-uid", OURS, "--trust-key", "good.pub"];
    let untouched = || assert_eq!(offline.files(), before);

    // Without a rule, without a cluster, without consent, while the newest is stale: nothing.
    prune(&ours).expect_code(2).expect_error(&["--keep-last"]);
    prune(&["--keep-last", "1", "--trust-key", "good.pub"]).expect_code(2).expect_error(&["backups of 2 clusters"]);
    let stale = [&ours[..], &["--keep-last", "4", "--max-age", "24h"]].concat();
    prune(&stale).expect_code(4).expect_error(&["newest backup is stale"]);
    let held = prune(&[&stale[..], &["--left-overs", "-o", "json"]].concat()).expect_code(4).json();
    assert!(
        held["leftOvers"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["delete"] == false))
    );
    untouched();
    let newest = offline.make(&good(HOUR));
    let before = offline.files();
    let untouched = || assert_eq!(offline.files(), before);
    let keep = [&ours[..], &["--keep-last", "4"]].concat();
    prune(&keep).expect_code(4).expect_error(&["confirmation required", "--confirm prod"]);
    // Unsigned records must not count in place of signed ones.
    let unchecked = ["--cluster-uid", OURS, "--keep-last", "4", "--confirm", "prod"];
    prune(&unchecked).expect_code(4).expect_error(&["backups are signed", "--trust-key FILE"]);
    let both = format!("{url}/{OTHER}");
    let two = ["prune", &both, "--cluster-uid", OURS, "--keep-last", "4", "--trust-key", "good.pub"];
    offline.plugin(&two).expect_code(2).expect_error(&["the store names cluster"]);
    untouched();
    prune(&[&keep[..], &["--confirm", "other"]].concat()).expect_code(4);
    let ran = prune(&[&keep[..], &["--dry-run=client", "-o", "json"]].concat()).expect_code(0);
    untouched();
    let plan = ran.json();
    let gone: Vec<&str> = plan["backups"]
        .as_array()
        .expect("backups")
        .iter()
        .filter(|one| one["delete"] == true)
        .filter_map(|one| one["name"].as_str())
        .collect();
    // The newest and three of the days stay; the manual one is counted by itself.
    let expected: Vec<&str> = scheduled[3..].iter().map(String::as_str).collect();
    assert_eq!(gone, expected, "{plan}");
    let reasons = plan["untouched"].to_string();
    assert!(reasons.contains(&planted) && reasons.contains("not trusted") && reasons.contains(&late), "{plan}");
    assert!(reasons.contains(&foreign), "{plan}");
    assert_eq!(plan["leftOvers"][0]["delete"], false);

    let ran = prune(&[&keep[..], &["--confirm", "prod"]].concat()).expect_code(0);
    assert!(
        ran.stdout.contains("delete") && ran.stderr.contains("5 of 5 backups deleted (15 objects)"),
        "{}",
        ran.stderr
    );
    let after = offline.files();
    let is_gone = |file: &String| *file != foreign && expected.iter().any(|name| file.starts_with(name));
    assert_eq!(after, before.iter().filter(|file| !is_gone(file)).cloned().collect::<Vec<_>>());
    for kept in [&newest, &scheduled[0], &manual, &planted, &late] {
        assert!(after.iter().any(|file| file.starts_with(kept.as_str())), "{kept}");
    }
    assert!(names(&offline.cluster(OTHER)).iter().any(|file| file.starts_with(&other)));
    // What is left over goes only when that is said; a second time nothing is left to delete.
    let also = [&keep[..], &["--confirm", "prod", "--left-overs"]].concat();
    prune(&also).expect_code(0).expect_error(&["1 of 1 backups deleted (2 objects)"]);
    assert!(!left.exists() && !killed.exists() && at_work.exists());
    prune(&also).expect_code(0).expect_error(&["nothing to delete"]);
}
