//! Asks the node's own API server whether it is ready, and whether it serves what it should.

use std::io::ErrorKind;
use std::time::Duration;

use etcd_wire::restore::Marker;
use etcd_wire::{Failure, FailureCode};
use hyper::StatusCode;
use tokio::net::TcpStream;

use super::http::Server;

const READY: &str = "/readyz";
const MARKER: &str = "/api/v1/namespaces/kube-system";
/// A list says at which revision it is, which only the new state has reached.
const REVISION: &str = "/api/v1/namespaces?limit=1";

/// What an API server has to serve.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    pub(super) marker: Option<Marker>,
    /// At least.
    pub(super) revision: i64,
}

/// Whether it tells the node's own client about itself. One that does now will do so again, as soon as it knows who may ask what.
pub(super) async fn is_open(api: &Server) -> bool {
    for path in [READY, MARKER, REVISION] {
        if !matches!(api.get(path).await, Ok((StatusCode::OK, _))) {
            return false;
        }
    }
    true
}

/// Whether it is ready, and serves what it should. One that is not `open` is judged by whether it answers, which is all it tells.
///
/// # Errors
/// What it is not, or what it serves instead.
pub(super) async fn prove(api: &Server, open: bool, expected: &Expected) -> Result<(), Failure> {
    let not = |what: String| Err(Failure::new(FailureCode::Refused, what));
    let (status, body) = api.get(READY).await?;
    // An API server that has not read yet who may do what refuses everybody.
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && !open {
        return Ok(());
    }
    if status != StatusCode::OK {
        return not(not_ready(status, &body));
    }
    if !open {
        return Ok(());
    }
    let (status, list) = json(api, REVISION).await?;
    let revision = version(&list);
    if status != StatusCode::OK || revision < expected.revision {
        let wanted = expected.revision;
        return not(format!("the API server serves revision {revision} instead of {wanted}: {status}"));
    }
    let Some(marker) = &expected.marker else { return Ok(()) };
    let (status, object) = json(api, MARKER).await?;
    let uid = &object["metadata"]["uid"];
    if status != StatusCode::OK || *uid != *marker.uid {
        return not(format!(
            "the API server does not serve the namespace kube-system of the snapshot: {status}, UID {uid}"
        ));
    }
    // It may have been written since; it cannot be older.
    if version(&object) < marker.resource_version {
        return not(format!(
            "the API server serves namespace kube-system as of revision {}, and the snapshot has it as of {}",
            version(&object),
            marker.resource_version
        ));
    }
    Ok(())
}

/// What is seen of an API server at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// It is ready, or may be as far as it tells.
    Ready,
    /// It is certainly not ready: why.
    NotReady(String),
    /// Nobody can tell.
    Unknown,
}

/// How long one look may take.
const GLANCE: Duration = Duration::from_secs(2);

/// Looks whether it is ready, whatever it serves. Only an answer that says so, or a port on which nobody listens, makes certain that it is not.
pub(super) async fn look(api: &Server, open: bool) -> Look {
    let looking = async {
        match TcpStream::connect((api.host.as_str(), api.port)).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                return Look::NotReady(format!("nothing listens on port {}", api.port));
            }
            Err(_) => return Look::Unknown,
            Ok(_) => {}
        }
        match api.get(READY).await {
            Ok((StatusCode::OK, _)) => Look::Ready,
            // It refuses everybody until it has read who may do what, and those who may not for ever.
            Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _)) if open => Look::Unknown,
            Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _)) => Look::Ready,
            Ok((status, body)) if status.is_server_error() => Look::NotReady(not_ready(status, &body)),
            Ok(_) | Err(_) => Look::Unknown,
        }
    };
    tokio::time::timeout(GLANCE, looking).await.unwrap_or(Look::Unknown)
}

fn not_ready(status: StatusCode, body: &[u8]) -> String {
    let said = String::from_utf8_lossy(body);
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("[-]")).collect();
    format!("the API server is not ready: {status} {}", failed.join(" "))
}

async fn json(api: &Server, path: &str) -> Result<(StatusCode, serde_json::Value), Failure> {
    let (status, body) = api.get(path).await?;
    let answer = match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|error| {
            Failure::new(FailureCode::Refused, format!("the API server's answer to {path} is no JSON")).source(&error)
        })?,
        // An error is told by its status.
        _ => serde_json::Value::Null,
    };
    Ok((status, answer))
}

fn version(object: &serde_json::Value) -> i64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// An API server that answers everything so; one that is silent without an answer.
    async fn answers(answer: Option<&'static str>) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Some(answer) = answer
                    && stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0)
                {
                    let text = format!("HTTP/1.1 {answer}\r\ncontent-length: 12\r\n\r\n[-]etcd lost");
                    stream.write_all(text.as_bytes()).await.unwrap();
                }
                open.push(stream);
            }
        });
        Server { host: "127.0.0.1".into(), port, tls: None }
    }

    #[tokio::test]
    async fn only_what_says_so_is_certainly_not_ready() {
        for (answer, open, expected) in [
            (Some("200 OK"), true, Some(Look::Ready)),
            (Some("200 OK"), false, Some(Look::Ready)),
            (Some("403 Forbidden"), true, Some(Look::Unknown)),
            (Some("403 Forbidden"), false, Some(Look::Ready)),
            (Some("401 Unauthorized"), false, Some(Look::Ready)),
            (Some("404 Not Found"), true, Some(Look::Unknown)),
            (Some("500 Internal Server Error"), true, None),
            (None, true, Some(Look::Unknown)),
        ] {
            let found = look(&answers(answer).await, open).await;
            match expected {
                Some(expected) => assert_eq!(found, expected, "{answer:?} {open}"),
                None => assert!(matches!(&found, Look::NotReady(why) if why.contains("[-]etcd lost")), "{found:?}"),
            }
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let nobody = Server { host: "127.0.0.1".into(), port, tls: None };
        assert!(matches!(look(&nobody, true).await, Look::NotReady(_)));
    }
}
