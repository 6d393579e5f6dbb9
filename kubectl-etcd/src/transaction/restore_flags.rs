//! How a transaction is to be carried out, as both of its commands take it.

use etcd_wire::restore::Marker;

use super::Terms;
use crate::control_plane::ControlPlane;
use crate::output::{Exit, Failed, Outcome};

/// The flags that restore and rollback share.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreFlags {
    /// Print the plan and change nothing; server also asks the API server whether it would admit the sidecars' pods
    #[arg(long, value_name = "client|server", value_parser = ["client", "server"])]
    pub(crate) dry_run: Option<String>,
    /// Name of the cluster, instead of typing it
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) confirm: Option<String>,
    /// TCP port on which the control-plane nodes connect to each other while the API server is down
    #[arg(long, value_name = "PORT", default_value_t = 2382, value_parser = clap::value_parser!(u16).range(1..))]
    peer_port: u16,
    /// Time limit for etcd to become ready on the new data, then the nodes roll back; and for the API server, then it is reported
    #[arg(long, default_value = "3m", value_name = "DURATION", value_parser = crate::connection::parse_duration)]
    start_timeout: std::time::Duration,
}

impl RestoreFlags {
    /// Refuses what only an API server can answer where none is asked.
    ///
    /// # Errors
    /// Exit 2.
    pub(crate) fn without_api(&self) -> Outcome {
        match self.dry_run.as_deref() {
            Some("server") => {
                Err(Failed::new(Exit::Usage, "--dry-run=server asks the API server, and with --ssh none is asked")
                    .hint("see the plan with\n  --dry-run=client"))
            }
            _ => Ok(()),
        }
    }

    /// What does not depend on the members.
    pub(crate) async fn terms(&self, plane: &ControlPlane, keep_unready: bool, marker: Option<Marker>) -> Terms {
        let (peer_port, start_timeout) = (self.peer_port, self.start_timeout);
        let started_by = super::begun_by(plane).await;
        Terms { cluster: plane.cluster().to_owned(), started_by, peer_port, start_timeout, keep_unready, marker }
    }
}
