//! Who asks: client certificates, static tokens, else anonymous; and whom they impersonate.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use http::{HeaderMap, header};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use serde_json::{Value, json};

use super::{Args, respond::Failure};

/// Who a request is from.
#[derive(Clone, Debug, Default)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) groups: Vec<String>,
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    fn anonymous() -> Self {
        Self { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()], ..Self::default() }
    }

    fn authenticated(mut self) -> Self {
        self.groups.push("system:authenticated".into());
        self
    }

    pub(super) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Namespace and name, when this is a service account.
    pub(super) fn service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    /// The `userInfo` of a SelfSubjectReview.
    pub(super) fn info(&self) -> Value {
        let mut info = json!({ "username": self.name, "groups": self.groups });
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}

/// Tells who asks.
pub(super) struct Authenticator {
    certificates: Arc<dyn ClientCertVerifier>,
    tokens: BTreeMap<String, User>,
    /// Whether requests of nobody are answered.
    anonymous: bool,
}

impl Authenticator {
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&args.client_ca_file)? {
            roots.add(certificate)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificates =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        let tokens = match &args.token_auth_file {
            Some(path) => fs_err::read_to_string(path)?
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(|line| token(line).with_context(|| format!("a line of {}", path.display())))
                .collect::<anyhow::Result<_>>()?,
            None => BTreeMap::new(),
        };
        Ok(Self { certificates, tokens, anonymous: args.anonymous_auth })
    }

    /// Any certificate gets through the handshake, as with the real server: a bad one is answered 401, not by TLS.
    pub(super) fn handshake_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(LaterVerifier(Arc::clone(&self.certificates)))
    }

    pub(super) fn authenticate(&self, peer: &[CertificateDer<'static>], headers: &HeaderMap) -> Result<User, Failure> {
        if let Some((leaf, intermediates)) = peer.split_first() {
            let verdict = self.certificates.verify_client_cert(leaf, intermediates, UnixTime::now());
            if let Err(error) = verdict {
                tracing::debug!(%error, "client certificate refused");
                return Err(Failure::unauthorized());
            }
            return certificate_user(leaf).map(User::authenticated).ok_or_else(Failure::unauthorized);
        }
        match headers.get(header::AUTHORIZATION) {
            None if !self.anonymous => Err(Failure::unauthorized()),
            None => Ok(User::anonymous()),
            Some(value) => value
                .to_str()
                .ok()
                .and_then(|value| value.strip_prefix("Bearer "))
                .and_then(|token| self.tokens.get(token.trim()))
                .map(|user| user.clone().authenticated())
                .ok_or_else(Failure::unauthorized),
        }
    }
}

/// Certificates of a PEM file.
pub(super) fn certificates(path: &std::path::Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = fs_err::read(path)?;
    crate::pem::certificates(&pem).with_context(|| format!("read {}", path.display()))
}

/// CN is the user, each O a group.
fn certificate_user(leaf: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Some(User { name, groups, ..User::default() })
}

/// `token,user,uid[,"group,group"]`
fn token(line: &str) -> anyhow::Result<(String, User)> {
    let mut fields = line.splitn(4, ',').map(|field| field.trim().trim_matches('"'));
    let (Some(token), Some(name), Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
        anyhow::bail!("wants token,user,uid and maybe groups");
    };
    let groups = fields.next().unwrap_or_default().split(',').map(str::trim).filter(|g| !g.is_empty());
    let groups = groups.map(str::to_owned).collect();
    Ok((token.to_owned(), User { name: name.to_owned(), uid: uid.to_owned(), groups, ..User::default() }))
}

/// Checks possession of the key in the handshake and leaves trust to the request.
#[derive(Debug)]
struct LaterVerifier(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for LaterVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// One thing an impersonator must be allowed to impersonate.
pub(super) struct Impersonated {
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    pub(super) subresource: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// Whom the headers ask to be taken for, and what that takes; `None` without such headers.
pub(super) fn impersonation(headers: &HeaderMap) -> Result<Option<(User, Vec<Impersonated>)>, Failure> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let groups: Vec<String> =
        headers.get_all("impersonate-group").iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
    let uid = text("impersonate-uid");
    let mut extra = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix("impersonate-extra-"), value.to_str()) {
            // Keys are percent-encoded in header names; form decoding differs only in '+', which a key cannot hold.
            let key = url::form_urlencoded::parse(key.as_bytes()).next().map(|(key, _)| key.into_owned());
            extra.entry(key.unwrap_or_default()).or_default().push(value.to_owned());
        }
    }
    let Some(name) = text("impersonate-user").filter(|name| !name.is_empty()) else {
        if groups.is_empty() && uid.is_none() && extra.is_empty() {
            return Ok(None);
        }
        return Err(Failure::internal("requested groups, a uid or extras without impersonating a user"));
    };
    let mut user = User { name, uid: uid.unwrap_or_default(), groups, extra };
    let wanted = wanted(&user);
    if user.groups.is_empty()
        && let Some((namespace, _)) = user.service_account()
    {
        user.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    if user.name == "system:anonymous" {
        user.groups = vec!["system:unauthenticated".into()];
    } else if !user.is_in("system:authenticated") && !user.is_in("system:unauthenticated") {
        user = user.authenticated();
    }
    Ok(Some((user, wanted)))
}

fn wanted(user: &User) -> Vec<Impersonated> {
    let one = |group, resource, name: &str| Impersonated {
        group,
        resource,
        subresource: String::new(),
        namespace: None,
        name: name.to_owned(),
    };
    let mut wanted = vec![match user.service_account() {
        Some((namespace, name)) => {
            Impersonated { namespace: Some(namespace.to_owned()), ..one("", "serviceaccounts", name) }
        }
        None => one("", "users", &user.name),
    }];
    wanted.extend(user.groups.iter().map(|group| one("", "groups", group)));
    if !user.uid.is_empty() {
        wanted.push(one("authentication.k8s.io", "uids", &user.uid));
    }
    for (key, values) in &user.extra {
        let value = |value: &String| Impersonated {
            subresource: key.clone(),
            ..one("authentication.k8s.io", "userextras", value)
        };
        wanted.extend(values.iter().map(value));
    }
    wanted
}
