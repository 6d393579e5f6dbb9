//! Keys that decrypt backups: age identity files, as `age -i FILE` takes them.
//!
//! An identity never leaves this process, and no error tells anything of one.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, scrypt, x25519};
use secrecy::{ExposeSecret, SecretString};

use crate::open::why;
use crate::small_file::{self, FileError};

/// age identities of type X25519. By default none: what is in clear needs none.
#[derive(Clone, Default)]
pub struct Identities(Vec<x25519::Identity>);

/// A file that gives no identities.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No file is named.
    #[error("no identity is named")]
    None,
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// What it holds is not what it should be.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: NotAnIdentity,
    },
}

/// Why a file gives no identities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIdentity {
    /// It has none.
    #[error("there is no identity in it")]
    Empty,
    /// A recipient: it encrypts only.
    #[error("line {0} is a recipient, which cannot decrypt; name the file that age-keygen has written")]
    Recipient(usize),
    /// A private key of OpenSSH.
    #[error("ssh keys are not supported as identities; name a file of age-keygen")]
    Ssh,
    /// An identity of another type: of a plugin, or post-quantum.
    #[error("line {0} is an identity of a type that is not supported; only X25519 is, as age-keygen makes it")]
    Type(usize),
    /// It is cut or mistyped, or something else.
    #[error("line {0} is not an age identity")]
    Form(usize),
    /// It is encrypted, and there is no passphrase.
    #[error("it is encrypted with a passphrase, and none was given")]
    NoPassphrase,
    /// It is encrypted, and the passphrase is another.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// It is encrypted, for recipients.
    #[error("it is encrypted for recipients, not with a passphrase; decrypt it first")]
    EncryptedForRecipients,
    /// It is encrypted, and cut or changed.
    #[error("it is encrypted, and cannot be decrypted: {0}")]
    Damaged(String),
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identities").field(&self.recipients()).finish()
    }
}

impl Identities {
    /// Reads identity files. `passphrase` is asked for the passphrase of each file that is encrypted with one; it gives nothing where
    /// nobody can be asked.
    ///
    /// # Errors
    /// Any file cannot be read, or does not hold identities of type X25519 alone.
    pub fn read<P: AsRef<Path>>(
        paths: &[P],
        mut passphrase: impl FnMut(&Path) -> Option<SecretString>,
    ) -> Result<Identities, IdentityError> {
        let mut all = Vec::new();
        for path in paths.iter().map(AsRef::as_ref) {
            let content = SecretBytes(small_file::read(path)?);
            let found = of_file(&content.0, || passphrase(path));
            all.extend(found.map_err(|why| IdentityError::Content { path: path.to_owned(), why })?);
        }
        if all.is_empty() { Err(IdentityError::None) } else { Ok(Identities(all)) }
    }

    /// A new identity, for proofs that a store gives back what was written.
    pub fn generate() -> Identities {
        Identities(vec![x25519::Identity::generate()])
    }

    /// The recipients that these identities decrypt for.
    pub fn recipients(&self) -> Vec<String> {
        self.0.iter().map(|one| one.to_public().to_string()).collect()
    }

    /// Whether one of these identities decrypts what is encrypted for these recipients.
    pub fn fit(&self, recipients: &[String]) -> bool {
        self.recipients().iter().any(|own| recipients.contains(own))
    }

    /// For age.
    pub(crate) fn dynamic(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|one| one as &dyn age::Identity)
    }
}

/// Bytes that are overwritten when they are not needed any more.
struct SecretBytes(Vec<u8>);

impl Drop for SecretBytes {
    fn drop(&mut self) {
        use secrecy::zeroize::Zeroize;
        self.0.zeroize();
    }
}

/// The largest work factor of a passphrase, as age takes it: filippo.io/age scrypt.go @ v1.2.1. 4 GiB of memory.
const MOST_WORK: u8 = 22;
const BINARY: &[u8] = b"age-encryption.org/";
const ARMORED: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

fn of_file(
    content: &[u8],
    passphrase: impl FnOnce() -> Option<SecretString>,
) -> Result<Vec<x25519::Identity>, NotAnIdentity> {
    if !content.starts_with(BINARY) && !content.trim_ascii_start().starts_with(ARMORED) {
        return of_text(content);
    }
    let damaged = |error: DecryptError| NotAnIdentity::Damaged(why(&error));
    let decryptor = Decryptor::new(ArmoredReader::new(content)).map_err(damaged)?;
    if !decryptor.is_scrypt() {
        return Err(NotAnIdentity::EncryptedForRecipients);
    }
    let mut identity = scrypt::Identity::new(passphrase().ok_or(NotAnIdentity::NoPassphrase)?);
    identity.set_max_work_factor(MOST_WORK);
    let mut stream =
        decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(|error| match error {
            DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed => NotAnIdentity::WrongPassphrase,
            error => damaged(error),
        })?;
    let mut plain = SecretBytes(Vec::with_capacity(content.len()));
    stream.read_to_end(&mut plain.0).map_err(|error| NotAnIdentity::Damaged(error.to_string()))?;
    of_text(&plain.0)
}

fn of_text(content: &[u8]) -> Result<Vec<x25519::Identity>, NotAnIdentity> {
    let text = std::str::from_utf8(content).map_err(|_| NotAnIdentity::Form(1))?;
    if text.trim_start().starts_with("-----BEGIN") {
        return Err(NotAnIdentity::Ssh);
    }
    let all: Vec<_> = small_file::lines(text).map(|(number, line)| of_line(number, line)).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(NotAnIdentity::Empty) } else { Ok(all) }
}

fn of_line(number: usize, line: &str) -> Result<x25519::Identity, NotAnIdentity> {
    let text = SecretString::from(line);
    text.expose_secret().parse().map_err(|_| match line.to_ascii_lowercase() {
        lower if lower.starts_with("age1") => NotAnIdentity::Recipient(number),
        lower if lower.starts_with("age-plugin-") || lower.starts_with("age-secret-key-pq-") => {
            NotAnIdentity::Type(number)
        }
        _ => NotAnIdentity::Form(number),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    const SECRET: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

    fn read(content: &[u8], passphrase: Option<&str>) -> Result<Vec<String>, NotAnIdentity> {
        of_file(content, || passphrase.map(SecretString::from))
            .map(|all| Identities(all).recipients())
            .inspect_err(|error| assert!(!error.to_string().to_uppercase().contains("GQ9778VQX"), "{error}"))
    }

    fn sealed(plain: &[u8], passphrase: &str) -> Vec<u8> {
        let mut recipient = scrypt::Recipient::new(passphrase.into());
        recipient.set_work_factor(4);
        age::encrypt(&recipient, plain).unwrap()
    }

    #[test]
    fn identities_come_from_files_with_comments() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("# created: today\n# public key: {RECIPIENT}\n{SECRET}\r\n\n")).unwrap();
        let all = Identities::read(&[file.path()], |_| None).unwrap();
        assert_eq!(all.recipients(), [RECIPIENT]);
        assert!(all.fit(&[RECIPIENT.to_owned()]) && !all.fit(&[]));
        assert!(format!("{all:?}").contains(RECIPIENT) && !format!("{all:?}").contains("SECRET"));
        assert!(matches!(Identities::read::<&Path>(&[], |_| None), Err(IdentityError::None)));
    }

    #[test]
    fn an_encrypted_file_asks_for_its_passphrase() {
        let binary = sealed(format!("# mine\n{SECRET}\n").as_bytes(), "horse");
        let mut armored = age::armor::ArmoredWriter::wrap_output(Vec::new(), age::armor::Format::AsciiArmor).unwrap();
        armored.write_all(&binary).unwrap();
        for content in [binary.clone(), armored.finish().unwrap()] {
            assert_eq!(read(&content, Some("horse")).unwrap(), [RECIPIENT]);
            assert_eq!(read(&content, Some("cow")), Err(NotAnIdentity::WrongPassphrase));
            assert_eq!(read(&content, None), Err(NotAnIdentity::NoPassphrase));
        }
        for end in [30, 80, 160, binary.len() - 1] {
            assert!(matches!(read(&binary[..end], Some("horse")), Err(NotAnIdentity::Damaged(_))), "{end}");
        }
        assert_eq!(read(&sealed(b"# nothing\n", "horse"), Some("horse")), Err(NotAnIdentity::Empty));
    }

    #[test]
    fn too_much_work_is_refused_before_it_is_done() {
        let text = String::from_utf8_lossy(&sealed(b"", "horse")).into_owned();
        let head = text.split("\n---").next().unwrap().replacen(" 4\n", " 40\n", 1);
        let content = format!("{head}\n--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n0123456789abcdef");
        let error = read(content.as_bytes(), Some("horse")).unwrap_err();
        assert!(error.to_string().contains("too much work"), "{error}");
    }

    #[test]
    fn what_is_no_identity_is_refused_by_name() {
        let encrypted = age::encrypt(&RECIPIENT.parse::<x25519::Recipient>().unwrap(), SECRET.as_bytes()).unwrap();
        for (content, expected) in [
            (b"".to_vec(), NotAnIdentity::Empty),
            (RECIPIENT.into(), NotAnIdentity::Recipient(1)),
            (format!("#\n{RECIPIENT}").into(), NotAnIdentity::Recipient(2)),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl".into(), NotAnIdentity::Ssh),
            ("AGE-PLUGIN-YUBIKEY-1QQPS".into(), NotAnIdentity::Type(1)),
            ("AGE-SECRET-KEY-PQ-1QQPS".into(), NotAnIdentity::Type(1)),
            (SECRET[..SECRET.len() - 1].into(), NotAnIdentity::Form(1)),
            (format!("{SECRET}\nsomething").into(), NotAnIdentity::Form(2)),
            (b"\xFF\xFE".to_vec(), NotAnIdentity::Form(1)),
            (encrypted, NotAnIdentity::EncryptedForRecipients),
        ] {
            assert_eq!(read(&content, None), Err(expected), "{}", String::from_utf8_lossy(&content));
        }
    }
}
