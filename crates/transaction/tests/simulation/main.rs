//! The simulator, as tests: random seeds, and the same twice.

#[path = "../../simulator/mod.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with the program")]
mod simulator;

mod determinism;
mod random;
