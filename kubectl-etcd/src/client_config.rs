//! A cluster and a user of a kubeconfig as the configuration of a client (client-go: tools/clientcmd/client_config.go).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etcd_tls::Identity;
use http::{HeaderName, HeaderValue, Uri};
use kube::Config;
use kube::config::{AuthInfo, Cluster};
use secrecy::ExposeSecret;

use crate::login::{self, Login};
use crate::output::{Failed, Outcome, ResultExt};

/// URL of the server, as client-go reads it (rest/url_utils.go): without a scheme it is http.
///
/// # Errors
/// Why it is none.
pub(crate) fn server_url(server: &str) -> Result<Uri, String> {
    let server = server.split(['?', '#']).next().unwrap_or_default();
    let text = match server.split_once("://") {
        Some((_, "")) => return Err("it has no host".to_owned()),
        Some(("http" | "https", _)) => server.to_owned(),
        Some((scheme, _)) => return Err(format!("its scheme is {scheme}, not http or https")),
        _ if server.trim_end_matches('/').contains('/') => return Err("it is neither a URL nor HOST:PORT".to_owned()),
        _ => format!("http://{server}"),
    };
    text.parse::<Uri>().map_err(|error| error.to_string())
}

/// Everything but the proxy and the times. Credentials are read, and a login program is run, only where TLS protects them.
///
/// # Errors
/// Files and fields that cannot be used, or exclude each other.
pub(crate) async fn configured(
    cluster: &Cluster,
    mut user: AuthInfo,
    user_name: &str,
    url: Uri,
) -> Outcome<(Config, Login, Option<Identity>)> {
    let secure = url.scheme_str() == Some("https");
    let mut config = Config::new(url);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    impersonate(&mut config, &mut user)?;
    if !secure {
        user = AuthInfo { impersonate_user_extra: user.impersonate_user_extra, ..AuthInfo::default() };
        config.auth_info = user;
        return Ok((config, Login::nobody(), None));
    }
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name.clone();
    config.root_cert = authorities(cluster)?;
    if config.accept_invalid_certs && config.root_cert.is_some() {
        return Err(Failed::plain("cannot use the cluster of the kubeconfig")
            .cause("it has both a certificate authority and insecure-skip-tls-verify"));
    }
    let login = Login::prepare(&mut user, user_name, cluster).await?;
    let identity = identify(&mut user, user_name)?;
    config.auth_info = user;
    Ok((config, login, identity))
}

/// Whom the requests act for. kube takes nothing but ASCII for a name.
fn impersonate(config: &mut Config, user: &mut AuthInfo) -> Outcome {
    let mut put = |name: &'static str, field: &str, value: &str| {
        let failed = || Failed::plain(format!("cannot use {field} of the user of the kubeconfig"));
        login::refuse_control(value, failed)?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| failed().source(&error))?;
        config.headers.push((HeaderName::from_static(name), value));
        Outcome::Ok(())
    };
    if let Some(name) = user.impersonate.take() {
        put("impersonate-user", "as", &name)?;
    }
    if let Some(uid) = user.impersonate_uid.take() {
        put("impersonate-uid", "as-uid", &uid)?;
    }
    for group in user.impersonate_groups.take().unwrap_or_default() {
        put("impersonate-group", "as-groups", &group)?;
    }
    Ok(())
}

/// The authorities that may have signed the server's certificate; `None` for those of this machine.
fn authorities(cluster: &Cluster) -> Outcome<Option<Vec<Vec<u8>>>> {
    let (place, bundle) = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), _) => ("certificate-authority-data of the cluster".to_owned(), from_base64(data)?),
        (None, Some(file)) => (format!("the certificate authority {file}"), read_file(file)?),
        (None, None) => return Ok(None),
    };
    let found = etcd_tls::roots_from_pem(&bundle);
    let found = found.map_err(|why| Failed::plain(format!("cannot use {place}")).cause(why.to_string()))?;
    Ok(Some(found.iter().map(|der| der.to_vec()).collect()))
}

/// The client certificate of a user, as PEM.
///
/// # Errors
/// It cannot be read.
pub(crate) fn client_certificate(user: &AuthInfo) -> Outcome<Option<Vec<u8>>> {
    match (&user.client_certificate_data, &user.client_certificate) {
        (Some(data), _) => from_base64(data).map(Some),
        (None, Some(file)) => read_file(file).map(Some),
        (None, None) => Ok(None),
    }
}

/// Takes client certificate and key.
fn identify(user: &mut AuthInfo, name: &str) -> Outcome<Option<Identity>> {
    let certificate = client_certificate(user)?;
    (user.client_certificate_data, user.client_certificate) = (None, None);
    let Some(certificate) = certificate else {
        // A key without a certificate is not looked at.
        (user.client_key, user.client_key_data) = (None, None);
        return Ok(None);
    };
    let key = match (user.client_key_data.take(), user.client_key.take()) {
        (Some(data), _) => from_base64(data.expose_secret())?,
        (None, Some(file)) => read_file(&file)?,
        (None, None) => Vec::new(),
    };
    let identity = Identity::from_pem(&certificate, &key);
    identity.map(Some).map_err(|why| {
        Failed::plain(format!("cannot use the client certificate of the user {name:?}")).cause(why.to_string())
    })
}

fn from_base64(data: &str) -> Outcome<Vec<u8>> {
    STANDARD
        .decode(data)
        .map_err(|_| Failed::plain("cannot decode a field of the kubeconfig").cause("it is not base64"))
}

fn read_file(file: &str) -> Outcome<Vec<u8>> {
    std::fs::read(file).or_fail(|| format!("cannot read {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_client_go_does() {
        for (server, url) in [
            ("https://api", "https://api/"),
            ("https://api/", "https://api/"),
            ("https://[fd00::1]:6443", "https://[fd00::1]:6443/"),
            ("https://api/k8s/clusters/c-1?x=y#z", "https://api/k8s/clusters/c-1"),
            ("http://api:8080", "http://api:8080/"),
            // kubectl proxy, and what client-go makes of it.
            ("localhost:8001", "http://localhost:8001/"),
            ("api", "http://api/"),
        ] {
            assert_eq!(server_url(server).unwrap().to_string(), url, "{server}");
        }
        for server in ["api/path", "ftp://api", "https://", "https://fd00::1:6443x"] {
            assert!(server_url(server).is_err(), "{server}");
        }
    }

    #[tokio::test]
    async fn no_credentials_are_sent_in_the_clear() {
        let user = AuthInfo {
            token: Some("t".to_owned().into()),
            impersonate: Some("bob".into()),
            client_certificate: Some("/nope".into()),
            ..Default::default()
        };
        let url = Uri::from_static("http://127.0.0.1:8001");
        let (config, ..) = configured(&Cluster::default(), user, "x", url).await.unwrap();
        assert_eq!(config.headers[0], (HeaderName::from_static("impersonate-user"), HeaderValue::from_static("bob")));
        assert!(config.auth_info.token.is_none() && config.auth_info.client_certificate.is_none());
    }
}
