//! A file that the engine and the vendor both look at.

use std::path::{Path, PathBuf};

use etcd_snapshot::{DigestCheck, FileSource, HashKvAt, Options, Report, hash_kv, verify};

use crate::live::HashKv;
use crate::{Etcd, Live, Status};

/// A snapshot of a history, and where it comes from.
#[derive(Debug)]
pub struct Case {
    /// What a failure is reported with.
    pub name: String,
    /// The snapshot.
    pub path: PathBuf,
    /// Which etcd wrote it.
    pub etcd: Etcd,
    /// HashKV as the member answered it when the snapshot was taken, by revision; the last is the current one.
    pub hashes: Vec<(i64, HashKv)>,
}

impl Case {
    /// Takes a snapshot and HashKV of a few revisions. Nobody else may write meanwhile.
    pub async fn take(name: impl Into<String>, etcd: Etcd, live: &mut Live, path: &Path) -> Case {
        live.snapshot(path).await;
        let hashes = live.hashes().await;
        Case { name: name.into(), path: path.to_owned(), etcd, hashes }
    }

    /// The current revision when it was taken.
    pub fn revision(&self) -> i64 {
        self.hashes.last().expect("the current one is always there").0
    }

    /// Ends the test; the file stays.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        let kept = keep(&self.path);
        panic!("{}: {what}; its file is {}", self.name, kept.display());
    }

    /// Asserts that both are the same.
    #[track_caller]
    pub fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, ours: &T, theirs: &T) {
        if ours != theirs {
            self.fail(&format!("{what}: ours {ours:?}, theirs {theirs:?}"));
        }
    }

    /// The engine's report, which must be without findings, with the figures of the vendor's tool, and with every HashKV
    /// that the member answered.
    #[track_caller]
    pub fn verified(&self) -> Report {
        let source = self.source();
        let report = match verify(&source, &Options::default(), &|_| {}) {
            Ok(report) => report,
            Err(error) => self.fail(&format!("{error:?}")),
        };
        let theirs = self.etcd.status(&self.path).unwrap_or_else(|error| self.fail(&error));
        self.same("status", &status(&report), &theirs);
        self.same("current revision", &report.current_revision, &self.revision());
        for &(revision, live) in &self.hashes {
            let ours = self.hash_kv(revision);
            self.same(
                &format!("HashKV at {revision}"),
                &(ours.hash, ours.compact_revision),
                &(live.hash, live.compact_revision),
            );
            if revision == report.current_revision {
                self.same("HashKV of the report", &report.hash_kv, &ours);
            }
        }
        report
    }

    /// Asserts that a report warns of exactly that.
    #[track_caller]
    pub fn warns(&self, report: &Report, expected: &[&str]) {
        let mut kinds: Vec<&str> = report.warnings.iter().map(|warning| warning.kind()).collect();
        let mut expected = expected.to_vec();
        kinds.sort_unstable();
        expected.sort_unstable();
        self.same("warnings", &kinds, &expected);
    }

    /// The engine's HashKV at a revision.
    #[track_caller]
    pub fn hash_kv(&self, revision: i64) -> etcd_snapshot::HashKv {
        let options = Options { digest: DigestCheck::Skip, ..Options::default() };
        let at = HashKvAt { revision, compact_revision: None };
        hash_kv(&self.source(), &options, at, &|_| {})
            .unwrap_or_else(|error| self.fail(&format!("HashKV at {revision}: {error:?}")))
    }

    /// Whether it ends with its digest, as snapshots do and copies of databases do not.
    pub fn has_digest(&self) -> bool {
        std::fs::metadata(&self.path).expect("the snapshot").len() % 512 == 32
    }

    /// Its bytes.
    pub fn source(&self) -> FileSource {
        FileSource::new(std::fs::File::open(&self.path).expect("the snapshot")).expect("a file")
    }
}

/// The figures that the vendor's tool prints too.
pub fn status(report: &Report) -> Status {
    Status { hash: report.hash, revision: report.revision, total_key: report.total_key, total_size: report.total_size }
}

/// Copies a file to where it outlives the test.
fn keep(path: &Path) -> PathBuf {
    let folder = crate::etcd::workspace().join("target/differential");
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut kept = folder.join(path.file_name().expect("a file"));
    kept.set_extension(format!("{}.db", std::process::id()));
    std::fs::copy(path, &kept).expect("room on the disk");
    kept
}
