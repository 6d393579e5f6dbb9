//! A clock that is an hour off, of this machine or of the store: nothing is decided by an age that nobody can tell.

mod support;

use jiff::{SignedDuration, Timestamp};
use stores::{Act, Proxy, Seaweed};
use support::{Planted, bytes, keys, open, plugin, run, trust_key, uid};

#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_told_and_nothing_is_decided_by_it() {
    let server = Seaweed::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let (url, lucky) = (proxy.url("prod"), open(&server.url("prod"), server.variables()));
    let backup = Planted::new(&uid(), Timestamp::now(), bytes(500), None);
    backup.put(&lucky).await;
    let before = keys(&lucky).await;
    let key = trust_key();
    let trust = ["--trust-key", key.to_str().unwrap()];
    let folder = tempfile::tempdir().unwrap();
    let (latest, named) = (proxy.url("prod/latest"), proxy.url(&format!("prod/{}", backup.name)));
    let target = folder.path().to_str().unwrap();
    for hours in [1, -1] {
        proxy.decide(move |_| Act::Later(SignedDuration::from_hours(hours)));
        for (args, code, said) in [
            (&["freshness", &url, "--max-age=3h"][..], 4, "the clock of the store says"),
            (&["prune", &url, "--keep-last=1", "--confirm=prod-eu"], 4, "the clock of the store says"),
            (&["verify", &latest], 1, "nobody can tell which backup is the latest"),
            (&["copy", &latest, target], 1, "nobody can tell which backup is the latest"),
        ] {
            let ran = run(plugin(&[args, &trust[..]].concat(), proxy.variables()));
            assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
            assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        // One that is named does not depend on its age.
        let ran = run(plugin(&[&["verify", &named], &trust[..]].concat(), proxy.variables()));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(keys(&lucky).await, before);
    }
}
