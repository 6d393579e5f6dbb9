//! What the node's disk tells about a restore. Nothing is changed.

use std::path::Path;

use etcd_wire::facts::{Encryption, FactsRequest, NodeFacts};
use etcd_wire::{Failure, FailureCode};

use super::manifests::Manifests;
use super::{disk, encryption};

/// Answers where it can; why it cannot elsewhere is among the failures of the answer.
///
/// # Errors
/// [`FailureCode::BadRequest`] if a path is not absolute.
pub(crate) async fn run(request: FactsRequest) -> Result<NodeFacts, Failure> {
    for path in [&request.data_dir, &request.manifests_dir].into_iter().chain(&request.wal_dir) {
        if !Path::new(path).is_absolute() {
            return Err(Failure::new(FailureCode::BadRequest, format!("{path:?} is not an absolute path")));
        }
    }
    // A disk may be slow, and the client is still to be heard meanwhile.
    let gathered = tokio::task::spawn_blocking(move || gather(&request)).await;
    gathered.map_err(|error| Failure::new(FailureCode::Other, "cannot look at the node's disk").source(&error))
}

fn gather(request: &FactsRequest) -> NodeFacts {
    let mut failures = Vec::new();
    let disk = disk::of(Path::new(&request.data_dir), request.wal_dir.as_deref().map(Path::new));
    let disk = disk.map_err(|failure| failures.push(failure)).ok();
    let manifests = Manifests::read(Path::new(&request.manifests_dir)).map_err(|failure| failures.push(failure)).ok();
    NodeFacts {
        disk,
        encryption: manifests.as_ref().map_or(Encryption::Unknown, |manifests| encryption::of(&manifests.api_server)),
        manifests: manifests.as_ref().map(|manifests| {
            manifests.moved().map(|(component, manifest)| (component.to_owned(), manifest.file.clone())).collect()
        }),
        failures,
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
        };
        let half = run(request(empty.path(), manifests.path())).await.unwrap();
        assert_eq!((half.disk, &half.encryption, half.failures.len()), (None, &Encryption::Off, 1));
        assert_eq!(half.manifests.unwrap()["kube-apiserver"], "kube-apiserver.yaml");
        std::fs::create_dir_all(empty.path().join("member/snap")).unwrap();
        std::fs::write(empty.path().join("member/snap/db"), "").unwrap();
        let other = run(request(empty.path(), empty.path())).await.unwrap();
        assert_eq!((other.manifests, &other.encryption, other.failures.len()), (None, &Encryption::Unknown, 1));
        assert!(other.disk.is_some());
        let relative = run(request(Path::new("data"), manifests.path())).await.unwrap_err();
        assert_eq!(relative.code, FailureCode::BadRequest);
    }
}
