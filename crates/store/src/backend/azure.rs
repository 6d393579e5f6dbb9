//! Azure Blob Storage.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use crate::Environment;
use crate::backend::Failure;
use crate::backend::cloud::{Common, refuse_plain};
use crate::trouble::Trouble;
use crate::url::Options;

/// Where the credential comes from.
#[derive(Debug, PartialEq, Eq)]
enum Credential<'a> {
    Key(&'a str),
    Signature(&'a str),
    WorkloadIdentity { client: &'a str, tenant: &'a str, file: &'a str },
    Secret { client: &'a str, tenant: &'a str, secret: &'a str },
    Machine { client: Option<&'a str> },
}

fn credential(environment: &Environment) -> Result<Credential<'_>, Failure> {
    if let Some(key) = environment.first(&["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"]) {
        return Ok(Credential::Key(key));
    }
    if let Some(token) = environment.first(&["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"]) {
        return Ok(Credential::Signature(token));
    }
    let client = environment.get("AZURE_CLIENT_ID");
    let tenant = environment.get("AZURE_TENANT_ID");
    let both = |what: &str| {
        client.zip(tenant).ok_or_else(|| {
            Failure::new(Trouble::NoCredential, format!("{what} is set, and AZURE_CLIENT_ID or AZURE_TENANT_ID is not"))
        })
    };
    if let Some(file) = environment.get("AZURE_FEDERATED_TOKEN_FILE") {
        let (client, tenant) = both("AZURE_FEDERATED_TOKEN_FILE")?;
        return Ok(Credential::WorkloadIdentity { client, tenant, file });
    }
    if let Some(secret) = environment.get("AZURE_CLIENT_SECRET") {
        let (client, tenant) = both("AZURE_CLIENT_SECRET")?;
        return Ok(Credential::Secret { client, tenant, secret });
    }
    if environment.get("AZURE_STORAGE_CONNECTION_STRING").is_some() {
        let detail = "AZURE_STORAGE_CONNECTION_STRING is set, but is not read. Set AZURE_STORAGE_KEY to its AccountKey";
        return Err(Failure::new(Trouble::NoCredential, detail));
    }
    Ok(Credential::Machine { client })
}

pub(super) fn open(
    account: &str,
    container: &str,
    options: &Options,
    environment: &Environment,
    common: Common,
) -> Result<Arc<dyn ObjectStore>, Failure> {
    let endpoint = options.endpoint.as_deref();
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(container)
        .with_client_options(common.options(endpoint))
        .with_retry(common.retry())
        .with_http_connector(common.connector);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.to_owned());
    }
    if let Some(host) = environment.get("AZURE_AUTHORITY_HOST") {
        builder = builder.with_authority_host(host);
    }
    builder = match credential(environment)? {
        Credential::Key(key) => builder.with_access_key(key),
        Credential::Signature(token) => {
            refuse_plain(endpoint, "a shared access signature")?;
            builder.with_config(AzureConfigKey::SasKey, token.trim_start_matches('?'))
        }
        Credential::WorkloadIdentity { client, tenant, file } => {
            refuse_plain(endpoint, "an access token")?;
            builder.with_client_id(client).with_tenant_id(tenant).with_federated_token_file(file)
        }
        Credential::Secret { client, tenant, secret } => {
            refuse_plain(endpoint, "an access token")?;
            builder.with_client_secret_authorization(client, secret, tenant)
        }
        Credential::Machine { client } => {
            refuse_plain(endpoint, "an access token")?;
            match client {
                Some(client) => builder.with_client_id(client),
                None => builder,
            }
        }
    };
    // The error can have a key in it.
    let store = builder
        .build()
        .map_err(|_| Failure::new(Trouble::Settings, "the Azure credential or the endpoint is not valid"))?;
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_told_apart() {
        let of = |pairs: &[(&str, &str)]| {
            Environment::from_map(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(credential(&of(&[("AZURE_STORAGE_KEY", "k")])).unwrap(), Credential::Key("k"));
        assert_eq!(credential(&of(&[("AZURE_STORAGE_SAS_TOKEN", "?sig")])).unwrap(), Credential::Signature("?sig"));
        let identity = [("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t"), ("AZURE_FEDERATED_TOKEN_FILE", "/f")];
        let workload = Credential::WorkloadIdentity { client: "c", tenant: "t", file: "/f" };
        assert_eq!(credential(&of(&identity)).unwrap(), workload);
        assert_eq!(credential(&of(&identity[..1])).unwrap(), Credential::Machine { client: Some("c") });
        assert!(credential(&of(&identity[2..])).unwrap_err().detail.contains("AZURE_CLIENT_ID"));
        let string = credential(&of(&[("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=hunter2")])).unwrap_err();
        assert!(string.detail.contains("AZURE_STORAGE_KEY") && !string.detail.contains("hunter2"));
    }
}
