//! What the database of a member says at a glance: how far it is, who its members are, and whose it is.
//!
//! Only the small buckets are read, the end of the bucket of rows, and its start up to namespace kube-system, which is among the first objects of any
//! cluster. That takes milliseconds where [`verify()`](crate::verify()) takes minutes; and nothing is proved of the rest.

use crate::figures::bucket_root;
use crate::finding::Findings;
use crate::meta::MetaPair;
use crate::page::FIRST_TREE_PAGE;
use crate::protobuf::{Wire, fields};
use crate::pulse::Pulse;
use crate::row::RowKey;
use crate::settings::{self, Settings};
use crate::tree::{Root, Span, Tree, Walk};
use crate::window::WINDOW_BYTES;
use crate::{Alarm, Compaction, Damage, Member, Source, VerifyError};

/// How a row's user key ends that holds namespace kube-system, whatever the prefix of the API server.
const KUBE_SYSTEM: &[u8] = b"/namespaces/kube-system";

/// What a database says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Glance {
    /// Raft index of the last entry applied.
    pub consistent_index: Option<u64>,
    /// Raft term of that entry; from 3.5 on.
    pub term: Option<u64>,
    /// The revision that the store is at.
    pub revision: i64,
    /// How far the history has been compacted.
    pub compaction: Compaction,
    /// The members that it knows.
    pub members: Vec<Member>,
    /// IDs of the members that raft counts as voters and whose own records say that they are learners: etcd 3.6 goes by those records.
    pub unrecorded_promotions: Vec<String>,
    /// The alarms that are active.
    pub alarms: Vec<Alarm>,
    /// The storage version of 3.6 and later; empty before.
    pub version: String,
    /// The cluster's agreed version.
    pub cluster_version: Option<String>,
    /// Namespace kube-system as the API server has stored it first, encrypted or not.
    pub kube_system: Option<Vec<u8>>,
    /// Bytes of the database that are in use as pages.
    pub total_size: u64,
}

/// Reads what a database says. It may be that of an etcd that runs: then its pages can change while they are read, which shows as damage, and the
/// next try may succeed.
///
/// # Errors
/// See [`VerifyError`]: only what was read is judged.
pub fn glance(source: &dyn Source) -> Result<Glance, VerifyError> {
    let pair = MetaPair::read(source)?;
    let meta = pair.meta;
    let (page_size, pages) = (u64::from(meta.page_size), meta.pages);
    let total_size = pages.saturating_mul(page_size);
    if source.len() < total_size {
        return Err(VerifyError::Truncated { length: source.len(), expected: total_size });
    }
    if !(FIRST_TREE_PAGE..pages).contains(&meta.root) {
        let message = "the root page is not one of the pages".to_owned();
        let finding = crate::Finding::new(crate::FindingKind::Meta, message).page(u64::from(pair.active));
        return Err(damaged(vec![finding]));
    }
    let quiet = |_| {};
    let pulse = Pulse::new(None, source.len(), &quiet);
    let whole = Walk::new(source, page_size, pages, Findings::new(1), &pulse);
    let walk = || whole.aside();

    let mut glance = Glance { total_size, ..Glance::default() };
    let (rows, settings) = small_buckets(&mut walk(), meta.root)?;
    if let Some(rows) = rows {
        let last = checked(walk(), |walk| last_row(walk, rows))?;
        let compaction = settings.compaction;
        let marks = compaction.scheduled.max(compaction.finished).unwrap_or_default();
        glance.revision = last.unwrap_or_default().max(marks).max(1);
        glance.kube_system = checked(walk(), |walk| kube_system(walk, rows))?;
    }
    let (members, unrecorded_promotions) = (settings.members(), settings.unrecorded_promotions());
    Ok(Glance {
        consistent_index: settings.consistent_index,
        term: settings.term,
        compaction: settings.compaction,
        members,
        unrecorded_promotions,
        alarms: settings.alarms,
        version: settings.version,
        cluster_version: settings.cluster_version,
        ..glance
    })
}

fn damaged(findings: Vec<crate::Finding>) -> VerifyError {
    VerifyError::Damaged(Box::new(Damage { findings, omitted: 0, report: None }))
}

/// What a walk gives, unless it found damage.
fn checked<'a, T>(
    mut walk: Walk<'a>,
    look: impl FnOnce(&mut Walk<'a>) -> Result<T, VerifyError>,
) -> Result<T, VerifyError> {
    let seen = look(&mut walk)?;
    if walk.findings.is_empty() { Ok(seen) } else { Err(damaged(walk.findings.into_kept())) }
}

/// The root of the rows, and the records of the buckets that tell of the cluster.
fn small_buckets(walk: &mut Walk<'_>, root: u64) -> Result<(Option<Root>, Settings), VerifyError> {
    let (mut buckets, mut items) = (Tree::default(), Tree::default());
    let (mut rows, mut settings, mut name, mut value) = (None, Settings::default(), Vec::new(), Vec::new());
    buckets.enter(walk, Root::Page(root))?;
    while let Some(entry) = buckets.next(walk)? {
        name.clear();
        name.extend_from_slice(buckets.key());
        let Some(root) = bucket_root(walk, &mut buckets, &entry)? else { continue };
        match &name[..] {
            b"key" => rows = Some(root),
            b"alarm" | b"cluster" | b"members" | b"members_removed" | b"meta" => {
                items.enter(walk, root)?;
                while let Some(item) = items.next(walk)? {
                    let short = item.value.length <= settings::MAX_BYTES as u64;
                    value.clear();
                    if short {
                        items.value(walk, item.value, |piece| {
                            value.extend_from_slice(piece);
                            Ok(())
                        })?;
                    }
                    if let Err(finding) = settings.take(&name, items.key(), short.then_some(&value)) {
                        walk.findings.push(|| finding.page(item.page).offset(item.offset).key(items.key()));
                    }
                }
            }
            _ => {}
        }
    }
    match walk.findings.is_empty() {
        true => Ok((rows, settings)),
        false => Err(damaged(std::mem::replace(&mut walk.findings, Findings::new(1)).into_kept())),
    }
}

/// The revision of the last row.
fn last_row(walk: &mut Walk<'_>, root: Root) -> Result<Option<i64>, VerifyError> {
    let mut tree = Tree::of_the_last();
    tree.enter(walk, root)?;
    let found = tree.next(walk)?;
    Ok(found.and_then(|_| RowKey::parse(tree.key())).map(|row| row.revision))
}

/// The value of the first row of namespace kube-system. Its UID never changes.
fn kube_system(walk: &mut Walk<'_>, root: Root) -> Result<Option<Vec<u8>>, VerifyError> {
    let mut tree = Tree::default();
    tree.enter(walk, root)?;
    while let Some(entry) = tree.next(walk)? {
        let start = Span { length: entry.value.length.min(WINDOW_BYTES as u64), ..entry.value };
        let mut found = None;
        tree.value(walk, start, |piece| {
            found = found.take().or_else(|| value_of_kube_system(piece));
            Ok(())
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The value in a row (mvccpb.KeyValue), if it is of the namespace, and whole.
fn value_of_kube_system(row: &[u8]) -> Option<Vec<u8>> {
    let mut all = fields(row);
    let Some(Some((1, Wire::Bytes(key)))) = all.next() else { return None };
    if !key.ends_with(KUBE_SYSTEM) {
        return None;
    }
    all.find_map(|field| match field {
        Some((5, Wire::Bytes(value))) => Some(value.to_vec()),
        _ => None,
    })
}
