//! S3 of AWS, and whatever speaks like it.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::client::HttpConnector;

use crate::Environment;
use crate::backend::Failure;
use crate::backend::bucket::Bucket;
use crate::backend::cloud::{Common, refuse_plain};
use crate::trouble::Trouble;
use crate::url::{Options, ServerSideEncryption};

/// Where the credential comes from, in the order in which AWS's own tools look.
#[derive(Debug, PartialEq, Eq)]
enum Credential<'a> {
    Keys { id: &'a str, secret: &'a str, token: Option<&'a str> },
    WebIdentity { file: &'a str, role: &'a str },
    Container { relative: &'a str },
    Pod { address: &'a str, file: &'a str },
    Instance,
}

fn credential(environment: &Environment) -> Result<Credential<'_>, Failure> {
    let missing = |detail: &str| Err(Failure::new(Trouble::NoCredential, detail));
    let variable = |name| environment.get(name);
    match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => {
            return Ok(Credential::Keys { id, secret, token: variable("AWS_SESSION_TOKEN") });
        }
        (Some(_), None) => return missing("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
        (None, Some(_)) => return missing("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not"),
        (None, None) => {}
    }
    match (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
        (Some(file), Some(role)) => return Ok(Credential::WebIdentity { file, role }),
        (Some(_), None) => return missing("AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not"),
        _ => {}
    }
    if let Some(relative) = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        return Ok(Credential::Container { relative });
    }
    match (variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"), variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")) {
        (Some(address), Some(file)) => return Ok(Credential::Pod { address, file }),
        (Some(_), None) => {
            return missing(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI is set and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is not",
            );
        }
        _ => {}
    }
    if let Some(profile) = environment.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]) {
        return missing(&format!(
            "AWS_PROFILE is set, but profiles are not read. Run: eval \"$(aws configure export-credentials --profile {profile} --format env)\""
        ));
    }
    if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return missing("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and neither is another source");
    }
    Ok(Credential::Instance)
}

/// The region: of the URL, else of the environment. AWS's first region where nothing is said: another one answers with its name.
fn region(options: &Options, environment: &Environment) -> String {
    let said = options.region.as_deref().or_else(|| environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
    said.unwrap_or("us-east-1").to_owned()
}

/// The address below which the bucket is, and whether the bucket is part of the host's name; no address for AWS itself.
fn address(bucket: &str, options: &Options, environment: &Environment) -> Result<(Option<String>, bool), Failure> {
    let said = match &options.endpoint {
        Some(endpoint) => Some(endpoint.clone()),
        None => variable_endpoint(environment, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])?,
    };
    Ok(match said {
        // A name with dots is no single label: the certificate of *.s3.REGION.amazonaws.com does not cover it.
        None => (None, options.path_style.map_or(!bucket.contains('.'), |path| !path)),
        Some(endpoint) if options.path_style == Some(false) => {
            let host = endpoint.split_once("://").map(|(scheme, host)| format!("{scheme}://{bucket}.{host}"));
            (Some(host.unwrap_or(endpoint)), true)
        }
        Some(endpoint) => (Some(endpoint), false),
    })
}

/// An address in the first of these variables that is set. Its value is not told: it may hold a password.
fn variable_endpoint(environment: &Environment, names: &[&str]) -> Result<Option<String>, Failure> {
    let Some((name, value)) = names.iter().find_map(|name| Some((name, environment.get(name)?))) else {
        return Ok(None);
    };
    crate::url::endpoint(value.to_owned()).map(Some).map_err(|_| {
        let detail =
            format!("{name} is not an address as in https://minio.example:9000, without a user and a password");
        Failure::new(Trouble::Settings, detail)
    })
}

pub(super) fn open(
    bucket: &str,
    options: &Options,
    environment: &Environment,
    common: Common,
) -> Result<(Arc<dyn ObjectStore>, Bucket), Failure> {
    let (endpoint, virtual_hosted) = address(bucket, options, environment)?;
    let settings = |error: object_store::Error| Failure::new(Trouble::Settings, error.to_string());
    let region = region(options, environment);
    let address = match &endpoint {
        None => Bucket::address_at_aws(bucket, &region, virtual_hosted),
        Some(endpoint) if virtual_hosted => endpoint.clone(),
        Some(endpoint) => format!("{endpoint}/{bucket}"),
    };
    let client = common.connector.connect(&common.options(endpoint.as_deref())).map_err(settings)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&region)
        .with_virtual_hosted_style_request(virtual_hosted)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Compatible stores have no bulk delete; a bucket with object lock wants a checksum of every object.
        .with_disable_bulk_delete(true)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_client_options(common.options(endpoint.as_deref()))
        .with_retry(common.retry())
        .with_http_connector(common.connector);
    if let Some(endpoint) = &endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let encryption = match &options.sse {
        None => None,
        Some(ServerSideEncryption::Aes256) => Some("AES256"),
        Some(ServerSideEncryption::Kms(None)) => Some("aws:kms"),
        Some(ServerSideEncryption::Kms(Some(key))) => {
            builder = builder.with_sse_kms_encryption(key);
            None
        }
    };
    if let Some(kind) = encryption {
        // The key has a type of its own, which is not public: it is made of its name.
        let key = "aws_server_side_encryption".parse::<AmazonS3ConfigKey>();
        builder = builder.with_config(key.map_err(|error| Failure::new(Trouble::Settings, error.to_string()))?, kind);
    }
    use AmazonS3ConfigKey as Key;
    let mut set = |key, value: &str| builder = std::mem::take(&mut builder).with_config(key, value);
    match credential(environment)? {
        Credential::Keys { id, secret, token } => {
            if token.is_some() {
                refuse_plain(endpoint.as_deref(), "a session token")?;
            }
            set(Key::AccessKeyId, id);
            set(Key::SecretAccessKey, secret);
            if let Some(token) = token {
                set(Key::Token, token);
            }
        }
        Credential::WebIdentity { file, role } => {
            refuse_plain(endpoint.as_deref(), "a session token")?;
            set(Key::WebIdentityTokenFile, file);
            set(Key::RoleArn, role);
            set(Key::RoleSessionName, environment.get("AWS_ROLE_SESSION_NAME").unwrap_or("kubectl-etcd"));
            if let Some(sts) = variable_endpoint(environment, &["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"])? {
                set(Key::StsEndpoint, &sts);
            }
        }
        Credential::Container { relative } => {
            refuse_plain(endpoint.as_deref(), "a session token")?;
            set(Key::ContainerCredentialsRelativeUri, relative);
        }
        Credential::Pod { address, file } => {
            refuse_plain(endpoint.as_deref(), "a session token")?;
            set(Key::ContainerCredentialsFullUri, address);
            set(Key::ContainerAuthorizationTokenFile, file);
        }
        Credential::Instance => {
            refuse_plain(endpoint.as_deref(), "a session token")?;
            if let Some(metadata) = variable_endpoint(environment, &["AWS_EC2_METADATA_SERVICE_ENDPOINT"])? {
                set(Key::MetadataEndpoint, &metadata);
            }
        }
    }
    let store = builder.build().map_err(settings)?;
    let bucket = Bucket { credentials: store.credentials().clone(), client, address, region };
    Ok((Arc::new(store), bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::from_map(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn credentials_are_looked_for_in_aws_order() {
        let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_SESSION_TOKEN", "token")];
        let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "role")];
        let all = environment(&[&keys[..], &web[..], &[("AWS_PROFILE", "p")]].concat());
        assert_eq!(credential(&all).unwrap(), Credential::Keys { id: "id", secret: "secret", token: Some("token") });
        assert_eq!(credential(&environment(&web)).unwrap(), Credential::WebIdentity { file: "/token", role: "role" });
        let container = environment(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")]);
        assert_eq!(credential(&container).unwrap(), Credential::Container { relative: "/x" });
        let pod =
            [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://x"), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/t")];
        assert_eq!(credential(&environment(&pod)).unwrap(), Credential::Pod { address: "http://x", file: "/t" });
        assert_eq!(credential(&environment(&[])).unwrap(), Credential::Instance);
    }

    #[test]
    fn half_a_credential_is_none() {
        for (pairs, said) in [
            (vec![("AWS_ACCESS_KEY_ID", "id")], "AWS_SECRET_ACCESS_KEY is not"),
            (vec![("AWS_SECRET_ACCESS_KEY", "hunter2")], "AWS_ACCESS_KEY_ID is not"),
            (vec![("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")], "AWS_ROLE_ARN is not"),
            (vec![("AWS_PROFILE", "prod")], "export-credentials --profile prod"),
            (vec![("AWS_EC2_METADATA_DISABLED", "true")], "are not set"),
        ] {
            let failure = credential(&environment(&pairs)).unwrap_err();
            assert_eq!(failure.trouble, Trouble::NoCredential);
            assert!(failure.detail.contains(said) && !failure.detail.contains("hunter2"), "{}", failure.detail);
        }
    }

    #[test]
    fn the_bucket_is_in_the_path_unless_the_store_wants_it_in_the_host() {
        let of = |bucket: &str, endpoint: Option<&str>, path_style| {
            let options = Options { endpoint: endpoint.map(str::to_owned), path_style, ..Options::default() };
            address(bucket, &options, &environment(&[])).unwrap()
        };
        assert_eq!(of("b", None, None), (None, true));
        assert_eq!(of("b.c", None, None), (None, false));
        assert_eq!(of("b", None, Some(true)), (None, false));
        assert_eq!(of("b", Some("https://s:9000"), None), (Some("https://s:9000".to_owned()), false));
        assert_eq!(of("b", Some("https://s:9000"), Some(false)), (Some("https://b.s:9000".to_owned()), true));
        let named = environment(&[("AWS_ENDPOINT_URL", "https://x/"), ("AWS_ENDPOINT_URL_S3", "https://y/")]);
        assert_eq!(address("b", &Options::default(), &named).unwrap(), (Some("https://y".to_owned()), false));
        assert_eq!(region(&Options::default(), &environment(&[("AWS_DEFAULT_REGION", "r")])), "r");
    }

    fn open(url: &str, pairs: &[(&str, &str)]) -> Result<crate::Store, crate::StoreError> {
        crate::Store::open(&url.parse().unwrap(), &environment(pairs))
    }

    #[test]
    fn an_address_in_a_variable_is_checked_and_never_told() {
        let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
            for wrong in ["https://me:hunter2@s:9000", "me:hunter2@s", "ftp://s/hunter2", "https://s?p=hunter2"] {
                let error = open("s3://b", &[&keys[..], &[(name, wrong)]].concat()).unwrap_err().to_string();
                assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
            }
            open("s3://b", &[&keys[..], &[(name, "https://s:9000/")]].concat()).unwrap();
        }
        let web =
            [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r"), ("AWS_ENDPOINT_URL_STS", "x:hunter2@y")];
        let error = open("s3://b", &web).unwrap_err().to_string();
        assert!(error.contains("AWS_ENDPOINT_URL_STS") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn no_session_token_of_any_source_is_sent_in_clear() {
        let sources: [&[(&str, &str)]; 5] = [
            &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", "t")],
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r")],
            &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")],
            &[
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/x"),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/t"),
            ],
            &[],
        ];
        for source in sources {
            let error = open("s3://b?endpoint=http://minio.example:9000", source).unwrap_err().to_string();
            assert!(error.contains("a session token would be sent unencrypted"), "{source:?}: {error}");
            open("s3://b?endpoint=http://127.0.0.1:9000", source).unwrap();
            open("s3://b?endpoint=https://minio.example:9000", source).unwrap();
        }
    }
}
