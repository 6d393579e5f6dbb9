//! How a session on a node speaks to the participant there: over a Unix socket in the journal's folder, which both containers mount, and which only
//! root can look into. It goes with that folder.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use etcd_wire::restore::{Control, ParticipantState};
use etcd_wire::{Connection, Failure, FailureCode, Frame, Hello, Reply, Request, WireError};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::journal::storage;
use super::layout::Layout;
use crate::node::Place;
use crate::node::dir::descriptor;

/// Sessions at one time.
const SESSIONS: usize = 16;
/// How long a session may stay without saying anything.
const IDLE: Duration = Duration::from_secs(30);
/// Requests that were not taken yet.
const WAITING: usize = 16;

/// What a session wants, and where the answer goes.
type Asked = (Control, Answered);
/// How it is then, or why nothing was done.
pub(super) type Answered = oneshot::Sender<Result<ParticipantState, Failure>>;

fn socket(layout: &Layout) -> Place {
    layout.records().join("socket")
}

/// Listens for sessions until the receiver is dropped. Only one process may do so for a restore: the socket of an earlier one is removed.
///
/// # Errors
/// [`FailureCode::Storage`]: the socket cannot be made.
pub(super) fn listen(layout: &Layout) -> Result<mpsc::Receiver<Asked>, Failure> {
    let socket = socket(layout);
    let bound = || -> std::io::Result<UnixListener> {
        let folder = layout.records().open()?;
        socket.remove_file()?;
        // The path of a socket has at most 107 bytes.
        let path = descriptor(&folder).join(socket.name());
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let what = format!("make the socket {}", socket.display());
    let listener = bound().map_err(|error| storage(&what, &error))?;
    let (asked, asks) = mpsc::channel(WAITING);
    tokio::spawn(accept(listener, asked));
    Ok(asks)
}

async fn accept(listener: UnixListener, asked: mpsc::Sender<Asked>) {
    let room = Arc::new(Semaphore::new(SESSIONS));
    let mut sessions = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = asked.closed() => return,
            Some(_) = sessions.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a session: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!("a session was turned away: {SESSIONS} are open");
            continue;
        };
        let asked = asked.clone();
        sessions.spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, &asked).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a session ended");
            }
        });
    }
}

async fn converse(stream: UnixStream, asked: &mpsc::Sender<Asked>) -> Result<(), WireError> {
    let silent = || WireError::Io(ErrorKind::TimedOut.into());
    let (reader, writer) = stream.into_split();
    let greeting = Connection::establish(reader, writer, Hello::ours().of_build(etcd_build::ID));
    let mut connection = tokio::time::timeout(IDLE, greeting).await.map_err(|_| silent())??;
    while let Some(frame) =
        tokio::time::timeout(IDLE, connection.incoming.maybe_next()).await.map_err(|_| silent())??
    {
        let answer = match frame {
            Frame::Request(Request::Control(control)) => {
                let (answer, answered) = oneshot::channel();
                let ended = || Failure::new(FailureCode::Unreachable, "the participant ends");
                let answered = async {
                    asked.send((control, answer)).await.map_err(|_| ended())?;
                    answered.await.map_err(|_| ended())?
                };
                let answered = tokio::select! {
                    answered = answered => answered,
                    // Whoever asked has gone, and keeps out nobody.
                    gone = connection.incoming.maybe_next() => match gone? {
                        None => return Ok(()),
                        Some(other) => return Err(WireError::Unexpected { got: other.name(), expected: "end" }),
                    },
                };
                answered.map_or_else(Frame::Failure, |state| Frame::Reply(Reply::Participant(state)))
            }
            Frame::Request(_) => {
                Frame::Failure(Failure::new(FailureCode::Unsupported, "a participant has no other requests here"))
            }
            other => return Err(WireError::Unexpected { got: other.name(), expected: "request" }),
        };
        connection.outgoing.send(&answer).await?;
    }
    Ok(())
}

/// Tells the participant of a restore on this node something, and waits for its answer.
///
/// # Errors
/// [`FailureCode::Unreachable`]: no participant runs, or it does not answer within `patience`. The request may or may not have been carried out
/// then. [`FailureCode::Refused`]: the participant does not take the order. [`FailureCode::Storage`]: the socket, or a certificate, cannot be used.
pub(super) async fn tell(layout: &Layout, control: Control, patience: Duration) -> Result<ParticipantState, Failure> {
    let id = &layout.plan().id;
    let lost = |what: &str| {
        Failure::new(FailureCode::Unreachable, format!("the participant of restore {id} on this node {what}"))
    };
    let told = async {
        let connected = match layout.records().open() {
            Ok(folder) => UnixStream::connect(descriptor(&folder).join(socket(layout).name())).await,
            Err(error) => Err(error),
        };
        let stream = connected.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                let message = format!("no participant of restore {id} runs on this node");
                Failure::new(FailureCode::Unreachable, message)
            }
            _ => storage(&format!("connect to {}", socket(layout).display()), &error),
        })?;
        let (reader, writer) = stream.into_split();
        let broken = |error: WireError| lost("went away").source(&error);
        let ours = Hello::ours().of_build(etcd_build::ID);
        let mut connection = Connection::establish(reader, writer, ours).await.map_err(broken)?;
        connection.outgoing.send(&Frame::Request(Request::Control(control))).await.map_err(broken)?;
        match connection.incoming.next("the participant's answer").await.map_err(broken)? {
            Frame::Reply(Reply::Participant(state)) => Ok(state),
            Frame::Failure(failure) => Err(failure),
            other => Err(lost(&format!("answered with a {} frame", other.name()))),
        }
    };
    let told = tokio::time::timeout(patience, told).await;
    told.map_err(|_| lost(&format!("has not answered for {}s", patience.as_secs())))?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use etcd_wire::restore::{Decision, Live, Operator};

    use super::super::layout::tests::layout;
    use super::super::records;
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn prepared(root: &std::path::Path) -> Layout {
        let layout = layout(root);
        std::fs::create_dir_all(root.join("state")).unwrap();
        layout.records().create_folder().unwrap();
        layout
    }

    fn state(oldest: u64) -> ParticipantState {
        let live = Live { oldest, ..Live::default() };
        ParticipantState { live, decision: Some(Decision::Commit), ended: None }
    }

    async fn answers(mut asks: mpsc::Receiver<Asked>) -> Vec<Control> {
        let mut heard = Vec::new();
        while let Some((control, answer)) = asks.recv().await {
            heard.push(control.clone());
            // The last one is not answered.
            if control == Control::Identity {
                break;
            }
            answer.send(Ok(state(heard.len() as u64))).unwrap();
        }
        heard
    }

    #[tokio::test]
    async fn a_session_is_answered_and_the_socket_goes_with_the_journal() {
        let root = tempfile::tempdir().unwrap();
        let layout = prepared(root.path());
        // What an earlier process left.
        drop(std::os::unix::net::UnixListener::bind(socket(&layout).path()).unwrap());
        let absent = tell(&layout, Control::Look, LONG).await.unwrap_err();
        assert_eq!(
            (absent.code, absent.message.as_str()),
            (FailureCode::Unreachable, "no participant of restore 20261121-100000-abcde runs on this node")
        );
        let participant = tokio::spawn(answers(listen(&layout).unwrap()));
        let found = socket(&layout).path().symlink_metadata().unwrap();
        assert!(found.file_type().is_socket() && found.mode() & 0o7777 == 0o600);
        let order = Control::Operator { order: Operator::Forget };
        assert_eq!(tell(&layout, Control::Look, LONG).await.unwrap(), state(1));
        assert_eq!(tell(&layout, order.clone(), LONG).await.unwrap(), state(2));
        let unanswered = tell(&layout, Control::Identity, LONG).await.unwrap_err();
        assert_eq!(unanswered.code, FailureCode::Unreachable);
        assert_eq!(participant.await.unwrap(), [Control::Look, order, Control::Identity]);
        records::discard(&layout).unwrap();
        assert!(!layout.records().exists().unwrap());
        assert_eq!(tell(&layout, Control::Look, LONG).await.unwrap_err().code, FailureCode::Unreachable);
        assert_eq!(listen(&layout).unwrap_err().code, FailureCode::Storage);
    }

    #[tokio::test]
    async fn a_participant_that_hangs_is_told_of_in_time() {
        let root = tempfile::tempdir().unwrap();
        let layout = prepared(root.path());
        let mut asks = listen(&layout).unwrap();
        for _ in 0..=SESSIONS + WAITING {
            let silent = tell(&layout, Control::Look, Duration::from_millis(50)).await.unwrap_err();
            assert_eq!(silent.code, FailureCode::Unreachable);
            assert!(silent.message.contains("has not answered for 0s"), "{silent}");
        }
        // The next one is answered all the same.
        let next = tokio::spawn({
            let layout = layout.clone();
            async move { tell(&layout, Control::Identity, LONG).await }
        });
        loop {
            let (control, answer) = asks.recv().await.unwrap();
            if control == Control::Identity {
                answer.send(Ok(state(7))).unwrap();
                break;
            }
        }
        assert_eq!(next.await.unwrap().unwrap(), state(7));
    }

    #[tokio::test]
    async fn other_requests_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let layout = prepared(root.path());
        let _asks = listen(&layout).unwrap();
        let (reader, writer) = UnixStream::connect(socket(&layout).path()).await.unwrap().into_split();
        let mut connection = Connection::establish(reader, writer, Hello::ours()).await.unwrap();
        connection.outgoing.send(&Frame::Request(Request::Query { of: "id".into() })).await.unwrap();
        let answer = connection.incoming.next("an answer").await.unwrap();
        assert!(matches!(answer, Frame::Failure(Failure { code: FailureCode::Unsupported, .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn the_path_may_be_longer_than_that_of_a_socket() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let layout = prepared(&deep);
        let participant = tokio::spawn(answers(listen(&layout).unwrap()));
        assert_eq!(tell(&layout, Control::Look, LONG).await.unwrap(), state(1));
        participant.abort();
        let what_is_left = layout.records().names().unwrap();
        assert_eq!(what_is_left, ["socket"]);
    }
}
