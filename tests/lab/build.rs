//! Builds the systemctl of the lab's nodes: a program that needs no library, because a node's file tree has none.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "systemctl/main.rs";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    let variable = |name: &str| std::env::var_os(name).ok_or_else(|| format!("cargo sets no {name}"));
    let output = PathBuf::from(variable("OUT_DIR")?).join("systemctl");
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args([SOURCE, "--edition=2024", "--crate-name=systemctl", "--target"]).arg(variable("TARGET")?);
    rustc.args(["-Ctarget-feature=+crt-static", "-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Dwarnings"]);
    let status = rustc.arg("-o").arg(output).status()?;
    if status.success() { Ok(()) } else { Err(format!("rustc: {status}").into()) }
}
