//! The road over SSH: the user's own `ssh` as a process, and the sidecar sent over it. One connection a node: its session is kept for
//! whoever wants one next, so that nobody logs in twice. On the machine that the command runs on, the same scripts run in a shell.

mod args;
mod binary;
mod command;
mod greeting;
mod script;
mod trouble;

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::args::{Host, Plan, SshArgs};
use self::binary::Binaries;
use self::greeting::{Broken, Stderr, Talk};
use self::script::{FOLDERS, Obstacle, Sudo};
use super::channel::{Channel, Ended, Output, ended};
use crate::output::{Exit, Failed, Outcome, Printer, bytes, passphrase};
use crate::sidecar::{Session, TransferError, random_name};

/// How what is left on a node is found by hand.
pub(super) const BY_HAND: &str =
    "ls -d /var/lib/kubectl-etcd/bin/etcd-sidecar.* /run/etcd-sidecar.* /dev/shm/etcd-sidecar.*";

/// How long a node may say nothing before its script is ready; longer where somebody may be typing.
const LOGIN: Duration = Duration::from_secs(60);
const LOGIN_BY_HAND: Duration = Duration::from_secs(300);
/// How long the sidecar may take to be sent.
const SENDING: Duration = Duration::from_secs(600);
/// How long a node may take to take away what was sent, once its session is over.
const FAREWELL: Duration = Duration::from_secs(10);

/// The nodes that are reached over SSH.
#[derive(Clone)]
pub(crate) struct Ssh(Arc<Inner>);

struct Inner {
    hosts: Vec<Host>,
    user: Option<String>,
    ssh: Vec<String>,
    sudo: Sudo,
    binaries: Binaries,
    printer: Printer,
    /// Sessions that nobody uses now, by node.
    idle: Mutex<HashMap<String, Session>>,
    /// Connections that may still stand, by node.
    open: Mutex<Vec<(String, Connected)>>,
    /// Held while somebody may be asked for something on the terminal.
    asking: tokio::sync::Mutex<()>,
    /// What sudo was given last.
    password: Mutex<Option<SecretString>>,
}

/// A connection that was made.
#[derive(Clone)]
struct Connected {
    ended: Ended,
    /// Ends ssh where the node does not end the connection.
    end: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

fn locked<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ssh {
    /// The road that the flags name. Nothing is connected yet.
    ///
    /// # Errors
    /// The nodes are not known, or there is no sidecar to send.
    pub(crate) fn new(args: &SshArgs, plan: Option<&Plan>, printer: Printer) -> Outcome<Ssh> {
        let hosts = args.hosts(plan)?;
        let inner = Inner {
            hosts,
            user: args.ssh.clone().and_then(|user| user.0),
            ssh: args.ssh_command.0.clone(),
            sudo: args.sudo,
            binaries: Binaries::find(args.sidecar_binary.as_deref())?,
            printer,
            idle: Mutex::default(),
            open: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            password: Mutex::default(),
        };
        Ok(Ssh(Arc::new(inner)))
    }

    /// The nodes.
    pub(crate) fn hosts(&self) -> &[Host] {
        &self.0.hosts
    }

    /// Where to print.
    pub(super) fn printer(&self) -> Printer {
        self.0.printer
    }

    /// A session with the sidecar on a node: the one that nobody uses, or a new one.
    ///
    /// # Errors
    /// ssh does not come through, the sidecar cannot be sent, or it does not answer.
    pub(super) async fn session(&self, node: &str) -> Result<Session, TransferError> {
        let kept = locked(&self.0.idle).remove(node);
        if let Some(session) = kept.filter(Session::stands) {
            return Ok(session);
        }
        let host = self.0.hosts.iter().find(|host| host.node == node);
        let unknown =
            || Failed::new(Exit::Usage, format!("the address of node {node} is not known")).hint("add it to --nodes");
        let host = host.ok_or_else(|| TransferError::Final(unknown()))?;
        Session::establish(self.connect(host).await?).await
    }

    /// Keeps a session for whoever wants one next.
    pub(super) fn rest(&self, node: &str, session: Session) {
        locked(&self.0.idle).insert(node.to_owned(), session);
    }

    /// Ends the connections to a node that nobody uses, and waits until what was sent there is gone. Gives the reason where that is not known.
    async fn finish(&self, node: &str) -> Result<(), String> {
        drop(locked(&self.0.idle).remove(node));
        let (its, others) =
            std::mem::take(&mut *locked(&self.0.open)).into_iter().partition::<Vec<_>, _>(|(of, _)| of == node);
        locked(&self.0.open).extend(others);
        for (_, connected) in its {
            if tokio::time::timeout(FAREWELL, connected.ended.clone()).await.is_err() {
                if let Some(end) = locked(&connected.end).take() {
                    // It has ended in this very moment otherwise.
                    let _ended = end.send(());
                }
                return Err(format!("its connection did not end within {}s", FAREWELL.as_secs()));
            }
        }
        Ok(())
    }

    /// As at the end, for one node.
    pub(super) async fn release(&self, node: &str) {
        if let Err(reason) = self.finish(node).await {
            self.0.printer.warn(format!("the sidecar on node {node} is still there: {reason}; see\n  {BY_HAND}"));
        }
    }

    /// Ends all connections. Gives the nodes on which something may be left, each with the reason.
    pub(super) async fn end(&self) -> Vec<(String, String)> {
        let mut nodes: Vec<String> = locked(&self.0.open).iter().map(|(node, _)| node.clone()).collect();
        nodes.sort();
        nodes.dedup();
        locked(&self.0.idle).clear();
        let ended = nodes.into_iter().map(|node| async move { self.finish(&node).await.err().map(|why| (node, why)) });
        join_all(ended).await.into_iter().flatten().collect()
    }

    /// Nodes on which something may be now.
    pub(super) fn nodes(&self) -> Vec<String> {
        locked(&self.0.open).iter().map(|(node, _)| node.clone()).collect()
    }

    /// Logs in to a node, sends the sidecar, and runs it.
    async fn connect(&self, host: &Host) -> Result<Channel, TransferError> {
        let inner = &*self.0;
        let terminal = std::io::stdin().is_terminal()
            || std::io::stderr().is_terminal()
            || std::env::var_os("SSH_ASKPASS").is_some();
        // Questions of one ssh after those of another; where nobody can be asked, all at once.
        let asking = match terminal {
            true => Some(inner.asking.lock().await),
            false => None,
        };
        let nonce = random_name(16);
        let remote = script::command(&nonce, inner.binaries.largest(), inner.sudo);
        let words = command::words(&inner.ssh, inner.user.as_deref(), host, &remote, terminal);
        let mut child = spawn(&words).map_err(TransferError::Final)?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(TransferError::Final(Failed::plain("cannot talk to ssh").cause("it has no streams")));
        };
        let Watched { code, end } = watch(child);
        let end = Arc::new(Mutex::new(Some(end)));
        let over = ended(async move { code.await.ok().flatten().map(|code| code.to_string()) });
        locked(&inner.open).push((host.node.clone(), Connected { ended: over.clone(), end: Arc::clone(&end) }));

        let (mut stdout, mut chunks, mut said) = (BufReader::new(stdout), listen(stderr), Stderr::new(&nonce));
        let greeted = {
            let mut talk =
                Talk { nonce: &nonce, stdout: &mut stdout, stdin: &mut stdin, chunks: &mut chunks, stderr: &mut said };
            let patience = if terminal { LOGIN_BY_HAND } else { LOGIN };
            let password = async |before| self.password(host, before).await;
            let ready = talk.ready(patience, password).await;
            drop(asking);
            match ready {
                Ok(machine) => match inner.binaries.of(&machine) {
                    Ok(binary) => {
                        let size = bytes(binary.bytes.len() as u64);
                        inner.printer.detail(format!("sending the sidecar ({size}) to node {}", host.node));
                        talk.send(&binary, SENDING).await
                    }
                    Err(failed) => Err(Broken::Here(failed)),
                },
                Err(broken) => Err(broken),
            }
        };
        if let Err(broken) = greeted {
            drop(stdin);
            let code = tokio::time::timeout(FAREWELL, over).await.ok().flatten();
            while let Ok(chunk) = chunks.try_recv() {
                said.hear(&chunk);
            }
            if code.is_none()
                && let Some(end) = locked(&end).take()
            {
                // One that has ended meanwhile need not be told.
                let _ended = end.send(());
            }
            return Err(self.broken(broken, host, code.and_then(|code| code.parse().ok()), &said.said));
        }
        let rest = futures::stream::poll_fn(move |task| chunks.poll_recv(task)).map(Ok::<Bytes, std::io::Error>);
        let earlier = futures::stream::iter([Ok(Bytes::from(said.said))]);
        Ok(Channel {
            stdin: Box::new(stdin),
            stdout: Box::new(Output::new(stdout, over.clone())),
            stderr: Box::new(tokio_util::io::StreamReader::new(earlier.chain(rest))),
            ended: ended(async move {
                // A number tells nobody anything; what was said on stderr does.
                over.await;
                None
            }),
            place: format!("node {}", host.node),
            another: "--sidecar-binary FILE".to_owned(),
            held: Box::new(()),
        })
    }

    /// What sudo is given: what it took on another node, or what is typed.
    async fn password(&self, host: &Host, before: usize) -> Outcome<SecretString> {
        if before == 0
            && let Some(known) = locked(&self.0.password).clone()
        {
            return Ok(known);
        }
        if before > 0 {
            locked(&self.0.password).take();
            self.0.printer.warn(format!("node {}: sudo does not take this password", host.node));
        }
        let question = format!("Password for sudo on node {}: ", host.node);
        match passphrase::ask(question, self.0.printer).await? {
            Some(password) => {
                *locked(&self.0.password) = Some(password.clone());
                Ok(password)
            }
            None => Err(Failed::new(Exit::Refused, format!("sudo on node {} asks for a password, and there is no terminal to ask on", host.node))
                .hint("run the command on a terminal, log in as root with --ssh=root@, or let this user run sudo without a password")),
        }
    }

    /// Why a node was not reached, and what to do.
    fn broken(&self, broken: Broken, host: &Host, code: Option<i32>, said: &str) -> TransferError {
        let node = &host.node;
        let by_hand = |line| command::by_hand(&self.0.ssh, self.0.user.as_deref(), host, line);
        let words = || trouble::own_words(said);
        let failed = match broken {
            Broken::Here(failed) => failed,
            Broken::Obstacle(Obstacle::NoSudo) if host.is_local() => {
                Failed::new(Exit::Refused, "this machine has no sudo, and the user is not root").hint("run the command as root")
            }
            Broken::Obstacle(Obstacle::NoSudo) => {
                Failed::new(Exit::Refused, format!("node {node} has no sudo, and its user is not root"))
                    .hint("log in as root with --ssh=root@; --sudo no does without, where the user may read the certificates of etcd")
            }
            Broken::Obstacle(Obstacle::Folder) => {
                Failed::new(Exit::Refused, format!("no folder on node {node} takes the sidecar and lets it run"))
                    .cause(format!("{FOLDERS} are mounted noexec, have too little room, or this user may not write there"))
                    .causes(words())
                    .hint(format!("see what they allow\n  {}", by_hand("findmnt /run")))
            }
            Broken::Obstacle(Obstacle::Room) => {
                Failed::plain(format!("cannot write the sidecar on node {node}")).causes(words())
            }
            Broken::Obstacle(Obstacle::Sum) => {
                Failed::plain(format!("the sidecar did not arrive on node {node} as it was sent")).causes(words())
            }
            Broken::Odd(why) if host.is_local() => {
                Failed::plain(format!("cannot run the sidecar on node {node}, which is this machine")).cause(why).causes(words())
            }
            Broken::Odd(why) => Failed::plain(format!("cannot talk to node {node} over SSH")).cause(why).causes(words()),
            Broken::Ended if code == Some(trouble::OWN) && !host.is_local() => {
                let failed = Failed::plain(format!("ssh does not reach node {node} at {}", host.address)).causes(words());
                match trouble::recognise(said) {
                    Some(trouble) => failed.hint(trouble.hint(&by_hand(""), &host.address)),
                    None => failed.hint(format!("see whether ssh itself comes through\n  {}", by_hand(""))),
                }
            }
            Broken::Ended => Failed::plain(format!("node {node} does not run the sidecar"))
                .causes(words())
                .hint(format!("see whether this user may become root there\n  {}", by_hand("sudo -v"))),
        };
        TransferError::Final(failed)
    }
}

/// Starts ssh.
fn spawn(words: &[String]) -> Outcome<Child> {
    let Some((program, args)) = words.split_first() else { return Err(Failed::plain("there is no ssh to run")) };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|error| {
        let failed = Failed::plain(format!("cannot run {program}")).source(&error);
        failed.hint("install OpenSSH's client, or name another program with --ssh-command")
    })
}

/// A process that is waited for.
struct Watched {
    /// Its exit code, or none where a signal has ended it.
    code: oneshot::Receiver<Option<i32>>,
    /// Ends it.
    end: oneshot::Sender<()>,
}

/// Waits for a process apart from everything else: it is never left behind as a zombie, and outlives nobody who tells it to end.
fn watch(mut child: Child) -> Watched {
    let (tell, code) = oneshot::channel();
    let (end, told) = oneshot::channel();
    tokio::spawn(async move {
        let status = tokio::select! {
            status = child.wait() => status,
            Ok(()) = told => {
                let _gone = child.start_kill();
                child.wait().await
            }
        };
        // Nobody may be there any more who wants to know.
        let _unheard = tell.send(status.ok().and_then(|status| status.code()));
    });
    Watched { code, end }
}

/// Reads stderr, piece by piece, as long as somebody listens.
fn listen(mut stderr: impl AsyncRead + Send + Unpin + 'static) -> mpsc::Receiver<Bytes> {
    let (sender, chunks) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
            let Some(chunk) = buffer.get(..read) else { return };
            if sender.send(Bytes::copy_from_slice(chunk)).await.is_err() {
                return;
            }
        }
    });
    chunks
}
