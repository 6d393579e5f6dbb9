//! The commands that look into a snapshot, on files of 1.6 GB: seconds, memory, and the ratio to `etcdutl snapshot status` of the same file,
//! which shows no object at all.
//!
//! `KUBECTL_ETCD_BIN=target/release/kubectl-etcd cargo bench -p differential --bench objects`, with a release build of the plugin.
//! `PEERS_ETCDUTL`, `PEERS_PERCENT` and `PEERS_ROUNDS` as of the other benchmark. The files lie in the build's folder while it runs.
#![allow(clippy::print_stdout, reason = "figures are what it is for")]

mod generate;
mod measure;

use std::path::{Path, PathBuf};

use differential::Etcd;
use generate::Shape;
use measure::{Run, best};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Objects in a whole file.
const OBJECTS: u64 = 400_000;

fn main() -> Result<()> {
    let plugin = std::env::var_os("KUBECTL_ETCD_BIN").ok_or("KUBECTL_ETCD_BIN names the plugin")?;
    let plugin = PathBuf::from(plugin).canonicalize()?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let files = [("one.db", 0), ("other.db", 1)].map(|(name, edition)| (folder.path().join(name), edition));
    let objects = OBJECTS * differential::setting("PEERS_PERCENT", 100) / 100;
    for (path, edition) in &files {
        generate::write(path, Shape::Objects { objects, edition: *edition })?;
    }
    let [one, other] = files.map(|(path, _)| path.to_string_lossy().into_owned());
    println!("{objects} objects, {} bytes", Path::new(&one).metadata()?.len());
    println!("{:<44} {:>8} {:>8} {:>8}", "", "seconds", "MiB", "times");
    let nothing = || Ok(());
    let tool =
        std::env::var_os("PEERS_ETCDUTL").map_or_else(|| Etcd::V3_5_16.tool().get_program().into(), PathBuf::from);
    let theirs = best(&tool, &["snapshot", "status", &one], nothing)?;
    let row = |what: &str, run: Run| {
        println!("{what:<44} {:>8.3} {:>8.1} {:>8.2}", run.seconds, run.mebibytes, theirs.seconds / run.seconds);
    };
    row("etcdutl snapshot status", theirs);
    let namespace = format!("namespace-{}", objects / 1000);
    let name = format!("cm/settings-{:08}", objects / 2);
    for (what, arguments) in [
        ("inspect", vec!["inspect", &one]),
        ("get of one object", vec!["get", &one, &name, "-n", &namespace, "-o", "yaml"]),
        ("get of a namespace of 500", vec!["get", &one, "cm", "-n", &namespace, "-o", "yaml"]),
        ("diff of the file with itself", vec!["diff", &one, &one, "-q"]),
    ] {
        row(what, best(&plugin, &arguments, nothing)?);
    }
    // It finds differences, and says so with its exit code.
    let differs = "\"$0\" diff \"$1\" \"$2\" -q; [ $? = 1 ]";
    let program = plugin.to_string_lossy().into_owned();
    row(
        "diff of two, one in a hundred changed",
        best(Path::new("sh"), &["-c", differs, &program, &one, &other], nothing)?,
    );
    Ok(())
}
