//! Bad luck with each request of each operation: what is said, and what is in the store afterwards.
//!
//! Whatever happens, under a name there is the whole object or none; who is told that it was written finds it, and who is told that it was
//! not finds it only where it was also told that nobody knows.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use etcd_store::layout::{Key, Part};
use etcd_store::{Environment, Patience, Store, StoreError, StoreUrl, Trouble};
use futures::TryStreamExt;
use stores::{Act, Proxy, Seaweed};

const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
const NAME: &str = "20261127T031500Z-48211-manual-k3f2x2ab";
const PREFIX: &str = "luck";

/// A server, the way to it that brings bad luck, and the way that does not.
struct Scene {
    server: Seaweed,
    proxy: Proxy,
    unlucky: Store,
    lucky: Store,
}

fn open(url: &str, variables: stores::Variables) -> Store {
    let url: StoreUrl = url.parse().unwrap();
    let quick = Patience { retries: 2, first_wait: Duration::from_millis(1), longest_wait: Duration::from_millis(2) };
    Store::open_with(&url, &Environment::from_map(variables), quick).unwrap()
}

impl Scene {
    fn new() -> Scene {
        let server = Seaweed::start().unwrap();
        let proxy = Proxy::start(server.port()).unwrap();
        let unlucky = open(&proxy.url(PREFIX), proxy.variables());
        let lucky = open(&server.url(PREFIX), server.variables());
        Scene { server, proxy, unlucky, lucky }
    }

    /// What happened is judged by what is there, which is then taken away.
    async fn judge<T>(&self, done: &Result<T, StoreError>, content: &[u8], what: &str) {
        let objects = self.lucky.list(None).await.unwrap().objects;
        let there = objects.len() == 1;
        match done {
            Ok(_) => assert!(there, "{what}: said to be written, and is not there"),
            Err(error) => assert!(!there || error.is_outcome_unknown(), "{what}: {error}, and it is there"),
        }
        for object in objects {
            let read = read(&self.lucky, &object.key).await.unwrap();
            assert!(read == content, "{what}: {} of {} bytes are under the name", read.len(), content.len());
            self.lucky.delete(&object.key).await.unwrap();
        }
    }
}

fn key(part: Part) -> Key {
    Key::new(&UID.parse().unwrap(), &NAME.parse().unwrap(), part)
}

async fn read(store: &Store, key: &Key) -> Result<Vec<u8>, StoreError> {
    let chunks: Vec<Bytes> = store.download(key).await?.stream.try_collect().await?;
    Ok(chunks.concat())
}

async fn upload(store: &Store, content: &Bytes) -> Result<etcd_store::Sent, StoreError> {
    let (mut writer, upload) = store.upload(&key(Part::Data { encrypted: true }));
    let content = content.clone();
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

/// What can happen to a request, and what is then said if it goes on happening.
fn luck() -> Vec<(Act, Trouble)> {
    let region = "x-amz-bucket-region: eu-west-1\r\n";
    vec![
        (Act::Refuse(403, "AccessDenied", ""), Trouble::AccessDenied),
        (Act::Refuse(404, "NoSuchBucket", ""), Trouble::NoBucket),
        (Act::Refuse(500, "InternalError", ""), Trouble::ServerFault),
        (Act::Refuse(503, "SlowDown", ""), Trouble::Throttled),
        (Act::Refuse(301, "PermanentRedirect", region), Trouble::WrongRegion(Some("eu-west-1".to_owned()))),
        (Act::Refuse(400, "ExpiredToken", ""), Trouble::ExpiredCredential),
        (Act::Refuse(403, "RequestTimeTooSkewed", ""), Trouble::Clock),
        (Act::Drop, Trouble::Interrupted),
        (Act::CutRequest(300), Trouble::Interrupted),
        (Act::CutAnswer(0), Trouble::Interrupted),
        (Act::CutAnswer(40), Trouble::Interrupted),
    ]
}

fn passes_by_itself(act: &Act) -> bool {
    !matches!(act, Act::Refuse(..)) || matches!(act, Act::Refuse(500 | 503, ..))
}

#[tokio::test]
async fn no_luck_makes_half_an_object() {
    let scene = Scene::new();
    small(&scene).await;
    large(&scene).await;
    reading(&scene).await;
}

/// A record: one request.
async fn small(scene: &Scene) {
    let content = Bytes::from_static(b"{\"apiVersion\":\"kubectl-etcd/v1\"}");
    let record = key(Part::Record);
    for (act, trouble) in luck() {
        for forever in [false, true] {
            let what = format!("{act:?}, forever: {forever}");
            let acts = act.clone();
            scene.proxy.decide(move |seen| if forever || seen.index == 0 { acts.clone() } else { Act::Pass });
            let done = scene.unlucky.create(&record, content.clone()).await;
            if passes_by_itself(&act) && !forever {
                assert!(done.is_ok(), "{what}: {done:?}");
            } else {
                assert_eq!(done.as_ref().unwrap_err().trouble(), &trouble, "{what}");
                assert!(scene.proxy.seen().len() <= 9, "{what}: {} requests", scene.proxy.seen().len());
            }
            scene.judge(&done, &content, &what).await;
        }
    }
    // A connection that is cut after any byte of the request, and of the answer.
    for cut in (0..1200).step_by(7) {
        for act in [Act::CutRequest(cut), Act::CutAnswer(cut)] {
            let what = format!("{act:?}");
            scene.proxy.decide(move |seen| if seen.index == 0 { act.clone() } else { Act::Pass });
            let done = scene.unlucky.create(&record, content.clone()).await;
            assert!(done.is_ok(), "{what}: {done:?}");
            scene.judge(&done, &content, &what).await;
        }
    }
    // Somebody else's object of that name stays, also where the answer got lost.
    scene.lucky.create(&record, Bytes::from_static(b"theirs")).await.unwrap();
    scene.proxy.decide(|seen| if seen.index == 0 { Act::CutAnswer(0) } else { Act::Pass });
    assert!(scene.unlucky.create(&record, content).await.unwrap_err().is_exists());
    assert_eq!(scene.lucky.small(&record, 100).await.unwrap(), "theirs");
    scene.lucky.delete(&record).await.unwrap();
}

/// A snapshot of three parts: the begin, the parts, the end.
async fn large(scene: &Scene) {
    let content: Bytes = (0..17 * 1024 * 1024_u32).map(|index| (index / 1024 % 251) as u8).collect();
    scene.proxy.decide(|_| Act::Pass);
    let done = upload(&scene.unlucky, &content).await;
    scene.judge(&done, &content, "no bad luck").await;
    let requests = scene.proxy.seen().len();
    assert_eq!(requests, 5);
    // Uploads that the store has begun and nobody knows of, because the answer got lost. They are no objects.
    let mut lost = 0;
    for (act, trouble) in luck() {
        for unlucky in 0..requests {
            // What is asked again of itself is so each time: once is enough for most.
            for forever in [false, true].into_iter().take(if passes_by_itself(&act) { 2 } else { 1 }) {
                let what = format!("{act:?} of request {unlucky}, forever: {forever}");
                let acts = act.clone();
                let mut target = None;
                scene.proxy.decide(move |seen| {
                    let first = seen.index == unlucky;
                    if first {
                        target = Some((seen.method.clone(), seen.target.clone()));
                    }
                    let again = forever && target.as_ref() == Some(&(seen.method.clone(), seen.target.clone()));
                    if first || again { acts.clone() } else { Act::Pass }
                });
                let done = upload(&scene.unlucky, &content).await;
                if let Err(error) = &done {
                    assert_eq!(error.trouble(), &trouble, "{what}: {error}");
                }
                let answer_lost = matches!(act, Act::CutAnswer(_));
                // An end whose answers get lost is found out by looking.
                let good = passes_by_itself(&act) && (!forever || answer_lost && unlucky == requests - 1);
                assert_eq!(done.is_ok(), good, "{what}: {done:?}");
                scene.judge(&done, &content, &what).await;
                if answer_lost && unlucky == 0 {
                    lost += if forever { 3 } else { 1 };
                }
                assert_eq!(scene.server.incomplete_uploads().unwrap(), lost, "{what}");
            }
        }
    }
}

/// A listing and a download.
async fn reading(scene: &Scene) {
    let content: Bytes = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
    upload(&scene.lucky, &content).await.unwrap();
    let data = key(Part::Data { encrypted: true });
    for (act, trouble) in luck() {
        for forever in [false, true] {
            let what = format!("{act:?}, forever: {forever}");
            for list in [true, false] {
                let acts = act.clone();
                scene.proxy.decide(move |seen| if forever || seen.index == 0 { acts.clone() } else { Act::Pass });
                let error = if list {
                    let listed = scene.unlucky.list(None).await;
                    listed.map(|listed| assert_eq!(listed.objects.len(), 1, "{what}")).err()
                } else {
                    let bytes = read(&scene.unlucky, &data).await;
                    bytes.map(|bytes| assert!(bytes == content, "{what}")).err()
                };
                let expected = !passes_by_itself(&act) || forever;
                assert_eq!(error.is_some(), expected, "{what}, list: {list}: {error:?}");
                if let Some(error) = error {
                    assert_eq!(error.trouble(), &trouble, "{what}: {error}");
                }
            }
        }
    }
    // A download that is cut goes on where it was.
    for cut in (0..300_600).step_by(30_011) {
        scene.proxy.decide(move |seen| if seen.index == 0 { Act::CutAnswer(cut) } else { Act::Pass });
        assert!(read(&scene.unlucky, &data).await.unwrap() == content, "cut at {cut}");
    }
}
