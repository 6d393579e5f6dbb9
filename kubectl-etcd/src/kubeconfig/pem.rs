//! Certificates and keys in PEM files, as Go's crypto/x509 and crypto/tls read them: what is not wanted or cannot be read is
//! passed over.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::prelude::{FromDer, X509Certificate};

struct Block {
    label: String,
    contents: Vec<u8>,
    has_headers: bool,
}

/// The certificates of a bundle, DER.
///
/// # Errors
/// None of it can be used; the text says why.
pub(crate) fn authorities(bundle: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let found = blocks(bundle);
    let certificates: Vec<Vec<u8>> = found
        .into_iter()
        .filter(|block| block.label == "CERTIFICATE" && !block.has_headers)
        .map(|block| block.contents)
        .collect();
    if certificates.is_empty() {
        return Err("it holds no PEM block of a certificate");
    }
    let usable = |der: &Vec<u8>| X509Certificate::from_der(der).is_ok_and(|(rest, _)| rest.is_empty());
    let usable: Vec<Vec<u8>> = certificates.into_iter().filter(usable).collect();
    if usable.is_empty() { Err("no certificate in it can be parsed") } else { Ok(usable) }
}

/// The certificates of one file and the first key of another (they may be the same), PEM.
///
/// # Errors
/// No certificate or no key; the text says which.
pub(crate) fn identity(certificate: &[u8], key: &[u8]) -> Result<(String, String), &'static str> {
    let chain: String = blocks(certificate).iter().filter(|block| block.label == "CERTIFICATE").map(encoded).collect();
    if chain.is_empty() {
        return Err("the client certificate holds no PEM block of a certificate");
    }
    let keys = blocks(key);
    let is_key = |block: &&Block| block.label == "PRIVATE KEY" || block.label.ends_with(" PRIVATE KEY");
    let key = keys.iter().find(is_key).ok_or("the client key holds no PEM block of a key")?;
    if key.has_headers || key.label.starts_with("ENCRYPTED") {
        return Err("the client key is encrypted");
    }
    Ok((chain, encoded(key)))
}

fn encoded(block: &Block) -> String {
    let (label, body) = (&block.label, STANDARD.encode(&block.contents));
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// The blocks of a PEM file, without those that are cut or no base64.
fn blocks(bytes: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(bytes);
    let (mut found, mut open): (Vec<Block>, Option<(String, String, bool)>) = (Vec::new(), None);
    for line in text.lines().map(str::trim) {
        let labelled = |mark: &str| Some(line.strip_prefix(mark)?.strip_suffix("-----")?.to_owned());
        if let Some(label) = labelled("-----BEGIN ") {
            open = Some((label, String::new(), false));
        } else if let Some(end) = labelled("-----END ") {
            if let Some((label, body, has_headers)) = open.take().filter(|(label, ..)| *label == end)
                && let Ok(contents) = STANDARD.decode(body)
            {
                found.push(Block { label, contents, has_headers });
            }
        } else if let Some((_, body, has_headers)) = &mut open {
            if line.contains(':') {
                *has_headers = true;
            } else {
                body.push_str(line);
            }
        }
    }
    found
}
