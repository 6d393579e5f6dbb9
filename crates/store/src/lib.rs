//! Backups of etcd in a store: an object store, or a folder with the same layout.
//!
//! What a backup in a store is, is decided here, by pure functions where that can be: the names of its objects ([`layout`]), what is
//! recorded of it ([`Record`]), which objects are a backup. What is done to a store is a thin layer over `object_store`.
//! `docs/STORE.md` is the format for people, and how to restore without this program.
//!
//! # Invariants
//!
//! * Every object is written once and never changed. Its `.json` is written last, and create-only: a backup without its `.json` is none.
//! * What is in a `.json` is believed of the objects whose size and SHA-256 it records, and of no others.
//! * No plaintext of a snapshot or of node files reaches a store, unless the user has said that nothing is to be encrypted.
//! * No error, log line or name carries a credential.

mod backend;
mod backups;
mod belonging;
pub mod check;
mod commit;
pub mod copy;
mod digest;
mod download;
mod environment;
pub mod fetch;
pub mod freshness;
mod identities;
mod intake;
pub mod layout;
mod level;
mod listed;
pub mod metrics;
mod name;
pub mod node_files;
pub mod observe;
mod open;
mod pages;
mod part_file;
mod patience;
pub mod proof;
mod ready;
mod recipients;
mod record;
mod recovery_plan;
mod reference;
pub mod retention;
mod seal;
pub mod signature;
mod small_file;
mod spool;
mod store;
mod trouble;
mod uid;
mod upload;
mod url;

pub use backend::ClockReading;
pub use backups::{Backup, Backups, CLOCK_TOLERANCE, COMMIT_WITHIN, Doubt, LARGEST_RECORD, LeftOver, Suspect};
pub use belonging::{Agreed, Contradiction, agree};
pub use commit::{
    Committed, Leftovers, Mismatch, NotCommitted, Pending, Sealed, Stays, Step, Uploads, Why, compare, order,
};
pub use digest::sha256_of;
pub use download::Download;
pub use environment::Environment;
pub use freshness::Freshness;
pub use identities::{Identities, IdentityError, NotAnIdentity};
pub use intake::{Intake, Shipped, Taken};
pub use layout::{Key, Part};
pub use level::{Level, LevelError};
pub use listed::{Listed, Object};
pub use name::{Class, Name, NameError};
pub use open::{OpenError, Opened, open_sealed};
pub use pages::{Pages, check_pages, uid_of};
pub use part_file::PartFile;
pub use patience::Patience;
pub use ready::{NotReady, ready};
pub use recipients::{Encryption, NotARecipient, RecipientError, Recipients};
pub use record::{
    API_VERSION, Checked, Cluster, KIND, Program, Record, RecordError, Snapshot, SourceMember, StoredObject,
};
pub use recovery_plan::{Api, Certificate, ManifestDigest, Member, Node, RecoveryPlan};
pub use reference::{Reference, ReferenceError, Scope, Wanted};
pub use seal::Sealer;
pub use signature::{SignatureError, Signer, SigningKey, SigningKeyError, TrustError, TrustedKeys};
pub use small_file::FileError;
pub use spool::Spool;
pub use store::Store;
pub use trouble::{PartsLeft, StoreError, Task, Trouble};
pub use uid::{ClusterUid, UidError};
pub use upload::{Sent, Upload, UploadWriter};
pub use url::{StoreUrl, UrlError, looks_like_store};
