//! A control plane, and how a command gets to it: through the API server, or to its nodes over SSH. What is done there does not depend on which it is.

use crate::connection::Connection;
use crate::context::Context;
use crate::discovery::{self, EtcdPod, Found, Manifests, Overrides};
use crate::kube_system::{self, Served};
use crate::output::{Exit, Failed, Outcome};
use crate::road::{Host, Plan, Road, Ssh, SshArgs};
use crate::sidecar::{SidecarArgs, access};
use crate::snapshot_file::{self, AccessArgs, is_stored};

/// A control plane, and the way to it.
pub(crate) enum ControlPlane {
    /// Through its API server.
    Api(Box<Connection>),
    /// Its nodes, over SSH.
    Nodes(Nodes),
}

/// Nodes of a cluster whose API server is not asked.
pub(crate) struct Nodes {
    ssh: Ssh,
    name: String,
    planned_by: Option<PlannedBy>,
}

/// The backup in a store whose record tells where the nodes are.
pub(crate) struct PlannedBy {
    /// `STORE/UID/NAME`.
    pub(crate) backup: String,
    /// The revision of its snapshot, where its pages were checked.
    pub(crate) revision: Option<i64>,
}

impl Nodes {
    fn open(args: &SshArgs, plan: Option<&Plan>, context: &Context) -> Outcome<Nodes> {
        let ssh = Ssh::new(args, plan, context.printer)?;
        context.keep_track(Road::Ssh(ssh.clone()));
        let name = plan.and_then(Plan::cluster).or_else(|| Some(ssh.hosts().first()?.node.clone()));
        Ok(Nodes { ssh, name: name.unwrap_or_default(), planned_by: None })
    }
}

impl ControlPlane {
    /// What the flags name. Nothing is asked yet of nodes.
    ///
    /// # Errors
    /// The kubeconfig cannot be used; or the nodes are not known, or there is no sidecar to send to them.
    pub(crate) async fn open(args: &SshArgs, context: &Context) -> Outcome<ControlPlane> {
        if args.ssh.is_none() {
            return Ok(ControlPlane::Api(Box::new(context.connection.connect().await?)));
        }
        let plan = match args.plan.as_deref() {
            Some(file) if is_stored(file) => {
                return Err(Failed::new(Exit::Usage, "only recover reads the plan of a backup in a store")
                    .hint("name the nodes, or the record beside a file\n  --nodes cp1=10.0.0.11,cp2=10.0.0.12\n  --plan FILE.json"));
            }
            file => file.map(Plan::open).transpose()?,
        };
        let nodes = Nodes::open(args, plan.as_ref(), context)?;
        context.printer.reach_by(context.connection.typed.way());
        Ok(ControlPlane::Nodes(nodes))
    }

    /// The same for `recover`: the plan may also be the record of a backup in a store, whose signature counts where keys are trusted.
    ///
    /// # Errors
    /// As [`ControlPlane::open`] and [`snapshot_file::find`].
    pub(crate) async fn open_with(args: &SshArgs, access: &AccessArgs, context: &Context) -> Outcome<ControlPlane> {
        let Some(file) = args.plan.as_deref().filter(|file| args.ssh.is_some() && is_stored(file)) else {
            return ControlPlane::open(args, context).await;
        };
        let stored = snapshot_file::find(file, access, context).await?;
        let plan = Plan::parse(stored.name(), &stored.found.record_bytes)?;
        let nodes = Nodes::open(args, Some(&plan), context)?;
        let named: Vec<String> =
            nodes.ssh.hosts().iter().map(|host| format!("{}={}", host.node, host.address)).collect();
        let named = named.join(",");
        // Other commands take no plan out of a store, and a newer backup may tell of other nodes.
        context.printer.reach_by(context.connection.typed.way_to(&named));
        context.printer.note(format!("the plan of backup {} names {named}", stored.found.backup.name));
        let revision = stored.found.record.snapshot.checked.as_ref().map(|checked| checked.revision);
        let planned_by = Some(PlannedBy { backup: stored.name(), revision });
        Ok(ControlPlane::Nodes(Nodes { planned_by, ..nodes }))
    }

    /// The backup in a store whose record tells where the nodes are.
    pub(crate) fn planned_by(&self) -> Option<&PlannedBy> {
        match self {
            ControlPlane::Api(_) => None,
            ControlPlane::Nodes(nodes) => nodes.planned_by.as_ref(),
        }
    }

    /// The connection to the API server, where there is one.
    pub(crate) fn api(&self) -> Option<&Connection> {
        match self {
            ControlPlane::Api(connection) => Some(connection),
            ControlPlane::Nodes(_) => None,
        }
    }

    /// The nodes that were named, where no API server is asked.
    pub(crate) fn hosts(&self) -> Option<&[Host]> {
        match self {
            ControlPlane::Api(_) => None,
            ControlPlane::Nodes(nodes) => Some(nodes.ssh.hosts()),
        }
    }

    /// What the cluster is called: in the kubeconfig, or in the plan, or by its first node.
    pub(crate) fn cluster(&self) -> &str {
        match self {
            ControlPlane::Api(connection) => &connection.cluster,
            ControlPlane::Nodes(nodes) => &nodes.name,
        }
    }

    /// The address of the API server; empty if it is not known.
    pub(crate) fn server(&self) -> &str {
        self.api().map(|connection| connection.server.as_str()).unwrap_or_default()
    }

    /// The road to its nodes. What is brought to nodes over it is taken away when the command ends.
    ///
    /// # Errors
    /// The user may not make pods (exit 4).
    pub(crate) async fn road(&self, args: &SidecarArgs, context: &Context) -> Outcome<Road> {
        match self {
            ControlPlane::Api(connection) => {
                access::preflight(connection, &args.pod_namespace).await?;
                Ok(context.keep_track(Road::exec(connection, args, context.printer)))
            }
            ControlPlane::Nodes(nodes) => Ok(Road::Ssh(nodes.ssh.clone())),
        }
    }

    /// Its members. With `only`, those on that node.
    ///
    /// # Errors
    /// None is found.
    pub(crate) async fn find(&self, context: &Context, overrides: &Overrides, only: Option<&str>) -> Outcome<Found> {
        match self {
            ControlPlane::Api(connection) => {
                let found = discovery::find(connection, context.connection.etcd_namespace(), overrides, only).await?;
                found.outside.iter().for_each(|line| context.printer.note(line));
                Ok(found)
            }
            ControlPlane::Nodes(nodes) => {
                let hosts = nodes.ssh.hosts().iter();
                let hosts: Vec<_> = hosts.filter(|host| only.is_none_or(|node| host.node == node)).cloned().collect();
                if let (Some(node), true) = (only, hosts.is_empty()) {
                    let failed = Failed::new(Exit::Usage, format!("the address of node {node} is not known"));
                    return Err(failed.hint("add it to --nodes"));
                }
                let road = Road::Ssh(nodes.ssh.clone());
                let mut found = discovery::on_nodes(&road, &hosts, overrides, discovery::MANIFESTS).await?;
                found.named |= only.is_some();
                Ok(found)
            }
        }
    }

    /// Its members, each with the folder in which its node's kubelet looks for static pods.
    ///
    /// # Errors
    /// None is found.
    pub(crate) async fn with_manifests(
        &self,
        context: &Context,
        overrides: &Overrides,
        manifests: &Manifests,
    ) -> Outcome<Found> {
        match self {
            ControlPlane::Api(connection) => {
                discovery::with_manifests(connection, context.connection.etcd_namespace(), overrides, manifests).await
            }
            ControlPlane::Nodes(nodes) => self.on_hosts(nodes.ssh.hosts(), overrides, manifests).await,
        }
    }

    /// The same on some nodes only, where no API server is asked.
    ///
    /// # Errors
    /// None is found, or an API server is asked.
    pub(crate) async fn on_hosts(
        &self,
        hosts: &[Host],
        overrides: &Overrides,
        manifests: &Manifests,
    ) -> Outcome<Found> {
        let ControlPlane::Nodes(nodes) = self else { return Err(Failed::plain("the nodes are not reached over SSH")) };
        let (road, dir) = (Road::Ssh(nodes.ssh.clone()), &manifests.manifests_dir);
        discovery::on_nodes(&road, hosts, overrides, dir).await?.in_pods_or_units(dir)
    }

    /// All members, where it takes no login to look for more than were found.
    pub(crate) async fn every(&self, context: &Context, overrides: &Overrides, found: &[EtcdPod]) -> Vec<EtcdPod> {
        match self {
            ControlPlane::Api(connection) => {
                let namespace = context.connection.etcd_namespace();
                let every = discovery::find(connection, namespace, overrides, None).await.ok();
                every.map_or_else(|| found.to_vec(), |every| every.members)
            }
            ControlPlane::Nodes(_) => found.to_vec(),
        }
    }

    /// Namespace kube-system as the API serves it.
    ///
    /// # Errors
    /// There is no API server that could be asked, or the user may not read the namespace.
    pub(crate) async fn served(&self) -> Outcome<Served> {
        match self {
            ControlPlane::Api(connection) => kube_system::served(connection).await,
            ControlPlane::Nodes(_) => Err(Failed::plain("with --ssh no API server is asked")),
        }
    }

    /// Version of the API server; `None` where none is asked.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn kubernetes_version(&self) -> kube::Result<Option<String>> {
        match self {
            ControlPlane::Api(connection) => Ok(Some(connection.client.apiserver_version().await?.git_version)),
            ControlPlane::Nodes(_) => Ok(None),
        }
    }

    /// Adds to every member the configuration file of its node's API server, where one is named.
    ///
    /// # Errors
    /// The API servers cannot be found.
    pub(crate) async fn add_encryption_configs(&self, context: &Context, members: &mut [EtcdPod]) -> Outcome {
        match self {
            ControlPlane::Api(connection) => {
                discovery::add_encryption_configs(connection, context.connection.etcd_namespace(), members).await
            }
            // Found with the members.
            ControlPlane::Nodes(_) => Ok(()),
        }
    }
}
