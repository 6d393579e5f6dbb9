//! Carries the sidecars that are sent to nodes over SSH, where the build is given them: `KUBECTL_ETCD_SIDECARS` names a folder with
//! `etcd-sidecar-linux-amd64.zst` and `etcd-sidecar-linux-arm64.zst`, or with one of them.

use std::path::{Path, PathBuf};

/// Names of the files, and the types of machine that they are for, as `uname -m` says them.
const SIDECARS: [(&str, &str); 2] =
    [("etcd-sidecar-linux-amd64.zst", "x86_64"), ("etcd-sidecar-linux-arm64.zst", "aarch64")];
const VARIABLE: &str = "KUBECTL_ETCD_SIDECARS";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let mut list = String::from("&[");
    if let Some(folder) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        let folder = std::path::absolute(folder).expect("the folder of the sidecars has a path");
        println!("cargo::rerun-if-changed={}", folder.display());
        let found: Vec<(PathBuf, &str)> = SIDECARS
            .iter()
            .map(|(name, machine)| (folder.join(name), *machine))
            .filter(|(path, _)| path.is_file())
            .collect();
        assert!(!found.is_empty(), "{VARIABLE} names {}, where no sidecar is", folder.display());
        for (path, machine) in found {
            println!("cargo::rerun-if-changed={}", path.display());
            list.push_str(&format!("({machine:?}, include_bytes!({path:?})), "));
        }
    }
    list.push(']');
    let out = std::env::var_os("OUT_DIR").expect("cargo names a folder for what is made");
    std::fs::write(Path::new(&out).join("sidecars.rs"), list).expect("the list of sidecars is written");
}
