//! What a file is that is not a snapshot, by its first bytes.

use etcd_snapshot::is_database;
use serde::Serialize;

/// Bytes at the beginning of a file that tell what the file is.
pub(super) const BEGINNING: usize = 512;

/// A compression with which a snapshot is read as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// Its name, which is that of its command, too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }

    /// The endings that file names have for it.
    pub(super) fn endings(self) -> &'static [&'static str] {
        match self {
            Compression::Gzip => &["gz", "gzip"],
            Compression::Zstd => &["zst", "zstd"],
        }
    }
}

/// What a file begins like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A database of bbolt, or something that is not known here: the engine reads it, or says what is wrong.
    Snapshot,
    Compressed(Compression),
    /// Encrypted with age.
    Encrypted(Other),
    Other(Other),
}

/// Something that is not a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Other {
    /// `compressed with xz`
    pub(super) is: &'static str,
    /// The command that takes the snapshot out of it, with `{}` for the file.
    pub(super) command: Option<&'static str>,
}

/// By what other files begin with: RFC 1952; RFC 8878; the formats' own descriptions, and file(1).
const BEGINNINGS: &[(&[u8], &str, Option<&str>)] = &[
    (b"\xFD7zXZ\0", "compressed with xz", Some("xz -dk {}")),
    (b"BZh", "compressed with bzip2", Some("bzip2 -dk {}")),
    (b"PK\x03\x04", "a zip archive", Some("unzip {}")),
    (b"PK\x05\x06", "an empty zip archive", None),
    (b"\x04\x22\x4D\x18", "compressed with lz4", Some("lz4 -dk {}")),
    (b"\x89LZO\0", "compressed with lzop", Some("lzop -dk {}")),
    (b"LZIP", "compressed with lzip", Some("lzip -dk {}")),
    (b"\x1F\x9D", "compressed with compress", Some("uncompress -k {}")),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive", Some("7z x {}")),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "encrypted with age", Some("age -d -i KEY_FILE -o etcd.db {}")),
    (b"-----BEGIN PGP MESSAGE-----", "encrypted with OpenPGP", Some("gpg -o etcd.db -d {}")),
    (b"Salted__", "encrypted with openssl enc", None),
    (b"-----BEGIN ", "a certificate or a key in PEM", None),
    (b"SQLite format 3\0", "a SQLite database, as k3s keeps without etcd", None),
];

/// As age begins a file that is not armored: age-encryption.org/v1.
const AGE: (&[u8], Other) =
    (b"age-encryption.org/v1", Other { is: "encrypted with age", command: Some("age -d -i KEY_FILE -o etcd.db {}") });

/// Tells what a file is by its first [`BEGINNING`] bytes.
pub(super) fn recognise(beginning: &[u8]) -> Kind {
    let has = |(offset, magic): (usize, &[u8])| beginning.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if is_database(beginning) {
        return Kind::Snapshot;
    }
    if has((0, b"\x1F\x8B")) {
        return Kind::Compressed(Compression::Gzip);
    }
    // A frame, or one to be skipped: `pzstd` begins with one.
    let skippable = has((1, &[0x2A, 0x4D, 0x18])) && beginning.first().is_some_and(|byte| byte >> 4 == 5);
    if has((0, &[0x28, 0xB5, 0x2F, 0xFD])) || skippable {
        return Kind::Compressed(Compression::Zstd);
    }
    if has((0, AGE.0)) {
        return Kind::Encrypted(AGE.1);
    }
    if let Some((_, is, command)) = BEGINNINGS.iter().find(|(magic, ..)| has((0, magic))) {
        return Kind::Other(Other { is, command: *command });
    }
    if has((257, b"ustar")) {
        return Kind::Other(Other { is: "a tar archive", command: Some("tar -xf {}") });
    }
    if is_document(beginning) {
        return Kind::Other(Other { is: "text in YAML or JSON, such as a manifest or a kubeconfig", command: None });
    }
    Kind::Snapshot
}

/// Whether bytes are the beginning of a Kubernetes document.
fn is_document(beginning: &[u8]) -> bool {
    // A character may be cut at the end.
    let text = match std::str::from_utf8(beginning) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(beginning.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#') && *line != "---");
    let field = |line: &str| ["apiVersion:", "kind:"].iter().any(|field| line.starts_with(field));
    line.is_some_and(|line| field(line) || line.starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(beginning: &[u8]) -> Option<&'static str> {
        match recognise(beginning) {
            Kind::Snapshot => None,
            Kind::Compressed(compression) => Some(compression.name()),
            Kind::Encrypted(other) | Kind::Other(other) => Some(other.is),
        }
    }

    #[test]
    fn files_by_their_beginnings() {
        let tar = [vec![0; 257], b"ustar\x0000".to_vec()].concat();
        for (beginning, expected) in [
            (&b"\x1F\x8B\x08"[..], "gzip"),
            (b"\x28\xB5\x2F\xFD\x04", "zstd"),
            (b"\x50\x2A\x4D\x18\x04", "zstd"),
            (b"\xFD7zXZ\0\0", "compressed with xz"),
            (b"BZh91AY", "compressed with bzip2"),
            (b"PK\x03\x04", "a zip archive"),
            (b"age-encryption.org/v1\n-> X25519", "encrypted with age"),
            (b"SQLite format 3\0", "a SQLite database, as k3s keeps without etcd"),
            (b"-----BEGIN CERTIFICATE-----", "a certificate or a key in PEM"),
            (&tar, "a tar archive"),
            (b"# mine\n---\napiVersion: v1\n", "text in YAML or JSON, such as a manifest or a kubeconfig"),
            (b"{\"kind\": \"Backup\", \"x\": \"\xC3", "text in YAML or JSON, such as a manifest or a kubeconfig"),
        ] {
            assert_eq!(is(beginning), Some(expected), "{beginning:?}");
        }
        let mut bbolt = vec![0; BEGINNING];
        bbolt[16..20].copy_from_slice(&[0xED, 0xDA, 0x0C, 0xED]);
        // What a page holds behind its records is of no account.
        bbolt[257..262].copy_from_slice(b"ustar");
        for unknown in [&b""[..], b"BZ", b"text", b"\xFF\xFE{", &[0; BEGINNING], &bbolt] {
            assert_eq!(is(unknown), None, "{unknown:?}");
        }
    }
}
