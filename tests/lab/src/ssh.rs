//! SSH on the nodes, where it is asked for: a real OpenSSH server in each node's namespaces, and in a
//! [view of the node](crate::own_view) of its own.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::lab::Lab;
use crate::paths::State;
use crate::{files, own_view, start};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// A user who becomes root with [`PASSWORD`], and one who needs none.
pub const ADMIN: &str = "lab-admin";
/// See [`ADMIN`].
pub const OPERATOR: &str = "lab-operator";
/// The password of [`ADMIN`].
pub const PASSWORD: &str = "practice";
/// The same as crypt(5) keeps it.
const HASHED: &str =
    "$6$practice$T9B3VEIHhurfnCILq9dSJZwpkCmkEDswjLlG86U0e/9dReSWfpc2IYaDn8WR.aucDjl02h2fjFP0zGzMBr6to0";

/// The command line of the server of one node.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the node.
    #[arg(long)]
    node: String,
    /// Address of the node.
    #[arg(long)]
    address: std::net::Ipv4Addr,
    /// State folder of the lab.
    #[arg(long)]
    state: PathBuf,
}

/// What it takes to log in to the nodes.
#[derive(Debug, Clone)]
pub struct SshAccess {
    /// The private key, which every user of the nodes takes.
    pub key: PathBuf,
    /// The keys of the nodes.
    pub known_hosts: PathBuf,
}

impl SshAccess {
    /// The command line of an ssh that knows the nodes and nothing else of this machine.
    pub fn command(&self) -> String {
        let (key, known) = (self.key.display(), self.known_hosts.display());
        format!(
            "ssh -F none -i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null"
        )
    }
}

impl Lab {
    /// Starts an SSH server on every node that runs. Users: `root`, [`ADMIN`] and [`OPERATOR`], all with one key.
    ///
    /// # Errors
    /// When OpenSSH is not installed, or a server does not listen.
    pub fn ssh(&self) -> Result<SshAccess> {
        let dir = self.record.state().dir().join("ssh");
        fs::create_dir_all(&dir)?;
        let access = SshAccess { key: dir.join("id"), known_hosts: dir.join("known_hosts") };
        make_key(&access.key, "lab")?;
        let mut known = String::new();
        for node in self.node_names() {
            let address = self.node_ip(&node);
            let key = dir.join(format!("host-{node}"));
            make_key(&key, &node)?;
            known.push_str(&format!("{address} {}", fs::read_to_string(key.with_extension("pub"))?));
            let mut server = Command::new("nsenter");
            server.args(["--target", &self.init(&node)?.to_string(), "--net", "--pid", "--mount", "--wd=/", "--"]);
            server.args(["unshare", "--mount", "--"]).arg(&self.record.program).arg("sshd");
            server.args(["--node", &node, "--address", &address.to_string(), "--state"]).arg(self.record.state().dir());
            start::spawn(self, server, &self.record.state().log(&format!("sshd-{node}")))?;
        }
        files::write(&access.known_hosts, known.as_bytes(), 0o600)?;
        let until = Instant::now() + PATIENCE;
        for node in self.node_names() {
            let address = SocketAddr::from((self.node_ip(&node), 22));
            while let Err(error) = TcpStream::connect_timeout(&address, PATIENCE) {
                if Instant::now() > until {
                    let log = fs::read_to_string(self.record.state().log(&format!("sshd-{node}"))).unwrap_or_default();
                    bail!("the SSH server of {node} does not listen: {error}\n{log}");
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(access)
    }
}

/// Makes a key without a passphrase, and its public half beside it.
fn make_key(path: &Path, comment: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut make = Command::new("ssh-keygen");
    make.args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(path).stdin(Stdio::null());
    let output = make.output().context("cannot run ssh-keygen")?;
    if !output.status.success() {
        bail!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Runs a node's server, in a mount namespace that is its own already.
pub(crate) fn run(args: &Args) -> Result<()> {
    let state = State::new(&args.state);
    let (dir, keys) = (state.node(&args.node), state.dir().join("ssh"));
    let scratch = keys.join(format!("root-{}", args.node));
    own_view::enter(&dir, &scratch)?;
    add_users()?;
    let authorized = scratch.join("authorized_keys");
    files::write(&authorized, &fs::read(keys.join("id.pub"))?, 0o644)?;
    fs::create_dir_all("/run/sshd")?;
    let config = scratch.join("sshd_config");
    let text = format!(
        "ListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n",
        args.address,
        keys.join(format!("host-{}", args.node)).display(),
        authorized.display()
    );
    files::write(&config, text.as_bytes(), 0o600)?;
    Err(Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(config).exec()).context("cannot run sshd")
}

/// The users, in files that were laid over this machine's.
fn add_users() -> Result<()> {
    let (mut passwd, mut shadow) = (fs::read_to_string("/etc/passwd")?, fs::read_to_string("/etc/shadow")?);
    if !passwd.lines().any(|line| line.starts_with("sshd:")) {
        passwd.push_str("sshd:x:62000:65534::/run/sshd:/usr/sbin/nologin\n");
    }
    for (number, user) in [(62001, ADMIN), (62002, OPERATOR)] {
        passwd.push_str(&format!("{user}:x:{number}:65534::/:/bin/sh\n"));
        shadow.push_str(&format!("{user}:{HASHED}:19000:0:99999:7:::\n"));
    }
    files::write(Path::new("/etc/passwd"), passwd.as_bytes(), 0o644)?;
    files::write(Path::new("/etc/shadow"), shadow.as_bytes(), 0o600)?;
    let rights = format!("{ADMIN} ALL=(ALL) ALL\n{OPERATOR} ALL=(ALL) NOPASSWD: ALL\n");
    fs::create_dir_all("/etc/sudoers.d")?;
    files::write(Path::new("/etc/sudoers.d/lab"), rights.as_bytes(), 0o440)
}
