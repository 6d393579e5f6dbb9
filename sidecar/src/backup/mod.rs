//! `etcd-sidecar backup`: one tick of a schedule, in a pod on a control-plane node or on a machine with etcd itself, without an API server.

mod due;
mod members;
mod node;
mod node_files;
mod recovery;
mod take;

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_store::{Encryption, Environment, Recipients, SigningKey, Store, StoreUrl};
use etcd_wire::{Failure, FailureCode};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::duration;
use crate::store_failure::{failed, not_ready, usage};
use node::Node;

pub(crate) const EXAMPLES: &str = "\
Examples, in a pod on the network of a control-plane node that sees its folder /etc/kubernetes, or as root on a machine with etcd:

  # back up every hour, unless the other of two pods of the same hour has done so
  etcd-sidecar backup --store s3://backups/prod --recipients-file /keys/recipients.txt --every 1h

  # from cron on a machine where systemd starts etcd
  etcd-sidecar backup --store file:///srv/backups -R /root/recipients.txt

etcd is found by the static pod manifests of the node, or by the systemd unit etcd.service.

Exit codes: 0 the backup is in the store, or there is one already; 1 failed; 2 wrong usage; 4 refused.";

/// What to back up, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Store to write the backup to: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX or file:///FOLDER.
    #[arg(long, value_name = "URL")]
    store: String,
    /// age recipient that can decrypt the backup, this flag can be repeated.
    #[arg(long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// File with age recipients, one a line, this flag can be repeated.
    #[arg(short = 'R', long, value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
    /// Do not encrypt the backup: whoever can read the store can read every Secret.
    #[arg(long, conflicts_with_all = ["recipient", "recipients_file", "node_files"])]
    no_encryption: bool,
    /// Private key of OpenSSH (ssh-ed25519) that signs the record of the backup.
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// How often backups are scheduled: where the store has a scheduled backup that is younger than half of this, no other is taken.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<Duration>,
    /// Back up the files below --kubernetes, too: manifests, certificates and keys; and those of the unit of etcd, where one starts etcd. Always encrypted.
    #[arg(long)]
    node_files: bool,
    /// Folder for the snapshot while its pages are checked. The file there has no name, and goes with this program.
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    spool: PathBuf,
    /// Where the folder /etc/kubernetes of the node is.
    #[arg(long, value_name = "DIR", default_value = node::KUBERNETES)]
    kubernetes: PathBuf,
}

/// What was asked for, and can be done.
struct Order {
    store: Store,
    encryption: Encryption,
    key: Option<SigningKey>,
    every: Option<Duration>,
    node_files: bool,
    spool: PathBuf,
}

impl Args {
    /// Reads the files that the flags name and opens the store; no request is made.
    fn order(&self) -> Result<Order, Failure> {
        let url: StoreUrl =
            self.store.parse().map_err(|error: etcd_store::UrlError| usage("--store names no store", &error))?;
        let encryption = match self.no_encryption {
            true => Encryption::Off,
            false if self.recipient.is_empty() && self.recipients_file.is_empty() => {
                let failure =
                    Failure::new(FailureCode::BadRequest, "nobody could decrypt the backup: no recipient is named");
                return Err(failure.hint("name a recipient, or say that nothing is to be encrypted\n  --recipient age1...\n  --no-encryption"));
            }
            false => {
                let recipients = Recipients::parse(&self.recipient, &self.recipients_file);
                Encryption::Recipients(recipients.map_err(|error| usage("cannot encrypt the backup", &error))?)
            }
        };
        let key = self.sign_key.as_deref().map(SigningKey::read).transpose();
        let key = key.map_err(|error| usage("cannot sign the backup", &error))?;
        let store = Store::open(&url, &Environment::of_process()).map_err(|error| failed(&error))?;
        let spool = self.spool.clone();
        Ok(Order { store, encryption, key, every: self.every, node_files: self.node_files, spool })
    }
}

/// What a pod is told to end by.
pub(crate) struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    /// From here on, the signals are heard: the kernel gives PID 1 no default handlers.
    ///
    /// # Errors
    /// They cannot be.
    pub(crate) fn listen() -> Result<Ending, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(FailureCode::Other, "cannot handle signals").source(&error))
        };
        Ok(Ending { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    pub(crate) async fn heard(&mut self) -> Failure {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        Failure::new(FailureCode::Other, format!("ended by {name}"))
    }
}

/// One tick.
///
/// # Errors
/// There is no backup in the store; what is left of it there is told.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let order = args.order()?;
    let node = Node::read(Path::new("/"), &args.kubernetes)?;
    let mut ending = Ending::listen()?;
    let found = tokio::select! {
        failure = ending.heard() => return Err(failure.cause("no backup was added to the store")),
        found = find(&order, &node) => found?,
    };
    let (asked, cluster) = match found {
        Found::There(name) => {
            tracing::info!("nothing to do: the store has the scheduled backup {name}");
            return Ok(());
        }
        Found::Due(asked, cluster) => (asked, cluster),
    };
    take::Tick { order: &order, node: &node, asked: &asked, cluster: &cluster }.take(&mut ending).await
}

enum Found {
    /// A backup of this tick.
    There(etcd_store::Name),
    /// None: the members, and whose they are.
    Due(Box<members::Asked>, etcd_store::ClusterUid),
}

/// Finds out whether there is anything to do.
async fn find(order: &Order, node: &Node) -> Result<Found, Failure> {
    let asked = Box::new(members::ask(node).await?);
    let cluster = asked.cluster()?;
    // A store that cannot be used, or whose clock is another, must be known before anything is sent.
    etcd_store::ready(&order.store).await.map_err(|error| not_ready(&error))?;
    let listed = order.store.list(Some(&cluster)).await.map_err(|error| failed(&error))?;
    let Some(every) = order.every else { return Ok(Found::Due(asked, cluster)) };
    let trusted = order.key.as_ref().map(SigningKey::trusted);
    match due::there(&order.store, &listed, &cluster, every, trusted.as_ref()).await? {
        Some(name) => Ok(Found::There(name)),
        None => Ok(Found::Due(asked, cluster)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

    fn order(line: &str) -> Result<Order, Failure> {
        Line::try_parse_from(std::iter::once("backup").chain(line.split(' '))).expect("flags").args.order()
    }

    #[test]
    fn nothing_is_left_in_clear_unasked() {
        let refused = order("--store file:///tmp").err().expect("refused");
        assert_eq!(refused.code, FailureCode::BadRequest);
        assert!(refused.hint.expect("a hint").contains("--no-encryption"));
        assert!(!order("--store file:///tmp --no-encryption").expect("open").encryption.is_on());
        let sealed = order(&format!("--store file:///tmp --recipient {RECIPIENT} --node-files")).expect("open");
        assert_eq!(sealed.encryption.names(), [RECIPIENT]);
        // Keys of a node never lie in clear.
        let clear = "backup --store file:///tmp --no-encryption --node-files";
        assert!(Line::try_parse_from(clear.split(' ')).is_err());
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_no_secret_told() {
        for wrong in [
            "--store s3://user:hunter2@bucket --no-encryption",
            "--store file:///tmp --recipient hunter2",
            "--store file:///tmp --no-encryption --sign-key /nowhere/at/all",
            "--store file:///tmp -R /nowhere/at/all",
        ] {
            let failure = order(wrong).err().expect(wrong);
            assert_eq!(failure.code, FailureCode::BadRequest, "{wrong}");
            assert!(!format!("{failure:?}").contains("user:hunter2"), "{failure:?}");
        }
    }
}
