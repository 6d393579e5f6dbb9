//! Certificates for one drill: an authority that lives as long as it, a server, and a client. Only the holder of the client's key, which is in
//! memory alone, is let in.
//!
//! The client's name is `root`: an etcd whose snapshot has authentication turned on takes the name of the certificate for the user
//! (server/auth/store.go @ v3.6.14, `AuthInfoFromTLS`), and has a user root as long as authentication is on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::{Outcome, Trouble};

/// The names in the server's certificate.
pub(crate) const SERVER: &str = "localhost";
const LOOPBACK: &str = "127.0.0.1";
/// Whom the client says to be.
const CLIENT: &str = "root";
/// Files in the folder of the drill.
pub(crate) const CA_FILE: &str = "ca.crt";
pub(crate) const CERT_FILE: &str = "server.crt";
pub(crate) const KEY_FILE: &str = "server.key";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the client of a drill needs, and the authority that lives as long as this.
pub(crate) struct Credentials {
    /// For etcd.
    pub(crate) client: Arc<ClientConfig>,
    issuer: Issuer<'static, KeyPair>,
}

/// What an API server of the drill needs besides the files of its folder, as PEM.
pub(crate) struct OfApiServer {
    pub(crate) etcd_cert: String,
    pub(crate) etcd_key: String,
    /// The key that service accounts' tokens would be signed with.
    pub(crate) accounts: String,
    pub(crate) accounts_public: String,
}

impl Credentials {
    /// For an API server that trusts the same authority: it does not speak to the drill as etcd does.
    pub(crate) fn api_client(&self) -> ClientConfig {
        let mut config = ClientConfig::clone(&self.client);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    /// Makes keys of an API server's own.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub(crate) fn api_server(&self) -> Outcome<OfApiServer> {
        let cannot = |error: rcgen::Error| Trouble::plain("cannot make keys for the API server").cause(error);
        let (etcd, key) = client(&self.issuer).map_err(cannot)?;
        let accounts = KeyPair::generate().map_err(cannot)?;
        Ok(OfApiServer {
            etcd_cert: etcd.pem(),
            etcd_key: key.serialize_pem(),
            accounts: accounts.serialize_pem(),
            accounts_public: accounts.public_key_pem(),
        })
    }
}

/// Writes what the server needs into the folder, and gives what the client needs.
///
/// # Errors
/// The machine gives no random numbers, or a file cannot be written.
pub(crate) fn make(folder: &Path) -> Outcome<Credentials> {
    let issued = issue().map_err(|why| Trouble::plain("cannot make certificates for the drill").cause(why))?;
    for (name, text) in [(CA_FILE, &issued.ca), (CERT_FILE, &issued.server_cert), (KEY_FILE, &issued.server_key)] {
        let path = folder.join(name);
        std::fs::write(&path, text)
            .map_err(|error| Trouble::plain(format!("cannot write {}", path.display())).source(&error))?;
    }
    Ok(issued.credentials)
}

struct Issued {
    ca: String,
    server_cert: String,
    server_key: String,
    credentials: Credentials,
}

fn issue() -> Result<Issued, String> {
    let text = |error: rcgen::Error| error.to_string();
    let mut authority = params("kubectl-etcd drill", &[]).map_err(text)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().map_err(text)?;
    let ca = authority.self_signed(&key).map_err(text)?;
    let issuer = Issuer::new(authority, key);
    // Up to 3.4, etcd is a client of itself with its server's certificate.
    let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let (server, server_key) = leaf(&issuer, SERVER, &[SERVER, LOOPBACK], both).map_err(text)?;
    let (client, client_key) = client(&issuer).map_err(text)?;

    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).map_err(|error| error.to_string())?;
    let chain: Vec<CertificateDer<'static>> = vec![client.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(client_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key);
    let mut config = config.map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Issued {
        ca: ca.pem(),
        server_cert: server.pem(),
        server_key: server_key.serialize_pem(),
        credentials: Credentials { client: config.into(), issuer },
    })
}

/// A certificate of whom etcd takes for its root, and its key.
fn client(issuer: &Issuer<'static, KeyPair>) -> Result<(Certificate, KeyPair), rcgen::Error> {
    leaf(issuer, CLIENT, &[CLIENT], vec![ExtendedKeyUsagePurpose::ClientAuth])
}

fn leaf(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    names: &[&str],
    usage: Vec<ExtendedKeyUsagePurpose>,
) -> Result<(Certificate, KeyPair), rcgen::Error> {
    let mut leaf = params(name, names)?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = usage;
    let key = KeyPair::generate()?;
    Ok((leaf.signed_by(&key, issuer)?, key))
}

fn params(name: &str, names: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY.saturating_mul(2)).into();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_key_is_in_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let credentials = make(folder.path()).expect("certificates");
        assert_eq!(credentials.api_client().alpn_protocols, [b"http/1.1".to_vec()]);
        assert_eq!(credentials.client.alpn_protocols, [b"h2".to_vec()]);
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        assert_eq!(names, [CA_FILE, CERT_FILE, KEY_FILE]);
        let keys =
            |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a file").matches("PRIVATE").count();
        assert_eq!((keys(CA_FILE), keys(CERT_FILE), keys(KEY_FILE)), (0, 0, 2));
    }
}
