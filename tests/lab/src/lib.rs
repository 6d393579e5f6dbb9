//! A practice control plane on one machine: real etcd with real mutual TLS, real containers, and strict stand-ins for
//! the API server and the kubelet. It is for tests, and for trying `kubectl etcd` without a cluster to lose.

pub mod apiserver;
pub mod cli;
