//! What stops while the data directories are swapped, and what then happens by itself.

use etcd_wire::restore::RestorePlan;
use serde::Serialize;

use super::Fields;

/// What stops, as the static pods of a control plane are called.
const STOPS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// For how long, in seconds: all is built beforehand, so that the size of the database does not matter. Between a quick end of the API
/// servers and one that takes all of its grace period (measured on real kubeadm 1.36 control planes of three nodes).
const SECONDS: [u32; 2] = [10, 60];

/// What does not work while the data directories are swapped: on all nodes at once, as all members are made anew.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outage {
    stops: [&'static str; 4],
    /// An estimate: from, to.
    seconds: [u32; 2],
}

impl Outage {
    pub(crate) fn new() -> Outage {
        Outage { stops: STOPS, seconds: SECONDS }
    }

    /// For people: on so many nodes, and how the transaction goes on without this program.
    pub(crate) fn add_to(&self, fields: &mut Fields, nodes: usize, transaction: Option<&RestorePlan>) {
        let [from, to] = self.seconds;
        let nodes = if nodes == 1 { "the node".to_owned() } else { format!("all {nodes} nodes") };
        let stops = self.stops.join(", ");
        fields.line(
            "Stops",
            &format!("{stops} on {nodes} at the same time, for about {from} to {to} seconds. Other pods keep running"),
        );
        let Some(transaction) = transaction else { return };
        if transaction.nodes.len() > 1 {
            let (port, coordinator) = (transaction.peer_port, &transaction.coordinator);
            fields.line("Needs", &format!("TCP port {port} between these nodes; {coordinator} coordinates"));
        }
        let fails = if transaction.keep_unready {
            "all nodes roll back to the current data by themselves. API servers that are not ready are not waited for"
        } else {
            "all nodes roll back to the current data by themselves"
        };
        fields.line("On failure", fails);
    }
}
