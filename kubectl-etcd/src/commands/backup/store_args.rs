//! The flags of a backup in a store, and what they come to.

use std::path::PathBuf;

use etcd_store::{Encryption, Environment, Recipients, Scope, SigningKey, Store, StoreUrl};

use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome};

/// A backup in a store.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Backup in a store")]
pub(crate) struct StoreArgs {
    /// Store to write the backup to: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX or file:///FOLDER
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<StoreUrl>,
    /// age recipient that can decrypt the backup, this flag can be repeated
    #[arg(long, value_name = "RECIPIENT", requires = "store")]
    pub(crate) recipient: Vec<String>,
    /// File with age recipients, one a line, this flag can be repeated
    #[arg(short = 'R', long, value_name = "FILE", requires = "store")]
    pub(crate) recipients_file: Vec<PathBuf>,
    /// Do not encrypt the backup: whoever can read the store can read every Secret
    #[arg(long, requires = "store", conflicts_with_all = ["recipient", "recipients_file"])]
    pub(crate) no_encryption: bool,
    /// Private key of OpenSSH (ssh-ed25519) that signs the record of the backup
    #[arg(long, value_name = "FILE", requires = "store")]
    pub(crate) sign_key: Option<PathBuf>,
}

/// Where a backup goes, and how.
pub(crate) struct Destination {
    pub(crate) store: Store,
    pub(crate) encryption: Encryption,
    pub(crate) key: Option<SigningKey>,
}

impl StoreArgs {
    /// Reads the files that the flags name and opens the store; no request is made. `None` without `--store`.
    ///
    /// # Errors
    /// No recipient, or something that is none (exit 2); a file that cannot be read; a store for which something is missing.
    pub(crate) fn destination(&self) -> Outcome<Option<Destination>> {
        let Some(url) = &self.store else { return Ok(None) };
        if let Ok(Scope { store, cluster: Some(cluster) }) = url.to_string().parse() {
            let message = format!("the store ends in the UID of a cluster, {cluster}, below which backups lie anyway");
            let store = store.to_string();
            return Err(
                Failed::new(Exit::Usage, message).hint(format!("name the store alone\n  --store {}", quoted(&store)))
            );
        }
        let encryption = match self.no_encryption {
            true => Encryption::Off,
            false if self.recipient.is_empty() && self.recipients_file.is_empty() => {
                return Err(Failed::new(Exit::Usage, "nobody could decrypt the backup: no recipient is named").hint(
                    "name a recipient, which age-keygen prints, or say that nothing is to be encrypted\n  \
                     --recipient age1...\n  --no-encryption",
                ));
            }
            false => {
                let recipients = Recipients::parse(&self.recipient, &self.recipients_file);
                let usage = |error: &(dyn std::error::Error + 'static)| {
                    Failed::new(Exit::Usage, "cannot encrypt the backup").source(error)
                };
                Encryption::Recipients(recipients.map_err(|error| usage(&error))?)
            }
        };
        let key = self.sign_key.as_deref().map(SigningKey::read).transpose();
        let key = key.map_err(|error| Failed::new(Exit::Usage, "cannot sign the backup").source(&error))?;
        let store = Store::open(url, &Environment::of_process()).map_err(|error| crate::stores::failed(&error))?;
        Ok(Some(Destination { store, encryption, key }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

    fn args() -> StoreArgs {
        StoreArgs { store: Some("file:///tmp".parse().expect("a store")), ..StoreArgs::default() }
    }

    #[test]
    fn nothing_is_left_in_clear_unasked() {
        let refused = args().destination().err().expect("refused");
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.hints[0].contains("--no-encryption"), "{refused}");
        let clear = StoreArgs { no_encryption: true, ..args() }.destination().expect("open").expect("a store");
        assert!(!clear.encryption.is_on() && clear.key.is_none());
        let sealed = StoreArgs { recipient: vec![RECIPIENT.to_owned()], ..args() };
        assert_eq!(sealed.destination().expect("open").expect("a store").encryption.names(), [RECIPIENT]);
        assert!(StoreArgs::default().destination().expect("nothing").is_none());
    }

    #[test]
    fn what_is_no_recipient_or_key_is_a_usage_error() {
        for wrong in [
            StoreArgs { recipient: vec!["age1x".to_owned()], ..args() },
            StoreArgs { recipients_file: vec!["/nowhere/at/all".into()], ..args() },
            StoreArgs { no_encryption: true, sign_key: Some("/nowhere/at/all".into()), ..args() },
            StoreArgs {
                no_encryption: true,
                store: Some("file:///tmp/5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d".parse().expect("a store")),
                ..args()
            },
        ] {
            assert_eq!(wrong.destination().err().expect("refused").exit, Exit::Usage);
        }
    }
}
