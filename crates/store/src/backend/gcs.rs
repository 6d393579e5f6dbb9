//! Google Cloud Storage.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::gcp::GoogleCloudStorageBuilder;

use crate::Environment;
use crate::backend::Failure;
use crate::backend::cloud::{Common, refuse_plain};
use crate::trouble::Trouble;
use crate::url::Options;

pub(super) fn open(
    bucket: &str,
    options: &Options,
    environment: &Environment,
    common: Common,
) -> Result<Arc<dyn ObjectStore>, Failure> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_client_options(common.options(options.endpoint.as_deref()))
        .with_retry(common.retry())
        .with_http_connector(common.connector);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    // Without a file, object_store asks gcloud's own file and then the machine (GKE's workload identity, too).
    if let Some(file) = environment.first(&["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT"]) {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::new(Trouble::NoCredential, format!("{file} cannot be read: {error}")))?;
        builder = match kind(&text).map_err(|why| Failure::new(Trouble::NoCredential, format!("{file} {why}")))? {
            Kind::ServiceAccount => builder.with_service_account_path(file),
            Kind::AuthorizedUser => builder.with_application_credentials(file),
        };
    } else if let Some(key) = environment.get("GOOGLE_SERVICE_ACCOUNT_KEY") {
        kind(key).map_err(|why| Failure::new(Trouble::NoCredential, format!("GOOGLE_SERVICE_ACCOUNT_KEY {why}")))?;
        builder = builder.with_service_account_key(key);
    }
    refuse_plain(options.endpoint.as_deref(), "an access token")?;
    let store = builder.build().map_err(|error| Failure::new(Trouble::Settings, without_key(&error)))?;
    Ok(Arc::new(store))
}

/// Which credential a file has.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    ServiceAccount,
    AuthorizedUser,
}

fn kind(text: &str) -> Result<Kind, String> {
    let document: serde_json::Value = serde_json::from_str(text).map_err(|_| "is not JSON".to_owned())?;
    match document.get("type").and_then(serde_json::Value::as_str) {
        Some("service_account") => Ok(Kind::ServiceAccount),
        Some("authorized_user") => Ok(Kind::AuthorizedUser),
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            Err(format!(
                "is of type {other:?}, which is not supported: use the key of a service account, or the identity of the machine"
            ))
        }
        None => Err("has no type: expected the key of a service account".to_owned()),
    }
}

/// A key that is not one is not shown.
fn without_key(error: &object_store::Error) -> String {
    match error {
        object_store::Error::Generic { .. } => "the Google credential is not valid".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_of_another_kind_is_named() {
        assert_eq!(kind(r#"{"type":"service_account"}"#), Ok(Kind::ServiceAccount));
        assert_eq!(kind(r#"{"type":"authorized_user"}"#), Ok(Kind::AuthorizedUser));
        assert!(kind(r#"{"type":"external_account"}"#).unwrap_err().contains("external_account"));
        assert!(kind("{}").unwrap_err().contains("no type"));
        assert!(kind("hunter2").unwrap_err().contains("is not JSON"));
    }
}
