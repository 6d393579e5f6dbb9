//! What is promised of a store, on each server.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use etcd_store::check::{self, Lock, Versions};
use etcd_store::layout::{Key, Part};
use etcd_store::{Encryption, Environment, Identities, Recipients, Store, StoreError, StoreUrl, Trouble};
use futures::TryStreamExt;
use stores::{Azurite, Proxy, Rclone, Seaweed, Variables};

const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
const NAME: &str = "20261127T031500Z-48211-manual-k3f2x2ab";

fn open(url: &str, variables: Variables) -> Store {
    let url: StoreUrl = url.parse().unwrap();
    Store::open(&url, &Environment::from_map(variables)).unwrap()
}

fn key(part: Part) -> Key {
    Key::new(&UID.parse().unwrap(), &NAME.parse().unwrap(), part)
}

fn data() -> Key {
    key(Part::Data { encrypted: true })
}

/// Bytes of which no two blocks are the same.
fn bytes(size: usize) -> Vec<u8> {
    (0..size.div_ceil(8) as u64)
        .flat_map(|word| (word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes())
        .take(size)
        .collect()
}

async fn upload(store: &Store, content: Vec<u8>) -> Result<etcd_store::Sent, StoreError> {
    let (mut writer, upload) = store.upload(&data());
    let writing = tokio::task::spawn_blocking(move || {
        // A store that has failed ends the writer: the upload says why.
        if writer.write_all(&content).is_ok() {
            let _ = writer.end();
        }
    });
    let sent = upload.finish().await;
    writing.await.unwrap();
    sent
}

async fn download(store: &Store) -> Vec<u8> {
    let chunks: Vec<Bytes> = store.download(&data()).await.unwrap().stream.try_collect().await.unwrap();
    chunks.concat()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What every store does that can be trusted.
async fn promises(store: &Store, create_only: bool) {
    assert_eq!(store.list(None).await.unwrap(), etcd_store::Listed::default());
    for size in [0, 1000, 8 * 1024 * 1024, 17 * 1024 * 1024 + 3] {
        let content = bytes(size);
        let sent = upload(store, content.clone()).await.unwrap();
        assert_eq!((sent.size, sent.sha256), (size as u64, sha256(&content)));
        assert_eq!(store.size(&data()).await.unwrap(), size as u64);
        assert!(download(store).await == content);
        let listed = store.list(Some(&UID.parse().unwrap())).await.unwrap();
        assert_eq!(
            listed.objects.iter().map(|object| (&object.key, object.size)).collect::<Vec<_>>(),
            [(&data(), size as u64)]
        );
        store.delete(&data()).await.unwrap();
        assert!(store.size(&data()).await.unwrap_err().is_not_found());
    }
    let record = key(Part::Record);
    store.create(&record, Bytes::from_static(b"{}")).await.unwrap();
    let second = store.create(&record, Bytes::from_static(b"[]")).await;
    assert_eq!(second.is_err_and(|error| error.is_exists()), create_only);
    let expected = if create_only { "{}" } else { "[]" };
    assert_eq!(store.small(&record, 100).await.unwrap(), expected);
    assert!(store.small(&data(), 100).await.unwrap_err().is_not_found());
    assert_eq!(store.clusters().await.unwrap(), [UID.parse().unwrap()]);
}

#[tokio::test]
async fn a_server_of_s3_keeps_what_is_promised() {
    let server = Seaweed::start().unwrap();
    let store = open(&server.url("a/b"), server.variables());
    promises(&store, true).await;
    assert_eq!(server.incomplete_uploads().unwrap(), 0);
    let clock = store.clock().unwrap();
    assert!(clock.theirs.duration_since(clock.ours).as_secs().abs() < 60);

    // What is not ours is counted, and nothing can be hidden behind it.
    let proxy = Proxy::start(server.port()).unwrap();
    assert_eq!(open(&proxy.url("a/b"), proxy.variables()).list(None).await.unwrap().objects.len(), 1);

    // The store can be trusted, a key opens what was written, and nothing is left.
    let identities = Identities::generate();
    let recipients = Recipients::parse::<_, &str>(&identities.recipients(), &[]).unwrap();
    let facts = check::probe(&store, &Encryption::Recipients(recipients), Some(&identities)).await;
    let checks = check::judge(&facts);
    assert!(check::is_trusted(&checks), "{checks:#?}");
    assert_eq!((&facts.opened, &facts.delete, facts.gone), (&Some(Ok(())), &Some(Ok(())), Some(true)), "{facts:#?}");
    assert!(facts.left.is_empty() && store.list(None).await.unwrap().foreign == 0);
    // The bucket was asked what it is set to, by requests of our own.
    let settings = facts.settings.unwrap();
    assert_eq!((&settings.versions, &settings.lock), (&Ok(Versions::Off), &Ok(Lock::Off)), "{settings:#?}");
    assert!(settings.encryption.is_ok(), "{settings:#?}");

    wrong_settings(&server).await;
}

/// Each wrong setting is told by name, and at once.
async fn wrong_settings(server: &Seaweed) {
    let begun = std::time::Instant::now();
    let listed = async |url: &str, variables: Variables| open(url, variables).list(None).await.unwrap_err();
    let error = listed(&server.url_without_authority("p"), server.variables()).await;
    assert_eq!(error.trouble(), &Trouble::Certificate, "{error}");
    assert!(error.hint().unwrap().contains("ca=FILE"));
    let error = listed(&server.url("p").replace("s3://backups", "s3://missing"), server.variables()).await;
    assert_eq!(error.trouble(), &Trouble::NoBucket, "{error}");
    let with = |name: &str, value: &str| {
        let mut variables = server.variables();
        variables.insert(name.to_owned(), value.to_owned());
        variables
    };
    let error = listed(&server.url("p"), with("AWS_SECRET_ACCESS_KEY", "hunter2")).await;
    assert_eq!(error.trouble(), &Trouble::WrongCredential, "{error}");
    assert!(!error.to_string().contains("hunter2"));
    let error = listed(&server.url("p"), with("AWS_ACCESS_KEY_ID", "AKIDOTHER")).await;
    assert_eq!(error.trouble(), &Trouble::WrongCredential, "{error}");
    let error = listed("s3://backups/p?endpoint=https://127.0.0.1:1", server.variables()).await;
    assert_eq!(error.trouble(), &Trouble::Unreachable, "{error}");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

/// What `kubectl etcd store check` says, by the name of the check: the result, and why.
fn checks_of_the_plugin(url: &str, variables: Variables, code: i32) -> BTreeMap<String, (String, String)> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/kubectl-etcd");
    let plugin = std::env::var_os("KUBECTL_ETCD_BIN").map_or_else(built, PathBuf::from);
    let mut command = std::process::Command::new(plugin);
    command.args(["store", "check", url, "-o", "json"]).envs(variables).env("KUBECONFIG", "/nonexistent");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |check: &serde_json::Value, field: &str| check[field].as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap().iter();
    checks.map(|check| (text(check, "name"), (text(check, "verdict"), text(check, "why")))).collect()
}

#[tokio::test]
async fn a_server_of_azure_keeps_what_is_promised() {
    let server = Azurite::start().unwrap();
    promises(&open(&server.url("a/b"), server.variables()), true).await;
    let checks = checks_of_the_plugin(&server.url("c"), server.variables(), 0);
    for name in ["versions", "object-lock", "server-encryption"] {
        let (verdict, why) = &checks[name];
        assert!(verdict == "notChecked" && why.contains("; see: az storage "), "{checks:#?}");
    }
    let error = open(&server.url("").replace("/backups", "/missing"), server.variables()).list(None).await.unwrap_err();
    assert_eq!(error.trouble(), &Trouble::NoBucket, "{error}");
    let key = "AAAA".repeat(21) + "AA==";
    let wrong = [("AZURE_STORAGE_KEY".to_owned(), key.clone())].into();
    let error = open(&server.url(""), wrong).list(None).await.unwrap_err();
    assert!(matches!(error.trouble(), Trouble::AccessDenied | Trouble::WrongCredential), "{error}");
    assert!(!error.to_string().contains(&key));
}

#[tokio::test]
async fn a_server_that_takes_no_care_is_one_that_overwrites() {
    let server = Rclone::start().unwrap();
    let store = open(&server.url("a/b"), server.variables());
    promises(&store, false).await;
    let checks = checks_of_the_plugin(&server.url("a/b"), server.variables(), 1);
    let failed: Vec<&str> =
        checks.iter().filter(|(_, (verdict, _))| verdict == "failed").map(|(name, _)| name.as_str()).collect();
    // It answers a request for a part with the whole.
    assert_eq!(failed, ["create-only", "range"], "{checks:#?}");
    // What a store does not know is not taken for an answer.
    let (verdict, why) = &checks["object-lock"];
    assert_eq!(verdict, "notChecked", "{checks:#?}");
    assert!(why.contains("aws s3api get-object-lock-configuration --bucket backups"), "{checks:#?}");
}
