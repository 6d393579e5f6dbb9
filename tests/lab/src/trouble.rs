//! What befalls nodes as a whole: they lose each other, and their power.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use fs_err as fs;

use crate::lab::Lab;
use crate::record::unmount_below;
use crate::{disk, network, start};

/// How long a kubelet may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// Of the kernel's linux/magic.h.
const TMPFS_MAGIC: u64 = 0x0102_1994;

impl Lab {
    /// Lets every packet between two nodes be lost, in both directions and without a word: connections that are there
    /// hang, and new ones do not come about. One of the two may be the load balancer, `lb`. This machine still reaches
    /// both.
    ///
    /// # Errors
    /// When the lab has no such node, or one of them is switched off.
    pub fn cut(&self, a: &str, b: &str) -> Result<()> {
        self.between(a, b, network::lose)
    }

    /// Ends what [`Lab::cut`] began. Connections that hung go on when their ends try again.
    ///
    /// # Errors
    /// As [`Lab::cut`].
    pub fn heal(&self, a: &str, b: &str) -> Result<()> {
        self.between(a, b, network::find_again)
    }

    /// [Cuts](Lab::cut) a node off from all others and from the load balancer.
    ///
    /// # Errors
    /// As [`Lab::cut`].
    pub fn cut_off(&self, node: &str) -> Result<()> {
        self.others(node).iter().try_for_each(|other| self.cut(node, other))
    }

    /// Ends what [`Lab::cut_off`] began.
    ///
    /// # Errors
    /// As [`Lab::cut`].
    pub fn rejoin(&self, node: &str) -> Result<()> {
        self.others(node).iter().try_for_each(|other| self.heal(node, other))
    }

    fn others(&self, node: &str) -> Vec<String> {
        self.node_names().into_iter().chain(["lb".to_owned()]).filter(|other| other != node).collect()
    }

    fn between(&self, a: &str, b: &str, act: impl Fn(&str, Ipv4Addr) -> Result<()>) -> Result<()> {
        if a == b {
            bail!("{a} is one node and not two");
        }
        act(&self.record.netns(a), self.address(b)?)?;
        act(&self.record.netns(b), self.address(a)?)
    }

    fn address(&self, host: &str) -> Result<Ipv4Addr> {
        let subnet = self.record.subnet;
        if host == "lb" { Ok(subnet.balancer()) } else { Ok(subnet.node(self.record.number(host)?)) }
    }

    /// Switches a node off: its cable first, so that nobody is told, then every process on it where it stands. What was
    /// in its `/run` is gone; its disk is as it was, with everything that was written, synced or not.
    ///
    /// # Errors
    /// When the lab has no such node.
    pub fn power_off(&self, node: &str) -> Result<()> {
        let (record, netns) = (&self.record, self.record.netns(node));
        record.number(node)?;
        if network::netns_exists(&netns) {
            network::unplug(record.subnet, node)?;
            // Whoever waits for a disk that hangs ends once that goes on, and does nothing more before.
            network::kill(&netns)?;
            disk::thaw(&self.dir(node)?)?;
        }
        network::remove_host(record.subnet, &netns, node)
    }

    /// Takes a node away for good: it is switched off, and its disk goes with everything on it.
    ///
    /// # Errors
    /// When the lab has no such node, or its files cannot be removed.
    pub fn lose(&self, node: &str) -> Result<()> {
        let dir = self.dir(node)?;
        self.power_off(node)?;
        if dir.all().exists() {
            unmount_below(dir.all())?;
            fs::remove_dir_all(dir.all())?;
        }
        Ok(())
    }

    /// Switches a node on again. It returns when the node's kubelet runs and the node has its `/run`; static pods come
    /// by themselves, then. A [cut](Lab::cut) is not remembered on this side, but on the other.
    ///
    /// # Errors
    /// When the node is on or [lost](Lab::lose), or its kubelet does not start.
    pub fn power_on(&self, node: &str) -> Result<()> {
        let (record, number) = (&self.record, self.record.number(node)?);
        let netns = record.netns(node);
        if network::netns_exists(&netns) {
            bail!("node {node} of lab {:?} is switched on", record.name);
        }
        if !self.dir(node)?.root().exists() {
            bail!("node {node} of lab {:?} is lost", record.name);
        }
        network::host(record.subnet, &netns, node, record.subnet.node(number))?;
        start::kubelet(self, number)?;
        let until = Instant::now() + PATIENCE;
        while !self.has_run(node) {
            if Instant::now() > until {
                bail!("the kubelet of {node} did not start in {PATIENCE:?}");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Restarts a node's etcd and lets its mirror pod be lost, as it happens to an etcd that restarts while it is
    /// [full](Lab::exhaust): the kubelet cannot make another.
    ///
    /// # Errors
    /// When etcd is not full, or the mirror pod cannot be deleted.
    pub async fn lose_mirror(&self, node: &str) -> Result<()> {
        let alarms = self.etcdctl(node, &["alarm", "list"])?;
        if !String::from_utf8_lossy(&alarms.stdout).contains("alarm:NOSPACE") {
            bail!("etcd is not full: the kubelet of {node} would make another mirror pod");
        }
        self.kill_container(node, "etcd")?;
        // Past the API server: etcd 3.5.1 at its quota refuses each transaction, also one that only deletes.
        let key = format!("/registry/pods/kube-system/etcd-{node}");
        let until = Instant::now() + PATIENCE;
        loop {
            let deleted = self.etcdctl(node, &["del", &key])?;
            if deleted.status.success() {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("the mirror pod of etcd on {node} stays: {}", String::from_utf8_lossy(&deleted.stderr));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn has_run(&self, node: &str) -> bool {
        let run = self.inside(node, "/run").ok().and_then(|run| rustix::fs::statfs(run).ok());
        run.is_some_and(|run| u64::try_from(run.f_type).is_ok_and(|magic| magic == TMPFS_MAGIC))
    }
}
