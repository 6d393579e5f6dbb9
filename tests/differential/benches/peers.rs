//! The engine against etcdutl on the same file, in one run: seconds, ratios, and the most memory that was resident.
//!
//! `cargo bench -p differential --bench peers [-- SHAPE ...]`; shapes are `medium` (400 000 keys of 2 kB), `small` (5 million of
//! 100 bytes), `large` (2000 of 1 MB) and `kubernetes` (objects with their history), all of them by default. `PEERS_ETCDUTL` is the
//! vendor's tool (3.5.16), `PEERS_PERCENT` (100) makes the files smaller, and of `PEERS_ROUNDS` (3) runs the best counts. Every
//! run is a process of its own, on a file in the page cache. The files lie in the build's folder while it runs, which needs
//! four times the size of the largest, 1.6 GB.
//!
//! Memory is what the system counts as resident: for etcdutl with the file that it maps, and never less than the 13 MiB of
//! the program that measures.
#![allow(clippy::print_stdout, reason = "figures are what it is for")]

mod generate;
mod measure;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use differential::Etcd;
use etcd_snapshot::restore::{Destination, NewCluster, RestoreOptions, restore};
use etcd_snapshot::{DigestCheck, FileSource, Options, Source, verify};
use generate::Shape;
use measure::{Run, best};
use ring::digest::{Context, SHA256};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SHAPES: [(&str, Shape); 4] = [
    ("medium", Shape::Once { keys: 400_000, value_bytes: 2000 }),
    ("small", Shape::Once { keys: 5_000_000, value_bytes: 100 }),
    ("large", Shape::Once { keys: 2000, value_bytes: 1_000_000 }),
    ("kubernetes", Shape::Kubernetes { megabytes: 1100 }),
];

/// By how much both raise the revision.
const BUMP: u64 = 1_000_000_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["generate", path, name, percent] => generate::write(Path::new(path), shape(name, percent.parse()?)?),
        ["sha256", path] => sha256(path),
        ["verify", path] => verified(path, DigestCheck::Compute),
        ["status", path] => verified(path, DigestCheck::Skip),
        ["restore", path, data_dir] => restored(path, data_dir, DigestCheck::Compute),
        ["restore-verified", path, data_dir] => restored(path, data_dir, DigestCheck::Known(digest(path)?)),
        [] => SHAPES.iter().try_for_each(|(name, _)| measure(name)),
        names => names.iter().try_for_each(|name| measure(name)),
    }
}

/// A shape, or a part of it.
fn shape(name: &str, percent: u64) -> Result<Shape> {
    let found = SHAPES.iter().find(|(known, _)| *known == name);
    Ok(match found.ok_or_else(|| format!("no shape {name}"))?.1 {
        Shape::Once { keys, value_bytes } => Shape::Once { keys: keys * percent / 100, value_bytes },
        Shape::Kubernetes { megabytes } => Shape::Kubernetes { megabytes: megabytes * percent / 100 },
        Shape::Objects { objects, edition } => Shape::Objects { objects: objects * percent / 100, edition },
    })
}

fn source(path: &str) -> Result<FileSource> {
    Ok(FileSource::new(File::open(path)?)?)
}

fn verified(path: &str, digest: DigestCheck) -> Result<()> {
    verify(&source(path)?, &Options { digest, ..Options::default() }, &|_| {})?;
    Ok(())
}

fn restored(path: &str, data_dir: &str, digest: DigestCheck) -> Result<()> {
    let cluster = NewCluster {
        name: "default".into(),
        initial_cluster: "default=http://localhost:2380".into(),
        initial_cluster_token: "etcd-cluster".into(),
        initial_advertise_peer_urls: None,
    };
    let destination = Destination { data_dir: data_dir.into(), wal_dir: None };
    let options = RestoreOptions { bump: BUMP, digest, etcd_version: None, allow_older_etcd: false, cancel: None };
    restore(&source(path)?, &cluster.validate()?, &destination, &options, &|_| {})?;
    Ok(())
}

/// The digest that the file ends with, as if it had just been compared.
fn digest(path: &str) -> Result<[u8; 32]> {
    let source = source(path)?;
    let mut digest = [0; 32];
    source.read_at(source.len() - 32, &mut digest)?;
    Ok(digest)
}

fn sha256(path: &str) -> Result<()> {
    let source = source(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < source.len() {
        let length = usize::try_from(source.len() - offset)?.min(buffer.len());
        source.read_at(offset, &mut buffer[..length])?;
        context.update(&buffer[..length]);
        offset += length as u64;
    }
    println!("{:?}", context.finish());
    Ok(())
}

fn measure(name: &str) -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let [file, copy, data_dir] = ["bench.db", "copy.db", "restored"].map(|name| folder.path().join(name));
    let [path, copy_path, data_path] = [&file, &copy, &data_dir].map(|path| path.to_string_lossy().into_owned());
    let us = std::env::current_exe()?;
    let percent = differential::setting("PEERS_PERCENT", 100).to_string();
    if !Command::new(&us).args(["generate", &path, name, &percent]).status()?.success() {
        return Err("the file could not be written".into());
    }
    let tool =
        std::env::var_os("PEERS_ETCDUTL").map_or_else(|| Etcd::V3_5_16.tool().get_program().into(), PathBuf::from);
    println!("\n{name}: {} bytes; best of {}", file.metadata()?.len(), differential::setting("PEERS_ROUNDS", 3));
    println!("{:<44} {:>8} {:>8} {:>8}", "", "seconds", "MiB", "times");
    let row = |what: &str, run: Run, to: Option<Run>| {
        let ratio = to.map_or_else(String::new, |to| format!("{:.2}", to.seconds / run.seconds));
        println!("{what:<44} {:>8.3} {:>8.1} {ratio:>8}", run.seconds, run.mebibytes);
    };
    let nothing = || Ok(());

    // Once without being counted: the page cache is warm from here on.
    sha256(&path)?;
    let hashing = best(&us, &["sha256", &path], nothing)?;
    row("SHA-256 alone", hashing, None);
    row("verify (times: of SHA-256 alone)", best(&us, &["verify", &path], nothing)?, Some(hashing));

    let theirs = best(&tool, &["snapshot", "status", &path], nothing)?;
    row("etcdutl snapshot status", theirs, None);
    row("verify without the digest", best(&us, &["status", &path], nothing)?, Some(theirs));

    // It writes to the file that it reads, and fails on it when it has been written to.
    let hashes = Command::new(&tool).args(["hashkv", "--help"]).output()?.status.success();
    if hashes {
        let fresh = || Ok(std::fs::copy(&file, &copy).map(|_| ())?);
        row("etcdutl hashkv", best(&tool, &["hashkv", &copy_path], fresh)?, None);
        std::fs::remove_file(&copy)?;
    }

    let gone = || match std::fs::remove_dir_all(&data_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    };
    let database = || Ok::<_, std::io::Error>(data_dir.join("member/snap/db").metadata()?.len());
    let bump = BUMP.to_string();
    let raised = ["--bump-revision", &bump, "--mark-compacted"];
    let arguments = [&["snapshot", "restore", &path, "--data-dir", &data_path][..], &raised].concat();
    let theirs = best(&tool, &arguments, gone)?;
    let their_bytes = database()?;
    row("etcdutl snapshot restore, bumped", theirs, None);
    row("restore, bumped", best(&us, &["restore", &path, &data_path], gone)?, Some(theirs));
    let verified = best(&us, &["restore-verified", &path, &data_path], gone)?;
    row("restore of a file just verified, bumped", verified, Some(theirs));
    println!("bytes restored: etcdutl {their_bytes}, ours {}", database()?);
    Ok(())
}
