//! A bridge, and a network namespace a node. Every process of a lab lives in one of its namespaces, so that what is to
//! be ended is found by asking the kernel, also after whoever started it was killed.

use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::paths::Subnet;

/// A hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:00:01";
/// How long a process that was killed may take to end.
const PATIENCE: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };

/// Runs `ip` with a batch of commands.
fn batch(commands: &str) -> Result<()> {
    ip(&["-batch", "-"], commands)
}

/// Runs `ip` with a batch of commands in a namespace.
fn batch_in(netns: &str, commands: &str) -> Result<()> {
    ip(&["-netns", netns, "-batch", "-"], commands)
}

fn ip(args: &[&str], commands: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip: install iproute2")?;
    child.stdin.take().expect("stdin is piped").write_all(commands.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Makes the bridge.
pub(crate) fn bridge(subnet: Subnet) -> Result<()> {
    let (bridge, gateway) = (subnet.bridge(), subnet.gateway());
    batch(&format!("link add {bridge} type bridge\naddr add {gateway}/24 dev {bridge}\nlink set {bridge} up\n"))
}

/// The bridge's end of a host's cable.
fn link(subnet: Subnet, short: &str) -> String {
    format!("{}-{short}", subnet.bridge())
}

/// The hardware address of the host with this address: the same when it is switched off and on, so that nobody looks for
/// it where it was.
fn hardware(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:59:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Makes the namespace `netns` with one interface `eth0` on the bridge.
pub(crate) fn host(subnet: Subnet, netns: &str, short: &str, address: Ipv4Addr) -> Result<()> {
    let (bridge, gateway, hardware) = (subnet.bridge(), subnet.gateway(), hardware(address));
    let link = link(subnet, short);
    batch(&format!(
        "netns add {netns}\nlink add {link} type veth peer name eth0 address {hardware} netns {netns}\n\
         link set {link} master {bridge} up\n"
    ))?;
    batch_in(
        netns,
        &format!("link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {gateway}\n"),
    )
    .with_context(|| format!("cannot set up the network of {netns}"))
}

/// Pulls a host's cable: what it still sends is lost, and what is sent to it.
pub(crate) fn unplug(subnet: Subnet, short: &str) -> Result<()> {
    batch(&format!("link set {} down\n", link(subnet, short)))
}

/// Lets all that is sent from the namespace to the address be lost. Nobody is told: a connection that is there hangs, as
/// does one that is to be made.
pub(crate) fn lose(netns: &str, address: Ipv4Addr) -> Result<()> {
    batch_in(netns, &format!("neigh replace {address} lladdr {NOBODY} dev eth0 nud permanent\n"))
}

/// Ends what [`lose`] began; no error if it did not.
pub(crate) fn find_again(netns: &str, address: Ipv4Addr) -> Result<()> {
    batch_in(netns, &format!("neigh replace {address} lladdr {} dev eth0 nud stale\n", hardware(address)))
}

/// Whether the kernel knows a link of this name.
pub(crate) fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// Whether there is a network namespace of this name.
pub(crate) fn netns_exists(name: &str) -> bool {
    Path::new("/run/netns").join(name).exists()
}

/// Ends every process in the namespace and takes it away, with its interface. No error when it is not there.
pub(crate) fn remove_host(subnet: Subnet, netns: &str, short: &str) -> Result<()> {
    if netns_exists(netns) {
        end_processes(netns)?;
        batch(&format!("netns del {netns}\n"))?;
    }
    // Another lab's nodes that started meanwhile have the namespace's mount in theirs, which keeps it, and with it the
    // cable, until they end. The cable's name is wanted again before that.
    let link = link(subnet, short);
    // It goes with its namespace, perhaps between these two lines.
    if link_exists(&link) && batch(&format!("link del {link}\n")).is_err() && link_exists(&link) {
        bail!("cannot take away the link {link}");
    }
    Ok(())
}

fn end_processes(netns: &str) -> Result<()> {
    while let Some(ends) = kill(netns)? {
        for fd in ends {
            let mut poll = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
            if rustix::event::poll(&mut poll, Some(&PATIENCE))? == 0 {
                bail!("a process in {netns} was killed {} s ago and has not ended", PATIENCE.tv_sec);
            }
        }
    }
    Ok(())
}

/// Kills every process in the namespace, and gives what tells the end of each; nothing when there is none.
pub(crate) fn kill(netns: &str) -> Result<Option<Vec<OwnedFd>>> {
    let pids = pids(netns)?;
    if pids.is_empty() {
        return Ok(None);
    }
    let mut ends = Vec::new();
    for pid in pids {
        // A process that ended in between has no descriptor, and needs none.
        if let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            match rustix::process::pidfd_send_signal(&fd, rustix::process::Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => ends.push(fd),
                Err(error) => return Err(error).context("cannot end a process of the lab"),
            }
        }
    }
    Ok(Some(ends))
}

/// Takes the bridge away. No error when it is not there.
pub(crate) fn remove_bridge(subnet: Subnet) -> Result<()> {
    if link_exists(&subnet.bridge()) { batch(&format!("link del {}\n", subnet.bridge())) } else { Ok(()) }
}

/// The living processes in a namespace. Zombies are no business of ours: they have no namespace any more.
pub(crate) fn pids(netns: &str) -> Result<Vec<rustix::process::Pid>> {
    let output = Command::new("ip").args(["netns", "pids", netns]).output()?;
    if !output.status.success() {
        bail!("ip netns pids {netns}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.trim().parse().ok().and_then(rustix::process::Pid::from_raw))
        .collect())
}
