//! What the node's disk tells about a restore. Nothing is changed.

use std::path::Path;

use etcd_wire::facts::{Encryption, FactsRequest, NodeFacts};
use etcd_wire::restore::Parts;
use etcd_wire::{Failure, FailureCode};

use super::{disk, encryption, etcds, health, manifests};

/// Answers where it can; why it cannot elsewhere is among the failures of the answer.
///
/// # Errors
/// [`FailureCode::BadRequest`] if a path is not absolute.
pub(crate) async fn run(request: FactsRequest) -> Result<NodeFacts, Failure> {
    let data_dir = Some(&request.data_dir).filter(|_| request.parts != Parts::ApiServer);
    for path in data_dir.into_iter().chain([&request.manifests_dir]).chain(&request.wal_dir) {
        if !Path::new(path).is_absolute() {
            return Err(Failure::new(FailureCode::BadRequest, format!("{path:?} is not an absolute path")));
        }
    }
    let wal_fsync = async {
        match &request.health {
            Some(health) => Some(health::wal_fsync(&health.metrics_urls).await),
            None => None,
        }
    };
    // A disk may be slow, and the client is still to be heard meanwhile.
    let here = request.clone();
    let (gathered, wal_fsync) = tokio::join!(tokio::task::spawn_blocking(move || gather(&here)), wal_fsync);
    let mut gathered =
        gathered.map_err(|error| Failure::new(FailureCode::Other, "cannot look at the node's disk").source(&error))?;
    if let (Some(health), Some(wal_fsync)) = (&mut gathered.health, wal_fsync) {
        health.wal_fsync = wal_fsync;
        // After everything that takes time: whoever asks compares with the moment at which the answer arrives.
        health.clock_ms = health::clock_ms();
    }
    Ok(gathered)
}

fn gather(request: &FactsRequest) -> NodeFacts {
    let mut failures = Vec::new();
    let dirs = (Path::new(&request.data_dir), request.wal_dir.as_deref().map(Path::new));
    let disk = match (request.parts, request.may_be_empty) {
        (Parts::ApiServer, _) => None,
        (_, true) => Some(disk::around(dirs.0, dirs.1)),
        (_, false) => Some(disk::of(dirs.0, dirs.1)),
    };
    let disk = disk.and_then(|disk| disk.map_err(|failure| failures.push(failure)).ok());
    let manifests = etcds::control_plane(Path::new("/"), Path::new(&request.manifests_dir), request.parts);
    let manifests = manifests.map_err(|failure| failures.push(failure)).ok();
    NodeFacts {
        disk,
        encryption: match &manifests {
            Some(manifests) => manifests.api_server.as_ref().map_or(Encryption::Unknown, encryption::of),
            None => manifests::only(Path::new(&request.manifests_dir), "kube-apiserver")
                .map_or(Encryption::Unknown, |api_server| encryption::of(&api_server)),
        },
        manifests: manifests.as_ref().map(|manifests| {
            manifests.moved().map(|(component, manifest)| (component.to_owned(), manifest.file.clone())).collect()
        }),
        failures,
        health: request.health.as_ref().map(|health| health::of(request, health)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifests::tests::kubeadm;
    use super::*;

    #[tokio::test]
    async fn each_part_is_told_or_why_it_is_not() {
        let (manifests, empty) = (kubeadm("cp1"), tempfile::tempdir().unwrap());
        let request = |data_dir: &Path, manifests_dir: &Path| FactsRequest {
            data_dir: data_dir.display().to_string(),
            wal_dir: None,
            manifests_dir: manifests_dir.display().to_string(),
            may_be_empty: false,
            parts: Parts::Both,
            health: None,
        };
        let none = empty.path().join("none");
        let bare = FactsRequest { may_be_empty: true, ..request(&none, manifests.path()) };
        let bare = run(bare).await.unwrap();
        assert_eq!((bare.disk.unwrap().database_bytes, bare.failures.len()), (0, 0));
        let server =
            FactsRequest { parts: Parts::ApiServer, data_dir: String::new(), ..request(&none, manifests.path()) };
        assert!(run(server.clone()).await.unwrap().failures[0].message.contains("etcd.yaml"));
        let alone = kubeadm("cp1");
        std::fs::remove_file(alone.path().join("etcd.yaml")).unwrap();
        let server = FactsRequest { manifests_dir: alone.path().display().to_string(), ..server };
        let server = run(server).await.unwrap();
        assert_eq!((server.disk, &server.encryption, server.failures.len()), (None, &Encryption::Off, 0));
        let half = run(request(empty.path(), manifests.path())).await.unwrap();
        assert_eq!((half.disk, &half.encryption, half.failures.len()), (None, &Encryption::Off, 1));
        assert_eq!(half.manifests.unwrap()["kube-apiserver"], "kube-apiserver.yaml");
        std::fs::create_dir_all(empty.path().join("member/snap")).unwrap();
        std::fs::write(empty.path().join("member/snap/db"), "").unwrap();
        let other = run(request(empty.path(), empty.path())).await.unwrap();
        assert_eq!((other.manifests, &other.encryption, other.failures.len()), (None, &Encryption::Unknown, 1));
        assert!(other.disk.is_some());
        // Two manifests of another component.
        std::fs::copy(manifests.path().join("etcd.yaml"), manifests.path().join("etcd.yaml.bak")).unwrap();
        let twice = run(request(empty.path(), manifests.path())).await.unwrap();
        assert_eq!((twice.manifests, &twice.encryption), (None, &Encryption::Off));
        std::fs::copy(manifests.path().join("kube-apiserver.yaml"), manifests.path().join("other")).unwrap();
        assert_eq!(run(request(empty.path(), manifests.path())).await.unwrap().encryption, Encryption::Unknown);
        let relative = run(request(Path::new("data"), manifests.path())).await.unwrap_err();
        assert_eq!(relative.code, FailureCode::BadRequest);
    }
}
