//! The command line. The same program is the control plane of the lab's images: it goes by the name it is called by.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::lab::{Etcd, Lab, Options};
use crate::record::Record;
use crate::{apiserver, balancer, kubelet, network, ssh, systemd};

#[derive(Debug, Parser)]
#[command(name = "kube-apiserver")]
struct ApiServer {
    #[command(flatten)]
    args: apiserver::Args,
}

/// A practice control plane on this machine, for `kubectl etcd`: real etcd and containers, a stand-in for the rest.
#[derive(Debug, Parser)]
#[command(name = "lab")]
enum Cli {
    /// Start a lab and print its kubeconfig's path.
    Up {
        #[arg(long, default_value = "lab")]
        name: String,
        /// Control-plane nodes: 1, 3 or 5.
        #[arg(long, default_value_t = 1)]
        nodes: u8,
        /// 3.4, 3.5, or a folder with etcd and etcdctl.
        #[arg(long, default_value = "3.4")]
        etcd: Etcd,
        /// Folder for its files; it must not exist or be empty.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Archive of an image every node is to have.
        #[arg(long = "image", value_name = "ARCHIVE")]
        images: Vec<PathBuf>,
        /// Megabytes of a file system of its own for each node's /var/lib/etcd, 256 or more.
        #[arg(long, value_name = "MEGABYTES")]
        data_disk: Option<u32>,
        /// Megabytes of a disk of its own for each node's /var/lib/etcd and /var/lib/kubectl-etcd together, 400 or more.
        #[arg(long, value_name = "MEGABYTES", conflicts_with = "data_disk")]
        node_disk: Option<u32>,
        /// How many bytes etcd's database may have, such as 2000000; lab exhaust fills it.
        #[arg(long, value_name = "BYTES")]
        etcd_quota: Option<u64>,
    },
    /// End all processes of a lab and take away everything it made.
    Down {
        #[arg(long, default_value = "lab")]
        name: String,
    },
    /// List the labs, their nodes and how many processes each has.
    Status,
    /// Give a lab's nodes an image.
    Load {
        #[arg(long, default_value = "lab")]
        name: String,
        archive: PathBuf,
    },
    /// Put objects of the shape of Kubernetes' into a lab's etcd, for size.
    Fill {
        #[arg(long, default_value = "lab")]
        name: String,
        /// Megabytes of objects.
        megabytes: u64,
    },
    /// Fill a lab's etcd up to its quota: it takes no more writes. Its mirror pods are lost, and not made again.
    Exhaust {
        #[arg(long, default_value = "lab")]
        name: String,
        /// Leave the mirror pods of etcd.
        #[arg(long)]
        keep_mirrors: bool,
    },
    /// Run a command in a node's network and process namespaces; `NODE_ROOT` names its file tree.
    Exec {
        #[arg(long, default_value = "lab")]
        name: String,
        node: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Give a lab's API servers faults, as JSON or from stdin with `-`; `{}` ends them.
    Faults {
        #[arg(long, default_value = "lab")]
        name: String,
        faults: String,
    },
    /// Let nothing through between two nodes, or a node and the load balancer (lb): connections hang.
    Cut {
        #[arg(long, default_value = "lab")]
        name: String,
        a: String,
        b: String,
    },
    /// End what cut began.
    Heal {
        #[arg(long, default_value = "lab")]
        name: String,
        a: String,
        b: String,
    },
    /// Switch a node off, with everything that runs on it.
    PowerOff {
        #[arg(long, default_value = "lab")]
        name: String,
        node: String,
    },
    /// Take a node away for good: switch it off, and remove its disk with everything on it.
    Lose {
        #[arg(long, default_value = "lab")]
        name: String,
        node: String,
    },
    /// Switch a node on again.
    PowerOn {
        #[arg(long, default_value = "lab")]
        name: String,
        node: String,
    },
    /// Let a node's disk hang: writers wait, and cannot be killed. For a lab with --data-disk or --node-disk.
    FreezeDisk {
        #[arg(long, default_value = "lab")]
        name: String,
        node: String,
    },
    /// End what freeze-disk began.
    ThawDisk {
        #[arg(long, default_value = "lab")]
        name: String,
        node: String,
    },
    /// Let a node's disk fail: every read and write of it is an error. For a lab with --data-disk or --node-disk.
    FailDisk {
        #[arg(long, default_value = "lab")]
        name: String,
        node: String,
    },
    /// Replace the disk that fails of a node that is switched off; it has what the other had until then.
    MendDisk {
        #[arg(long, default_value = "lab")]
        name: String,
        node: String,
    },
    /// Start an SSH server on every node, and print how to log in. Users: root, lab-operator, and lab-admin, for whom sudo wants a password.
    Ssh {
        #[arg(long, default_value = "lab")]
        name: String,
    },
    #[command(hide = true)]
    Sshd(ssh::Args),
    #[command(hide = true)]
    Systemd(systemd::Args),
    #[command(hide = true)]
    Kubelet(kubelet::Args),
    #[command(hide = true)]
    Balancer(balancer::Args),
}

/// Runs what the command line asks for and says on stderr why it failed.
#[allow(clippy::print_stderr, reason = "the one place where a failure is told")]
pub fn main() -> ExitCode {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).with_ansi(false).init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "the answer to --version")]
fn run() -> Result<()> {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("kube-apiserver") if std::env::args_os().nth(1).is_some_and(|flag| flag == "--version") => {
            println!("{}", apiserver::version());
            Ok(())
        }
        Some("kube-apiserver") => runtime()?.block_on(apiserver::run(ApiServer::parse().args)),
        Some(name @ ("kube-controller-manager" | "kube-scheduler")) => runtime()?.block_on(pause(name)),
        _ => command(Cli::parse()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Stands where a program of the control plane would, and does nothing.
async fn pause(name: &str) -> Result<()> {
    tracing::info!("the lab has no {name}: this process only waits for its end");
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    term.recv().await;
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the answers of the commands")]
fn command(cli: Cli) -> Result<()> {
    match cli {
        Cli::Up { name, nodes, etcd, dir, images, data_disk, node_disk, etcd_quota } => {
            let program = Some(std::env::current_exe()?);
            let lab = Lab::start(Options {
                name: Some(name),
                nodes,
                etcd,
                dir,
                images,
                data_disk,
                node_disk,
                etcd_quota,
                program,
                ..Options::default()
            })?;
            println!("{}", lab.kubeconfig().display());
            lab.keep();
            Ok(())
        }
        Cli::Down { name } => Record::load(&name)?.remove(),
        Cli::Status => {
            for record in Record::all()? {
                println!("{}\t{}\tetcd {}", record.name, record.dir.display(), record.etcd_version);
                for node in record.node_names() {
                    let netns = record.netns(&node);
                    let processes = if network::netns_exists(&netns) { network::pids(&netns)?.len() } else { 0 };
                    println!("  {node}\t{}\t{processes} processes", record.subnet.node(record.number(&node)?));
                }
            }
            Ok(())
        }
        Cli::Load { name, archive } => {
            for reference in Lab::open(&name)?.load_image(&archive)? {
                println!("{reference}");
            }
            Ok(())
        }
        Cli::Fill { name, megabytes } => {
            let objects = runtime()?.block_on(Lab::open(&name)?.fill(megabytes * 1_000_000))?;
            println!("{objects} objects");
            Ok(())
        }
        Cli::Exhaust { name, keep_mirrors } => {
            let lab = Lab::open(&name)?;
            runtime()?.block_on(async {
                lab.exhaust().await?;
                for node in lab.node_names().iter().filter(|_| !keep_mirrors) {
                    lab.lose_mirror(node).await?;
                }
                Ok(())
            })
        }
        Cli::Exec { name, node, command } => {
            let [program, args @ ..] = command.as_slice() else { bail!("no command") };
            Err(Lab::open(&name)?.command(&node, program)?.args(args).exec()).context("cannot run nsenter")
        }
        Cli::Faults { name, faults } => {
            let mut text = faults;
            if text == "-" {
                text.clear();
                std::io::stdin().read_to_string(&mut text)?;
            }
            Lab::open(&name)?.set_faults(&serde_json::from_str(&text).context("the faults are no JSON")?)
        }
        Cli::Cut { name, a, b } => Lab::open(&name)?.cut(&a, &b),
        Cli::Heal { name, a, b } => Lab::open(&name)?.heal(&a, &b),
        Cli::PowerOff { name, node } => Lab::open(&name)?.power_off(&node),
        Cli::Lose { name, node } => Lab::open(&name)?.lose(&node),
        Cli::PowerOn { name, node } => Lab::open(&name)?.power_on(&node),
        Cli::FreezeDisk { name, node } => Lab::open(&name)?.freeze_disk(&node),
        Cli::ThawDisk { name, node } => Lab::open(&name)?.thaw_disk(&node),
        Cli::FailDisk { name, node } => Lab::open(&name)?.fail_disk(&node),
        Cli::MendDisk { name, node } => Lab::open(&name)?.mend_disk(&node),
        Cli::Ssh { name } => {
            let lab = Lab::open(&name)?;
            let access = lab.ssh()?;
            let nodes = lab.node_names();
            let nodes: Vec<String> = nodes.iter().map(|node| format!("{node}={}", lab.node_ip(node))).collect();
            println!("--ssh=root@ --nodes {} --ssh-command '{}'", nodes.join(","), access.command());
            Ok(())
        }
        Cli::Sshd(args) => ssh::run(&args),
        Cli::Systemd(args) => runtime()?.block_on(systemd::run(args)),
        Cli::Kubelet(args) => runtime()?.block_on(kubelet::run(args)),
        Cli::Balancer(args) => runtime()?.block_on(balancer::run(args)),
    }
}
