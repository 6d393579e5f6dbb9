//! Computes the build ID from the sources.

#[path = "src/digest.rs"]
mod digest;

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../..");
    for source in digest::sources(&root)? {
        // Of a folder, Cargo looks at all files in it and below.
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    println!("cargo::rustc-env=ETCD_BUILD_ID={}", digest::of(&root)?);
    Ok(())
}
