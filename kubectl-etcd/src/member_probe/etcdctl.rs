//! Command lines of `etcdctl` for one member, and what 3.4 to 3.7 print: pure functions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use etcd_wire::message::{Alarm, KeyPair, KubeSystem, Member, MemberStatus};
use etcd_wire::order::Order;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::order::{time, words as words_of};
use crate::discovery::EtcdPod;
use crate::output::Failed;

/// How long `etcdctl` waits, when it is asked a question, for a connection and for an answer: shorter than it is waited for.
const TIMES: [&str; 2] = ["--dial-timeout=2s", "--command-timeout=3s"];

/// A question, or an order.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// `endpoint status`: also tells the alarms, and answers without a leader.
    Status,
    /// `member list`.
    Members,
    /// `get KEY`, from this member's own database.
    Get(String),
    /// `endpoint hashkv`: what this member's keys hash to at a revision.
    HashKv(i64),
    /// What changes something.
    Order(Order),
}

/// Whether the member's container can run `etcdctl` with certificates that it has.
///
/// # Errors
/// Why not.
pub(super) fn possible(member: &EtcdPod) -> Result<(), Failed> {
    let no_way = |why: &str| Err(Failed::plain("etcdctl cannot be run in its container").cause(why));
    if member.pod.is_empty() {
        return no_way("the member has no pod");
    }
    let Some(endpoint) = member.access.endpoints.first() else { return no_way("its client URL is not known") };
    if endpoint.starts_with("https:") && (member.own.ca.is_none() || member.own.credentials.is_empty()) {
        return no_way("the certificate files that clients use are not mounted there");
    }
    Ok(())
}

/// The command lines to try in turn: each with a client certificate that may be there.
pub(super) fn lines(member: &EtcdPod, command: &Command) -> Vec<Vec<String>> {
    let endpoint = member.access.endpoints.first().cloned().unwrap_or_default();
    let line = |pair: Option<&KeyPair>| {
        let mut words = vec!["etcdctl".to_owned(), format!("--endpoints={endpoint}")];
        match command {
            Command::Order(order) => words.extend([TIMES[0].to_owned(), time(*order)]),
            Command::HashKv(_) => words.extend([TIMES[0], "--command-timeout=60s"].map(str::to_owned)),
            _ => words.extend(TIMES.map(str::to_owned)),
        }
        if let Some(pair) = pair {
            words.extend(member.own.ca.iter().map(|ca| format!("--cacert={ca}")));
            words.extend([format!("--cert={}", pair.cert), format!("--key={}", pair.key)]);
        }
        let question = |more: &[&str]| ["-w", "json"].iter().chain(more).map(|word| (*word).to_owned()).collect();
        words.extend(match command {
            Command::Status => question(&["endpoint", "status"]),
            Command::Members => question(&["member", "list"]),
            Command::HashKv(revision) => question(&["endpoint", "hashkv", &format!("--rev={revision}")]),
            Command::Get(key) => question(&["get", "--consistency=s", key]),
            // Not every order can answer in JSON.
            Command::Order(order) => words_of(*order),
        });
        words
    };
    match endpoint.starts_with("https:") {
        true => member.own.credentials.iter().map(|pair| line(Some(pair))).collect(),
        false => vec![line(None)],
    }
}

/// Whether it failed because a file of its command line is not there.
pub(super) fn lacks_file(said: &str) -> bool {
    said.contains("no such file or directory")
}

#[derive(Deserialize)]
struct Header {
    cluster_id: u64,
    member_id: u64,
    #[serde(default)]
    revision: i64,
    #[serde(default)]
    raft_term: u64,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Endpoint")]
    endpoint: String,
    #[serde(rename = "Status")]
    status: Status,
}

/// Go leaves out what is zero.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    header: Header,
    version: String,
    #[serde(default)]
    db_size: i64,
    #[serde(default)]
    db_size_in_use: i64,
    #[serde(default)]
    db_size_quota: i64,
    #[serde(default)]
    leader: u64,
    #[serde(default)]
    raft_index: u64,
    #[serde(default)]
    raft_term: u64,
    #[serde(default)]
    raft_applied_index: u64,
    #[serde(default)]
    errors: Vec<String>,
    #[serde(default)]
    is_learner: bool,
    #[serde(default)]
    storage_version: String,
}

#[derive(Deserialize)]
struct List {
    members: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(default)]
    is_learner: bool,
}

#[derive(Deserialize)]
struct HashedEndpoint {
    #[serde(rename = "HashKV")]
    hash_kv: HashKv,
}

#[derive(Deserialize)]
struct HashKv {
    #[serde(default)]
    hash: u32,
    #[serde(default)]
    compact_revision: i64,
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "header")]
    _header: Header,
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    mod_revision: i64,
    value: String,
}

/// The line that is the answer: by the kubelet, what is logged comes with it.
fn answer<T: DeserializeOwned>(said: &str) -> Result<T, String> {
    let read = said.lines().find_map(|line| serde_json::from_str(line.trim()).ok());
    read.ok_or_else(|| format!("etcdctl printed what cannot be read: {}", last_line(said)))
}

/// What `endpoint status` says of the one endpoint.
///
/// # Errors
/// It is not understood.
pub(super) fn status(said: &str) -> Result<MemberStatus, Failed> {
    let unread = |why: String| Failed::plain("the member's status cannot be read").cause(why);
    let all: Vec<Endpoint> = answer(said).map_err(unread)?;
    let one = all.into_iter().next().ok_or_else(|| unread("etcdctl names no endpoint".to_owned()))?;
    let Status { header, errors, .. } = one.status;
    let (alarms, errors): (Vec<_>, Vec<_>) =
        errors.into_iter().map(|text| alarm(&text).ok_or(text)).partition(Result::is_ok);
    Ok(MemberStatus {
        endpoint: one.endpoint,
        cluster_id: header.cluster_id,
        member_id: header.member_id,
        leader_id: one.status.leader,
        version: one.status.version,
        storage_version: Some(one.status.storage_version).filter(|version| !version.is_empty()),
        db_size: one.status.db_size,
        db_size_in_use: one.status.db_size_in_use,
        quota: Some(one.status.db_size_quota).filter(|&quota| quota > 0),
        revision: header.revision,
        raft_term: one.status.raft_term.max(header.raft_term),
        raft_index: one.status.raft_index,
        raft_applied_index: one.status.raft_applied_index,
        learner: one.status.is_learner,
        // That there is no leader is told by its ID.
        errors: errors.into_iter().filter_map(Result::err).filter(|text| text != "etcdserver: no leader").collect(),
        alarms: alarms.into_iter().filter_map(Result::ok).collect(),
        ..MemberStatus::default()
    })
}

/// An alarm among the errors of a status: `memberID:13668033151171901709 alarm:NOSPACE `.
fn alarm(text: &str) -> Option<Alarm> {
    let mut words = text.split_whitespace();
    let member_id = words.next()?.strip_prefix("memberID:")?.parse().ok()?;
    let kind = words.next()?.strip_prefix("alarm:")?.to_owned();
    words.next().is_none().then_some(Alarm { member_id, kind })
}

/// What `member list` says.
///
/// # Errors
/// It is not understood.
pub(super) fn members(said: &str) -> Result<Vec<Member>, String> {
    let list: List = answer(said)?;
    let member = |one: Listed| Member {
        id: one.id,
        name: one.name,
        peer_urls: one.peer_urls,
        client_urls: one.client_urls,
        learner: one.is_learner,
    };
    Ok(list.members.into_iter().map(member).collect())
}

/// What `endpoint hashkv` says: the hash, and the compacted revision from which it counts.
///
/// # Errors
/// It is not understood.
pub(super) fn hash(said: &str) -> Result<(u32, i64), String> {
    let all: Vec<HashedEndpoint> = answer(said)?;
    let first = all.into_iter().next().ok_or("etcdctl names no endpoint")?;
    Ok((first.hash_kv.hash, first.hash_kv.compact_revision))
}

/// What `get` says of namespace kube-system.
///
/// # Errors
/// It is not understood.
pub(super) fn namespace(said: &str) -> Result<KubeSystem, String> {
    let range: Range = answer(said)?;
    let Some(pair) = range.kvs.into_iter().next() else { return Ok(KubeSystem::Absent) };
    let value = STANDARD.decode(pair.value).map_err(|error| format!("the value is no base64: {error}"))?;
    Ok(KubeSystem::Held { mod_revision: pair.mod_revision, value })
}

/// Why `etcdctl` failed, by what it said.
pub(super) fn explain(said: &str) -> Failed {
    let failed = Failed::plain("etcd does not answer");
    let cause = |part: &str| said.contains(part);
    match () {
        () if cause("connection refused") => failed.cause("nothing listens at its client URL: connection refused"),
        () if cause("certificate has expired") || cause("expired certificate") => {
            failed.cause("a certificate has expired").hint("kubeadm certs check-expiration")
        }
        // A server's alert.
        () if cause("remote error: tls") => failed
            .cause("etcd refuses the client certificate in its container: it has expired, or another authority has signed it")
            .hint("kubeadm certs check-expiration"),
        () if cause("signed by unknown authority") => failed
            .cause("etcd's certificate is not signed by the authority that is in its container")
            .hint("kubeadm certs check-expiration"),
        () => failed.cause(reason(said).unwrap_or_else(|| last_line(said).to_owned())),
    }
}

/// What gRPC said last, of a line of the log: after the last `desc = `.
fn reason(said: &str) -> Option<String> {
    let error =
        |line: &str| serde_json::from_str::<serde_json::Value>(line.trim()).ok()?["error"].as_str().map(str::to_owned);
    let error = said.lines().filter_map(error).next_back()?;
    let desc = error.rsplit_once("desc = ").map_or(error.as_str(), |(_, desc)| desc);
    Some(desc.trim_matches('"').to_owned())
}

/// The last line that is not empty: what counts of a log.
fn last_line(said: &str) -> &str {
    said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `etcdctl` of these versions printed of a member of one, over its whole life: empty, and full.
    macro_rules! recorded {
        ($version:literal) => {
            [
                include_str!(concat!("../../../tests/data/etcdctl/", $version, "-status.json")),
                include_str!(concat!("../../../tests/data/etcdctl/", $version, "-nospace.json")),
                include_str!(concat!("../../../tests/data/etcdctl/", $version, "-members.json")),
                include_str!(concat!("../../../tests/data/etcdctl/", $version, "-get.json")),
                include_str!(concat!("../../../tests/data/etcdctl/", $version, "-absent.json")),
            ]
        };
    }

    #[test]
    fn what_was_recorded_is_understood() {
        for (version, said) in
            [("3.4.23", recorded!("3.4.23")), ("3.5.1", recorded!("3.5.1")), ("3.5.16", recorded!("3.5.16"))]
        {
            let [well, full, list, held, absent] = said;
            let one = status(well).expect(version);
            assert_eq!((one.version.as_str(), one.revision, one.raft_term), (version, 2, 2));
            assert!(one.cluster_id > 0 && one.leader_id == one.member_id && !one.learner, "{one:?}");
            assert!(one.db_size >= one.db_size_in_use && one.raft_applied_index == one.raft_index, "{one:?}");
            assert_eq!((one.alarms.len(), one.errors.len()), (0, 0));
            let full = status(full).expect(version);
            let alarm = Alarm { member_id: one.member_id, kind: "NOSPACE".to_owned() };
            assert_eq!((full.alarms, full.errors), (vec![alarm], Vec::new()));
            let listed = members(list).expect(version);
            assert_eq!((listed.len(), listed[0].id, listed[0].name.as_str()), (1, one.member_id, "m1"));
            assert!(listed[0].peer_urls[0].starts_with("http://127.0.0.1:") && !listed[0].learner);
            let KubeSystem::Held { mod_revision: 2, value } = namespace(held).expect(version) else { panic!("{held}") };
            assert_eq!(crate::kube_system::uid(&value).as_deref(), Some("u"));
            assert_eq!(namespace(absent), Ok(KubeSystem::Absent));
        }
    }

    #[test]
    fn later_versions_say_more() {
        let said = r#"[{"Endpoint":"https://127.0.0.1:2379","Status":{"header":{"cluster_id":18446744073709551615,"member_id":7,"revision":9,
            "raft_term":3},"version":"3.6.14","raftIndex":12,"raftTerm":3,"raftAppliedIndex":11,"isLearner":true,
            "errors":["etcdserver: no leader","memberID:5  alarm:CORRUPT","something else"],"storageVersion":"3.6.0",
            "dbSizeQuota":2147483648,"downgradeInfo":{}}}]"#;
        let one = status(&said.replace('\n', "")).expect("3.6");
        assert_eq!((one.cluster_id, one.leader_id, one.learner), (u64::MAX, 0, true));
        assert_eq!((one.storage_version.as_deref(), one.quota), (Some("3.6.0"), Some(2_147_483_648)));
        assert_eq!(one.alarms, [Alarm { member_id: 5, kind: "CORRUPT".to_owned() }]);
        assert_eq!(one.errors, ["something else"]);
    }

    #[test]
    fn an_answer_is_found_beside_what_is_logged() {
        let [well, ..] = recorded!("3.5.16");
        assert!(status(&format!("{well}{}\n", r#"{"level":"warn","msg":"retrying"}"#)).is_ok());
        for nothing in ["", "[]", "null", "{\"level\":\"warn\"}\nError: x"] {
            assert!(status(nothing).is_err() && members(nothing).is_err() && namespace(nothing).is_err(), "{nothing}");
        }
    }

    #[test]
    fn a_failure_is_explained_by_what_was_said() {
        let refused = r#"[]
{"level":"warn","msg":"retrying of unary invoker failed","attempt":0,"error":"rpc error: code = DeadlineExceeded desc = latest balancer error: last connection error: connection error: desc = \"transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused\""}
Failed to get the status of endpoint http://127.0.0.1:1 (context deadline exceeded)"#;
        assert_eq!(explain(refused).causes, ["nothing listens at its client URL: connection refused"]);
        let tls = |error: &str| explain(&format!("Error: {error}")).causes.concat();
        assert!(tls("x509: certificate has expired or is not yet valid").contains("a certificate has expired"));
        assert!(tls("remote error: tls: bad certificate").contains("etcd refuses the client certificate"));
        assert!(tls("x509: certificate signed by unknown authority").contains("not signed by the authority"));
        let denied = r#"{"level":"warn","error":"rpc error: code = Unavailable desc = etcdserver: leader changed"}
Error: etcdserver: leader changed"#;
        assert_eq!(explain(denied).causes, ["etcdserver: leader changed"]);
        assert_eq!(explain("Error: context deadline exceeded\n\n").causes, ["Error: context deadline exceeded"]);
        assert_eq!(explain("").causes, ["it said nothing"]);
        assert!(lacks_file("Error: open /nope: no such file or directory") && !lacks_file(refused));
    }

    #[test]
    fn a_command_line_has_the_containers_own_files() {
        let mut member = EtcdPod { pod: "etcd-cp1".into(), ..EtcdPod::default() };
        member.access.endpoints = vec!["https://127.0.0.1:2379".into(), "https://10.0.0.1:2379".into()];
        assert!(possible(&member).is_err(), "it has no certificate");
        let pair = |name: &str| KeyPair { cert: format!("/p/{name}.crt"), key: format!("/p/{name}.key") };
        (member.own.ca, member.own.credentials) =
            (Some("/p/ca.crt".into()), vec![pair("healthcheck-client"), pair("server")]);
        assert!(possible(&member).is_ok());
        let all = lines(&member, &Command::Get("/registry/x".into()));
        assert_eq!(all.len(), 2);
        let line = all[1].join(" ");
        assert_eq!(
            line,
            "etcdctl --endpoints=https://127.0.0.1:2379 --dial-timeout=2s --command-timeout=3s --cacert=/p/ca.crt \
             --cert=/p/server.crt --key=/p/server.key -w json get --consistency=s /registry/x"
        );
        // Without TLS there is nothing to prove.
        member.access.endpoints = vec!["http://127.0.0.1:2379".into()];
        member.own.credentials.clear();
        assert_eq!(lines(&member, &Command::Status)[0][4..], ["-w", "json", "endpoint", "status"]);
        member.pod.clear();
        assert!(possible(&member).is_err(), "an etcd outside of pods");
    }
}
