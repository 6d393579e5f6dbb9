//! The commands that an operator is told to type, which depend on where.

use etcd_wire::restore::RestorePlan;

use crate::words::quoted;

/// Where an operator types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commands {
    /// Where the plugin is: it reaches the nodes through an API server.
    Plugin,
    /// On a node, with its participant's own program. No API server is needed.
    Node,
}

impl Commands {
    fn program(self) -> &'static str {
        match self {
            Commands::Plugin => "kubectl etcd",
            Commands::Node => "etcd-sidecar",
        }
    }

    /// Shows how a restore is.
    pub fn status(self) -> String {
        format!("{} restore --status", self.program())
    }

    /// Watches how it ends.
    pub fn follow(self) -> String {
        match self {
            Commands::Plugin => "kubectl etcd restore --follow".to_owned(),
            Commands::Node => self.status(),
        }
    }

    /// Brings nodes what they need to end it.
    pub fn resume(self) -> String {
        format!("{} restore --resume", self.program())
    }

    /// Lets nodes decide without others.
    pub fn without(self, names: &[&str]) -> String {
        let named: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        format!("{} --without {}", self.resume(), named.join(","))
    }

    /// Ends the waiting of nodes that have ended it.
    pub fn forget(self, plan: &RestorePlan) -> String {
        format!("{} restore --forget {}", self.program(), quoted(&plan.id))
    }
}
