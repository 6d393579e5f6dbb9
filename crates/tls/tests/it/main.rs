//! Certificates that must be accepted, each with neighbours that must not be; handshakes in memory.

mod fixtures;
mod identities;
mod pki;
mod server;
mod servers;
