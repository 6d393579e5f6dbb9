//! The conversations of a restore's nodes with each other: messages over mutual TLS, and queries of nodes that cannot prove who they are.
//!
//! * [`addresses`]: only the plan's addresses are accepted. [`credentials`]: the certificate says which node speaks.
//! * [`outgoing`] holds one connection to each other node, and sends what is in its [`queue`]. [`incoming`] has one place for each other node.
//! * Nothing is promised: any message may be lost or doubled. [`troubles`] says why messages do not arrive.

mod addresses;
mod credentials;
mod heard;
mod incoming;
mod outgoing;
mod queue;
#[cfg(test)]
mod tests;
mod troubles;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_transaction::{Message, Node};
use etcd_wire::restore::Identity;
use etcd_wire::{Failure, FailureCode};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use self::addresses::Addresses;
use self::credentials::Credentials;
pub(super) use self::heard::Heard;
use self::incoming::{Door, Places};
use self::outgoing::Link;
pub(super) use self::outgoing::{FoundOut, There};
use self::queue::Queue;
use self::troubles::Troubles;
use super::layout::Layout;

/// How long a port that is taken is left alone.
const AGAIN: Duration = Duration::from_millis(500);
/// What was heard, and not taken yet. Whoever speaks then waits.
const UNHEARD: usize = 64;

/// Speaks to the other nodes of a plan. It ends with its last clone.
#[derive(Clone)]
pub(super) struct Network(Arc<Inner>);

struct Inner {
    others: BTreeMap<Node, Other>,
    /// Newest first.
    identities: Mutex<Vec<Identity>>,
    authorities: Vec<String>,
    credentials: watch::Sender<Arc<Credentials>>,
    troubles: Arc<Troubles>,
    _tasks: JoinSet<()>,
}

struct Other {
    queue: Arc<Queue>,
    query: Arc<Notify>,
}

impl Network {
    /// Listens on the plan's peer port, and starts a sender for every other node. What arrives goes into the channel.
    ///
    /// A port that is taken ends nothing: the node may still have to return to its old data. It is tried again until it is free, and `note` is told.
    ///
    /// * `identity`: by what this node proves who it is. Without it, the node only asks.
    /// * `authorities`: PEM of the authorities that the journal knows. Certificates of theirs are accepted.
    ///
    /// # Errors
    /// [`FailureCode::BadRequest`]: the certificates cannot be used.
    pub(super) async fn start(
        layout: &Layout,
        identity: Option<&Identity>,
        authorities: Vec<String>,
        note: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<(Network, mpsc::Receiver<Heard>), Failure> {
        let listener = listener(layout.clone(), note);
        Network::on(listener, layout, identity, authorities)
    }

    /// Listens on one address, for tests with several nodes.
    #[cfg(test)]
    pub(super) async fn start_on(
        address: &str,
        layout: &Layout,
        identity: &Identity,
    ) -> (Network, mpsc::Receiver<Heard>) {
        let listener = loop {
            match TcpListener::bind((address, layout.plan().peer_port)).await {
                // A network that was dropped ends soon.
                Err(error) if error.kind() == ErrorKind::AddrInUse => tokio::task::yield_now().await,
                bound => break bound.unwrap(),
            }
        };
        Network::on(std::future::ready(listener), layout, Some(identity), Vec::new()).unwrap()
    }

    fn on(
        listener: impl Future<Output = TcpListener> + Send + 'static,
        layout: &Layout,
        identity: Option<&Identity>,
        authorities: Vec<String>,
    ) -> Result<(Network, mpsc::Receiver<Heard>), Failure> {
        let plan = layout.plan();
        let count = |count: usize| {
            u8::try_from(count).map_err(|_| Failure::new(FailureCode::BadRequest, "the plan has too many nodes"))
        };
        let (own, nodes) = (Node(count(layout.index())?), count(plan.nodes.len())?);
        let identities: Vec<Identity> = identity.cloned().into_iter().collect();
        let (credentials, known) = watch::channel(Arc::new(Credentials::new(&identities, &authorities)?));
        let (heard, hears) = mpsc::channel(UNHEARD);
        let addresses = Arc::new(Addresses::new(plan, own));
        let troubles = Arc::new(Troubles::default());
        let mut tasks = JoinSet::new();
        let door = Door {
            addresses: Arc::clone(&addresses),
            restore: plan.id.clone(),
            nodes,
            credentials: known.clone(),
            heard: heard.clone(),
            places: Places::default(),
        };
        tasks.spawn(async move { incoming::listen(listener.await, Arc::new(door)).await });
        let resolved = Arc::clone(&addresses);
        tasks.spawn(async move { resolved.keep_resolved().await });
        let mut others = BTreeMap::new();
        for (to, node) in (0..nodes).map(Node).zip(&plan.nodes).filter(|(to, _)| *to != own) {
            let (from, port) = (&layout.node().node, plan.peer_port);
            let link = Arc::new(Link {
                to,
                restore: plan.id.clone(),
                way: format!("node {from} cannot send to node {} ({}, TCP port {port})", node.node, node.address),
                port,
                addresses: Arc::clone(&addresses),
                credentials: known.clone(),
                troubles: Arc::clone(&troubles),
            });
            let (queue, query) = (Arc::<Queue>::default(), Arc::new(Notify::new()));
            let (speaker, messages) = (Arc::clone(&link), Arc::clone(&queue));
            tasks.spawn(async move { speaker.speak(&messages).await });
            let (wanted, answers) = (Arc::clone(&query), heard.clone());
            tasks.spawn(async move { link.inquire(&wanted, &answers).await });
            others.insert(to, Other { queue, query });
        }
        let inner =
            Inner { others, identities: Mutex::new(identities), authorities, credentials, troubles, _tasks: tasks };
        Ok((Network(Arc::new(inner)), hears))
    }

    /// Proves by another identity who this node is, from the next connection on: that of `restore --resume`. Older ones stay for nodes that know only
    /// their authority.
    ///
    /// # Errors
    /// [`FailureCode::BadRequest`]: it cannot be used, and what was used before is used on.
    pub(super) fn set_identity(&self, identity: &Identity) -> Result<(), Failure> {
        let mut identities = self.0.identities.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = vec![identity.clone()];
        all.extend(identities.iter().filter(|known| *known != identity).cloned());
        self.0.credentials.send_replace(Arc::new(Credentials::new(&all, &self.0.authorities)?));
        *identities = all;
        Ok(())
    }

    /// Sends a message to another node, if that can be done: it may be lost. Never waits.
    pub(super) fn send(&self, to: Node, message: Message) {
        match self.0.others.get(&to) {
            Some(other) => {
                let dropped = other.queue.push(message);
                if dropped > 0 {
                    tracing::debug!("the oldest message to {to} was dropped: too many wait");
                }
            }
            None => tracing::error!("a message to {to} was dropped: it is no other node of the plan"),
        }
    }

    /// Asks a node what was decided, without proving anything. The answer arrives as [`Heard::Answered`], if one does. Never waits.
    pub(super) fn ask(&self, to: Node) {
        match self.0.others.get(&to) {
            Some(other) => other.query.notify_one(),
            None => tracing::error!("a query to {to} was dropped: it is no other node of the plan"),
        }
    }

    /// For each node that could not be reached when that was last tried: a sentence with both nodes, the port, and why.
    pub(super) fn troubles(&self) -> Vec<(Node, String)> {
        self.0.troubles.told()
    }
}

/// Looks whether an identity can be used.
///
/// # Errors
/// [`FailureCode::BadRequest`]: the certificates cannot be used.
pub(super) fn check(identity: &Identity) -> Result<(), Failure> {
    Credentials::new(std::slice::from_ref(identity), &[]).map(|_| ())
}

/// Looks whether an identity can be used by a node of a plan of so many.
///
/// # Errors
/// [`FailureCode::BadRequest`]: the certificates cannot be used. [`FailureCode::Refused`]: the certificate is another node's.
pub(super) fn check_for(identity: &Identity, own: Node, nodes: usize) -> Result<(), Failure> {
    check(identity)?;
    let certificates = etcd_tls::certificates(identity.cert.as_bytes());
    let nodes = u8::try_from(nodes).unwrap_or(u8::MAX);
    let of = certificates.first().and_then(|certificate| credentials::owner(certificate, nodes));
    if of == Some(own) {
        return Ok(());
    }
    Err(Failure::new(FailureCode::Refused, "the certificate is not for this node of the restore"))
}

/// Asks every other node once what was decided, and proves nothing. Whoever answers has proved who it is.
///
/// # Errors
/// [`FailureCode::BadRequest`]: the authorities are none.
pub(super) async fn find_out(layout: &Layout, authorities: &[String]) -> Result<BTreeMap<Node, FoundOut>, Failure> {
    let plan = layout.plan();
    let own = Node(u8::try_from(layout.index()).unwrap_or(u8::MAX));
    let (_kept, credentials) = watch::channel(Arc::new(Credentials::new(&[], authorities)?));
    let addresses = Arc::new(Addresses::new(plan, own));
    // The address of this node that others know may be a name. Without it any address is used.
    if let Err(error) = addresses.of(own).await {
        tracing::debug!("cannot resolve {}: {error}", layout.node().address);
    }
    let troubles = Arc::new(Troubles::default());
    let asked = (0..).map(Node).zip(&plan.nodes).filter(|(to, _)| *to != own).map(|(to, node)| {
        let (port, addresses, credentials) = (plan.peer_port, Arc::clone(&addresses), credentials.clone());
        let way = format!("node {} ({}, TCP port {port})", node.node, node.address);
        let link =
            Link { to, restore: plan.id.clone(), way, port, addresses, credentials, troubles: Arc::clone(&troubles) };
        async move { (to, link.find_out().await) }
    });
    Ok(futures::future::join_all(asked).await.into_iter().collect())
}

/// Takes the port, as soon as nobody else has it.
async fn listener(layout: Layout, note: impl Fn(String)) -> TcpListener {
    let mut told = false;
    loop {
        match bind(&layout).await {
            Ok(listener) => {
                if told {
                    note(format!("the node listens on TCP port {} now", layout.plan().peer_port));
                }
                return listener;
            }
            Err(failure) if !told => {
                told = true;
                let causes = failure.causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
                note(format!("{failure}{causes}; it is tried again until the port is free"));
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Takes the port on which the nodes speak to each other.
///
/// # Errors
/// [`FailureCode::Refused`]: the port is taken.
pub(super) async fn bind(layout: &Layout) -> Result<TcpListener, Failure> {
    let port = layout.plan().peer_port;
    let bound = match TcpListener::bind(("::", port)).await {
        // A node without IPv6.
        Err(error) if error.kind() != ErrorKind::AddrInUse => TcpListener::bind(("0.0.0.0", port)).await,
        bound => bound,
    };
    bound.map_err(|error| {
        let message = format!("node {} cannot listen on TCP port {port}", layout.node().node);
        Failure::new(FailureCode::Refused, message).source(&error).hint("choose another port with --peer-port")
    })
}
