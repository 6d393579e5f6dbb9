//! The keys that a store has at a file's current revision, as its clients would read them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::encryption::{Beginning, EncryptionKey, EncryptionKeys};
use crate::protobuf::{Message, Parser};
use crate::row::RowKey;
use crate::sink::{Sink, Store};
use crate::verify::verify_into;
use crate::{Options, Progress, Report, Source, VerifyError};

/// A key that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveKey {
    /// The revision that last changed it.
    pub mod_revision: i64,
    /// How many of its revisions the file still has, since it was made.
    pub versions: u32,
    /// Bytes of its value.
    pub value_bytes: u64,
    /// By which key the API server has encrypted the value, if it has. Up to a hundred are told apart: of the values of further
    /// ones this is not known.
    pub encrypted_by: Option<Arc<EncryptionKey>>,
    /// Its value, if it was asked for.
    pub value: Option<Vec<u8>>,
}

/// Keys that are there, in byte order.
pub type LiveKeys = BTreeMap<Vec<u8>, LiveKey>;

/// What is kept of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: it is passed over.
    Nothing,
    /// That it is there.
    Key,
    /// Its value as well.
    Value,
    /// That it is there; its value is shown to [`Pick::look`].
    Look,
}

/// What sees values: of a key, at a revision.
pub type Look<'a> = dyn Fn(&[u8], i64, Vec<u8>) + 'a;

/// Which keys are gathered, as of when, and what of them.
#[derive(Clone, Copy)]
pub struct Pick<'a> {
    /// What is kept of a key.
    pub keep: &'a dyn Fn(&[u8]) -> Keep,
    /// As of which revision; `None` for the file's own. One that the file has compacted away, or has not reached, gives what is left of it:
    /// the [`Report`] tells which those are.
    pub at: Option<i64>,
    /// Sees the values of the keys of which that is said: the key, the revision and the value, of every revision that the file has, in
    /// their order. Which of them is the last one shows when the file was read: it is [`LiveKey::mod_revision`].
    pub look: Option<&'a Look<'a>>,
}

impl<'a> Pick<'a> {
    /// All that `keep` says, at the file's own revision.
    pub fn new(keep: &'a dyn Fn(&[u8]) -> Keep) -> Pick<'a> {
        Pick { keep, at: None, look: None }
    }
}

/// Verifies a file and gives its live keys. The memory that this takes is that of what is kept.
///
/// The key without a name, which a raised revision leaves in the store and no client can ask for, is not among them.
///
/// # Errors
/// See [`VerifyError`].
pub fn live_keys(
    source: &dyn Source,
    options: &Options<'_>,
    pick: &Pick<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Report, LiveKeys), VerifyError> {
    let keys = Keys { pick, encryption: EncryptionKeys::default(), keys: LiveKeys::new() };
    let mut gather = Gather::new(keys, pick.at);
    let report = verify_into(source, options, progress, &mut gather)?;
    Ok((report, gather.take.keys))
}

/// Sees a key at every change of it, in the order of revisions: the revision that changed it, or `None` where that deleted it.
pub type Change<'a> = dyn FnMut(&[u8], Option<i64>) + 'a;

/// Verifies a file and shows all changes of its keys, without their values. Whoever applies them in their order has the live keys. The
/// memory that this takes does not grow with the file.
///
/// # Errors
/// See [`VerifyError`].
pub fn key_changes(
    source: &dyn Source,
    options: &Options<'_>,
    each: &mut Change<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, VerifyError> {
    verify_into(source, options, progress, &mut Gather::new(Changes(each), None))
}

/// What [`tally`] shows of a key that gets a new revision.
#[derive(Debug)]
pub struct Put<'a> {
    /// The key.
    pub key: &'a [u8],
    /// By which key the API server has encrypted the value, as in [`LiveKey::encrypted_by`].
    pub encrypted_by: Option<&'a EncryptionKey>,
}

/// Verifies a file and counts its live keys by their class, which is what `class` says of the last revision of each. The memory that this takes
/// is four bytes a revision, and none for the keys.
///
/// # Errors
/// See [`VerifyError`].
pub fn tally(
    source: &dyn Source,
    options: &Options<'_>,
    class: &mut dyn FnMut(&Put<'_>) -> u32,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Report, BTreeMap<u32, u64>), VerifyError> {
    let take = Tally { class, encryption: EncryptionKeys::default(), classes: Vec::new(), counts: BTreeMap::new() };
    let mut gather = Gather::new(take, None);
    let report = verify_into(source, options, progress, &mut gather)?;
    Ok((report, gather.take.counts))
}

/// What the live keys of a file and their values hash to: enough to tell what differs between two files, in the memory of 40 bytes a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprints(HashMap<u128, u128>);

impl Fingerprints {
    /// Verifies a file and hashes its live keys, without this prefix, and their values.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn read(
        source: &dyn Source,
        options: &Options<'_>,
        prefix: &[u8],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(Report, Fingerprints), VerifyError> {
        let mut gather = Gather::new(Prints { prefix, prints: HashMap::new() }, None);
        let report = verify_into(source, options, progress, &mut gather)?;
        Ok((report, Fingerprints(gather.take.prints)))
    }

    /// What a key of this file is in another.
    #[must_use]
    pub fn beside(&self, other: &Fingerprints, key: &[u8], prefix: &[u8]) -> Beside {
        let print = fingerprint(key, prefix);
        match other.0.get(&print) {
            None => Beside::Missing,
            there if there == self.0.get(&print) => Beside::Same,
            Some(_) => Beside::Other,
        }
    }
}

/// What a key is in another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// It has the same value.
    Same,
    /// It has another one.
    Other,
    /// It is not there.
    Missing,
}

/// Equal for equal keys, whatever their prefix, and different for others.
fn fingerprint(key: &[u8], prefix: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new();
    match key.strip_prefix(prefix) {
        Some(rest) => {
            hasher.write_u8(0);
            hasher.write(rest);
        }
        None => {
            hasher.write_u8(1);
            hasher.write(key);
        }
    }
    hasher.finish128().as_u128()
}

/// What is made of the live keys.
trait Take {
    /// What is needed of a key's value.
    fn needs(&self, key: &[u8]) -> Need;
    /// The key has this record from now on.
    fn put(&mut self, row: RowKey, ordinal: u32, record: Record);
    /// It was deleted.
    fn remove(&mut self, key: &[u8]);
    /// All rows were there: those whose ordinals these are, from 0 on, are the newest ones of live keys. `put` was called in the order of
    /// ordinals.
    fn end(&mut self, _live: &mut dyn Iterator<Item = u32>) {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Value,
    Hash,
}

struct Keys<'a> {
    pick: &'a Pick<'a>,
    encryption: EncryptionKeys,
    keys: LiveKeys,
}

impl Take for Keys<'_> {
    fn needs(&self, key: &[u8]) -> Need {
        match (self.pick.keep)(key) {
            Keep::Value | Keep::Look => Need::Value,
            Keep::Nothing | Keep::Key => Need::Nothing,
        }
    }

    fn put(&mut self, row: RowKey, _: u32, record: Record) {
        let keep = (self.pick.keep)(&record.key);
        if keep == Keep::Nothing {
            return;
        }
        let Record { key, value_bytes, beginning, mut value, .. } = record;
        // A value without bytes may not be in the record at all.
        if value_bytes == 0 && keep != Keep::Key {
            value = value.or_else(|| Some(Vec::new()));
        }
        if keep == Keep::Look
            && let (Some(look), Some(value)) = (self.pick.look, value.take())
        {
            look(&key, row.revision, value);
        }
        let encrypted_by = self.encryption.of(&beginning);
        let new = LiveKey { mod_revision: row.revision, versions: 1, value_bytes, encrypted_by, value };
        match self.keys.entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(new)),
            Entry::Occupied(mut entry) => {
                let versions = entry.get().versions.saturating_add(1);
                entry.insert(LiveKey { versions, ..new });
            }
        }
    }

    fn remove(&mut self, key: &[u8]) {
        self.keys.remove(key);
    }
}

struct Changes<'a, 'b>(&'a mut Change<'b>);

impl Take for Changes<'_, '_> {
    fn needs(&self, _: &[u8]) -> Need {
        Need::Nothing
    }

    fn put(&mut self, row: RowKey, _: u32, record: Record) {
        (self.0)(&record.key, Some(row.revision));
    }

    fn remove(&mut self, key: &[u8]) {
        (self.0)(key, None);
    }
}

/// The class of a row that is none of a key that could be asked for, or that deletes one.
const NO_CLASS: u32 = u32::MAX;

struct Tally<'a> {
    class: &'a mut dyn FnMut(&Put<'_>) -> u32,
    encryption: EncryptionKeys,
    /// Of each row, by its ordinal.
    classes: Vec<u32>,
    counts: BTreeMap<u32, u64>,
}

impl Take for Tally<'_> {
    fn needs(&self, _: &[u8]) -> Need {
        Need::Nothing
    }

    fn put(&mut self, _: RowKey, ordinal: u32, record: Record) {
        let encrypted_by = self.encryption.of(&record.beginning);
        let class = (self.class)(&Put { key: &record.key, encrypted_by: encrypted_by.as_deref() });
        self.classes.resize(ordinal as usize, NO_CLASS);
        self.classes.push(class);
    }

    fn remove(&mut self, _: &[u8]) {}

    fn end(&mut self, live: &mut dyn Iterator<Item = u32>) {
        for class in live.filter_map(|row| self.classes.get(row as usize)).filter(|class| **class != NO_CLASS) {
            *self.counts.entry(*class).or_default() += 1;
        }
    }
}

struct Prints<'a> {
    prefix: &'a [u8],
    prints: HashMap<u128, u128>,
}

impl Take for Prints<'_> {
    fn needs(&self, _: &[u8]) -> Need {
        Need::Hash
    }

    fn put(&mut self, _: RowKey, _: u32, record: Record) {
        let value = record.hasher.unwrap_or_default().finish128().as_u128();
        self.prints.insert(fingerprint(&record.key, self.prefix), value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.prints.remove(&fingerprint(key, self.prefix));
    }
}

/// Rows come in the order of revisions: the last one of a key decides.
struct Gather<T> {
    take: T,
    /// What is newer does not count.
    at: Option<i64>,
    /// Whether the bucket that is being walked is that of the rows.
    is_key: bool,
    row: Option<RowKey>,
    /// How many rows have begun. In a file without damage each item of the bucket is one.
    rows: u32,
    parser: Parser,
    record: Record,
}

/// What counts of a row's value.
#[derive(Debug, Default)]
struct Record {
    key: Vec<u8>,
    value_bytes: u64,
    beginning: Beginning,
    value: Option<Vec<u8>>,
    hasher: Option<SipHasher13>,
}

/// A record that is being read: whether its value is wanted is known once its key is.
struct Reading<'a, T> {
    record: &'a mut Record,
    take: &'a T,
}

const KEY: u64 = 1;
const VALUE: u64 = 5;

impl<T: Take> Message for Reading<'_, T> {
    fn varint(&mut self, _: u64, _: u64) -> bool {
        true
    }

    fn begin(&mut self, field: u64, length: u64) -> bool {
        match field {
            KEY => self.record.key.clear(),
            VALUE => {
                self.record.value_bytes = length;
                self.record.beginning.clear();
                let need = self.take.needs(&self.record.key);
                self.record.value = (need == Need::Value).then(Vec::new);
                self.record.hasher = (need == Need::Hash).then(SipHasher13::new);
            }
            _ => {}
        }
        true
    }

    fn bytes(&mut self, field: u64, piece: &[u8]) {
        match field {
            KEY => self.record.key.extend_from_slice(piece),
            VALUE => {
                self.record.beginning.feed(piece);
                self.record.value.iter_mut().for_each(|value| value.extend_from_slice(piece));
                self.record.hasher.iter_mut().for_each(|hasher| hasher.write(piece));
            }
            _ => {}
        }
    }
}

impl<T: Take> Gather<T> {
    fn new(take: T, at: Option<i64>) -> Gather<T> {
        Gather { take, at, is_key: false, row: None, rows: 0, parser: Parser::new(), record: Record::default() }
    }

    /// The row before this one is all there.
    fn finish_row(&mut self) {
        let Some(row) = self.row.take() else { return };
        let record = std::mem::take(&mut self.record);
        if row.tombstone {
            self.take.remove(&record.key);
        } else if !record.key.is_empty() {
            self.take.put(row, self.rows.saturating_sub(1), record);
        }
    }
}

impl<T: Take> Sink for Gather<T> {
    fn bucket(&mut self, name: &[u8]) -> Result<(), VerifyError> {
        self.finish_row();
        self.is_key = name == b"key";
        Ok(())
    }

    fn item(&mut self, key: &[u8], _: u64) -> Result<(), VerifyError> {
        self.finish_row();
        self.rows = self.rows.saturating_add(u32::from(self.is_key));
        let counts = |row: &RowKey| self.at.is_none_or(|at| row.revision <= at);
        self.row = self.is_key.then(|| RowKey::parse(key)).flatten().filter(counts);
        self.parser = Parser::new();
        Ok(())
    }

    fn value(&mut self, piece: &[u8]) -> Result<(), VerifyError> {
        if self.row.is_some() {
            self.parser.feed(piece, &mut Reading { record: &mut self.record, take: &self.take });
        }
        Ok(())
    }

    fn end(&mut self, store: &Store<'_>) -> Result<(), VerifyError> {
        self.finish_row();
        self.take.end(&mut store.rows.newest());
        Ok(())
    }
}
