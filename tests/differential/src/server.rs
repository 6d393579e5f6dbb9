//! Real servers: one process each, on ports of 127.0.0.1, which ends with its handle.

use std::fs::File;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::{Etcd, Live};

/// How long a start may take. Never part of an expectation: it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to start a member.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Which etcd.
    pub etcd: Etcd,
    /// The member's name.
    pub name: String,
    /// Its data directory; what else belongs to the process lies beside it.
    pub data_dir: PathBuf,
    /// Its WAL directory, if it is elsewhere.
    pub wal_dir: Option<PathBuf>,
    /// The port for clients.
    pub client_port: u16,
    /// The port for members.
    pub peer_port: u16,
    /// Name and URL of each member, as `--initial-cluster` has them.
    pub initial_cluster: String,
    /// More flags.
    pub arguments: Vec<String>,
    /// Whether etcd is to check its own invariants when it starts; 3.4 cannot.
    pub checks_itself: bool,
}

impl Setup {
    /// The only member of a cluster, in `folder`.
    pub fn alone(etcd: Etcd, folder: &Path) -> Setup {
        let [setup] = Self::cluster(etcd, folder);
        setup
    }

    /// One more member for the running cluster of another.
    pub fn joining(other: &Setup, folder: &Path) -> Setup {
        let name = "joined".to_owned();
        let setup = Self::alone(other.etcd, folder);
        let initial_cluster = format!("{},{name}={}", other.initial_cluster, setup.peer_url());
        let setup = Setup { data_dir: folder.join("joined.etcd"), name, initial_cluster, ..setup };
        setup.with(&["--initial-cluster-state", "existing"])
    }

    /// The members of a cluster, `m1` and so on, in `folder`.
    pub fn cluster<const N: usize>(etcd: Etcd, folder: &Path) -> [Setup; N] {
        let mut setups = std::array::from_fn(|index| {
            let name = format!("m{}", index + 1);
            let data_dir = folder.join(format!("{name}.etcd"));
            let (client_port, peer_port) = (free_port(), free_port());
            let (wal_dir, initial_cluster, arguments, checks_itself) = (None, String::new(), Vec::new(), true);
            Setup { etcd, name, data_dir, wal_dir, client_port, peer_port, initial_cluster, arguments, checks_itself }
        });
        let members: Vec<String> =
            setups.iter().map(|setup: &Setup| format!("{}={}", setup.name, setup.peer_url())).collect();
        for setup in &mut setups {
            setup.initial_cluster = members.join(",");
        }
        setups
    }

    /// The same as the only member of a cluster of its own.
    pub fn by_itself(mut self) -> Setup {
        self.initial_cluster = format!("{}={}", self.name, self.peer_url());
        self
    }

    /// The same with its log in a folder beside its data.
    pub fn with_wal_dir(mut self) -> Setup {
        self.wal_dir = Some(self.beside("wal"));
        self
    }

    /// The same with more flags.
    pub fn with(mut self, arguments: &[&str]) -> Setup {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Where clients reach it.
    pub fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// Where members reach it.
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("member/snap/db")
    }

    fn beside(&self, extension: &str) -> PathBuf {
        self.data_dir.with_extension(extension)
    }
}

/// How to end a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: it closes its database.
    Orderly,
    /// SIGKILL: it does not.
    Kill,
}

/// A member that runs.
#[derive(Debug)]
pub struct Server {
    /// How it was started.
    pub setup: Setup,
    child: Child,
    ready: UnixDatagram,
}

impl Server {
    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// With its log, if it does not come to serve.
    #[track_caller]
    pub fn start(setup: &Setup) -> Server {
        let mut server = Self::spawn(setup);
        server.wait_ready().unwrap_or_else(|log| panic!("{:?} does not serve:\n{log}", setup.etcd));
        server
    }

    /// Starts all of a cluster and waits until all serve.
    #[track_caller]
    pub fn start_all<const N: usize>(setups: &[Setup; N]) -> [Server; N] {
        let mut servers = setups.each_ref().map(Self::spawn);
        for server in &mut servers {
            let etcd = server.setup.etcd;
            server.wait_ready().unwrap_or_else(|log| panic!("{etcd:?} does not serve:\n{log}"));
        }
        servers
    }

    /// Starts it.
    pub fn spawn(setup: &Setup) -> Server {
        let socket = setup.beside("notify");
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{}: {error}", socket.display()),
            _ => {}
        }
        let ready = UnixDatagram::bind(&socket).expect("a socket");
        let log = File::create(setup.beside("log")).expect("a log");
        let mut command = Command::new(setup.etcd.server());
        command
            .env_clear()
            .env("NOTIFY_SOCKET", &socket)
            .args(["--name", &setup.name, "--data-dir"])
            .arg(&setup.data_dir)
            .args(["--listen-client-urls", &setup.client_url(), "--advertise-client-urls", &setup.client_url()])
            .args(["--listen-peer-urls", &setup.peer_url(), "--initial-advertise-peer-urls", &setup.peer_url()])
            .args(["--initial-cluster", &setup.initial_cluster, "--logger", "zap", "--log-level", "warn"])
            // No disk is going to fail here, and nobody's password is at stake.
            .args(["--unsafe-no-fsync", "--bcrypt-cost", "4"])
            .args(["--heartbeat-interval", "20", "--election-timeout", "200"])
            .args(setup.wal_dir.iter().flat_map(|folder| [Path::new("--wal-dir"), folder]))
            .args(&setup.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if setup.checks_itself {
            command.env("ETCD_VERIFY", "all");
        }
        Server { setup: setup.clone(), child: command.spawn().expect("etcd starts"), ready }
    }

    /// Waits until it serves, or gives its log if it ends before.
    pub fn wait_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        self.ready.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let mut message = [0; 256];
        loop {
            match self.ready.recv(&mut message) {
                Ok(length) if message[..length].starts_with(b"READY=1") => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return Err(format!("{status}\n{}", self.log()));
            }
            if Instant::now() > deadline {
                return Err(self.log());
            }
        }
    }

    /// What it has logged since it was started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.setup.beside("log")).expect("a log")
    }

    /// Ends it.
    pub fn stop(mut self, how: Stop) {
        self.end(how);
    }

    /// Ends it and starts it again.
    #[track_caller]
    pub fn restart(&mut self, how: Stop) {
        self.end(how);
        *self = Self::start(&self.setup);
    }

    fn end(&mut self, how: Stop) {
        if how == Stop::Orderly {
            let id = self.child.id().to_string();
            let status = Command::new("kill").args(["-s", "TERM", &id]).status().expect("kill runs");
            assert!(status.success(), "SIGTERM is sent");
        } else {
            self.child.kill().expect("SIGKILL is sent");
        }
        self.child.wait().expect("a child of ours");
    }

    /// A client of it.
    pub async fn client(&self) -> Live {
        Live::connect(&self.setup.client_url(), None).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A port that nobody listens on, below those that the system gives to outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const PORTS: u16 = 12_000;
    // Test programs that run at the same time begin at different places.
    let offset = u16::try_from(std::process::id().wrapping_mul(997) % u32::from(PORTS)).expect("below 12000");
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (offset + number % PORTS) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
