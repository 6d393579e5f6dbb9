//! etcd's manifest without the check of its data that it makes at its start.
//!
//! A member hashes all of its data before it serves, and asks the others for their hashes, one member after the other. Within a restore the data
//! has been proven equal before, so that the members start with a manifest that differs by this alone, and get their own one back when the
//! outage is over.

use std::io;

use rustix::fs::{FileType, Stat};
use serde_yaml_ng::Value;

use crate::node::{Manifest, Place};

/// The flag of etcd 3.4 to 3.6.
const FLAG: &str = "experimental-initial-corrupt-check";
/// The feature of etcd 3.6 and later.
const GATES: &str = "feature-gates";
const FEATURE: &str = "InitialCorruptCheck";

/// A manifest that starts etcd without its check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LaunchManifest {
    /// The file's contents: those of the original but for one word.
    pub(super) bytes: Vec<u8>,
    /// The command line of the process that it starts.
    pub(super) argv: Vec<String>,
}

/// The manifest that differs from etcd's own by the check alone: `true` is `false` in one argument. `None` if the check is not turned on in
/// one of the two ways that are known, is named twice, or if anything else of the pod would differ: etcd then starts with its own manifest.
pub(super) fn of(original: &[u8]) -> Option<LaunchManifest> {
    let found = [FLAG, FEATURE].into_iter().flat_map(|name| {
        let on = format!("{name}=true");
        let starts = original.windows(on.len()).enumerate().filter(|(_, bytes)| *bytes == on.as_bytes());
        starts.map(|(start, _)| (start + name.len() + 1, "true".len())).collect::<Vec<_>>()
    });
    let [(start, length)] = found.collect::<Vec<_>>()[..] else { return None };
    let bytes = [&original[..start], b"false", &original[start + length..]].concat();
    let (before, after) = (argv(original)?, argv(&bytes)?);
    let changed: Vec<usize> = (0..before.len()).filter(|&index| after.get(index) != before.get(index)).collect();
    let [index] = changed[..] else { return None };
    let alone = before.len() == after.len()
        && is_check(&before, index, "true")
        && is_check(&after, index, "false")
        && differences(&first_document(original)?, &first_document(&bytes)?) == 1;
    alone.then_some(LaunchManifest { bytes, argv: after })
}

/// The manifest for the launch, made of etcd's own in a file. `None` if there is none, or if the file is a link, which only the kubelet follows.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(original: &Place) -> io::Result<Option<LaunchManifest>> {
    let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !original.stat()?.is_some_and(is_file) {
        return Ok(None);
    }
    Ok(of(&original.read()?))
}

/// Whether the manifest in place is the one for the launch, made of the one that is held.
///
/// # Errors
/// One of the files cannot be read.
pub(super) fn is_in_place(here: &Place, held: &Place) -> io::Result<bool> {
    let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let Some(launch) = read(held)? else { return Ok(false) };
    let size = u64::try_from(launch.bytes.len()).unwrap_or(u64::MAX);
    // What is larger need not be read.
    let may_be = |stat: Stat| is_file(stat) && u64::try_from(stat.st_size).is_ok_and(|bytes| bytes == size);
    Ok(here.stat()?.is_some_and(may_be) && here.read()? == launch.bytes)
}

/// The command line of etcd's container.
fn argv(manifest: &[u8]) -> Option<Vec<String>> {
    match Manifest::parse("", manifest) {
        Ok(Some(("etcd", manifest))) => Some(manifest.argv),
        _ => None,
    }
}

fn first_document(manifest: &[u8]) -> Option<Value> {
    // What is not valid is not known to differ by one word.
    let document = serde_yaml_ng::Deserializer::from_slice(manifest).next()?;
    serde::Deserialize::deserialize(document).ok()
}

/// Whether an argument is the check, turned on or off, and nothing else.
fn is_check(argv: &[String], index: usize, value: &str) -> bool {
    let flag = |argument: &str| -> Option<String> {
        let argument = argument.strip_prefix('-')?;
        Some(argument.strip_prefix('-').unwrap_or(argument).to_owned())
    };
    let Some(argument) = argv.get(index) else { return false };
    let is_feature = |gates: &str| gates.split(',').filter(|gate| *gate == format!("{FEATURE}={value}")).count() == 1;
    match flag(argument) {
        Some(named) if named == format!("{FLAG}={value}") => true,
        Some(named) => named.strip_prefix(GATES).and_then(|rest| rest.strip_prefix('=')).is_some_and(is_feature),
        // The list of features may be an argument of its own.
        None => {
            let before = index.checked_sub(1).and_then(|before| flag(&argv[before]));
            before.as_deref() == Some(GATES) && is_feature(argument)
        }
    }
}

/// How many values differ.
fn differences(one: &Value, other: &Value) -> usize {
    match (one, other) {
        (Value::Sequence(one), Value::Sequence(other)) if one.len() == other.len() => {
            one.iter().zip(other).map(|(one, other)| differences(one, other)).sum()
        }
        (Value::Mapping(one), Value::Mapping(other)) if one.len() == other.len() => {
            let pairs = one.iter().zip(other);
            pairs.map(|((key, one), (other_key, other))| differences(key, other_key) + differences(one, other)).sum()
        }
        (Value::Tagged(one), Value::Tagged(other)) if one.tag == other.tag => differences(&one.value, &other.value),
        (one, other) => usize::from(one != other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What kubeadm 1.36 wrote for etcd 3.6.14.
    const KUBEADM: &str = include_str!("../../../tests/data/kubeadm/cp1/manifests/etcd.yaml");
    const GATE: &str = "--feature-gates=InitialCorruptCheck=true";

    /// The same with the flags that kubeadm sets for another etcd (cmd/kubeadm/app/phases/etcd/local.go, getEtcdCommand).
    fn kubeadm(check: &str) -> String {
        assert!(KUBEADM.contains(&format!("    - {GATE}\n")));
        KUBEADM.replace(GATE, check)
    }

    fn launched(original: &str) -> Option<String> {
        let launch = of(original.as_bytes())?;
        let text = String::from_utf8(launch.bytes).unwrap();
        assert_eq!(Some(launch.argv), argv(text.as_bytes()));
        Some(text)
    }

    #[test]
    fn kubeadms_manifests_differ_by_the_check_alone() {
        // etcd 3.6 and 3.7.
        let expected = KUBEADM.replace(GATE, "--feature-gates=InitialCorruptCheck=false");
        assert_eq!(launched(KUBEADM), Some(expected));
        // etcd 3.5, and 3.4 with the same extra argument.
        let on = kubeadm("--experimental-initial-corrupt-check=true");
        let off = kubeadm("--experimental-initial-corrupt-check=false");
        assert_eq!(launched(&on), Some(off.clone()));
        let launch = of(on.as_bytes()).unwrap();
        assert!(launch.argv.contains(&"--experimental-initial-corrupt-check=false".to_owned()));
        assert_eq!(launch.argv.len(), argv(on.as_bytes()).unwrap().len());
        // kubeadm's own for etcd 3.4 makes no check, and neither does what this function gave.
        assert_eq!(launched(&kubeadm("--enable-v2=false")), None);
        assert_eq!(launched(&off), None);
    }

    #[test]
    fn every_way_to_write_the_argument_is_known_or_left_alone() {
        for (check, known) in [
            ("'--experimental-initial-corrupt-check=true'", true),
            ("\"--experimental-initial-corrupt-check=true\"", true),
            ("-experimental-initial-corrupt-check=true", true),
            ("--experimental-initial-corrupt-check=true   # kubeadm", true),
            ("--feature-gates=A=true,InitialCorruptCheck=true,CompactHashCheck=true", true),
            ("--feature-gates\n    - InitialCorruptCheck=true", true),
            ("--feature-gates\n    - \"A=false,InitialCorruptCheck=true\"", true),
            ("--experimental-initial-corrupt-check", false),
            ("--experimental-initial-corrupt-check=True", false),
            ("--experimental-initial-corrupt-check\n    - \"true\"", false),
            // Another flag or feature that only looks like it.
            ("--experimental-initial-corrupt-check=trueish", false),
            ("--no-experimental-initial-corrupt-check=true", false),
            ("--feature-gates=NoInitialCorruptCheck=true", false),
            ("--labels=InitialCorruptCheck=true", false),
            ("--other\n    - InitialCorruptCheck=true", false),
            // Twice, in a comment or in earnest.
            ("--experimental-initial-corrupt-check=true # was --experimental-initial-corrupt-check=true", false),
            ("--experimental-initial-corrupt-check=true\n    - --feature-gates=InitialCorruptCheck=true", false),
            ("--x # --experimental-initial-corrupt-check=true", false),
            ("\"--experimental-initial-corrupt-check\\u003dtrue\"", false),
        ] {
            let launch = launched(&kubeadm(check));
            let expected =
                kubeadm(&check.replacen("Check=true", "Check=false", 1).replacen("check=true", "check=false", 1));
            assert_eq!(launch, known.then_some(expected), "{check}");
        }
    }

    #[test]
    fn what_is_not_etcds_argument_stays() {
        // An anchor that two arguments share, the environment, an annotation, another document.
        let anchored = kubeadm("&check --experimental-initial-corrupt-check=true");
        assert!(launched(&anchored).is_some());
        assert_eq!(launched(&anchored.replace("  name: etcd\n", "  name: etcd\n  annotations: {a: *check}\n")), None);
        let environment = kubeadm("--x").replace(
            "    name: etcd\n",
            "    name: etcd\n    env: [{name: ETCD_FEATURE_GATES, value: InitialCorruptCheck=true}]\n",
        );
        assert_eq!(launched(&environment), None);
        let off = kubeadm("--x");
        assert_eq!(launched(&format!("{off}---\na: --experimental-initial-corrupt-check=true\n")), None);
        let script = kubeadm("--x")
            .replace("    - etcd\n", "    - sh\n    - -c\n    - etcd --experimental-initial-corrupt-check=true\n");
        assert_eq!(launched(&script), None);
        for none in ["", "kind: Secret", "{", "- --experimental-initial-corrupt-check=true"] {
            assert_eq!(launched(none), None, "{none}");
        }
    }

    #[test]
    fn a_manifest_may_be_json_and_end_lines_as_it_likes() {
        let value: serde_json::Value = serde_yaml_ng::from_str(KUBEADM).unwrap();
        let json = serde_json::to_string(&value).unwrap();
        let expected = json.replace("InitialCorruptCheck=true", "InitialCorruptCheck=false");
        assert_eq!(launched(&json), Some(expected));
        let windows = KUBEADM.replace('\n', "\r\n");
        assert_eq!(launched(&windows), Some(windows.replace("InitialCorruptCheck=true", "InitialCorruptCheck=false")));
    }
}
