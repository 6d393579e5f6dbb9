//! The engine against etcdutl on the same file, in one run: seconds, ratios, and the most memory that was resident.
//!
//! `cargo bench -p differential --bench peers [-- SHAPE ...]`. `PEERS_PERCENT` (100) makes the files smaller, `PEERS_ROUNDS` (3)
//! is of how many runs the best counts. Every run is a process of its own, on a file in the page cache. The files lie in
//! the build's folder while it runs, which needs three times the size of the largest, 2 GB.
//!
//! Memory is what the system counts as resident: for etcdutl with the file that it maps, and never less than the 13 MiB of
//! the program that measures.
#![allow(clippy::print_stdout, reason = "figures are what it is for")]

#[path = "../../../crates/snapshot/benches/generate/mod.rs"]
mod generate;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use differential::Etcd;
use etcd_snapshot::{DigestCheck, FileSource, Options, Source, verify};
use generate::Shape;
use ring::digest::{Context, SHA256};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs a program and prints its seconds and the most kibibytes that it had resident.
const MEASURE: &str = "\
import resource, subprocess, sys, time
start = time.monotonic()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["generate", path, name, percent] => generate::write(Path::new(path), shape(name, percent.parse()?)?),
        ["sha256", path] => sha256(path),
        ["status", path] => verified(path, DigestCheck::Skip),
        ["verify", path] => verified(path, DigestCheck::Compute),
        [] => ["medium", "small", "large"].into_iter().try_for_each(measure),
        names => names.iter().try_for_each(|name| measure(name)),
    }
}

/// The three shapes that are measured, or parts of them.
fn shape(name: &str, percent: u64) -> Result<Shape> {
    let (keys, value_bytes) = match name {
        "medium" => (400_000, 2000),
        "small" => (5_000_000, 100),
        "large" => (2000, 1_000_000),
        _ => return Err(format!("no shape {name}: there are medium, small, large").into()),
    };
    Ok(Shape::Once { keys: keys * percent / 100, value_bytes })
}

fn verified(path: &str, digest: DigestCheck) -> Result<()> {
    let source = FileSource::new(File::open(path)?)?;
    verify(&source, &Options { digest, ..Options::default() }, &|_| {})?;
    Ok(())
}

fn sha256(path: &str) -> Result<()> {
    let source = FileSource::new(File::open(path)?)?;
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

/// What a run took.
#[derive(Debug, Clone, Copy)]
struct Run {
    seconds: f64,
    mebibytes: f64,
}

/// The best of several runs; `undo` is done after each and not counted.
fn best(program: &Path, arguments: &[&str], undo: impl Fn() -> Result<()>) -> Result<Run> {
    let mut best = Run { seconds: f64::MAX, mebibytes: 0.0 };
    for _ in 0..differential::setting("PEERS_ROUNDS", 3) {
        let output = Command::new("python3").args(["-c", MEASURE]).arg(program).args(arguments).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        undo()?;
        let text = String::from_utf8(output.stdout)?;
        let (seconds, kibibytes) = text.trim().split_once(' ').ok_or("no figures")?;
        let run = Run { seconds: seconds.parse()?, mebibytes: kibibytes.parse::<f64>()? / 1024.0 };
        best = Run { seconds: best.seconds.min(run.seconds), mebibytes: best.mebibytes.max(run.mebibytes) };
    }
    Ok(best)
}

fn measure(name: &str) -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = folder.path().join("bench.db");
    let path = file.to_str().ok_or("a path that is text")?;
    let us = std::env::current_exe()?;
    let percent = differential::setting("PEERS_PERCENT", 100).to_string();
    let status = Command::new(&us).args(["generate", path, name, &percent]).status()?;
    if !status.success() {
        return Err("the file could not be written".into());
    }
    let nothing = || Ok(());
    println!("\n{name}: {} bytes; best of {}", file.metadata()?.len(), differential::setting("PEERS_ROUNDS", 3));
    println!("{:<44} {:>8} {:>8} {:>8}", "", "seconds", "MiB", "times");
    let row = |what: &str, run: Run, to: Option<Run>| {
        let ratio = to.map_or_else(String::new, |to| format!("{:.2}", to.seconds / run.seconds));
        println!("{what:<44} {:>8.3} {:>8.1} {ratio:>8}", run.seconds, run.mebibytes);
    };

    // Once without being counted: the page cache is warm from here on.
    let hashing = best(&us, &["sha256", path], nothing)?;
    row("SHA-256 alone", hashing, None);
    let verifying = best(&us, &["verify", path], nothing)?;
    row("verify (times: of SHA-256 alone)", verifying, Some(hashing));
    let theirs = best(&tool(Etcd::V3_5_1), &["snapshot", "status", path], nothing)?;
    row("etcdutl 3.5.1 snapshot status", theirs, None);
    let ours = best(&us, &["status", path], nothing)?;
    row("verify without the digest", ours, Some(theirs));
    Ok(())
}

fn tool(etcd: Etcd) -> PathBuf {
    etcd.tool().get_program().into()
}
