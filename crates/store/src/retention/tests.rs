//! The decisions against an independent model, for any backups and any clock; and restic's own against `restic forget`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::Name;
use crate::freshness::Newest;

const OURS: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
const OTHER: &str = "00000000-9f4b-4b0e-8f0e-0d6a4b1f2c3d";

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn backup(cluster: &str, taken: i64, stored: i64, class: Class) -> Backup {
    let (cluster, name) = (cluster.parse().unwrap(), Name::new(time(taken), 7, class));
    let objects = [Part::Data { encrypted: true }, Part::Record].map(|part| Object {
        key: Key::new(&cluster, &name, part),
        size: 5,
        modified: time(stored),
    });
    let modified = time(stored);
    let (size, node_files, has_signature, proof) = (5, None, false, None);
    let objects = objects.to_vec();
    Backup {
        cluster,
        name,
        size,
        encrypted: true,
        node_files,
        has_signature,
        proof,
        modified,
        objects,
        foreign: Vec::new(),
    }
}

fn freshness(state: State) -> Freshness {
    let newest: Option<Newest> = None;
    Freshness { state, why: "for a test".to_owned(), newest, passed_over: Vec::new(), suspects: 0 }
}

/// A period in words: what restic's manual calls an hour, a day, a week, a month, a year.
fn period(rule: Rule, time: Timestamp) -> String {
    let format = match rule {
        Rule::Hourly => "%Y-%m-%d %H",
        Rule::Daily => "%Y-%m-%d",
        Rule::Weekly => "%G-%V",
        Rule::Monthly => "%Y-%m",
        Rule::Yearly => "%Y",
        Rule::Last | Rule::Within => unreachable!("has no period"),
    };
    time.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// What restic's manual says, with sets: of the newest N periods that have one, the newest each; and the oldest if there are fewer.
fn model(times: &BTreeSet<(Timestamp, usize)>, keep: &Keep) -> BTreeSet<usize> {
    let mut kept: BTreeSet<usize> = times.iter().rev().take(keep.last as usize).map(|(_, id)| *id).collect();
    for (rule, count) in [
        (Rule::Hourly, keep.hourly),
        (Rule::Daily, keep.daily),
        (Rule::Weekly, keep.weekly),
        (Rule::Monthly, keep.monthly),
        (Rule::Yearly, keep.yearly),
    ] {
        // The newest of a period is what is put there last.
        let periods: BTreeMap<String, usize> = times.iter().map(|(time, id)| (period(rule, *time), *id)).collect();
        kept.extend(periods.values().rev().take(count as usize));
        if periods.len() < count as usize {
            kept.extend(times.first().map(|(_, id)| *id));
        }
    }
    kept
}

fn keeps() -> impl Strategy<Value = Keep> {
    let count = || prop_oneof![Just(0_u32), 1..5_u32, Just(40_u32)];
    (count(), count(), count(), count(), count(), count()).prop_map(|(last, hourly, daily, weekly, monthly, yearly)| {
        Keep { last, hourly, daily, weekly, monthly, yearly, within: None }
    })
}

/// When, how much later stored, class, level if genuine, whose.
type Made = (i64, i64, Class, Option<Level>, bool);

fn made() -> impl Strategy<Value = Vec<Made>> {
    let class = prop::sample::select(Class::ALL.to_vec());
    let level = prop::option::weighted(0.8, prop::sample::select(Level::ALL.to_vec()));
    // Hours in a few days, or days in a few years.
    let when = prop_oneof![(0..500_i64).prop_map(|hour| hour * 1800), (0..1500_i64).prop_map(|day| day * 43_000)];
    prop::collection::vec((when, -900..86_400_i64, class, level, prop::bool::weighted(0.9)), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_what_the_model_says(made in made(), keep in keeps(), ahead in 0..2_000_000_i64, state in 0..4_usize) {
        let start = 1_700_000_000_i64;
        let now = time(start + made.iter().map(|one| one.0).max().unwrap_or(0) + ahead);
        let state = [State::Fresh, State::Stale, State::None, State::CannotTell][state];
        let facts: Vec<Fact> = made.iter().map(|(when, later, class, level, ours)| Fact {
            backup: backup(if *ours { OURS } else { OTHER }, start + when, start + when + later, *class),
            genuine: level.ok_or_else(|| "not signed".to_owned()),
        }).collect();
        let ours: ClusterUid = OURS.parse().unwrap();
        let plan = plan(&ours, &facts, &freshness(state), &keep, now);
        let deleted: BTreeSet<Name> = plan.deleted().map(|one| one.backup.name.clone()).collect();

        // The model: by number, over sets.
        let genuine = |id: &usize| made[*id].4 && made[*id].3.is_some();
        let when = |id: usize| time(start + made[id].0 + made[id].1.min(0));
        let key = |id: usize| (when(id), facts[id].backup.name.clone());
        let mut ranked: Vec<usize> = (0..made.len()).filter(genuine).collect();
        ranked.sort_by_key(|id| key(*id));
        let mut stays: BTreeSet<usize> = BTreeSet::new();
        for class in Class::ALL {
            let of_class: BTreeSet<(Timestamp, usize)> = ranked.iter().enumerate()
                .filter(|(_, id)| made[**id].2 == class).map(|(rank, id)| (when(*id), rank)).collect();
            stays.extend(model(&of_class, &keep).into_iter().map(|rank| ranked[rank]));
        }
        stays.extend(ranked.iter().rev().filter(|id| made[**id].3 >= Some(Level::Written)).take(3));
        stays.extend(ranked.iter().filter(|id| {
            let (when, later, ..) = made[**id];
            now.as_second() - (start + when + later.max(0)) < 86_400
        }));
        let all_stay = state != State::Fresh || keep.is_empty();
        let expected: BTreeSet<Name> = ranked.iter().filter(|id| !all_stay && !stays.contains(id))
            .map(|id| facts[*id].backup.name.clone()).collect();
        prop_assert_eq!(&deleted, &expected);
        prop_assert_eq!(plan.held.is_some(), all_stay);
        // What is not genuine is told, and changes nothing for the others.
        let genuine: Vec<Fact> = facts.iter().filter(|fact| fact.genuine.is_ok()).cloned().collect();
        let without = super::plan(&ours, &genuine, &freshness(state), &keep, now);
        prop_assert_eq!(&without.decided, &plan.decided);
        prop_assert_eq!(plan.decided.len() + plan.passed_over.len(), made.iter().filter(|one| one.4).count());
    }
}

#[test]
fn a_deletion_that_is_cut_off_leaves_no_record_without_data() {
    let (cluster, name): (ClusterUid, Name) =
        (OURS.parse().unwrap(), "20261127T110000Z-7-scheduled-aaaaaaaa".parse().unwrap());
    let proof = |level, random: &str| Part::Proof { level, at: time(1_800_000_000), random: random.to_owned() };
    let parts = [
        Part::Data { encrypted: true },
        Part::NodeFiles,
        proof(Level::Read, "b"),
        Part::Signature,
        proof(Level::Opened, "a"),
        Part::Report { level: Level::Booted, at: time(1_800_000_000), random: "c".to_owned() },
        Part::Record,
    ];
    let objects: Vec<Object> = parts
        .iter()
        .map(|part| Object { key: Key::new(&cluster, &name, part.clone()), size: 1, modified: time(0) })
        .collect();
    let order: Vec<String> = deletion_order(&objects).iter().map(|key| key.file()).collect();
    let suffixes: Vec<&str> = order.iter().filter_map(|file| file.split_once('.')).map(|(_, suffix)| suffix).collect();
    assert_eq!(
        suffixes,
        [
            "json",
            "json.sig",
            "read-20270115T080000Z-b.proof",
            "opened-20270115T080000Z-a.proof",
            "booted-20270115T080000Z-c.report",
            "node.tar.zst.age",
            "db.zst.age",
        ]
    );
}

#[test]
fn spans_are_those_of_restic() {
    for (text, shown) in
        [("1y5m7d2h", "1y5m7d2h"), ("2h", "2h"), ("7d", "7d"), ("2h1y", "1y2h"), ("0y3m", "3m"), ("65535y", "65535y")]
    {
        assert_eq!(text.parse::<Within>().unwrap().to_string(), shown);
    }
    for bad in ["", "7", "d", "7w", "1d1d", "-1d", "1.5d", "0d", "7 d", "99999y", "7d7"] {
        assert!(bad.parse::<Within>().is_err(), "{bad}");
    }
}

#[test]
fn the_oldest_is_kept_while_a_count_is_left() {
    let times = ["2026-01-05T10:00:00Z", "2026-01-01T10:00:00Z", "2026-01-01T00:00:00Z"].map(|at| at.parse().unwrap());
    let of = |daily, oldest| Keep { daily, ..Keep::default() }.decide(&times, oldest);
    assert_eq!(of(5, true).iter().filter(|rules| rules.is_empty()).count(), 0);
    assert_eq!(of(2, true).iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(of(5, false).iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 0]);
}

#[test]
fn restic_forgets_what_is_forgotten_here() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "a file").unwrap();
    let restic = |args: &[&str]| {
        let mut command = Command::new("restic");
        command
            .arg("--no-cache")
            .args(args)
            .current_dir(folder.path())
            .env("TZ", "UTC")
            .env("RESTIC_PASSWORD", "for a test");
        command.env("RESTIC_REPOSITORY", folder.path().join("repository"));
        let output = command.output().expect("restic is installed by tests/install");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // `restic 0.14.0 compiled with ...`
    let version = restic(&["version"]);
    let minor: u32 = version.split(['.', ' ']).nth(2).and_then(|minor| minor.parse().ok()).expect("a version 0.x");
    let oldest = !version.starts_with("restic 0.") || minor >= 16;
    restic(&["init", "-q"]);
    // Ends of hours, days, ISO weeks, months and years, two of one hour, and a leap day.
    let times: [Timestamp; 16] = [
        "2026-03-31T12:00:00Z",
        "2026-03-31T11:59:59Z",
        "2026-03-31T11:00:00Z",
        "2026-03-30T00:00:00Z",
        "2026-03-29T23:59:59Z",
        "2026-03-03T12:00:00Z",
        "2026-03-02T23:00:00Z",
        "2026-02-28T12:00:01Z",
        "2026-01-04T23:00:00Z",
        "2026-01-01T00:00:00Z",
        "2025-12-31T23:59:59Z",
        "2025-12-29T00:00:00Z",
        "2025-03-31T12:00:00Z",
        "2024-12-30T08:00:00Z",
        "2024-02-29T12:00:00Z",
        "2021-01-03T23:00:00Z",
    ]
    .map(|at| at.parse().unwrap());
    for at in times {
        let at = at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string();
        restic(&["backup", "-q", "--host", "h", "--time", &at, "file"]);
    }
    let within = |text: &str| Keep { within: text.parse().ok(), ..Keep::default() };
    let keeps = [
        Keep { last: 3, ..Keep::default() },
        Keep { hourly: 2, ..Keep::default() },
        Keep { hourly: 40, ..Keep::default() },
        Keep { daily: 5, ..Keep::default() },
        Keep { weekly: 3, ..Keep::default() },
        Keep { weekly: 30, ..Keep::default() },
        Keep { monthly: 4, ..Keep::default() },
        Keep { yearly: 3, ..Keep::default() },
        Keep { yearly: 9, ..Keep::default() },
        Keep { last: 1, hourly: 2, daily: 2, weekly: 2, monthly: 2, yearly: 2, within: None },
        within("1m"),
        within("1h"),
        within("28d"),
        within("1y1m"),
        within("1y"),
        Keep { daily: 2, ..within("2d1h") },
    ];
    for keep in keeps {
        let flags = [
            ("last", keep.last),
            ("hourly", keep.hourly),
            ("daily", keep.daily),
            ("weekly", keep.weekly),
            ("monthly", keep.monthly),
            ("yearly", keep.yearly),
        ];
        let mut args: Vec<String> = ["forget", "--dry-run", "--json"].map(str::to_owned).to_vec();
        args.extend(flags.iter().filter(|(_, count)| *count > 0).map(|(rule, count)| format!("--keep-{rule}={count}")));
        args.extend(keep.within.map(|within| format!("--keep-within={within}")));
        let told = restic(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let groups: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
        let kept: BTreeSet<Timestamp> = groups[0]["keep"]
            .as_array()
            .unwrap()
            .iter()
            .map(|snapshot| snapshot["time"].as_str().unwrap().parse().unwrap())
            .collect();
        let ours = times.iter().zip(keep.decide(&times, oldest)).filter(|(_, rules)| !rules.is_empty());
        assert_eq!(ours.map(|(time, _)| *time).collect::<BTreeSet<_>>(), kept, "{keep:?}");
    }
}
