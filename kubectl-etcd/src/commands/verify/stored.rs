//! A backup in a store: its bytes without a key, and a proof of what was verified.

use std::io;
use std::path::PathBuf;

use etcd_store::layout::Part;
use etcd_store::proof::{Proof, ProofError};
use etcd_store::{Identities, Level, Program, SigningKey, StoredObject};
use jiff::Timestamp;
use serde::Serialize;

use crate::context::Context;
use crate::idle::Idle;
use crate::output::{API_VERSION, Exit, Failed, Format, Outcome, bytes, print_data};
use crate::snapshot_file::{Stored, not_read, watch};
use crate::stores;

/// What only a backup in a store has.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Backup in a store")]
pub(crate) struct AttestArgs {
    /// Write into the store what was verified: a small object beside the backup, which list and freshness show
    #[arg(long)]
    pub(crate) attest: bool,
    /// With --attest: private key of OpenSSH (ssh-ed25519) that signs it
    #[arg(long, value_name = "FILE", requires = "attest")]
    sign_key: Option<PathBuf>,
}

impl AttestArgs {
    /// The flags that have no effect.
    pub(crate) fn idle(&self, is_stored: bool) -> Vec<Idle> {
        match is_stored {
            true => Vec::new(),
            false => vec![Idle::group::<AttestArgs>("the file is in no store")],
        }
    }

    /// Refuses to sign what was verified of a backup whose record may be anybody's: a signed proof is believed.
    ///
    /// # Errors
    /// The record is signed, and by whom was not checked (exit 2).
    pub(crate) fn vouches(&self, stored: &Stored) -> Outcome {
        let found = &stored.found;
        if self.sign_key.is_none() || found.signer.is_some() || !found.backup.has_signature {
            return Ok(());
        }
        let message = "the signature of the backup is not checked, so what is verified is not signed";
        Err(Failed::new(Exit::Usage, message)
            .hint("name the public key of whoever has signed the backup\n  --trust-key FILE"))
    }

    /// The key to sign with.
    ///
    /// # Errors
    /// The file cannot be read, or holds no such key (exit 2).
    pub(crate) fn key(&self) -> Outcome<Option<SigningKey>> {
        let read = self.sign_key.as_deref().map(SigningKey::read).transpose();
        read.map_err(|error| Failed::new(Exit::Usage, "cannot sign what was verified").source(&error))
    }
}

/// The result as data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bytes<'a> {
    api_version: &'static str,
    kind: &'static str,
    backup: String,
    ok: bool,
    level: Level,
    objects: &'a [StoredObject],
}

/// Reads all objects of a backup as they are, and compares them with the record: what is possible without an identity.
///
/// # Errors
/// The store cannot be read, or the backup is damaged (exit 3).
pub(super) async fn only_bytes(stored: &Stored, format: Format, context: &Context) -> Outcome {
    let name = stored.name();
    let objects = &stored.found.record.objects;
    for object in objects {
        read(stored, object, context).await?;
    }
    let total = objects.iter().map(|object| object.size).sum();
    let data = Bytes {
        api_version: API_VERSION,
        kind: "StoredVerification",
        backup: name.clone(),
        ok: true,
        level: Level::Read,
        objects,
    };
    let count = objects.len();
    let text = || format!("{name} has the bytes that are recorded: {count} objects, {}\n", bytes(total));
    print_data(context.printer, format, &data, text)?;
    context.printer.note("the snapshot was not decrypted, and its pages were not checked; to do that, name an identity\n  --identity FILE");
    Ok(())
}

async fn read(stored: &Stored, object: &StoredObject, context: &Context) -> Outcome {
    let found = &stored.found;
    let key = found.key_of(object).ok_or_else(|| Failed::plain(format!("{} is no object of a backup", object.name)))?;
    let watch = watch(context.printer, "read", object.size, context.cancelled());
    let read = found.read_as_it_is(&key, object, io::sink(), watch).await;
    read.map(drop).map_err(|error| not_read(error, &stored.name()))
}

/// Reads what the check of the snapshot has not read: the files of a node. They are opened, too, where an identity fits. Gives what is verified of
/// the whole backup then.
///
/// # Errors
/// As [`only_bytes`].
pub(crate) async fn rest(stored: &Stored, identities: Option<&Identities>, context: &Context) -> Outcome<Level> {
    let found = &stored.found;
    let size = found.recorded(&found.backup.key(Part::NodeFiles)).map_or(0, |object| object.size);
    let watch = watch(context.printer, "read", size, context.cancelled());
    let level = found.read_rest(identities, watch).await.map_err(|error| not_read(error, &stored.name()))?;
    if level < Level::Opened {
        context.printer.note("the files of the node have the bytes that are recorded; no identity decrypts them");
    }
    Ok(level)
}

/// Writes a proof into the store, and beside it a report of how it was proved, if there is one.
///
/// # Errors
/// It cannot be signed or written.
pub(crate) async fn attest(
    stored: &Stored,
    level: Level,
    key: Option<&SigningKey>,
    report: Option<bytes::Bytes>,
    context: &Context,
) -> Outcome {
    let by = Program { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let written = Proof::write(&stored.found, level, by, Timestamp::now(), key, report).await;
    let place = written.map_err(|error| match error {
        ProofError::Store(error) => stores::failed(&error),
        error => Failed::plain("cannot write what was verified").source(&error),
    });
    let place = place
        .map_err(|failed| failed.context(format!("{} was verified, and that could not be written", stored.name())))?;
    context.printer.note(format!("wrote {} to {}", place, stored.reference.store));
    Ok(())
}
