//! How the members of a lab's etcd come together: one by one, as kubeadm joins nodes, before the kubelets start. So each node's
//! manifest names the members that were there when it joined, and the cluster's ID is that of its first member alone. Members join
//! as learners, as those of kubeadm do: a vote of a member that does not run yet leaves the first without a quorum, and then etcd
//! 3.5 waits 5 seconds for a read that cannot be answered.
//!
//! etcd before 3.6 may drop a change of its members and never answer, where the change before that has only just been made
//! (etcd-io/etcd#15528). So each is asked for until the list of members has it.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etcd_client::{Member, MemberAddOptions};
use fs_err as fs;
use tokio::time::timeout;

use crate::client::Client;
use crate::lab::{Lab, Options};
use crate::manifests;
use crate::paths::{DATA_DIR, PKI, node_name};
use crate::start;

/// What makes it quick. Members refuse to be joined by another for five seconds after the last; elections take a second; and
/// nothing here has to outlive a failure of this machine.
const IN_A_HURRY: [&str; 4] =
    ["--strict-reconfig-check=false", "--heartbeat-interval=20", "--election-timeout=200", "--unsafe-no-fsync"];

/// How long etcd may take to answer one request.
const ANSWER: Duration = Duration::from_secs(2);

/// A member that runs until the data of all is made.
struct Running {
    command: Command,
    child: Child,
}

impl Running {
    fn start(mut command: Command) -> Result<Self> {
        let child = command.spawn().context("cannot run nsenter")?;
        Ok(Self { command, child })
    }

    /// As a kubelet does. A member that joins asks the others for the list of members, and ends where the one that answers has not
    /// applied the change yet.
    fn start_again_if_ended(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            self.child = self.command.spawn()?;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ours, so that both succeed, or ended already. All that it has written, the kernel has.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Makes the data of all members, and gives each node's `--initial-cluster`. A single member makes its own when it starts.
pub(crate) async fn members(lab: &Lab, options: &Options, until: Instant) -> Result<Vec<String>> {
    let record = &lab.record;
    let peer = |number| format!("https://{}:2380", record.subnet.node(number));
    let mut clusters = vec![format!("{}={}", node_name(1), peer(1))];
    let mut running = Vec::new();
    for number in 1..=record.nodes {
        if record.nodes == 1 {
            break;
        }
        if number > 1 {
            clusters.push(join(lab, number, &peer(number), until).await?);
        }
        let mut member = Running::start(command(lab, number, clusters.last().context("a cluster")?, options)?)?;
        let etcd = client(lab, number)?;
        start::poll(until, "etcd", async || {
            member.start_again_if_ended()?;
            Ok(etcd.get("/health").await?["health"] == "true")
        })
        .await?;
        running.push(member);
        if number > 1 {
            promote(lab, &peer(number), until).await?;
        }
    }
    Ok(clusters)
}

/// Adds a learner, and gives its `--initial-cluster`.
async fn join(lab: &Lab, number: u8, peer: &str, until: Instant) -> Result<String> {
    let mut cluster = String::new();
    start::poll(until, "the new member of etcd", async || {
        let members = listed(lab).await?;
        if of(&members, peer).is_some() {
            cluster = initial_cluster(&members, number);
            return Ok(true);
        }
        let learner = MemberAddOptions::new().with_is_learner();
        timeout(ANSWER, lab.etcd_client().await?.member_add([peer], Some(learner))).await??;
        Ok(false)
    })
    .await?;
    Ok(cluster)
}

/// Gives a learner its vote. Refused until the learner has caught up.
async fn promote(lab: &Lab, peer: &str, until: Instant) -> Result<()> {
    start::poll(until, "the vote of etcd's member", async || {
        let members = listed(lab).await?;
        let learner = of(&members, peer).context("the member is not in the list")?;
        if learner.is_learner() {
            timeout(ANSWER, lab.etcd_client().await?.member_promote(learner.id())).await??;
        }
        Ok(!learner.is_learner())
    })
    .await
}

async fn listed(lab: &Lab) -> Result<Vec<Member>> {
    Ok(timeout(ANSWER, lab.etcd_client().await?.member_list()).await??.members().to_vec())
}

fn of<'a>(members: &'a [Member], peer: &str) -> Option<&'a Member> {
    members.iter().find(|member| member.peer_urls().iter().any(|url| url == peer))
}

/// As kubeadm has it: etcd's own order; the one that joins has no name yet.
fn initial_cluster(members: &[Member], number: u8) -> String {
    let name = |member: &Member| if member.name().is_empty() { node_name(number) } else { member.name().to_owned() };
    let one =
        |member: &Member| member.peer_urls().iter().map(|url| format!("{}={url}", name(member))).collect::<Vec<_>>();
    members.iter().flat_map(one).collect::<Vec<_>>().join(",")
}

/// The node's member as its manifest will have it, but as a process of this machine.
fn command(lab: &Lab, number: u8, initial_cluster: &str, options: &Options) -> Result<Command> {
    let (record, name) = (&lab.record, node_name(number));
    let dir = lab.dir(&name)?;
    let node = start::node(record, &name, number, initial_cluster, options);
    let here = |flag: String| {
        flag.replace(PKI, &dir.pki().to_string_lossy())
            .replace(&format!("--data-dir={DATA_DIR}"), &format!("--data-dir={}", dir.host(DATA_DIR).display()))
    };
    let output: File = fs::File::create(record.state().log(&log(&name)))?.into_parts().0;
    let mut etcd = Command::new("nsenter");
    etcd.arg(format!("--net=/run/netns/{}", record.netns(&name))).arg(record.etcd.join("etcd"));
    etcd.args(manifests::etcd_flags(&node).into_iter().map(here)).args(IN_A_HURRY);
    etcd.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    Ok(etcd)
}

/// The name of the log of what runs before the kubelet of this node.
pub(crate) fn log(node: &str) -> String {
    format!("etcd-{node}")
}

/// A client of a node's etcd.
pub(crate) fn client(lab: &Lab, number: u8) -> Result<Client> {
    let pki = lab.dir("cp1")?.pki().join("etcd");
    let pem = |file: &str| fs::read(pki.join(file));
    let url = format!("https://{}:2379", lab.record.subnet.node(number));
    Client::new(&url, &pem("ca.crt")?, &pem("healthcheck-client.crt")?, &pem("healthcheck-client.key")?)
}
