//! The simulator, as tests. Planted faults of the participant need the feature `planted`.

#[path = "../../simulator/mod.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with the program")]
mod simulator;

mod determinism;
mod exhaustive;
mod findings;
mod marks;
mod planted;
mod random;
