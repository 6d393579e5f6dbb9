//! Backups in Google Cloud Storage: what is promised of a store, each credential, and each command.

mod support;

use etcd_store::layout::Part;
use etcd_store::{Trouble, UploadWriter};
use jiff::{SignedDuration, Timestamp};
use std::io::Write;
use stores::{Gcs, Variables};
use support::{Planted, Ran, bytes, keys, open, plugin, read, run, trust_key, uid};

/// Takes a backup's objects into a store as a writer does: what is large in parts.
async fn write(server: &Gcs, prefix: &str, backup: &Planted) {
    let store = open(&server.url(prefix), server.variables());
    for (key, content) in &backup.objects {
        if !matches!(key.part, Part::Data { .. }) {
            store.create(key, content.clone()).await.unwrap();
            continue;
        }
        let (mut writer, upload): (UploadWriter, _) = store.upload(key);
        let content = content.clone();
        let writing = tokio::task::spawn_blocking(move || writer.write_all(&content).and_then(|()| writer.end()));
        upload.finish().await.unwrap();
        writing.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_bucket_of_google_keeps_what_is_promised() {
    let server = Gcs::start().unwrap();
    // Whoever has the key, in a file or in a variable, and what runs on a machine of Google.
    for (prefix, variables) in [
        ("file", server.variables()),
        ("variable", server.variables_with_key().unwrap()),
        ("machine", server.variables_of_machine()),
    ] {
        let check = run(plugin(&["store", "check", &server.url(prefix), "-o", "json"], variables));
        assert_eq!(check.code, Some(0), "{prefix}: {}{}", check.stdout, check.stderr);
        let report = check.json();
        for check in report["checks"].as_array().unwrap() {
            let is_elsewhere = check["why"].as_str().unwrap().contains("; see: gcloud storage ");
            assert!(check["verdict"] != "notChecked" || is_elsewhere, "{check}");
            if ["write", "create-only", "read", "range", "parts", "list", "clock"]
                .iter()
                .any(|name| check["name"] == *name)
            {
                assert_eq!(check["verdict"], "ok", "{prefix}: {check}");
            }
        }
        let asked = server.asked();
        assert!(asked.iter().any(|asked| asked.status == 412 && asked.method == "PUT"), "{asked:?}");
        assert!(asked.iter().any(|asked| asked.status == 206), "{asked:?}");
        assert!(asked.iter().all(|asked| asked.status != 400 && asked.status != 401), "{asked:?}");
    }
    assert_eq!(server.incomplete_uploads(), 0);
    assert!(keys(&open(&server.url("file"), server.variables())).await.is_empty());
}

#[tokio::test]
async fn what_google_refuses_is_told_as_that() {
    let server = Gcs::start().unwrap();
    let list = |url: &str, variables: Variables| {
        let store = open(url, variables);
        async move { store.list(None).await.unwrap_err() }
    };
    let error = list(&server.url("p"), server.variables_of_stranger()).await;
    assert_eq!(error.trouble(), &Trouble::WrongCredential, "{error}");
    assert!(!error.to_string().contains("BEGIN"), "{error}");
    let error = list(&server.url("p").replace("gs://backups", "gs://missing"), server.variables()).await;
    assert_eq!(error.trouble(), &Trouble::NoBucket, "{error}");
    let without = server.url("p");
    let (without, _) = without.split_once("&ca=").unwrap();
    let error = list(without, server.variables()).await;
    assert_eq!(error.trouble(), &Trouble::Certificate, "{error}");
}

/// Objects in so many pages are listed as one, and clusters are found by what lies before a slash.
#[tokio::test]
async fn a_listing_of_google_has_pages() {
    let server = Gcs::start().unwrap();
    let store = open(&server.url("many"), server.variables());
    let now = Timestamp::now();
    for number in 0..1100_i64 {
        let backup = Planted::new(&uid(), now - SignedDuration::from_secs(number), bytes(0), None);
        store.create(&backup.objects[0].0, bytes(0)).await.unwrap();
    }
    server.asked();
    assert_eq!(keys(&store).await.len(), 1100);
    assert_eq!(server.asked().len(), 2);
    assert_eq!(store.clusters().await.unwrap(), [uid()]);
}

#[tokio::test]
async fn every_command_reads_a_bucket_of_google() {
    let server = Gcs::start().unwrap();
    let now = Timestamp::now();
    let old: Vec<Planted> = (2..7)
        .map(|days| Planted::new(&uid(), now - SignedDuration::from_hours(24 * days), bytes(500), None))
        .collect();
    let newest = Planted::new(&uid(), now, bytes(9 << 20), Some(bytes(70_000)));
    for backup in old.iter().chain([&newest]) {
        write(&server, "prod", backup).await;
    }
    let parts = server.asked().iter().filter(|asked| asked.target.contains("partNumber=")).count();
    assert_eq!((parts, server.incomplete_uploads()), (2, 0));
    let (url, latest) = (server.url("prod"), server.url("prod/latest"));
    let key = trust_key();
    let key = key.to_str().unwrap();
    let ok = |args: &[&str]| -> Ran {
        let ran = run(plugin(args, server.variables()));
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        ran
    };
    let listed = ok(&["list", &url, "-o", "json"]).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 6, "{listed}");
    assert_eq!(listed["items"][0]["name"], newest.name.to_string(), "{listed}");
    ok(&["freshness", &url, "--max-age", "3h", "--trust-key", key]);
    assert_eq!(ok(&["verify", &latest, "--trust-key", key, "-o", "json"]).json()["level"], "read");
    // Out of the bucket, and back into it.
    let folder = tempfile::tempdir().unwrap();
    ok(&["copy", &latest, folder.path().to_str().unwrap(), "--trust-key", key]);
    for (key, bytes) in &newest.objects {
        assert!(std::fs::read(folder.path().join(key.file())).unwrap() == *bytes, "{key}");
    }
    ok(&["copy", &latest, &server.url("vault"), "--trust-key", key]);
    let vault = open(&server.url("vault"), server.variables());
    assert_eq!(keys(&vault).await.len(), newest.objects.len());
    for (key, bytes) in &newest.objects {
        assert!(read(&vault, key).await == *bytes, "{key}");
    }
    // The policy of a bucket keeps what prune would delete; the record goes first, so nothing is deleted by halves.
    for backup in &old {
        server.backdate(&backup.name.to_string(), backup.name.taken());
    }
    let prune = ["prune", &url, "--keep-last", "1", "--trust-key", key, "--confirm", "prod-eu"];
    server.retain(true);
    let kept = run(plugin(&prune, server.variables()));
    assert_eq!(kept.code, Some(1), "{}", kept.stderr);
    assert!(
        kept.stderr.contains("3 of 3 backups are not deleted") && kept.stderr.contains("retention"),
        "{}",
        kept.stderr
    );
    let prod = open(&url, server.variables());
    assert_eq!(keys(&prod).await.len(), 5 * 3 + 4);
    server.retain(false);
    let pruned = ok(&prune);
    assert!(pruned.stderr.contains("3 of 3 backups deleted (9 objects)"), "{}", pruned.stderr);
    // The newest three verified ones stay.
    let stay: Vec<String> = [&newest, &old[0], &old[1]].map(|backup| backup.name.to_string()).into();
    let left = keys(&prod).await;
    assert_eq!(left.len(), 2 * 3 + 4);
    assert!(left.iter().all(|key| stay.contains(&key.name.to_string())), "{left:?}");
}
