//! Renders a release's krew manifest beside its archives, and checks all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use package::{Manifest, archive, manifest};

/// Write DIR/etcd.yaml from krew-manifest.yaml for the archives in DIR, and check both against krew's rules
#[derive(Parser)]
struct Arguments {
    /// Release that the archives are of, with its v
    #[arg(long)]
    version: String,
    /// Ask for the archive of every platform
    #[arg(long)]
    released: bool,
    /// Manifest to render
    #[arg(long, default_value = "krew-manifest.yaml")]
    template: PathBuf,
    /// Folder of the archives
    dir: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "the one place that reports")]
            {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let archives = read_archives(&arguments.dir, &arguments.version)?;
    ensure!(!archives.is_empty(), "no archive of {} is in {}", arguments.version, arguments.dir.display());
    let sums = archives.iter().map(|(name, bytes)| (name.clone(), archive::sha256(bytes))).collect();
    let text = manifest::render(&fs_err::read_to_string(&arguments.template)?, &arguments.version, &sums)?;

    let read = Manifest::parse(&text)?;
    let mut faults: Vec<_> =
        read.faults("etcd.yaml", arguments.released).into_iter().map(|fault| format!("etcd.yaml: {fault}")).collect();
    for (name, bytes) in &archives {
        faults.extend(read.archive_faults(name, bytes).into_iter().map(|fault| format!("{name}: {fault}")));
    }
    ensure!(faults.is_empty(), "krew would refuse this:\n  {}", faults.join("\n  "));
    fs_err::write(arguments.dir.join("etcd.yaml"), text)?;
    Ok(())
}

fn read_archives(dir: &Path, version: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut archives = BTreeMap::new();
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file name is not UTF-8")?;
        if name.starts_with(&format!("kubectl-etcd_{version}_")) && name.ends_with(".tar.gz") {
            archives.insert(name, fs_err::read(entry.path())?);
        }
    }
    Ok(archives)
}
