//! The whole check of a file.

use std::sync::atomic::AtomicBool;

use crate::ahead::Ahead;
use crate::digest::{Digests, hash, stored};
use crate::figures::{Figures, gather};
use crate::finding::{Findings, hex};
use crate::freelist;
use crate::hashkv::compute;
use crate::meta::{DIGEST_BYTES, Extent, MetaPair, extent};
use crate::page::FIRST_TREE_PAGE;
use crate::prefetch::reading_ahead;
use crate::pulse::Pulse;
use crate::report::Compaction;
use crate::rows::{Leases, Rows, Summary};
use crate::sink::{Sink, Store};
use crate::tree::Walk;
use crate::{
    Alarm, Damage, DigestState, Finding, FindingKind, HashKv, HashKvAt, MetaState, Report, Source, VerifyError, Warning,
};

/// How to verify.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// What to do about the digest at the end of the file.
    pub digest: DigestCheck,
    /// How many findings to keep; the others are counted.
    pub max_findings: usize,
    /// Set it to make [`verify`] return [`VerifyError::Cancelled`] soon.
    pub cancel: Option<&'a AtomicBool>,
}

/// How the digest at the end of a file is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestCheck {
    /// Hash the file's bytes.
    Compute,
    /// Compare with the SHA-256 of the data, which the caller has hashed already, from the very bytes of this file. A file
    /// without a digest of its own then counts as truncated.
    Known([u8; 32]),
    /// Believe the bytes: the report says [`DigestState::Unchecked`].
    Skip,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { digest: DigestCheck::Compute, max_findings: 100, cancel: None }
    }
}

/// How far [`verify`] is. It hashes and walks at the same time; both go up to `total`, the walk in leaps over free pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes hashed.
    pub hashed: u64,
    /// Bytes of pages walked.
    pub walked: u64,
    /// Bytes of the file.
    pub total: u64,
}

/// Proves that `source` is a whole and undamaged etcd snapshot, decodes every record, and reads its figures.
///
/// A file without the digest at its end (a copy of `member/snap/db`) is accepted if its pages are in order;
/// [`Report::digest`] says that nothing proves its bytes.
///
/// `progress` is called about once a mebibyte, from two threads.
///
/// # Errors
/// See [`VerifyError`]. All damage that can be found is reported, not only the first.
pub fn verify(
    source: &dyn Source,
    options: &Options<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, VerifyError> {
    verify_into(source, options, progress, &mut ())
}

/// As [`verify()`], and gives `sink` what the walk finds.
///
/// # Errors
/// See [`VerifyError`]; an error of the sink ends the walk.
pub(crate) fn verify_into(
    source: &dyn Source,
    options: &Options<'_>,
    progress: &(dyn Fn(Progress) + Sync),
    sink: &mut impl Sink,
) -> Result<Report, VerifyError> {
    run(source, options, HashKvAt::default(), progress, sink)
}

/// The whole check. The report's HashKV is the one asked for; whether there can be one is for the caller to say.
pub(crate) fn run(
    source: &dyn Source,
    options: &Options<'_>,
    at: HashKvAt,
    progress: &(dyn Fn(Progress) + Sync),
    sink: &mut impl Sink,
) -> Result<Report, VerifyError> {
    let pair = MetaPair::read(source)?;
    let length = source.len();
    let extent = extent(&pair, length, options.digest)?;
    let data = pair.meta.pages * u64::from(pair.meta.page_size);
    let mut findings = Findings::new(options.max_findings);
    check_meta(&pair, extent, &mut findings);
    if let Some(message) = pair.meta.misfit() {
        findings.push(|| Finding::new(FindingKind::Meta, message).page(u64::from(pair.active)));
        return Err(damaged(findings, None));
    }

    let pulse = Pulse::new(options.cancel, length, progress);
    pulse.check()?;
    let (page_size, pages) = (u64::from(pair.meta.page_size), pair.meta.pages);
    let walk = Walk::new(source, page_size, pages, findings, &pulse);
    // What has nothing to hash reads ahead instead; more than two threads would only wait for each other on small machines.
    let ahead = |walk: Walk<'_>, sink| {
        reading_ahead(source, page_size, pages, |prefetch| walk_trees(walk.with_prefetch(prefetch), &pair, at, sink))?
    };
    let (digests, walked) = match options.digest {
        DigestCheck::Compute => beside(|| hash(source, data, &pulse), || walk_trees(walk, &pair, at, sink), &pulse)?,
        DigestCheck::Known(sha256) => (Digests { data: Some(sha256), file: None }, ahead(walk, sink)?),
        DigestCheck::Skip => (Digests::default(), ahead(walk, sink)?),
    };
    let Walked { figures, rows, hash_kv, mut findings, free_pages, single_children } = walked;
    let settings = figures.settings;
    let sound = findings.is_empty();

    let stored = stored(source, data)?;
    let digest = match extent {
        Extent::Snapshot if digests.data.is_none() => DigestState::Unchecked,
        Extent::Snapshot if stored == digests.data => DigestState::Matches,
        Extent::Snapshot => DigestState::Mismatch,
        Extent::Copy if digests.data.is_some() && stored == digests.data => {
            return Err(VerifyError::TrailingBytes { length, expected: data + DIGEST_BYTES });
        }
        Extent::Copy => DigestState::Absent,
    };
    let (major, minor) = settings.writer();
    let members = settings.members();
    let mut report = Report {
        hash: figures.hash,
        revision: rows.revision,
        // As the writer's own tool counts.
        total_key: if (major, minor) >= (3, 6) { rows.live_keys } else { figures.items },
        total_size: data,
        version: settings.version,
        items: figures.items,
        live_keys: rows.live_keys,
        writer: format!("{major}.{minor}"),
        cluster_version: settings.cluster_version,
        consistent_index: settings.consistent_index,
        term: settings.term,
        members,
        members_removed: settings.members_removed,
        hash_kv,
        current_revision: current_revision(rows.revision, settings.compaction),
        compaction: settings.compaction,
        leases: settings.leases,
        keys_with_lease: rows.keys_with_lease,
        auth: settings.auth,
        alarms: settings.alarms,
        warnings: Vec::new(),
        page_size: pair.meta.page_size,
        pages: pair.meta.pages,
        free_pages,
        txid: pair.meta.txid,
        meta: pair.states,
        active_meta: pair.active,
        active_meta_reason: pair.reason,
        digest,
        sha256: digests.data.map(|digest| hex(&digest)),
        file_sha256: digests.file.map(|digest| hex(&digest)),
        file_size: length,
    };
    report.warnings = warnings(&report);
    report.warnings.extend(single_children);
    report.warnings.extend(settings.downgrade.map(|target| Warning::Downgrade { target }));
    report.warnings.extend((rows.orphans > 0).then_some(Warning::LeaseMissing { keys: rows.orphans }));
    let limit = Leases::LIMIT as u64;
    report.warnings.extend(rows.leases_unchecked.then_some(Warning::LeasesUnchecked { limit }));
    if digest == DigestState::Mismatch {
        let message = format!(
            "SHA-256 of the data is {}, the file ends with {}",
            hex(&digests.data.unwrap_or_default()),
            hex(&stored.unwrap_or_default())
        );
        findings.push(|| Finding::new(FindingKind::DigestMismatch, message).offset(data));
        if pair.agrees() && !pair.is_streamed() {
            let message = "a program opened the file for writing after it was taken, as etcdutl hashkv does";
            findings.push(|| Finding::new(FindingKind::MetaPair, message).page(u64::from(pair.active)));
        }
    }
    if findings.is_empty() {
        pulse.finish();
        Ok(report)
    } else {
        Err(damaged(findings, sound.then_some(report)))
    }
}

/// Runs one check in a thread of its own and the other in this one. An error of either ends both.
fn beside<A: Send, B>(
    one: impl FnOnce() -> Result<A, VerifyError> + Send,
    other: impl FnOnce() -> Result<B, VerifyError>,
    pulse: &Pulse<'_>,
) -> Result<(A, B), VerifyError> {
    fn stopping<T>(result: Result<T, VerifyError>, pulse: &Pulse<'_>) -> Result<T, VerifyError> {
        result.inspect_err(|_| pulse.stop())
    }
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("hash".to_owned()).spawn_scoped(scope, || stopping(one(), pulse))?;
        let other = stopping(other(), pulse);
        let one = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (one, other) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            // The thread that was stopped says "cancelled"; the cause is the other one's error.
            (Err(VerifyError::Cancelled), Err(error)) | (Err(error), _) | (_, Err(error)) => Err(error),
        }
    })
}

/// What a walk through all pages found.
struct Walked {
    figures: Figures,
    rows: Summary,
    hash_kv: HashKv,
    findings: Findings,
    free_pages: u64,
    single_children: Option<Warning>,
}

fn walk_trees(mut walk: Walk<'_>, pair: &MetaPair, at: HashKvAt, sink: &mut impl Sink) -> Result<Walked, VerifyError> {
    let ahead = Ahead::read(&mut walk.aside(), pair.meta.root)?;
    let cut = at.cut(ahead.compaction);
    let rows = Rows::new(cut, ahead.leases, walk.pages);
    let mut figures = gather(&mut walk, pair.meta.root, rows, sink)?;
    if let Some(freelist) = pair.meta.freelist() {
        freelist::check(&mut walk, freelist)?;
    }
    let compaction = figures.settings.compaction;
    if compaction.finished > compaction.scheduled {
        let message = "the compaction that was finished is above the one that was begun";
        walk.findings.enter(Some(b"meta"));
        walk.findings.push(|| Finding::new(FindingKind::Revision, message));
        walk.findings.enter(None);
    }
    let rows = figures.rows.finish();
    let current = current_revision(rows.revision, compaction);
    // The rows of a damaged file are not worth a second walk.
    let hash = match &figures.key_bucket {
        Some(bucket) if walk.findings.is_empty() => compute(&mut walk.aside(), bucket, &figures.rows)?,
        _ => 0,
    };
    let revision = if at.revision == 0 { current } else { at.revision };
    let hash_kv = HashKv { hash, revision, compact_revision: cut.compacted };
    if let Some(key_bucket) = figures.key_bucket.as_ref().filter(|_| walk.findings.is_empty()) {
        sink.end(&Store { current_revision: current, compaction, hash_kv, key_bucket, rows: &figures.rows })?;
    }
    let free_pages = (walk.pages - FIRST_TREE_PAGE).saturating_sub(walk.reached.count());
    let single_children = (walk.single_children > 0)
        .then_some(Warning::SingleChild { pages: walk.single_children, first: walk.first_single_child });
    Ok(Walked { figures, rows, hash_kv, findings: walk.findings, free_pages, single_children })
}

/// Where a store of these rows goes on when it starts.
fn current_revision(last_row: i64, compaction: Compaction) -> i64 {
    let marks = compaction.scheduled.max(compaction.finished).unwrap_or_default();
    last_row.max(marks).max(1)
}

/// What the figures alone make worth knowing.
fn warnings(report: &Report) -> Vec<Warning> {
    let mut warnings = Vec::new();
    match report.digest {
        DigestState::Absent => warnings.push(Warning::NoDigest),
        DigestState::Unchecked => warnings.push(Warning::DigestUnchecked),
        DigestState::Matches | DigestState::Mismatch => {}
    }
    let learners = report.members.iter().filter(|member| member.is_learner);
    let learners: Vec<_> =
        learners.map(|member| if member.name.is_empty() { &*member.id } else { &*member.name }).collect();
    if !learners.is_empty() {
        warnings.push(Warning::Learner { members: learners.join(", ") });
    }
    if report.auth.enabled {
        warnings.push(Warning::AuthEnabled { users: report.auth.users });
    }
    for Alarm { member_id, kind } in &report.alarms {
        warnings.push(Warning::Alarm { member_id: member_id.clone(), kind: *kind });
    }
    let missing = |key| Warning::NoRecord { key, writer: report.writer.clone() };
    // 3.4 records it with the first change of the key space, or of who may use it.
    let unchanged = report.writer == "3.4" && report.current_revision <= 1;
    warnings.extend((report.consistent_index.is_none() && !unchanged).then(|| missing("consistent_index")));
    // The writer counts as 3.5 or later only if it wrote one of the records that came with it.
    warnings.extend((report.writer != "3.4" && report.term.is_none()).then(|| missing("term")));
    warnings
}

fn check_meta(pair: &MetaPair, extent: Extent, findings: &mut Findings) {
    // In a database in use, the page that is not in force may be half written.
    let checked = match extent {
        Extent::Snapshot => 0..=1,
        Extent::Copy => pair.active..=pair.active,
    };
    for (index, state) in (0_u8..).zip(pair.states).filter(|(index, _)| checked.contains(index)) {
        let page = u64::from(index);
        if state != MetaState::Valid {
            let message = format!("meta page is not valid: {state}");
            findings.push(|| Finding::new(FindingKind::Meta, message).page(page));
        } else if let Some(message) = pair.header_misfit(index) {
            findings.push(|| Finding::new(FindingKind::PageHeader, message).page(page));
        }
    }
    if extent == Extent::Snapshot && pair.states == [MetaState::Valid; 2] && !pair.agrees() {
        let message = "the two meta pages describe different databases; those of a snapshot are the same";
        findings.push(|| Finding::new(FindingKind::MetaPair, message).page(u64::from(pair.active)));
    }
}

fn damaged(findings: Findings, report: Option<Report>) -> VerifyError {
    let omitted = findings.omitted();
    VerifyError::Damaged(Box::new(Damage { findings: findings.into_kept(), omitted, report }))
}
