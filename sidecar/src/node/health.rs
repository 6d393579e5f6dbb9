//! What a node tells besides for a check of everything that can make a restore fail. Nothing is changed.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use etcd_snapshot::{FileSource, Glance, VerifyError, glance};
use etcd_wire::Failure;
use etcd_wire::facts::{FactsRequest, HealthFacts, HealthRequest, LeftFile, MOST_FILES, StaticFile, Waits, Within};
use http::Uri;

use super::dir::Place;
use super::manifests;
use crate::transaction::Server;

/// Where kubeadm keeps copies of what it replaces (kubernetes cmd/kubeadm/app/constants/constants.go @ v1.36.0, `TempDir`).
const KUBEADM: &str = "/etc/kubernetes/tmp";
/// What the names of its copies of etcd's data directory begin with (`cmd/kubeadm/app/phases/upgrade/staticpods.go`).
const KUBEADM_ETCD: &str = "kubeadm-backup-etcd-";
/// How often the database of a running etcd is read again, whose pages change meanwhile.
const TRIES: usize = 4;
/// Most members that are told.
const MOST_MEMBERS: usize = 100;
/// etcd's histogram of the time that the log waits for the disk (etcd server/storage/wal/metrics.go, 3.4 to 3.6).
const FSYNC: &str = "etcd_disk_wal_fsync_duration_seconds";
/// The state of a socket that listens, as in proc(5) and linux/include/net/tcp_states.h.
const LISTENS: &str = "0A";

/// All but what etcd has to be asked.
pub(super) fn of(request: &FactsRequest, health: &HealthRequest) -> HealthFacts {
    let (database_members, unrecorded_promotions) = match database(Path::new(&request.data_dir)) {
        Ok(Glance { members, unrecorded_promotions, .. }) => {
            let members = members.into_iter().map(|member| member.id);
            (Ok(at_most(members)), Ok(at_most(unrecorded_promotions.into_iter())))
        }
        Err(why) => (Err(why.clone()), Err(why)),
    };
    HealthFacts {
        clock_ms: clock_ms(),
        static_files: static_files(Path::new(&request.manifests_dir)),
        kubeadm_backups: kubeadm_backups(Path::new(KUBEADM)),
        database_members,
        unrecorded_promotions,
        wal_fsync: Err("etcd was not asked".to_owned()),
        peer_port_taken: listens(health.peer_port),
    }
}

/// The node's clock, milliseconds since 1970.
pub(super) fn clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn static_files(dir: &Path) -> Result<Vec<StaticFile>, String> {
    let mut files = manifests::files(dir).map_err(|failure| line(&failure))?;
    files.truncate(MOST_FILES);
    Ok(files)
}

/// A failure in one line.
fn line(failure: &Failure) -> String {
    std::iter::once(failure.message.clone()).chain(failure.causes.iter().cloned()).collect::<Vec<_>>().join(": ")
}

/// The copies of etcd's data that kubeadm makes before an upgrade, and leaves. A folder of that name without a database is none.
fn kubeadm_backups(dir: &Path) -> Result<Vec<LeftFile>, String> {
    let place = Place::new(dir);
    let cannot = |error: &std::io::Error| format!("cannot read {}: {error}", dir.display());
    let mut names = match place.names() {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot(&error)),
    };
    names.retain(|name| name.to_string_lossy().starts_with(KUBEADM_ETCD));
    names.sort();
    let mut found = Vec::new();
    for name in names.into_iter().take(MOST_FILES) {
        let database = place.join(&name).join("etcd/member/snap/db");
        match database.open_file().and_then(|file| file.metadata()) {
            Ok(meta) => found.push(LeftFile { path: database.display(), bytes: meta.len() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot look at {}: {error}", database.display())),
        }
    }
    Ok(found)
}

fn at_most(members: impl Iterator<Item = String>) -> Vec<String> {
    members.take(MOST_MEMBERS).collect()
}

/// What the database itself says, beside what etcd tells.
fn database(data_dir: &Path) -> Result<Glance, String> {
    let database = Place::new(data_dir).join("member/snap/db");
    let cannot = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", database.display());
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let source = database.open_file().and_then(FileSource::new).map_err(|error| cannot(&error))?;
        match glance(&source) {
            Err(VerifyError::Damaged(_) | VerifyError::Truncated { .. }) if tries > 0 => {}
            Err(error) => return Err(cannot(&error)),
            Ok(seen) => return Ok(seen),
        }
    }
}

/// Asks etcd itself how long its log has waited for the disk.
pub(super) async fn wal_fsync(urls: &[String]) -> Result<Waits, String> {
    let mut last = "etcd tells its metrics at no URL without TLS (--listen-metrics-urls)".to_owned();
    for url in urls {
        let Some(server) = server(url) else { continue };
        match server.get("/metrics").await {
            Ok((status, body)) if status.is_success() => return waits(&String::from_utf8_lossy(&body), FSYNC),
            Ok((status, _)) => last = format!("{url}/metrics answers {status}"),
            Err(failure) => last = line(&failure),
        }
    }
    Err(last)
}

fn server(url: &str) -> Option<Server> {
    let uri: Uri = url.parse().ok()?;
    let plain = uri.scheme_str() == Some("http");
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    plain.then_some(Server { host, port: uri.port_u16().unwrap_or(80), tls: None })
}

/// A histogram of Prometheus's text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
///
/// # Errors
/// There is none of that name.
fn waits(text: &str, name: &str) -> Result<Waits, String> {
    let mut waits = Waits::default();
    let mut counted = false;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        let Some((what, count)) = rest.rsplit_once(' ') else { continue };
        let Ok(count) = count.parse::<f64>() else { continue };
        // A count is a whole number, and far below 2^53.
        let count = count as u64;
        if what == "_count" {
            (waits.count, counted) = (count, true);
        } else if let Some(bound) = what.strip_prefix("_bucket{le=\"").and_then(|what| what.strip_suffix("\"}"))
            && let Ok(seconds) = bound.parse::<f64>()
            && seconds.is_finite()
        {
            waits.within.push(Within { micros: (seconds * 1e6).round() as u64, count });
        }
    }
    waits.within.sort_by_key(|within| within.micros);
    if counted { Ok(waits) } else { Err(format!("its metrics have no {name}")) }
}

/// Whether a process of this node listens at a port. The sidecar is on the node's network.
fn listens(port: u16) -> Result<bool, String> {
    let mut taken = false;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match std::fs::read_to_string(table) {
            Ok(text) => taken |= has_listener(&text, port),
            // A node without IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {table}: {error}")),
        }
    }
    Ok(taken)
}

/// Of a table of sockets (proc(5)): a line has its number, the local address with the port in hex, the remote one, and the state.
fn has_listener(table: &str, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().and_then(|local| local.rsplit_once(':'));
        let here = local.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        here == Some(port) && words.nth(1) == Some(LISTENS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_kubelet_reads_is_told_with_what_it_starts() {
        let folder = super::super::manifests::tests::kubeadm("cp1");
        let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
        let etcd = std::fs::read(folder.path().join("etcd.yaml")).unwrap();
        write("etcd.yaml.bak", &etcd);
        write(".etcd.yaml.swp", &etcd);
        write("notes.txt", b"secret: [");
        write("other.yaml", b"{kind: Pod, apiVersion: v1, metadata: {name: vip}, spec: {containers: [{name: vip}]}}");
        std::fs::create_dir(folder.path().join("old")).unwrap();
        let files = static_files(folder.path()).unwrap();
        let of = |name: &str| files.iter().find(|file| file.name == name);
        assert_eq!(of("etcd.yaml").unwrap().component.as_deref(), Some("etcd"));
        assert_eq!(of("etcd.yaml.bak").unwrap().component.as_deref(), Some("etcd"));
        let notes = of("notes.txt").unwrap();
        assert!(notes.component.is_none() && !notes.trouble.as_deref().unwrap().contains("secret"), "{notes:?}");
        assert_eq!(of("other.yaml"), Some(&StaticFile { name: "other.yaml".into(), ..StaticFile::default() }));
        assert!(of(".etcd.yaml.swp").is_none() && of("old").is_none());
        assert!(static_files(&folder.path().join("nowhere")).unwrap_err().contains("nowhere"));
    }

    #[test]
    fn copies_of_kubeadm_are_told_with_their_databases() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kubeadm_backups(&folder.path().join("tmp")), Ok(Vec::new()));
        let copy = |name: &str| folder.path().join(name).join("etcd/member/snap");
        for name in ["kubeadm-backup-etcd-2026-02-01", "kubeadm-backup-etcd-2026-01-01", "kubeadm-backup-manifests-1"] {
            std::fs::create_dir_all(copy(name)).unwrap();
            std::fs::write(copy(name).join("db"), [0; 512]).unwrap();
        }
        std::fs::create_dir_all(copy("kubeadm-backup-etcd-2026-03-01")).unwrap();
        let found = kubeadm_backups(folder.path()).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].path.ends_with("kubeadm-backup-etcd-2026-01-01/etcd/member/snap/db") && found[0].bytes == 512);
    }

    #[test]
    fn what_is_no_database_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(database(folder.path()).unwrap_err().contains("member/snap/db"));
        std::fs::create_dir_all(folder.path().join("member/snap")).unwrap();
        std::fs::write(folder.path().join("member/snap/db"), [0; 8192]).unwrap();
        assert!(database(folder.path()).unwrap_err().contains("member/snap/db"));
    }

    #[test]
    fn a_histogram_is_read() {
        let text = "# TYPE etcd_disk_wal_fsync_duration_seconds histogram\n\
                    etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 90\n\
                    etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.512\"} 97\n\
                    etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 100\n\
                    etcd_disk_wal_fsync_duration_seconds_sum 1.5\n\
                    etcd_disk_wal_fsync_duration_seconds_count 100\n\
                    etcd_disk_wal_write_bytes_total 7\n";
        let waits = waits(text, FSYNC).unwrap();
        assert_eq!((waits.count, waits.within.len()), (100, 2));
        assert_eq!((waits.longer_than(1000), waits.longer_than(2000), waits.longer_than(600_000)), (10, 3, 0));
        assert!(super::waits("", FSYNC).unwrap_err().contains(FSYNC));
    }

    #[tokio::test]
    async fn etcd_is_asked_only_where_it_tells_its_metrics_without_tls() {
        let one = wal_fsync(&["https://127.0.0.1:2381".to_owned(), "nonsense".to_owned()]).await;
        assert!(one.unwrap_err().contains("--listen-metrics-urls"));
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(wal_fsync(&[format!("http://{closed}")]).await.unwrap_err().contains("does not listen"));
        assert_eq!(
            server("http://[::1]:2381").map(|server| (server.host, server.port)),
            Some(("::1".to_owned(), 2381))
        );
    }

    #[test]
    fn who_listens_is_in_the_tables_of_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue\n   \
                     0: 0100007F:094E 00000000:0000 0A 00000000:00000000\n   \
                     1: 0100007F:094F 0100007F:1A0B 01 00000000:00000000\n";
        assert!(has_listener(table, 0x094e) && !has_listener(table, 0x094f) && !has_listener(table, 1));
        let here = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listens(here.local_addr().unwrap().port()), Ok(true));
    }
}
