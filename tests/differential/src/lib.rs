//! The snapshot engine against real etcd servers and the vendor's own tools, on histories that nobody wrote by hand.
//!
//! A [`History`] drives a real server by a seed; a snapshot of it is a case. What the engine says about the file must be
//! what the vendor's tool says and what the live member answers, and a directory that it restores must serve what one
//! that the vendor restored serves. A case that fails names its seed and leaves its file.
//!
//! `DIFFERENTIAL_SEED` is the seed that all histories begin with (0 if it is not set), `DIFFERENTIAL_CASES` how many
//! snapshots of each etcd version are compared. Needs what `tests/install` installs.

pub mod case;
pub mod etcd;
pub mod history;
pub mod live;
pub mod restored;
pub mod scene;
pub mod server;

pub use case::Case;
pub use etcd::{Etcd, Status};
pub use history::{History, Shape};
pub use live::Live;
pub use restored::Restored;
pub use server::{Server, Setup, Stop};

/// A number from the environment.
pub fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")),
        Err(_) => otherwise,
    }
}
