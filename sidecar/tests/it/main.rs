//! The built sidecar against real etcd servers, over pipes, as the plugin speaks to it.

mod backup;
mod hash;
mod keys;
mod member;
mod pki;
mod protocol;
mod recover;
mod restore;
mod session;
mod snapshot;
mod status;
mod survey;
mod tls;
mod unlucky;
mod wait;
