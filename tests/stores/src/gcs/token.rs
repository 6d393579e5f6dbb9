//! Whose requests are answered: a service account that signs its tokens itself, and a machine that has one from its metadata server.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fs_err as fs;
use jiff::Timestamp;
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

/// The token that the metadata server gives.
pub(super) const METADATA_TOKEN: &str = "ya29.token-of-the-machine";
const ACCOUNT: &str = "backup@tests.iam.gserviceaccount.com";
const KEY_ID: &str = "0123456789abcdef0123456789abcdef01234567";
/// What may be asked for with a token to write objects.
const SCOPES: [&str; 3] = [
    "https://www.googleapis.com/auth/devstorage.full_control",
    "https://www.googleapis.com/auth/devstorage.read_write",
    "https://www.googleapis.com/auth/cloud-platform",
];
/// Seconds for which a token may be good, and by which clocks may differ.
const LONGEST: i64 = 3600;
const SKEW: i64 = 60;

/// The public key of the service account.
#[derive(Debug)]
pub(super) struct Key(Vec<u8>);

impl Key {
    /// Makes a key, and its file as Google gives it out.
    pub(super) fn make(file: &Path) -> Result<Key> {
        let private = file.with_extension("pem");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "", "-f"]).arg(&private);
        ensure!(command.status().context("ssh-keygen does not run")?.success(), "ssh-keygen makes no key");
        let pem = fs::read_to_string(&private)?;
        let document = serde_json::json!({
            "type": "service_account",
            "project_id": "tests",
            "private_key_id": KEY_ID,
            "private_key": pem,
            "client_email": ACCOUNT,
            "client_id": "100000000000000000001",
            "token_uri": "https://oauth2.googleapis.com/token",
        });
        fs::write(file, document.to_string())?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())?;
        let pair = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Key(pair.public_key().as_ref().to_vec()))
    }

    /// Whether a request with this header is answered, and if not, why.
    pub(super) fn allows(&self, authorization: Option<&str>) -> Result<(), String> {
        let token = authorization.and_then(|header| header.strip_prefix("Bearer ")).ok_or("no bearer token")?;
        if token == METADATA_TOKEN {
            return Ok(());
        }
        let (signed, signature) = token.rsplit_once('.').ok_or("not a token")?;
        let (header, claims) = signed.split_once('.').ok_or("not a token")?;
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string());
        let document = |text: &str| -> Result<Value, String> {
            serde_json::from_slice(&bytes(text)?).map_err(|error| error.to_string())
        };
        let (header, claims) = (document(header)?, document(claims)?);
        if (&header["alg"], &header["typ"], &header["kid"]) != (&"RS256".into(), &"JWT".into(), &KEY_ID.into()) {
            return Err(format!("another header: {header}"));
        }
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.0);
        key.verify(signed.as_bytes(), &bytes(signature)?).map_err(|_| "the signature is not of this key".to_owned())?;
        if claims["iss"] != ACCOUNT || claims["sub"] != ACCOUNT {
            return Err(format!("of another account: {claims}"));
        }
        let mut scopes = claims["scope"].as_str().unwrap_or_default().split(' ');
        if !scopes.any(|scope| SCOPES.contains(&scope)) {
            return Err(format!("no scope for writing: {claims}"));
        }
        let now = Timestamp::now().as_second();
        match (claims["iat"].as_i64(), claims["exp"].as_i64()) {
            (Some(from), Some(until)) if from <= now + SKEW && until > now && until - from <= LONGEST => Ok(()),
            _ => Err(format!("not valid now: {claims}")),
        }
    }
}
