//! Buckets that keep more than they are asked to, by versions and object lock; and those that encrypt with a key of their own.

mod support;

use etcd_store::check::settings;
use etcd_store::{Object, retention};
use jiff::Timestamp;
use stores::{Act, LOCKED, Proxy, Seaweed};
use support::{Planted, Ran, bytes, keys, open, plugin, read, run, trust_key, uid};

fn verdict(ran: &Ran, name: &str) -> (String, String) {
    let report = ran.json();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"));
    let text = |field: &str| check[field].as_str().unwrap().to_owned();
    (text("verdict"), text("why"))
}

#[tokio::test]
async fn a_locked_bucket_keeps_what_is_deleted() {
    let server = Seaweed::start().unwrap();
    server.make_locked_bucket(30).unwrap();
    let url = |prefix: &str| server.url(prefix).replace("s3://backups/", &format!("s3://{LOCKED}/"));
    let ran = run(plugin(&["store", "check", &url("check"), "-o", "json"], server.variables()));
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    for name in ["write", "create-only", "read", "range", "parts", "list", "versions", "object-lock"] {
        assert_eq!(verdict(&ran, name).0, "ok", "{name}: {}", ran.stdout);
    }
    assert!(verdict(&ran, "object-lock").1.contains("30 days"), "{}", ran.stdout);

    // A backup is copied into it, and is read from it.
    let backup = Planted::new(&uid(), Timestamp::now(), bytes(9 << 20), Some(bytes(1000)));
    backup.put(&open(&server.url("from"), server.variables())).await;
    let key = trust_key();
    let latest = server.url("from/latest");
    let copied = run(plugin(&["copy", &latest, &url("to"), "--trust-key", key.to_str().unwrap()], server.variables()));
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    let store = open(&url("to"), server.variables());
    for (key, bytes) in &backup.objects {
        assert!(read(&store, key).await == *bytes, "{key}");
    }
    // What prune deletes there is hidden, and is said to stay.
    let told = settings(&store).await.after_deletion().unwrap();
    assert!(told.contains("keeps versions") && told.contains("30 days"), "{told}");
    let objects: Vec<Object> = store.list(None).await.unwrap().objects;
    let deleted = retention::carry_out(&store, vec![("it".to_owned(), &objects)], || true, |_| {}).await;
    assert_eq!((deleted.backups, deleted.objects, deleted.failed.len()), (1, objects.len(), 0));
    assert!(keys(&store).await.is_empty());
    let record = format!("to/{}", backup.objects.last().unwrap().0);
    let versions = server.versions(&record).unwrap();
    assert_eq!(versions.len(), 1, "{versions:?}");
    assert_eq!(server.delete_version(&record, &versions[0]).unwrap(), 403);
    assert_eq!(server.versions(&record).unwrap(), versions);
    // A bucket without versions keeps nothing, and nothing is said.
    assert_eq!(settings(&open(&server.url("from"), server.variables())).await.after_deletion(), None);
}

const KEY: &str = "alias/backup";

#[tokio::test]
async fn a_key_of_the_store_encrypts_every_object() {
    let server = Seaweed::start().unwrap();
    let with = |url: String| format!("{url}&sse=aws:kms:{KEY}");
    let url = with(server.url("kms"));
    let ran = run(plugin(&["store", "check", &url, "-o", "json"], server.variables()));
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(verdict(&ran, "server-encryption").1.contains(KEY), "{}", ran.stdout);

    let backup = Planted::new(&uid(), Timestamp::now(), bytes(9 << 20), Some(bytes(1000)));
    backup.put(&open(&server.url("from"), server.variables())).await;
    let latest = server.url("from/latest");
    let key = trust_key();
    let copy = |to: &str| run(plugin(&["copy", &latest, to, "--trust-key", key.to_str().unwrap()], server.variables()));
    let copied = copy(&url);
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    let store = open(&url, server.variables());
    for (key, bytes) in &backup.objects {
        assert!(read(&store, key).await == *bytes, "{key}");
        // The server says of each object with which key it is encrypted.
        let head = server.head(&format!("kms/{key}")).unwrap().to_lowercase();
        assert!(head.contains("x-amz-server-side-encryption: aws:kms\r\n"), "{key}: {head}");
        assert!(head.contains(&format!("x-amz-server-side-encryption-aws-kms-key-id: {KEY}\r\n")), "{key}: {head}");
    }
    let head = server.head(&format!("from/{}", backup.objects[0].0)).unwrap().to_lowercase();
    assert!(!head.contains("x-amz-server-side-encryption: "), "{head}");

    // A key that may not be used, as AWS says it: told as that, and nothing is left of it.
    let proxy = Proxy::start(server.port()).unwrap();
    for (status, code) in
        [(400, "KMS.NotFoundException"), (400, "KMS.DisabledException"), (403, "KMS.AccessDeniedException")]
    {
        proxy.decide(move |seen| {
            if matches!(seen.method.as_str(), "PUT" | "POST") { Act::Refuse(status, code, "") } else { Act::Pass }
        });
        let refused = copy(&with(proxy.url("refused")));
        assert_eq!(refused.code, Some(1), "{code}: {}", refused.stderr);
        for text in ["the key of the server-side encryption cannot be used", code, "kms:GenerateDataKey", "sse="] {
            assert!(refused.stderr.contains(text), "{text}: {}", refused.stderr);
        }
        assert!(keys(&open(&server.url("refused"), server.variables())).await.is_empty());
    }
    assert_eq!(server.incomplete_uploads().unwrap(), 0);
}
