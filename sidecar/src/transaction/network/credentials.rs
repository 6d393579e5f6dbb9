//! By what nodes prove to each other who they are: TLS 1.3 with certificates that were made for one restore.

use std::sync::Arc;

use etcd_transaction::Node;
use etcd_wire::restore::{Identity, peer_name};
use etcd_wire::{Failure, FailureCode, crc32c};
use rustls::client::verify_server_name;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What a node listens, speaks and asks with. `None`, or nothing, where it has not got what that needs.
pub(super) struct Credentials {
    /// Proves who this node is, and takes clients with a certificate of the restore or without any.
    pub(super) server: Option<Arc<ServerConfig>>,
    /// Proves who this node is: one for each identity, newest first.
    pub(super) speakers: Vec<Arc<ClientConfig>>,
    /// Proves nothing.
    pub(super) asker: Option<Arc<ClientConfig>>,
}

impl Credentials {
    /// `identities`: newest first. `authorities`: PEM of more authorities whose certificates are accepted.
    ///
    /// # Errors
    /// [`FailureCode::BadRequest`]: something of it is no certificate or no key.
    pub(super) fn new(identities: &[Identity], authorities: &[String]) -> Result<Credentials, Failure> {
        let mut known: Vec<CertificateDer<'static>> = Vec::new();
        for pem in identities.iter().map(|identity| &identity.ca).chain(authorities) {
            let found = etcd_tls::certificates(pem.as_bytes());
            if found.is_empty() {
                return Err(Failure::new(FailureCode::BadRequest, "the restore's authority has no certificate"));
            }
            known.extend(found);
        }
        let mut roots = RootCertStore::empty();
        for authority in &known {
            roots.add(authority.clone()).map_err(|error| unusable(&error))?;
        }
        let roots = Arc::new(roots);
        let own = identities.iter().map(Own::new).collect::<Result<Vec<Own>, Failure>>()?;
        if known.is_empty() {
            return Ok(Credentials { server: None, speakers: Vec::new(), asker: None });
        }
        let names: Vec<Vec<u8>> = known.iter().map(name_of).collect();
        let client = |own: Option<&Own>| client(&roots, &names, own);
        let speakers = own.iter().map(|own| client(Some(own))).collect::<Result<_, Failure>>()?;
        let asker = Some(client(None)?);
        let server = match own.is_empty() {
            true => None,
            false => Some(server(&roots, own)?),
        };
        Ok(Credentials { server, speakers, asker })
    }
}

/// One identity of this node.
struct Own {
    authority: Vec<u8>,
    identity: etcd_tls::Identity,
}

impl Own {
    fn new(identity: &Identity) -> Result<Own, Failure> {
        let authority = etcd_tls::certificates(identity.ca.as_bytes()).first().map(name_of).unwrap_or_default();
        let identity = etcd_tls::Identity::from_pem(identity.cert.as_bytes(), identity.key.as_bytes());
        Ok(Own { authority, identity: identity.map_err(|error| unusable(&error))? })
    }
}

fn client(roots: &Arc<RootCertStore>, names: &[Vec<u8>], own: Option<&Own>) -> Result<Arc<ClientConfig>, Failure> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), etcd_tls::provider()).build();
    let builder = ClientConfig::builder_with_provider(etcd_tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unusable(&error))?
        .with_webpki_verifier(verifier.map_err(|error| unusable(&error))?);
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(own.identity.client()),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = names.to_vec();
    Ok(Arc::new(config))
}

fn server(roots: &Arc<RootCertStore>, own: Vec<Own>) -> Result<Arc<ServerConfig>, Failure> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), etcd_tls::provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(&error))?;
    let own = own.into_iter().map(|own| (own.authority, own.identity.server())).collect();
    let mut config = ServerConfig::builder_with_provider(etcd_tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(ByAuthority(own)));
    // A connection that goes on with an older one's keys would not be judged by the certificates of now.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Presents the newest certificate whose authority the client says that it knows. All authorities of a restore have the same subject, so clients
/// name them by a digest, as application protocols, of which none is chosen. It only helps to choose: nothing is believed because of it.
#[derive(Debug)]
struct ByAuthority(Vec<(Vec<u8>, Arc<dyn ResolvesServerCert>)>);

impl ResolvesServerCert for ByAuthority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let known: Vec<&[u8]> = hello.alpn().map(Iterator::collect).unwrap_or_default();
        let own = self.0.iter().find(|(authority, _)| known.contains(&authority.as_slice())).or(self.0.first());
        own.and_then(|(_, own)| own.resolve(hello))
    }
}

fn name_of(authority: &CertificateDer<'_>) -> Vec<u8> {
    format!("authority-{:08x}", crc32c(authority)).into_bytes()
}

/// The node whose certificate this is: it is for the name of that node of the plan, and of no other one.
pub(super) fn owner(certificate: &CertificateDer<'_>, nodes: u8) -> Option<Node> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let is_for = |node: &Node| {
        let name = ServerName::try_from(peer_name(node.index()));
        name.is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
    };
    let mut owners = (0..nodes).map(Node).filter(is_for);
    let owner = owners.next();
    if owners.next().is_some() { None } else { owner }
}

fn unusable(error: &dyn std::error::Error) -> Failure {
    Failure::new(FailureCode::BadRequest, "the certificates of the restore cannot be used").source(error)
}
