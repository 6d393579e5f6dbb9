//! The checks, by what they are about.

mod access;
mod backups;
mod certificates;
mod disk;
pub(crate) mod left_overs;
mod members;
mod settings;
mod space;
mod versions;

use crate::check::Check;

/// What takes a cluster down first comes first.
pub(crate) const ALL: &[Check] = &[
    members::QUORUM,
    members::LEARNERS,
    members::HASH,
    members::STALE,
    members::PROMOTIONS,
    space::ALARMS,
    space::DATABASE,
    space::ROOM,
    space::FSYNC,
    certificates::CERTIFICATES,
    certificates::KUBECONFIG,
    versions::CORRUPTION_BUG,
    versions::ETCD,
    versions::KUBERNETES,
    settings::CORRUPTION_CHECK,
    settings::INITIAL_CLUSTER,
    settings::PEER_URLS,
    settings::ENCRYPTION,
    disk::STATIC_PODS,
    disk::KUBEADM,
    disk::OLD_DATA,
    disk::UNFINISHED,
    disk::CLOCKS,
    left_overs::PODS,
    left_overs::NODES,
    left_overs::API_SERVERS,
    left_overs::VOLUMES,
    left_overs::TOKENS,
    backups::AGE,
    backups::NODE_FILES,
    access::BREAK_GLASS,
];
