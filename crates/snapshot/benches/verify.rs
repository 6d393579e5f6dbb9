//! Verifying snapshots of several shapes against hashing the same files once, and the memory it takes.
//!
//! `cargo bench -p etcd-snapshot --bench verify [-- SHAPE...]`; shapes are `medium` (400 000 keys of 2 kB), `small` (5 million
//! of 100 bytes), `large` (2000 of 1 MB) and `kubernetes`, all of them by default. Files lie in the build's folder while they
//! are used.

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

const SHAPES: [(&str, Shape); 4] = [
    ("medium", Shape::Once { keys: 400_000, value_bytes: 2000 }),
    ("small", Shape::Once { keys: 5_000_000, value_bytes: 100 }),
    ("large", Shape::Once { keys: 2000, value_bytes: 1_000_000 }),
    ("kubernetes", Shape::Kubernetes { megabytes: 1100 }),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["generate", name, path] => generate::write(Path::new(path), shape(name)?),
        ["measure", path] => rounds(Path::new(path)),
        [] => SHAPES.iter().try_for_each(|(name, _)| measure(name)),
        names => names.iter().try_for_each(|name| measure(name)),
    }
}

fn shape(name: &str) -> Result<Shape> {
    let found = SHAPES.iter().find(|(known, _)| *known == name);
    Ok(found.ok_or_else(|| format!("no shape {name}"))?.1)
}

/// A process for each part, so that the memory of one does not count as that of another.
fn measure(name: &str) -> Result<()> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.db"));
    let step = |arguments: &[&str]| Command::new(std::env::current_exe()?).args(arguments).arg(&path).status();
    let written = step(&["generate", name])?.success();
    println!("{name}:");
    let measured = written && step(&["measure"])?.success();
    std::fs::remove_file(&path)?;
    measured.then_some(()).ok_or_else(|| format!("{name}: see above").into())
}

fn rounds(path: &Path) -> Result<()> {
    let source = FileSource::new(File::open(path)?)?;
    let (mut hashing, mut verifying, mut walking) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let mut report = None;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        sha256(&source, source.len() - 32)?;
        hashing = hashing.min(start.elapsed());

        let start = Instant::now();
        report = Some(verify(&source, &Options::default(), &|_| {})?);
        verifying = verifying.min(start.elapsed());

        let start = Instant::now();
        verify(&source, &Options { digest: DigestCheck::Skip, ..Options::default() }, &|_| {})?;
        walking = walking.min(start.elapsed());
    }
    if let Some(report) = report {
        let megabytes = report.file_size / 1_000_000;
        println!("  {megabytes} MB, {} items, {} live keys", report.items, report.live_keys);
        println!("  hash {:08x}, HashKV {:08x}", report.hash, report.hash_kv.hash);
    }
    println!(
        "  sha256 {hashing:.3?}, verify {verifying:.3?}, verify without digest {walking:.3?}, best of {ROUNDS} each"
    );
    println!("  ratio {:.3}", verifying.as_secs_f64() / hashing.as_secs_f64());
    println!("  peak memory {}", peak_memory().unwrap_or_else(|| "unknown on this system".to_owned()));
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
