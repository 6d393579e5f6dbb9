//! Verifying a snapshot of Kubernetes-shaped objects against hashing the same file once, and the memory it takes.
//!
//! `cargo bench -p etcd-snapshot [-- MEGABYTES]`, 1100 by default. The file lies in the build's folder while it runs.

#![allow(clippy::print_stdout, reason = "figures are what it is for")]

mod generate;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use etcd_snapshot::{DigestCheck, FileSource, Options, Source, verify};
use generate::Shape;
use ring::digest::{Context, SHA256};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [command, path, megabytes] if command == "generate" => {
            generate::write(Path::new(path), Shape::Kubernetes { megabytes: megabytes.parse()? })
        }
        rest => measure(rest.first().map_or(Ok(1100), |megabytes| megabytes.parse())?),
    }
}

fn measure(megabytes: u64) -> Result<()> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench.db");
    // Another process writes it, so that its memory does not count as ours.
    let writer =
        Command::new(std::env::current_exe()?).arg("generate").arg(&path).arg(megabytes.to_string()).status()?;
    let measured = if writer.success() { rounds(&path) } else { Err("the file could not be written".into()) };
    std::fs::remove_file(&path)?;
    measured
}

fn rounds(path: &Path) -> Result<()> {
    let source = FileSource::new(File::open(path)?)?;
    let (mut hashing, mut verifying, mut walking) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let digest = DigestCheck::Known(sha256(&source, source.len() - 32)?);
        hashing = hashing.min(start.elapsed());

        let start = Instant::now();
        let report = verify(&source, &Options::default(), &|_| {})?;
        verifying = verifying.min(start.elapsed());
        println!("{} bytes, {} live keys, hash {:08x}", report.file_size, report.live_keys, report.hash);

        let start = Instant::now();
        verify(&source, &Options { digest, ..Options::default() }, &|_| {})?;
        walking = walking.min(start.elapsed());
    }
    println!(
        "sha256 {hashing:.2?}, verify {verifying:.2?}, verify of a known digest {walking:.2?}, best of {ROUNDS} each"
    );
    println!("ratio {:.3}", verifying.as_secs_f64() / hashing.as_secs_f64());
    println!("peak memory {}", peak_memory().unwrap_or_else(|| "unknown on this system".to_owned()));
    Ok(())
}

fn sha256(source: &FileSource, end: u64) -> Result<[u8; 32]> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < end {
        let length = usize::try_from(end - offset)?.min(buffer.len());
        source.read_at(offset, &mut buffer[..length])?;
        context.update(&buffer[..length]);
        offset += length as u64;
    }
    Ok(context.finish().as_ref().try_into()?)
}

/// The most that was ever resident, as Linux tells it.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().to_owned())
}
