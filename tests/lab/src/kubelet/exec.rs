//! Exec over WebSocket, with the frames of a real kubelet and the manners of containerd: an empty frame says that the
//! streams are there, stdin is closed as soon as either output ends, the status comes on a channel of its own. Two
//! things differ, as `tests/kubelet_exec` pins: crun holds both outputs open until the process has ended, so that one
//! which closes stdout early keeps its stdin; and crun says on stderr, too, that a program is not there.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::SplitStream;
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;

use super::Node;
use super::runtime::crun;
use super::server::{Answer, text};
use super::websocket::{self, Handshake, Socket};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
/// v5: the next byte names the channel that the client closes.
const CLOSE: u8 = 255;
/// What is read from a process at once.
const CHUNK: usize = 64 * 1024;

/// What is asked for.
#[derive(Debug, Default)]
struct Ask {
    command: Vec<String>,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Ask {
    fn parse(query: &str) -> Self {
        let mut ask = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let yes = matches!(&*value, "1" | "true");
            match &*name {
                "command" => ask.command.push(value.into_owned()),
                "input" | "stdin" => ask.stdin = yes,
                "output" | "stdout" => ask.stdout = yes,
                "error" | "stderr" => ask.stderr = yes,
                "tty" => ask.tty = yes,
                _ => {}
            }
        }
        ask
    }
}

/// Answers an exec request and, if it is in order, serves its streams.
pub(super) fn exec(node: &Node, namespace: &str, pod: &str, container: &str, mut request: Request<Incoming>) -> Answer {
    let Some(handle) = node.pod(namespace, pod) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let Some(id) = handle.container_id(container) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found (\"{container}\")"));
    };
    let ask = Ask::parse(request.uri().query().unwrap_or_default());
    if !(ask.stdin || ask.stdout || ask.stderr) {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    }
    if ask.tty {
        return text(StatusCode::BAD_REQUEST, "the lab has no terminals");
    }
    if ask.command.is_empty() {
        return text(StatusCode::BAD_REQUEST, "you must specify a command");
    }
    let handshake = match Handshake::read(&request, &["v5.channel.k8s.io", "v4.channel.k8s.io"], "exec") {
        Ok(handshake) => handshake,
        Err(refusal) => return *refusal,
    };
    let answer = handshake.answer();
    let upgrade = hyper::upgrade::on(&mut request);
    let (command, errors) = command(node, &id, &ask.command);
    tokio::spawn(async move {
        let result = async {
            let socket = websocket::accepted(upgrade).await?;
            serve(socket, &ask, command, &errors, handshake.protocol == "v5.channel.k8s.io").await
        };
        if let Err(error) = result.await {
            tracing::info!("exec: {error:#}");
        }
    });
    answer
}

/// A command in a running container, and the file that crun's complaint will be in if it cannot be started.
pub(super) fn command(node: &Node, container: &str, words: &[String]) -> (tokio::process::Command, PathBuf) {
    let mut command = crun(&node.dir.runtime());
    let errors = node.dir.containers().join(container).join(format!("exec-{:016x}.log", rand::random::<u64>()));
    command.arg("--log").arg(&errors).arg("exec").arg(container).args(words);
    (command, errors)
}

/// What crun complained of; the file goes.
pub(super) fn complaint(errors: &Path) -> Result<String> {
    match fs_err::read_to_string(errors) {
        Ok(said) => {
            fs_err::remove_file(errors)?;
            Ok(said.trim().to_owned())
        }
        Err(_) => Ok(String::new()),
    }
}

/// Why a program was not started, as the runtime tells it.
pub(super) fn not_started(words: &[String], complaint: &str) -> String {
    format!(
        "OCI runtime exec failed: exec failed: unable to start container process: exec: {:?}: {complaint}",
        words.first().map_or("", String::as_str)
    )
}

async fn serve(socket: Socket, ask: &Ask, mut command: tokio::process::Command, errors: &Path, v5: bool) -> Result<()> {
    let (mut sink, source) = socket.split();
    let (frames, mut outbox) = mpsc::channel::<Message>(4);
    // When the client is away its process lives on, and what it says goes nowhere.
    let writer = tokio::spawn(async move {
        let mut here = true;
        while let Some(frame) = outbox.recv().await {
            if here {
                let more = !outbox.is_empty();
                let sent = if more { sink.feed(frame).await } else { sink.send(frame).await };
                here = sent.is_ok();
            }
        }
    });
    let first = if ask.stdout {
        STDOUT
    } else if ask.stderr {
        STDERR
    } else {
        STATUS
    };
    frames.send(Message::Binary(Bytes::from(vec![first]))).await?;

    let pipe = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
    let child = command.stdin(pipe(ask.stdin)).stdout(pipe(ask.stdout)).stderr(pipe(ask.stderr)).spawn();
    let mut child = child.context("cannot run crun")?;
    let (ended, end) = watch::channel(false);
    let input = tokio::spawn(input(source, child.stdin.take(), end, v5));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    tokio::join!(
        async {
            if let Some(stdout) = stdout {
                output(STDOUT, stdout, &frames).await;
                ended.send_replace(true);
            }
        },
        async {
            if let Some(stderr) = stderr {
                output(STDERR, stderr, &frames).await;
                ended.send_replace(true);
            }
        },
    );
    let code = child.wait().await?.code().context("crun was killed")?;
    input.abort();
    let status = status(code, &complaint(errors)?, &ask.command, v5);
    let mut frame = vec![STATUS];
    serde_json::to_writer(&mut frame, &status)?;
    frames.send(Message::Binary(frame.into())).await?;
    frames.send(websocket::end()).await?;
    drop(frames);
    Ok(writer.await?)
}

/// Sends what a process writes until it closes its end. Nothing can stop it but the process.
async fn output(channel: u8, mut pipe: impl AsyncRead + Unpin, frames: &mpsc::Sender<Message>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK + 1);
        buffer.put_u8(channel);
        match pipe.read_buf(&mut (&mut buffer).limit(CHUNK)).await {
            Ok(0) | Err(_) => return,
            // The writer takes frames until this side drops its sender.
            Ok(_) => drop(frames.send(Message::Binary(buffer.split().freeze())).await),
        }
    }
}

/// Hands what the client sends to the process until the client closes stdin or goes away, or an output has ended.
async fn input(mut source: SplitStream<Socket>, stdin: Option<ChildStdin>, mut end: watch::Receiver<bool>, v5: bool) {
    let mut stdin = stdin;
    loop {
        let message = tokio::select! {
            message = source.next() => message,
            _ = end.wait_for(|ended| *ended), if stdin.is_some() => {
                stdin = None;
                continue;
            }
        };
        let data = match message {
            Some(Ok(Message::Binary(data))) => data,
            Some(Ok(Message::Text(text))) => text.into(),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
        };
        match data.first() {
            Some(&STDIN) => {
                if let Some(pipe) = stdin.as_mut() {
                    let written = tokio::select! {
                        written = pipe.write_all(&data[1..]) => written.is_ok(),
                        _ = end.wait_for(|ended| *ended) => false,
                    };
                    if !written {
                        stdin = None;
                    }
                }
            }
            Some(&CLOSE) if v5 && data.get(1) == Some(&STDIN) => stdin = None,
            // The size of a terminal that is not there, and channels nobody knows.
            _ => {}
        }
    }
}

/// What the status channel says: the exit code, or that the command could not be run.
fn status(code: i32, complaint: &str, command: &[String], v5: bool) -> Value {
    let mut status = if complaint.is_empty() && code == 0 {
        json!({"status": "Success"})
    } else if complaint.is_empty() {
        json!({"status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}})
    } else {
        let message = format!(
            "Internal error occurred: error executing command in container: failed to exec in container: failed to \
             start exec: {}",
            not_started(command, complaint)
        );
        json!({"status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("Internal error occurred: {message}"),
            "details": {"causes": [{"message": message}]}})
    };
    if v5 {
        status["metadata"] = json!({});
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths are those of a real kubelet's frames.
    #[test]
    fn the_status_frame_is_a_real_kubelets() {
        let length = |code, v5| status(code, "", &[], v5).to_string().len();
        assert_eq!([length(0, true), length(0, false), length(3, true), length(137, true)], [34, 20, 212, 216]);
        let failed = status(1, "executable file `/bin/nothing` not found", &["/bin/nothing".into()], true);
        assert_eq!((&failed["reason"], &failed["code"]), (&json!("InternalError"), &json!(500)));
    }
}
