//! `/run`: one command in a container, and all it wrote, in one answer.

use std::process::Stdio;

use anyhow::{Context, Result};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;

use super::server::{Answer, text};
use super::{Node, exec};

/// Runs the command of the query, whose words are apart by one space each, and answers with what it wrote: first its
/// stdout, then its stderr, as the real one does. There is no stdin, no quoting and no limit of time.
pub(super) async fn run(
    node: &Node,
    namespace: &str,
    pod: &str,
    container: &str,
    request: &Request<Incoming>,
) -> Answer {
    let Some(handle) = node.pod(namespace, pod) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let form = request.headers().get(header::CONTENT_TYPE);
    if form.is_some_and(|kind| kind == "application/x-www-form-urlencoded") {
        return text(StatusCode::BAD_REQUEST, "the lab's run takes its command from the query only");
    }
    let query = request.uri().query().unwrap_or_default();
    let cmd = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "cmd");
    let cmd = cmd.map(|(_, cmd)| cmd.into_owned()).unwrap_or_default();
    let words: Vec<String> = cmd.split(' ').map(str::to_owned).collect();
    let Some(id) = handle.container_id(container) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found (\"{container}\")"));
    };
    match written(node, &id, &words).await {
        Ok(Ok(written)) if written.is_empty() => Response::new(Full::default()),
        Ok(Ok(written)) => {
            let mut answer = Response::new(Full::from(written));
            answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            answer
        }
        Ok(Err(failed)) => text(StatusCode::INTERNAL_SERVER_ERROR, failed),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}

/// What the command wrote, or how it failed. Of a command that failed its stdout is lost, as in a real kubelet.
async fn written(node: &Node, container: &str, words: &[String]) -> Result<std::result::Result<Vec<u8>, String>> {
    let (mut command, errors) = exec::command(node, container, words);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("cannot run crun")?;
    let complaint = exec::complaint(&errors)?;
    if !complaint.is_empty() {
        return Ok(Err(format!(
            "rpc error: code = Unknown desc = failed to exec in container: failed to start exec {container:?}: {}: unknown",
            exec::not_started(words, &complaint)
        )));
    }
    let code = output.status.code().context("crun was killed")?;
    if code != 0 {
        let said = String::from_utf8_lossy(&output.stderr);
        return Ok(Err(format!("command '{}' exited with {code}: {said}", words.join(" "))));
    }
    Ok(Ok([output.stdout, output.stderr].concat()))
}
