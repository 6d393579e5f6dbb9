//! Authorities and certificates in files, as kubeadm lays them out.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcd_wire::message::KeyPair;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair as Key, SanType,
    date_time_ymd,
};

#[derive(Clone)]
pub(crate) struct Pki {
    folder: PathBuf,
    issuer: Arc<Issuer<'static, Key>>,
}

impl Pki {
    /// A new authority with the files ca.crt, server.{crt,key} and client.{crt,key} in `folder`.
    pub(crate) fn new(folder: &Path) -> Pki {
        std::fs::create_dir_all(folder).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("ca-{}", folder.file_name().unwrap().display()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = Key::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        std::fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
        let pki = Pki { folder: folder.to_owned(), issuer: Arc::new(Issuer::new(params, key)) };
        pki.issue("server", 2096);
        pki.issue("client", 2096);
        pki
    }

    /// A certificate for `name`, good for 127.0.0.1 and up to the first day of a year.
    pub(crate) fn issue(&self, name: &str, year: i32) -> KeyPair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = Key::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let pair = KeyPair { cert: self.path(&format!("{name}.crt")), key: self.path(&format!("{name}.key")) };
        std::fs::write(&pair.cert, cert.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    pub(crate) fn path(&self, file: &str) -> String {
        self.folder.join(file).to_str().unwrap().to_owned()
    }

    pub(crate) fn client(&self) -> KeyPair {
        KeyPair { cert: self.path("client.crt"), key: self.path("client.key") }
    }
}
