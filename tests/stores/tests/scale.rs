//! Stores with many backups: how many requests a command makes, and how many of them at once. How long that takes is in docs/PERFORMANCE.md.

mod support;

use bytes::Bytes;
use etcd_store::layout::{Key, Part};
use etcd_store::{Class, ClusterUid, Name};
use jiff::{SignedDuration, Timestamp};
use stores::{Act, Proxy, Seaweed};
use support::{Planted, Ran, plugin, run, uid};

/// Objects in one answer to a LIST of S3, at most.
const PAGE: usize = 1000;
/// Requests that a command has on their way at the same time, at most.
const AT_ONCE: usize = 16;

fn plant(server: &Seaweed, prefix: &str, objects: &[(Key, Bytes)]) {
    let objects: Vec<_> = objects.iter().map(|(key, bytes)| (format!("{prefix}/{key}"), bytes.to_vec())).collect();
    server.plant(&objects).unwrap();
}

/// Runs a command, and says how many LIST and GET requests it has made. It makes no others.
fn requests(proxy: &Proxy, args: &[&str]) -> (Ran, usize, usize) {
    proxy.decide(|_| Act::Pass);
    let ran = run(plugin(args, proxy.variables()));
    let seen = proxy.seen();
    assert!(seen.iter().all(|seen| seen.method == "GET"), "{seen:?}");
    let lists = seen.iter().filter(|seen| seen.target.contains("list-type=2")).count();
    (ran, lists, seen.len() - lists)
}

#[test]
fn many_backups_are_listed_page_by_page() {
    let server = Seaweed::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let now = Timestamp::now();
    let newest = Planted::new(&uid(), now, Bytes::from_static(b"sealed"), None);
    plant(&server, "one", &newest.objects);
    let mut objects = newest.objects.clone();
    for seconds in 1..10_000 {
        let name = Name::new(now - SignedDuration::from_secs(seconds), 7, Class::Scheduled);
        for part in [Part::Data { encrypted: true }, Part::Record] {
            objects.push((Key::new(&uid(), &name, part), Bytes::from_static(b"x")));
        }
    }
    plant(&server, "many", &objects);

    let freshness = |prefix: &str, flags: &[&str]| {
        let url = proxy.url(prefix);
        requests(&proxy, &[&["freshness", &url, "--max-age", "3h"], flags].concat())
    };
    let (ran, lists, gets) = freshness("one", &[]);
    assert_eq!((ran.code, lists, gets), (Some(0), 1, 1), "{}", ran.stderr);
    let key = support::trust_key();
    let (ran, lists, gets) = freshness("one", &["--trust-key", key.to_str().unwrap()]);
    assert_eq!((ran.code, lists, gets), (Some(0), 1, 2), "{}", ran.stderr);

    // One record is read whatever the number of backups, and no page is asked for twice.
    let pages = objects.len().div_ceil(PAGE);
    let (ran, lists, gets) = freshness("many", &[]);
    assert_eq!((ran.code, lists, gets), (Some(0), pages, 1), "{}", ran.stderr);
    let (ran, lists, gets) = requests(&proxy, &["list", &proxy.url("many"), "-o", "json"]);
    assert_eq!((ran.code, lists, gets), (Some(0), pages, 1), "{}", ran.stderr);
    let items = ran.json()["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 10_000);
    assert_eq!((&items[0]["name"], &items[0]["cluster"]), (&newest.name.to_string().into(), &"prod-eu".into()));
    assert!(items.iter().all(|item| item["state"] == "committed"));
}

#[test]
fn many_clusters_are_looked_at_sixteen_at_a_time() {
    const CLUSTERS: usize = 1000;
    let server = Seaweed::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let mut objects = Vec::new();
    for number in 0..CLUSTERS {
        let cluster: ClusterUid = format!("{number:08x}-9f4b-4b0e-8f0e-0d6a4b1f2c3d").parse().unwrap();
        objects.extend(Planted::new(&cluster, Timestamp::now(), Bytes::from_static(b"sealed"), None).objects);
    }
    plant(&server, "fleet", &objects);
    let url = proxy.url("fleet");
    for command in [&["list", &url][..], &["freshness", &url, "--max-age", "3h"]] {
        // The first requests for clusters are answered only once as many are there as may be.
        proxy.decide(|seen| if (1..=AT_ONCE).contains(&seen.index) { Act::Gather(AT_ONCE) } else { Act::Pass });
        let ran = run(plugin(&[command, &["--all-clusters", "-o", "json"]].concat(), proxy.variables()));
        assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.stderr);
        let items = ran.json()["items"].as_array().unwrap().clone();
        assert_eq!(items.len(), CLUSTERS, "{command:?}");
        assert!(items.iter().all(|item| item["cluster"] == "prod-eu"), "{command:?}: {:?}", items[0]);
        let seen = proxy.seen();
        let lists = seen.iter().filter(|seen| seen.target.contains("list-type=2")).count();
        // The names of the clusters; of each its objects, and the record of its newest backup.
        assert_eq!((lists, seen.len() - lists), (1 + CLUSTERS, CLUSTERS), "{command:?}");
        assert_eq!(proxy.most_at_once(), AT_ONCE, "{command:?}");
    }
}
