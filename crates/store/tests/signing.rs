//! `ssh-keygen -Y verify` takes our signatures, and we take those of `ssh-keygen -Y sign`.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::*;
use etcd_store::{SignatureError, SigningKey, SigningKeyError, TrustedKeys};

fn keygen(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    let mut command = Command::new("ssh-keygen");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("apt-get install openssh-client");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn signatures_go_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, public, allowed, ours) = (at("key"), at("key.pub"), at("allowed"), at("ours.sig"));
    keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "new", "-f", &key], b"").unwrap();
    let signing = SigningKey::read(key.as_ref()).unwrap();
    let message = b"{\"kind\": \"StoredBackup\"}\n";
    std::fs::write(&ours, signing.sign(message).unwrap()).unwrap();
    let text = std::fs::read_to_string(&public).unwrap();
    std::fs::write(&allowed, format!("backup@cluster namespaces=\"kubectl-etcd\" {text}")).unwrap();
    let verify = |namespace: &str, message: &[u8]| {
        keygen(&["-Y", "verify", "-f", &allowed, "-I", "backup@cluster", "-n", namespace, "-s", &ours], message)
    };
    verify("kubectl-etcd", message).unwrap();
    verify("kubectl-etcd", b"other").unwrap_err();
    verify("git", message).unwrap_err();
    // Theirs, with both hashes, of a line of allowed_signers and of a .pub file.
    for hash in ["sha256", "sha512"] {
        let theirs =
            keygen(&["-Y", "sign", "-q", "-f", &key, "-n", "kubectl-etcd", "-O", &format!("hashalg={hash}")], message);
        let theirs = theirs.unwrap();
        for (file, name) in [(&allowed, "backup@cluster"), (&public, "new")] {
            let signer = TrustedKeys::read(&[file]).unwrap().verify(message, &theirs).unwrap();
            assert_eq!((signer.name.as_str(), signer.fingerprint), (name, signing.fingerprint()));
        }
    }
    let printed = String::from_utf8(keygen(&["-l", "-f", &public], b"").unwrap()).unwrap();
    assert!(printed.contains(&signing.fingerprint()), "{printed}");
    // What limits a key limits it for both.
    for options in ["namespaces=\"git\"", "valid-after=\"20990101\"", "valid-before=\"20200101\""] {
        std::fs::write(&allowed, format!("backup@cluster {options} {text}")).unwrap();
        verify("kubectl-etcd", message).unwrap_err();
        let error =
            TrustedKeys::read(&[&allowed]).unwrap().verify(message, &std::fs::read(&ours).unwrap()).unwrap_err();
        assert!(matches!(error, SignatureError::Limited { .. }), "{options}: {error}");
    }
}

#[test]
fn another_kind_of_key_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for kind in ["rsa", "ecdsa"] {
        let key = at(kind);
        keygen(&["-q", "-t", kind, "-N", "", "-C", "x", "-f", &key], b"").unwrap();
        let theirs = keygen(&["-Y", "sign", "-q", "-f", &key, "-n", "kubectl-etcd"], b"x").unwrap();
        assert_eq!(trusted().verify(b"x", &theirs), Err(SignatureError::Form));
        assert!(TrustedKeys::read(&[format!("{key}.pub")]).unwrap_err().to_string().contains("only ssh-ed25519"));
        let error = SigningKey::read(key.as_ref()).unwrap_err();
        assert!(matches!(&error, SigningKeyError::Content { .. }), "{error}");
    }
}
