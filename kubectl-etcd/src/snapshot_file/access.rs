//! What it takes to read a FILE that is in a store, or encrypted: identities, and keys whose signatures count.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use etcd_store::{Identities, IdentityError, NotAnIdentity, TrustedKeys, looks_like_store};
use secrecy::SecretString;
use tokio::sync::OnceCell;

use crate::context::Context;
use crate::idle::Idle;
use crate::output::{Exit, Failed, Outcome, passphrase};
use crate::stores::TrustArgs;

/// The flags. Clones read their files once, together.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Backup in a store")]
pub(crate) struct AccessArgs {
    /// File with age identities that decrypt the backup; they never leave this machine. This flag can be repeated
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) identity: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[arg(skip)]
    read: Arc<OnceCell<Access>>,
}

/// What the files of the flags hold.
#[derive(Debug)]
pub(crate) struct Access {
    /// Identities, if any are named.
    pub(crate) identities: Option<Identities>,
    /// Keys whose signatures count, if any are named.
    pub(crate) trusted: Option<TrustedKeys>,
    told: AtomicBool,
}

/// Whether a FILE of the command line is a backup in a store.
pub(crate) fn is_stored(file: &Path) -> bool {
    file.to_str().is_some_and(looks_like_store)
}

/// Whether a file is called as one that age has encrypted.
fn is_called_encrypted(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "age")
}

impl AccessArgs {
    /// The flags that have no effect on these files.
    pub(crate) fn idle<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Vec<Idle> {
        let (mut stored, mut encrypted) = (false, false);
        for file in files {
            stored |= is_stored(file);
            encrypted |= is_called_encrypted(file);
        }
        let mut idle = Vec::new();
        if !stored {
            idle.push(Idle::flags(&["trust_key"], "only a backup in a store has a signature"));
        }
        if !stored && !encrypted {
            idle.push(Idle::flags(&["identity"], "the file is neither in a store nor called *.age"));
        }
        idle
    }

    /// Reads the files, once; asks for the passphrases of identities that have one.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should (exit 2).
    pub(crate) async fn read(&self, context: &Context) -> Outcome<&Access> {
        self.read
            .get_or_try_init(|| async {
                let trusted = self.trust.read()?;
                let identities = match self.identity.as_slice() {
                    [] => None,
                    files => Some(identities(files, context).await?),
                };
                Ok(Access { identities, trusted, told: AtomicBool::new(false) })
            })
            .await
    }
}

impl Access {
    /// Says once that no signature was checked.
    pub(crate) fn tell_unchecked(&self, context: &Context) {
        if !self.told.swap(true, Relaxed) {
            context.printer.warn(
                "whether the backup is yours was not checked: anybody who can write to the store may have put it there; \
                 name the key that must have signed it with\n  --trust-key FILE",
            );
        }
    }
}

/// Reads identity files; asks for the passphrases of those that have one, on a terminal.
///
/// # Errors
/// A file cannot be read, holds something else, or has a passphrase that is wrong or cannot be asked for (exit 2).
pub(crate) async fn identities(files: &[PathBuf], context: &Context) -> Outcome<Identities> {
    // Whoever is asked for a passphrase is asked outside of the reading: it may be interrupted.
    let mut typed: Vec<(PathBuf, SecretString)> = Vec::new();
    loop {
        let answer = |file: &Path| typed.iter().find(|(of, _)| of == file).map(|(_, passphrase)| passphrase.clone());
        let file = match Identities::read(files, answer) {
            Ok(identities) => return Ok(identities),
            Err(IdentityError::Content { path, why: NotAnIdentity::NoPassphrase })
                if !typed.iter().any(|(of, _)| *of == path) =>
            {
                path
            }
            Err(error) => return Err(Failed::new(Exit::Usage, "cannot decrypt backups").source(&error)),
        };
        let question = format!("Passphrase of {}: ", file.display());
        match context.interruptible(passphrase::ask(question, context.printer)).await? {
            Some(passphrase) => typed.push((file, passphrase)),
            None => {
                let failed = Failed::new(Exit::Usage, format!("{} is encrypted with a passphrase", file.display()));
                return Err(failed.cause("there is no terminal to ask for it on").hint(
                    "name a file that is not encrypted, which only this user can read\n  age -d KEY_FILE.age > KEY_FILE",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_a_file_has_no_use_for_are_idle() {
        let idle = |files: &[&str]| AccessArgs::default().idle(files.iter().map(Path::new)).len();
        assert_eq!(idle(&["a.db"]), 2);
        assert_eq!(idle(&["a.db.zst.age"]), 1);
        assert_eq!(idle(&["s3://b/latest"]), 0);
        assert_eq!(idle(&["a.db", "file:///b/latest"]), 0);
        assert_eq!(idle(&[]), 2);
    }
}
