//! Which certificate authorities are trusted.

use std::path::Path;

use reqwest::Certificate;

use crate::backend::Failure;
use crate::trouble::Trouble;

/// Those of the system, or, where it has none (an image made from nothing), those that browsers trust; and those of a file.
///
/// # Errors
///
/// A file that cannot be read or has no certificate in it.
pub(crate) fn roots(file: Option<&Path>) -> Result<Vec<Certificate>, Failure> {
    let mut roots = of_the_system();
    if roots.is_empty() {
        let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        roots = public.filter_map(|der| Certificate::from_der(der).ok()).collect();
    }
    if let Some(file) = file {
        roots.extend(of_file(file)?);
    }
    Ok(roots)
}

/// A certificate of the system that cannot be read is left out, as every TLS library does.
fn of_the_system() -> Vec<Certificate> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a root certificate of the system was not read");
    }
    found.certs.iter().filter_map(|der| Certificate::from_der(der).ok()).collect()
}

fn of_file(file: &Path) -> Result<Vec<Certificate>, Failure> {
    let name = file.display();
    let wrong = |why: String| Failure::new(Trouble::Settings, format!("the certificate file {name} {why}"));
    let pem = std::fs::read(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| wrong("is not PEM".to_owned()))?;
    if certificates.is_empty() {
        return Err(wrong("has no certificate in it".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert!(roots(Some(&file)).unwrap_err().detail.contains("cannot be read"));
        std::fs::write(&file, "no certificate").unwrap();
        assert!(roots(Some(&file)).unwrap_err().detail.contains("no certificate in it"));
        assert!(!roots(None).unwrap().is_empty());
    }
}
