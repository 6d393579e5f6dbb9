//! The committed manifest keeps krew's rules, and every rule is one that can be broken.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use package::manifest::{PLACEHOLDER, render};
use package::{Fault, Manifest, archive};

const COMMITTED: &str = include_str!("../../../krew-manifest.yaml");
const LINUX: &str = "kubectl-etcd_v0.1.0_linux_amd64.tar.gz";
const LINUX_SELECTOR: &str = "          os: linux\n          arch: amd64\n";

fn faults(text: &str) -> Vec<Fault> {
    Manifest::parse(text).expect("the test's manifest is YAML").faults("etcd.yaml", false)
}

/// The committed manifest with the first `from` replaced, which must be there.
fn with(from: &str, to: &str) -> String {
    assert!(COMMITTED.contains(from), "the manifest has no {from:?}");
    COMMITTED.replacen(from, to, 1)
}

#[test]
fn committed_manifest_keeps_every_rule() {
    assert_eq!(faults(COMMITTED), []);
}

#[test]
fn committed_manifest_is_of_this_version() {
    assert!(COMMITTED.contains(concat!("  version: v", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn each_rule_of_the_manifest_is_noticed() {
    let sha256 = format!("sha256: \"{PLACEHOLDER}\"");
    let bin = "      bin: kubectl-etcd\n";
    let long = "x".repeat(51);
    let linux_uri = format!("https://github.com/kubectl-etcd/kubectl-etcd/releases/download/v0.1.0/{LINUX}");
    let uri = |uri: &str| Fault::Uri { platform: 0, uri: uri.to_owned(), wanted: LINUX.to_owned() };
    let short = "shortDescription: Back up, verify and restore etcd";
    let cases: Vec<(String, Vec<Fault>)> = vec![
        (with("v1alpha2", "v1"), vec![Fault::ApiVersion("krew.googlecontainertools.github.com/v1".into())]),
        (with("kind: Plugin", "kind: Pod"), vec![Fault::Kind("Pod".into())]),
        (
            with("name: etcd", "name: et.cd"),
            vec![
                Fault::Name("et.cd".into()),
                Fault::FileName { found: "etcd.yaml".into(), wanted: "et.cd.yaml".into() },
            ],
        ),
        (
            with("name: etcd", "name: other"),
            vec![Fault::FileName { found: "etcd.yaml".into(), wanted: "other.yaml".into() }],
        ),
        (with(short, "other: x"), vec![Fault::NoShortDescription]),
        (with(short, "shortDescription: \"two\\nlines\""), vec![Fault::ShortDescriptionBreaks]),
        (with(short, &format!("shortDescription: {long}")), vec![Fault::ShortDescriptionLong(51)]),
        (
            with(LINUX_SELECTOR, "          os: linux\n          arch: s390x\n"),
            vec![Fault::SelectorMatchesNothing(0), Fault::Uncovered("linux/amd64".into())],
        ),
        (
            with(LINUX_SELECTOR, "          os: linux\n          arch: amd64\n          libc: musl\n"),
            vec![
                Fault::SelectorKey { platform: 0, key: "libc".into() },
                Fault::SelectorMatchesNothing(0),
                Fault::Uncovered("linux/amd64".into()),
            ],
        ),
        (with(LINUX_SELECTOR, "          os: linux\n"), vec![Fault::Overlap("linux/arm64".into())]),
        (with(&linux_uri, "http://host/x.zip"), vec![uri("http://host/x.zip")]),
        (with(&linux_uri, "\"\""), vec![uri("")]),
        (with(&sha256, "sha256: ABC"), vec![Fault::Sha256 { platform: 0, sha256: "ABC".into() }]),
        (
            with(&sha256, &format!("sha256: \"{}\"", "A".repeat(64))),
            vec![Fault::Sha256 { platform: 0, sha256: "A".repeat(64) }],
        ),
        (with(bin, ""), vec![Fault::NoBin(0)]),
        (
            with(bin, "      bin: kubectl-etcd.exe\n"),
            vec![Fault::BinSuffix { platform: 0, bin: "kubectl-etcd.exe".into() }],
        ),
        (
            with("bin: kubectl-etcd.exe", "bin: kubectl-etcd"),
            vec![Fault::BinSuffix { platform: 4, bin: "kubectl-etcd".into() }],
        ),
        (with(bin, &format!("{bin}      files: []\n")), vec![Fault::FilesEmpty(0)]),
        (
            with(bin, &format!("{bin}      files: [{{from: \"*\", to: ./x}}]\n")),
            vec![Fault::FileOperation { platform: 0, from: "*".into(), to: "./x".into() }],
        ),
        (
            with(bin, &format!("{bin}      files: [{{to: .}}]\n")),
            vec![Fault::FileOperation { platform: 0, from: String::new(), to: ".".into() }],
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(faults(&text), wanted);
    }
}

#[test]
fn version_is_semantic_with_a_v() {
    for version in ["0.1.0", "v0.1", "v0.1.0.0", "latest"] {
        let found = faults(&COMMITTED.replace("v0.1.0", version));
        assert_eq!(found, [Fault::Version(version.into())]);
    }
    assert_eq!(faults(&COMMITTED.replace("v0.1.0", "v1.2.3-rc.1")), []);
}

#[test]
fn platforms_are_required() {
    let text = COMMITTED.split_once("  platforms:").expect("the manifest has platforms").0;
    let mut wanted = vec![Fault::NoPlatforms];
    let released = ["linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64"];
    wanted.extend(released.map(|pair| Fault::Uncovered(pair.into())));
    assert_eq!(faults(text), wanted);
}

#[test]
fn empty_selector_is_refused() {
    let found = faults(&with(&format!("        matchLabels:\n{LINUX_SELECTOR}"), "        matchLabels: {}\n"));
    assert!(found.contains(&Fault::SelectorEmpty(0)), "{found:?}");
}

#[test]
fn selector_expressions_are_refused() {
    let text = with("        matchLabels:\n", "        matchExpressions: []\n        matchLabels:\n");
    assert!(matches!(Manifest::parse(&text), Err(Fault::Unreadable(_))));
}

#[test]
fn released_manifest_has_no_placeholder() {
    let manifest = Manifest::parse(COMMITTED).expect("the committed manifest is YAML");
    let wanted: Vec<_> = COMMITTED
        .lines()
        .filter(|line| line.contains("sha256: "))
        .enumerate()
        .filter(|(_, line)| line.contains(PLACEHOLDER))
        .map(|(number, _)| Fault::Sha256Placeholder(number))
        .collect();
    assert_eq!(manifest.faults("etcd.yaml", true), wanted);
}

/// An archive of entries: path, kind, mode, content.
fn targz(entries: &[(&str, tar::EntryType, u32, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, kind, mode, content) in entries {
        let mut header = tar::Header::new_gnu();
        // Written straight into the field: the paths that krew refuses, tar's own setter refuses too.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, *content).expect("memory does not fail");
    }
    builder.into_inner().and_then(GzEncoder::finish).expect("memory does not fail")
}

const BIN: (&str, tar::EntryType, u32, &[u8]) = ("kubectl-etcd", tar::EntryType::Regular, 0o755, b"binary");
const LICENSE: (&str, tar::EntryType, u32, &[u8]) = ("LICENSE", tar::EntryType::Regular, 0o644, b"terms");

/// What is found in an archive by a manifest rendered for that very archive.
fn archive_faults(bytes: &[u8]) -> Vec<Fault> {
    let sums = BTreeMap::from([(LINUX.to_owned(), archive::sha256(bytes))]);
    let text = render(COMMITTED, "v0.1.0", &sums).expect("the committed manifest is a template");
    Manifest::parse(&text).expect("a rendered manifest is YAML").archive_faults(LINUX, bytes)
}

#[test]
fn good_archive_is_accepted() {
    assert_eq!(archive_faults(&targz(&[BIN, LICENSE])), []);
    assert_eq!(archive_faults(&targz(&[("doc/", tar::EntryType::Directory, 0o755, b""), BIN, LICENSE])), []);
}

#[test]
fn each_rule_of_the_archive_is_noticed() {
    use tar::EntryType::{Link, Regular, Symlink};
    let extra = |path, kind| targz(&[BIN, LICENSE, (path, kind, 0o644, b"")]);
    let missing = || Fault::BinMissing("kubectl-etcd".into());
    let cases: Vec<(Vec<u8>, Vec<Fault>)> = vec![
        (b"PK\x03\x04 a zip".to_vec(), vec![Fault::NotTarGz]),
        (Vec::new(), vec![Fault::NotTarGz]),
        (extra("/etc/passwd", Regular), vec![Fault::EntryPath("/etc/passwd".into())]),
        (extra("a/../../b", Regular), vec![Fault::EntryPath("a/../../b".into())]),
        (extra("notes..txt", Regular), vec![Fault::EntryPath("notes..txt".into())]),
        (extra("link", Symlink), vec![Fault::EntryType("link".into())]),
        (extra("hard", Link), vec![Fault::EntryType("hard".into())]),
        (targz(&[BIN]), vec![Fault::NoLicense]),
        (targz(&[BIN, ("LICENSE-APACHE", Regular, 0o644, b"terms")]), vec![Fault::NoLicense]),
        (targz(&[BIN, ("LICENSE", Regular, 0o644, b"")]), vec![Fault::NoLicense]),
        (targz(&[LICENSE]), vec![missing()]),
        (targz(&[LICENSE, ("bin/kubectl-etcd", Regular, 0o755, b"binary")]), vec![missing()]),
        (
            targz(&[LICENSE, ("kubectl-etcd", Symlink, 0o755, b"")]),
            vec![Fault::EntryType("kubectl-etcd".into()), missing()],
        ),
        (
            targz(&[LICENSE, ("kubectl-etcd", Regular, 0o644, b"binary")]),
            vec![Fault::BinNotExecutable("kubectl-etcd".into())],
        ),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(archive_faults(&bytes), wanted);
    }
}

#[test]
fn damaged_archive_is_refused() {
    let good = targz(&[BIN, LICENSE]);
    let mut flipped = good.clone();
    let trailer = flipped.len() - 8;
    flipped[trailer] ^= 1;
    for bytes in [&good[..good.len() - 9], &flipped] {
        assert!(matches!(archive_faults(bytes).as_slice(), [Fault::Damaged(_)]));
    }
}

#[test]
fn other_bytes_than_the_manifest_names_are_refused() {
    let bytes = targz(&[BIN, LICENSE]);
    let manifest = Manifest::parse(COMMITTED).expect("the committed manifest is YAML");
    let wanted = Fault::Checksum { found: archive::sha256(&bytes), wanted: PLACEHOLDER.into() };
    assert_eq!(manifest.archive_faults(LINUX, &bytes), [wanted]);
    let stray = "kubectl-etcd_v0.1.0_plan9_amd64.tar.gz";
    assert_eq!(manifest.archive_faults(stray, &bytes), [Fault::NoSuchPlatform(stray.into())]);
}

#[test]
fn checksum_is_sha256() {
    // FIPS 180-2, appendix B.1.
    assert_eq!(archive::sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn release_is_written_into_the_manifest() {
    let name = "kubectl-etcd_v1.2.3_darwin_arm64.tar.gz";
    let sum = "ab".repeat(32);
    let text = render(COMMITTED, "v1.2.3", &BTreeMap::from([(name.to_owned(), sum.clone())])).expect("renders");
    assert_eq!(faults(&text), []);
    assert!(text.starts_with("apiVersion:"), "the comment about the committed file is left out");
    assert!(!text.contains("v0.1.0"));
    let entry = format!("/v1.2.3/{name}\n      sha256: \"{sum}\"\n");
    assert!(text.contains(&entry), "{text}");
    assert_eq!(text.matches(&sum).count(), 1);

    let stray = BTreeMap::from([("kubectl-etcd_v1.2.3_plan9_amd64.tar.gz".to_owned(), sum)]);
    assert!(matches!(render(COMMITTED, "v1.2.3", &stray), Err(Fault::NoSuchPlatform(_))));
}

#[test]
fn program_writes_the_manifest_only_when_all_is_well() {
    let dir = std::env::temp_dir().join(format!("kubectl-etcd-package-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("the temporary folder can be written");
    let run = |bytes: &[u8]| {
        let mut file = std::fs::File::create(dir.join(LINUX)).expect("the folder can be written");
        file.write_all(bytes).expect("the folder can be written");
        let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../../krew-manifest.yaml");
        std::process::Command::new(env!("CARGO_BIN_EXE_package"))
            .args(["--version", "v0.1.0", "--template", template])
            .arg(&dir)
            .output()
            .expect("the program starts")
    };
    let refused = run(&targz(&[BIN]));
    let left_behind = dir.join("etcd.yaml").exists();
    let accepted = run(&targz(&[BIN, LICENSE]));
    let written = dir.join("etcd.yaml").exists();
    std::fs::remove_dir_all(&dir).expect("the folder is ours");

    assert!(!refused.status.success() && !left_behind);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the archive has no LICENSE"), "{refused:?}");
    assert!(accepted.status.success() && written, "{accepted:?}");
}
