//! etcd's on-disk formats.
//!
//! [`verify()`] proves that a file is a whole and undamaged etcd snapshot, of etcd 3.4 to 3.7, and reads its figures, without
//! any etcd binary. Bytes in, values out. [`restore`] makes the directory of a new member of it, which those versions start
//! from. No network, no terminal, no clock. The bytes may be anyone's: no file makes it panic, loop, or allocate by what the
//! file claims.
//!
//! ```no_run
//! use etcd_snapshot::{FileSource, Options, verify};
//!
//! let source = FileSource::new(std::fs::File::open("etcd.db")?)?;
//! let report = verify(&source, &Options::default(), &|_| {})?;
//! assert_eq!(report.total_size % u64::from(report.page_size), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ahead;
mod bits;
mod bytes;
mod crc;
mod digest;
mod encryption;
mod error;
mod figures;
mod finding;
mod freelist;
mod glance;
mod hashkv;
mod keys;
mod live;
mod meta;
mod page;
mod prefetch;
mod protobuf;
mod pulse;
mod recognise;
mod record;
mod report;
pub mod restore;
mod row;
mod rows;
mod settings;
mod sink;
mod source;
mod standing;
mod stream;
mod tree;
mod verify;
pub mod wal;
mod warning;
mod window;

pub use encryption::EncryptionKey;
pub use error::{Damage, NotASnapshot, VerifyError};
pub use finding::{Finding, FindingKind};
pub use glance::{Glance, glance};
pub use hashkv::{HashKv, HashKvAt, HashKvError, hash_kv};
pub use live::{Beside, Change, Fingerprints, Keep, LiveKey, LiveKeys, Look, Pick, Put, key_changes, live_keys, tally};
pub use recognise::{DATABASE_BEGINNING, is_database, is_snapshot_name, may_be_snapshot};
pub use record::minor;
pub use report::{Alarm, AlarmKind, Auth, Compaction, DigestState, Member, MetaReason, MetaState, Report};
pub use source::{FileSource, Source};
pub use stream::StreamHead;
pub use verify::{DigestCheck, Options, Progress, verify};
pub use warning::Warning;
