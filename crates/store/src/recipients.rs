//! Who can decrypt a backup: age recipients, as `age -r` and `age -R FILE` take them.

use std::path::{Path, PathBuf};

use age::x25519;
use secrecy::ExposeSecret;

use crate::small_file::{self, FileError};

/// Whether a backup is encrypted, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// For these.
    Recipients(Recipients),
    /// Not at all: the user has said so.
    Off,
}

impl Encryption {
    /// The recipients as text; none without encryption.
    pub fn names(&self) -> Vec<String> {
        match self {
            Encryption::Recipients(recipients) => recipients.names(),
            Encryption::Off => Vec::new(),
        }
    }

    /// Whether there is encryption.
    pub fn is_on(&self) -> bool {
        matches!(self, Encryption::Recipients(_))
    }
}

/// Recipients of the largest header that is read again.
pub(crate) const MOST: usize = 100;

/// At least one age recipient of type X25519. None twice, in the order in which they were named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipients(Vec<x25519::Recipient>);

/// What names no recipients.
#[derive(Debug, thiserror::Error)]
pub enum RecipientError {
    /// Nothing names a recipient.
    #[error("no recipient is named: nobody could decrypt the backup")]
    None,
    /// There are more than a backup can have.
    #[error("{0} recipients are named, and a backup has at most {MOST}")]
    TooMany(usize),
    /// A file of recipients has none.
    #[error("{} names no recipient", .0.display())]
    NoneIn(PathBuf),
    /// A file of recipients cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A text is no recipient.
    #[error("{place}: {why}")]
    Text {
        /// Which text: it itself, or its file and line.
        place: String,
        /// Why not.
        why: NotARecipient,
    },
}

/// Why a text is no recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARecipient {
    /// A public key of OpenSSH.
    #[error("ssh keys are not supported as recipients; make one with age-keygen")]
    Ssh,
    /// A private key: whoever can read it can decrypt.
    #[error("this is a secret key, not a recipient; age-keygen -y FILE prints its recipient")]
    Secret,
    /// A recipient of another type: of a plugin, or post-quantum.
    #[error("only recipients of type X25519 are supported, as age-keygen makes them")]
    Type,
    /// Everybody can decrypt what is encrypted for it.
    #[error("this recipient is a point of low order, which protects nothing")]
    Weak,
    /// It is cut or mistyped, or something else.
    #[error("this is not an age recipient: expected age1 and 58 more letters and digits ({0})")]
    Form(String),
}

/// The points of low order on Curve25519 in all their encodings: with these X25519 gives zero, whatever the other key.
/// RFC 7748, section 6.1, has the check for zero; the points are those that libsodium refuses.
const WEAK: [&str; 14] = [
    "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z",
    "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqzqqsuwj9m",
    "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqj7vrya",
    "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqzqqk67yly",
    "age1ur4h5lpmgxu2u9jku0a0r87ydtdqnr0tnsetrlvxvgz3vh6fhqqqzyt4v9",
    "age1ur4h5lpmgxu2u9jku0a0r87ydtdqnr0tnsetrlvxvgz3vh6fhzqqxqejhu",
    "age1t7wft09r2zxzfvwsk92eeql0tvzyghxytqwgapkcyf8dm5ylz9ts6wm9s8",
    "age1t7wft09r2zxzfvwsk92eeql0tvzyghxytqwgapkcyf8dm5ylz8ts72fzt7",
    "age1anlllllllllllllllllllllllllllllllllllllllllllllllals4n2t7m",
    "age1anllllllllllllllllllllllllllllllllllllllllllllllllls3hcv9z",
    "age1ahlllllllllllllllllllllllllllllllllllllllllllllllalsn46ayy",
    "age1ahlllllllllllllllllllllllllllllllllllllllllllllllllsh3g6la",
    "age1amlllllllllllllllllllllllllllllllllllllllllllllllalselrwrv",
    "age1amlllllllllllllllllllllllllllllllllllllllllllllllllsam3fc4",
];

/// What OpenSSH's public keys begin with.
const SSH: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];

impl Recipients {
    /// Recipients named as text (`age1...`), and in files: one a line, `#` begins a comment, empty lines count for nothing. One that is named
    /// twice counts once.
    ///
    /// # Errors
    /// Any text is no recipient, any file cannot be read or names none, or there is none at all. A text that may be a secret key is not told.
    pub fn parse<T: AsRef<str>, F: AsRef<Path>>(texts: &[T], files: &[F]) -> Result<Recipients, RecipientError> {
        let mut all = Vec::new();
        for text in texts.iter().map(|text| text.as_ref().trim()) {
            let one = recipient(text).map_err(|why| RecipientError::Text { place: shown(text, &why), why })?;
            all.push(one);
        }
        for path in files.iter().map(AsRef::as_ref) {
            let text = small_file::read_text(path)?;
            let before = all.len();
            for (number, line) in small_file::lines(text.expose_secret()) {
                let place = || format!("{}, line {number}", path.display());
                all.push(recipient(line).map_err(|why| RecipientError::Text { place: place(), why })?);
            }
            if all.len() == before {
                return Err(RecipientError::NoneIn(path.to_owned()));
            }
        }
        let mut distinct: Vec<x25519::Recipient> = Vec::with_capacity(all.len());
        for one in all {
            if !distinct.contains(&one) {
                distinct.push(one);
            }
        }
        match distinct.len() {
            0 => Err(RecipientError::None),
            1..=MOST => Ok(Recipients(distinct)),
            many => Err(RecipientError::TooMany(many)),
        }
    }

    /// The recipients as text: `age1...`.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// For age.
    pub(crate) fn dynamic(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.0.iter().map(|one| one as &dyn age::Recipient)
    }
}

fn recipient(text: &str) -> Result<x25519::Recipient, NotARecipient> {
    let lower = text.to_ascii_lowercase();
    if SSH.iter().any(|begin| lower.starts_with(begin)) {
        return Err(NotARecipient::Ssh);
    }
    if lower.starts_with("age-") || lower.starts_with("-----begin") {
        return Err(NotARecipient::Secret);
    }
    // `age1NAME1...` is a recipient of plugin NAME; post-quantum ones and those of hardware have such names, too.
    if lower.strip_prefix("age1").is_some_and(|rest| rest.contains('1')) {
        return Err(NotARecipient::Type);
    }
    let one: x25519::Recipient = text.parse().map_err(|why: &str| NotARecipient::Form(why.to_owned()))?;
    if WEAK.contains(&one.to_string().as_str()) { Err(NotARecipient::Weak) } else { Ok(one) }
}

/// A text for an error; never what may be secret.
fn shown(text: &str, why: &NotARecipient) -> String {
    match why {
        NotARecipient::Secret => "a recipient".to_owned(),
        _ => format!("{:?}", text.chars().take(80).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ONE: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
    const TWO: &str = "age1lgyn4lvrmc7lgh90nz0s0hjndf6xkg0rysu4g9m4gpnlec7q9upqd9vn0u";
    const SECRET: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

    fn of_text(text: &str) -> Result<Vec<String>, String> {
        Recipients::parse::<&str, &Path>(&[text], &[]).map(|all| all.names()).map_err(|error| error.to_string())
    }

    fn of_file(text: &str) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let found = Recipients::parse::<&str, _>(&[], &[file.path()]).map(|all| all.names());
        found.map_err(|error| error.to_string().replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn recipients_come_from_texts_and_files_and_count_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("# ours\n\n{TWO}\r\n  {ONE}\n")).unwrap();
        let all = Recipients::parse(&[ONE], &[file.path()]).unwrap();
        assert_eq!(all.names(), [ONE, TWO]);
    }

    #[test]
    fn none_at_all_is_an_error() {
        assert!(matches!(Recipients::parse::<&str, &Path>(&[], &[]), Err(RecipientError::None)));
        assert_eq!(of_file("# nobody\n").unwrap_err(), "FILE names no recipient");
        let missing = Recipients::parse::<&str, _>(&[], &["/nowhere/at/all"]).unwrap_err();
        assert_eq!(missing.to_string(), "cannot read /nowhere/at/all");
        assert!(Recipients::parse::<&str, _>(&[], &[std::env::temp_dir()]).is_err());
    }

    #[test]
    fn what_is_no_recipient_is_refused_by_name() {
        let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        for (text, said) in [
            (ssh, "ssh keys are not supported as recipients; make one with age-keygen"),
            (SECRET, "this is a secret key"),
            (&SECRET.to_lowercase(), "this is a secret key"),
            ("AGE-PLUGIN-YUBIKEY-1", "this is a secret key"),
            ("age1yubikey1qwertyuiop", "only recipients of type X25519"),
            (&ONE[..ONE.len() - 1], "this is not an age recipient"),
            ("github:someone", "this is not an age recipient"),
            ("", "this is not an age recipient"),
        ] {
            let error = of_text(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.to_uppercase().contains("GQ9778VQX"), "{error}");
            if !text.is_empty() {
                let error = of_file(&format!("# one\n{text}\n")).unwrap_err();
                assert!(error.starts_with("FILE, line 2: ") && error.contains(said), "{text}: {error}");
                assert!(!error.to_uppercase().contains("GQ9778VQX"), "{error}");
            }
        }
        assert!(of_file(&format!("{ONE}\n\u{0}")).is_err());
    }

    #[test]
    fn a_recipient_that_protects_nothing_is_refused() {
        for weak in WEAK {
            assert!(weak.parse::<x25519::Recipient>().is_ok(), "{weak}");
            assert!(of_text(weak).unwrap_err().contains("low order"), "{weak}");
            assert!(of_text(&weak.to_uppercase()).unwrap_err().contains("low order"), "{weak}");
        }
    }
}
