//! Servers of object stores on this machine, for tests: SeaweedFS (S3), rclone (an S3 that takes no care) and Azurite (Azure), a
//! stand-in for Google's ([`Gcs`]), a [`Proxy`] that brings bad luck, and the services by which clouds give credentials ([`CloudIdentity`]). `tests/install` fetches them.
//!
//! A server ends with the process that started it, however that ends, and its folder with it.

mod azurite;
mod certificates;
mod child;
mod cloud_identity;
mod gcs;
mod http;
mod proxy;
mod rclone;
mod seaweed;
mod serve;
mod signed;

pub use azurite::Azurite;
pub use cloud_identity::{CloudIdentity, Source};
pub use gcs::{Asked, Gcs};
pub use http::encoded;
pub use proxy::{Act, Proxy, Seen};
pub use rclone::Rclone;
pub use seaweed::Seaweed;

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables of a credential, by name.
pub type Variables = BTreeMap<String, String>;

/// The access key that the servers know.
pub const ACCESS_KEY: &str = "AKIDBACKUP";
/// Its secret.
pub const SECRET_KEY: &str = "the-secret-of-the-backup-key";
/// The bucket, or container, that every server has.
pub const BUCKET: &str = "backups";
/// The bucket that [`Seaweed::make_locked_bucket`] makes.
pub const LOCKED: &str = "locked";

fn s3_variables() -> Variables {
    [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// A program that `tests/install` has fetched.
fn tool(path: &str) -> anyhow::Result<PathBuf> {
    let tools = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let program = tools.join(path);
    anyhow::ensure!(program.exists(), "{} is missing: run tests/install", program.display());
    Ok(program)
}
