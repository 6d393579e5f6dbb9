//! Credentials that a cloud gives to what runs in it, and those that expire or may do less.

use bytes::Bytes;
use etcd_store::layout::{Key, Part};
use etcd_store::{Environment, Store, StoreUrl, Trouble};
use jiff::{SignedDuration, Timestamp};
use stores::{Azurite, CloudIdentity, Rclone, Source, Variables};

fn open(url: &str, variables: Variables) -> Store {
    let url: StoreUrl = url.parse().unwrap();
    Store::open(&url, &Environment::from_map(variables)).unwrap()
}

fn record(name: &str) -> Key {
    Key::new(&"5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d".parse().unwrap(), &name.parse().unwrap(), Part::Record)
}

const FIRST: &str = "20261127T031500Z-48211-manual-k3f2x2ab";
const SECOND: &str = "20261127T041500Z-48311-manual-k3f2x2ac";

#[tokio::test]
async fn aws_gives_credentials_to_what_runs_in_it() {
    let server = Rclone::start().unwrap();
    let identity = CloudIdentity::start().unwrap();
    let ca = identity.authority().display().to_string();
    for source in [Source::WebIdentity, Source::Instance, Source::Pod] {
        let url = format!("{}&ca={ca}", server.url(&format!("{source:?}").to_lowercase()));
        let store = open(&url, identity.variables(source));
        store.create(&record(FIRST), Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(store.small(&record(FIRST), 100).await.unwrap(), "{}");
        // One that is good for an hour is asked for once.
        assert_eq!(identity.given(), [source]);
    }
    // What the cloud refuses is told as that, without the token.
    let url = server.url("refused");
    identity.spoil_token().unwrap();
    for source in [Source::WebIdentity, Source::Pod] {
        let error = open(&format!("{url}&ca={ca}"), identity.variables(source)).list(None).await.unwrap_err();
        let trouble = error.trouble();
        assert!(
            matches!(trouble, Trouble::WrongCredential | Trouble::AccessDenied),
            "{source:?}: {trouble:?}: {error}"
        );
        assert!(!error.to_string().contains("another"), "{error}");
    }
    // A token is sent to nobody who is not known.
    let error = open(&url, identity.variables(Source::WebIdentity)).list(None).await.unwrap_err();
    assert_eq!(error.trouble(), &Trouble::Certificate, "{error}");
    assert_eq!(identity.given(), []);
    // A file of a token that is not there.
    let mut variables = identity.variables(Source::WebIdentity);
    variables.insert("AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(), "/nonexistent/token".to_owned());
    let error = open(&format!("{url}&ca={ca}"), variables).list(None).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/token"), "{error}");
}

#[tokio::test]
async fn a_shared_access_signature_of_azure_may_do_what_it_says() {
    let server = Azurite::start().unwrap();
    let hour = |hours| Timestamp::now().saturating_add(SignedDuration::from_hours(hours)).unwrap();
    let all = open(&server.url("a"), server.signature("rwdlc", hour(1)).unwrap());
    all.create(&record(FIRST), Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(all.list(None).await.unwrap().objects.len(), 1);
    // One that may only read creates nothing, and is not told in the error.
    let variables = server.signature("rl", hour(1)).unwrap();
    let secret = variables["AZURE_STORAGE_SAS_TOKEN"].split("sig=").nth(1).unwrap().to_owned();
    let reader = open(&server.url("a"), variables);
    assert_eq!(reader.small(&record(FIRST), 100).await.unwrap(), "{}");
    let error = reader.create(&record(SECOND), Bytes::from_static(b"{}")).await.unwrap_err();
    assert_eq!(error.trouble(), &Trouble::AccessDenied, "{error}");
    assert!(!format!("{error} {error:?}").contains(&secret), "{error:?}");
    let error = open(&server.url("a"), server.signature("rwdlc", hour(-1)).unwrap()).list(None).await.unwrap_err();
    assert!(matches!(error.trouble(), Trouble::WrongCredential | Trouble::AccessDenied), "{error}");
    assert_eq!(all.list(None).await.unwrap().objects.len(), 1);
}
