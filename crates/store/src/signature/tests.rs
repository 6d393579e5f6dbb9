use std::fs;

use super::*;

/// Made by `ssh-keygen -t ed25519`, for these tests only.
const KEY: &str = include_str!("../../tests/data/sign.key");
const PUBLIC: &str = include_str!("../../tests/data/sign.key.pub");
const MESSAGE: &[u8] = include_bytes!("../../tests/data/message");
/// Made by `ssh-keygen -Y sign -n kubectl-etcd`.
const SIGNATURE: &str = include_str!("../../tests/data/message.sig");
/// The same with `-n git`.
const OTHER_PURPOSE: &str = include_str!("../../tests/data/message.git.sig");

fn now() -> Timestamp {
    "2026-11-27T12:00:00Z".parse().unwrap()
}

fn trust(text: &str) -> TrustedKeys {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    TrustedKeys::read(&[file.path()]).unwrap()
}

#[test]
fn a_signature_of_openssh_is_taken_and_ours_is_the_same() {
    let key = signing_key(KEY).unwrap();
    let trusted = trust(PUBLIC);
    let signer = trusted.verify_at(MESSAGE, SIGNATURE.as_bytes(), now()).unwrap();
    assert_eq!(signer.fingerprint, key.fingerprint());
    assert_eq!(signer.name, "test@kubectl-etcd");
    // Ed25519 leaves nothing to chance.
    assert_eq!(key.sign(MESSAGE).unwrap(), SIGNATURE);
    assert_eq!(trusted.fingerprints(), [key.fingerprint()]);
    assert_eq!(key.public().unwrap(), PUBLIC.trim());
    assert!(format!("{key:?}").starts_with("SigningKey(SHA256:"));
}

#[test]
fn what_does_not_count_is_told_apart() {
    let trusted = trust(PUBLIC);
    let fingerprint = signing_key(KEY).unwrap().fingerprint();
    let verify = |message: &[u8], signature: &str| trusted.verify_at(message, signature.as_bytes(), now()).unwrap_err();
    assert_eq!(verify(b"other", SIGNATURE), SignatureError::Wrong(fingerprint.clone()));
    assert_eq!(verify(MESSAGE, OTHER_PURPOSE), SignatureError::Namespace("git".to_owned()));
    assert_eq!(verify(MESSAGE, ""), SignatureError::Form);
    assert_eq!(verify(MESSAGE, &SIGNATURE.replace("SSH SIGNATURE", "SSH")), SignatureError::Form);
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    let untrusted = trust(other).verify_at(MESSAGE, SIGNATURE.as_bytes(), now()).unwrap_err();
    assert_eq!(untrusted, SignatureError::Untrusted(fingerprint.clone()));
    let limited = trust(&format!("ops valid-before=\"20200101Z\" {PUBLIC}"));
    let limited = limited.verify_at(MESSAGE, SIGNATURE.as_bytes(), now()).unwrap_err();
    assert!(matches!(limited, SignatureError::Limited { .. }), "{limited}");
    // One line that lets the key count is enough.
    let both = trust(&format!("old valid-before=\"20200101Z\" {PUBLIC}new {PUBLIC}"));
    assert_eq!(both.verify_at(MESSAGE, SIGNATURE.as_bytes(), now()).unwrap().name, "new");
}

#[test]
fn no_changed_signature_counts() {
    let trusted = trust(PUBLIC);
    for at in 0..SIGNATURE.len() {
        for flip in [1_u8, 0x20] {
            let mut changed = SIGNATURE.as_bytes().to_vec();
            changed[at] ^= flip;
            let verdict = trusted.verify_at(MESSAGE, &changed, now());
            // What frames the bytes may be written in more than one way.
            let same = SshSig::from_pem(&changed).ok() == SshSig::from_pem(SIGNATURE).ok();
            assert_eq!(verdict.is_ok(), same, "byte {at}: {verdict:?}");
        }
    }
    for end in 0..SIGNATURE.len() - 1 {
        assert!(trusted.verify_at(MESSAGE, &SIGNATURE.as_bytes()[..end], now()).is_err(), "{end}");
    }
}

#[test]
fn what_cannot_sign_is_refused_with_the_command_that_makes_a_key() {
    let protected = include_str!("../../tests/data/protected.key");
    let rsa = include_str!("../../tests/data/rsa.key");
    for (text, expected) in [
        (protected, NotASigningKey::Passphrase),
        (rsa, NotASigningKey::Type("ssh-rsa".to_owned())),
        (PUBLIC, NotASigningKey::Public),
        ("", NotASigningKey::Form),
        (&KEY[..KEY.len() / 2], NotASigningKey::Form),
    ] {
        let error = signing_key(text).unwrap_err();
        assert_eq!(error, expected);
        assert!(error == NotASigningKey::Public || error.to_string().contains("ssh-keygen -t ed25519 -N ''"));
    }
}

#[test]
fn a_trust_file_without_keys_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "# nobody\n").unwrap();
    assert!(matches!(TrustedKeys::read(&[file.path()]), Err(TrustError::NoneIn(_))));
    assert!(matches!(TrustedKeys::read::<&Path>(&[]), Err(TrustError::None)));
    fs::write(file.path(), format!("{PUBLIC}{KEY}")).unwrap();
    let error = TrustedKeys::read(&[file.path()]).unwrap_err();
    assert!(matches!(error, TrustError::Line { line: 2, .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("b3Bl"), "{error:?}");
}
