//! The sidecar's image as if it had been built from other sources.

use std::path::Path;
use std::process::Command;

use e2e::{image, run};
use lab::Lab;
use serde_json::{Value, json};

/// Gives the lab an image that differs from the sidecar's in the build that it says it is.
pub(crate) fn of_build(lab: &Lab, reference: &str, own: &str, other: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let unpack = |archive: &Path| {
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(archive).arg("-C").arg(folder.path());
        run(tar).expect_code(0);
    };
    unpack(&image());
    let listed = std::fs::read(folder.path().join("manifest.json")).expect("an archive of docker's");
    let listed: Value = serde_json::from_slice(&listed).expect("JSON");
    for layer in listed[0]["Layers"].as_array().expect("a list of layers") {
        unpack(&folder.path().join(layer.as_str().expect("a file's name")));
    }
    let mut program = std::fs::read(folder.path().join("etcd-sidecar")).expect("the program");
    // A compiler may have put words of eight bytes of it into instructions.
    let mut changed = 0;
    for (from, to) in own.as_bytes().chunks(8).zip(other.as_bytes().chunks(8)) {
        for at in 0..program.len() - from.len() {
            if program[at..].starts_with(from) {
                program[at..at + to.len()].copy_from_slice(to);
                changed += 1;
            }
        }
    }
    assert!(changed > 1, "the image's program is not of build {own}: build the image anew");
    let files = [("etcd-sidecar", program.as_slice())];
    let archive = lab::docker_archive(reference, &json!({"Entrypoint": ["/etcd-sidecar"]}), &files).expect("an image");
    let path = folder.path().join("other.tar");
    std::fs::write(&path, archive).expect("the image is written");
    assert_eq!(lab.load_image(&path).expect("the image is loaded"), [reference]);
}
