//! The snapshot engine against real servers of etcd and the vendor's tools, as one program: what waits leaves its processor to the next.

mod bump;
mod cluster;
mod killed;
mod restore;
mod states;
mod status;
mod traps;
