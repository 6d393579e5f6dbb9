//! A credential that expires half way: what is said, what is in the store then, and that nothing of it is in clear.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Arc, Mutex};

use etcd_store::layout::{Key, Part};
use etcd_store::{
    Backups, Class, Committed, Encryption, Name, NotCommitted, Pending, Recipients, Sealed, Sealer, Store, StoreError,
    Trouble, Uploads, Why,
};
use jiff::{SignedDuration, Timestamp};
use stores::{Act, CloudIdentity, Proxy, Rclone, Seaweed, Source};
use support::{RECIPIENT, bytes, keys, open, record, sign_key, uid};

const DATA: Part = Part::Data { encrypted: true };
/// What is in the snapshot, in clear.
const SECRET: &[u8] = b"a-secret-of-the-cluster";

/// Writes a backup of two parts, as its writer does.
async fn backup(store: &Store) -> (Name, Result<Committed, NotCommitted>) {
    let name = Name::new(Timestamp::now(), 48211, Class::Scheduled);
    let mut pending = Pending::new(store, &uid(), &name);
    let (writer, upload) = pending.upload(DATA);
    let writing = tokio::task::spawn_blocking(move || {
        let recipients = Recipients::parse::<_, &str>(&[RECIPIENT], &[]).unwrap();
        let mut sealer = Sealer::new(writer, &Encryption::Recipients(recipients))?;
        for piece in bytes(9 << 20).chunks(1 << 20) {
            sealer.write_all(piece)?;
            sealer.write_all(SECRET)?;
        }
        sealer.finish()?.end()
    });
    // Why it could not be sent, the upload says.
    let _told_below = writing.await.unwrap();
    let uploads =
        Uploads { data: Sealed { part: DATA, upload, recipients: vec![RECIPIENT.to_owned()] }, node_files: None };
    let key = sign_key();
    let ended = pending.commit(uploads, |objects| record(&uid(), &name, objects), Some(&key)).await;
    (name, ended)
}

/// Why a backup was not committed: the credential.
fn expired(error: &NotCommitted, what: &str) -> StoreError {
    let Why::Store(error) = &error.why else { panic!("{what}: {error:?}") };
    assert_eq!(error.trouble(), &Trouble::ExpiredCredential, "{what}: {error}");
    assert!(error.to_string().contains("the credential has expired"), "{what}: {error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("get a new credential")), "{what}");
    error.clone()
}

#[tokio::test]
async fn a_token_that_expires_half_way_leaves_no_backup() {
    let server = Seaweed::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let (store, lucky) = (open(&proxy.url("prod"), proxy.variables()), open(&server.url("prod"), server.variables()));
    proxy.decide(|_| Act::Pass);
    let (first, ended) = backup(&store).await;
    assert!(ended.unwrap().not_compared.is_none());
    // The begin, two parts, the end; the signature, the record, and the listing that is compared.
    let (requests, end) = (proxy.seen().len(), 3);
    assert_eq!(requests, 7);
    let (mut unfinished, mut whole) = (0, BTreeSet::from([first]));
    let mut parts = 0;
    for last in 0..requests {
        let status = if last % 2 == 0 { 400 } else { 403 };
        let what = format!("{status} from request {last} on");
        proxy.decide(move |seen| if seen.index < last { Act::Pass } else { Act::Refuse(status, "ExpiredToken", "") });
        let (name, ended) = backup(&store).await;
        // What is refused is asked for once: the parts that are on their way, the abort, and what takes away the rest.
        assert!(proxy.seen().len() - last <= 7, "{what}: {:?}", proxy.seen());
        let there: Vec<Key> = keys(&lucky).await.into_iter().filter(|key| key.name == name).collect();
        match ended {
            // The record is there: that nothing more could be asked is told.
            Ok(committed) => {
                assert!(last == requests - 1 && there.len() == 3, "{what}: {there:?}");
                let trouble = committed.not_compared.unwrap();
                assert_eq!(trouble.trouble(), &Trouble::ExpiredCredential, "{what}");
                whole.insert(name);
            }
            Err(error) => {
                let told = expired(&error, &what);
                assert!(there.iter().all(|key| key.part != Part::Record), "{what}: {there:?}");
                // What stays is told by its name, although nothing could be listed.
                assert!(there.iter().all(|key| error.left.stay.iter().any(|one| one.key == *key)), "{what}: {there:?}");
                unfinished += usize::from(!there.is_empty());
                // Parts cannot be taken back without a credential.
                let stay = (1..=end).contains(&last);
                assert_eq!(told.parts_left().is_some(), stay, "{what}: {told}");
                assert_eq!(told.to_string().contains("where no listing shows them"), stay, "{what}: {told}");
                parts += usize::from(stay);
            }
        }
        assert_eq!(server.incomplete_uploads().unwrap(), parts, "{what}");
    }
    assert!(unfinished > 0 && parts == end);
    // With a new token the next one is whole, and what is left of the others is taken for none.
    proxy.decide(|_| Act::Pass);
    let (name, ended) = backup(&store).await;
    ended.unwrap();
    whole.insert(name.clone());
    let backups = Backups::of(&lucky.list(None).await.unwrap(), Timestamp::now());
    assert_eq!(backups.committed.iter().map(|one| one.name.clone()).collect::<BTreeSet<_>>(), whole);
    assert_eq!((backups.left_overs.len(), backups.suspects.len()), (unfinished, 0));
    // Nothing is in clear: no object, and no part that nobody sees.
    let contents = server.contents().unwrap();
    let has = |text: &[u8]| contents.values().any(|bytes| bytes.windows(text.len()).any(|some| some == text));
    assert!(contents.len() > 3 * whole.len() + unfinished, "{:?}", contents.keys());
    assert!(has(b"kubectl-etcd/v1") && !has(SECRET));
}

#[tokio::test]
async fn a_credential_that_can_be_renewed_is_renewed_half_way() {
    let server = Rclone::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let identity = CloudIdentity::start().unwrap();
    for source in [Source::WebIdentity, Source::Instance, Source::Pod] {
        let url = format!("{}&ca={}", proxy.url(&format!("{source:?}").to_lowercase()), identity.authority().display());
        let store = open(&url, identity.variables(source));
        // Each token is good for one request, or for two that are sent at once.
        identity.give_for(SignedDuration::ZERO);
        let uses: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let its = Arc::clone(&uses);
        proxy.decide(move |seen| {
            let Some(token) = seen.token.clone() else { return Act::Refuse(403, "AccessDenied", "") };
            let mut uses = its.lock().unwrap();
            let count = uses.entry(token).or_default();
            *count += 1;
            if *count > 2 { Act::Refuse(400, "ExpiredToken", "") } else { Act::Pass }
        });
        let (name, ended) = backup(&store).await;
        ended.unwrap_or_else(|error| panic!("{source:?}: {error:?}"));
        assert_eq!(proxy.seen().len(), 7, "{source:?}");
        let tokens = uses.lock().unwrap().len();
        assert!(tokens > 3, "{source:?}: {uses:?}");
        assert_eq!(identity.given(), vec![source; tokens]);

        // One that the store does not take any more, although it should be good for an hour.
        identity.give_for(SignedDuration::from_hours(1));
        let store = open(&url, identity.variables(source));
        proxy.decide(|seen| if seen.index < 3 { Act::Pass } else { Act::Refuse(400, "ExpiredToken", "") });
        let (_, ended) = backup(&store).await;
        expired(&ended.unwrap_err(), &format!("{source:?}"));
        assert_eq!(identity.given(), [source]);
        // Whoever begins again gets a new one.
        proxy.decide(|_| Act::Pass);
        let (again, ended) = backup(&open(&url, identity.variables(source))).await;
        ended.unwrap_or_else(|error| panic!("{source:?}: {error:?}"));
        assert_eq!(identity.given(), [source]);
        let there: BTreeSet<Name> = keys(&store).await.into_iter().map(|key| key.name).collect();
        assert_eq!(there, [name, again].into());
    }
}
