//! `nodes/proxy`: any request, handed through to the node's kubelet.

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{
    kubelet::Kubelet,
    respond::{Failure, Reply, text_reply},
    server::Cx,
    tunnel,
};

/// Headers that are about one connection and not about what is sent over it.
const OF_A_CONNECTION: [header::HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub(super) async fn answer(cx: Cx, request: Request<Incoming>) -> Result<Reply, Failure> {
    let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];
    if !known.contains(request.method()) {
        return Err(Failure::method_not_allowed());
    }
    let (node, port) = target(cx.info.name.as_deref().unwrap_or_default())?;
    let kubelet = Kubelet::of_node(&cx, node).await?;
    if port.is_some_and(|port| port != kubelet.port) {
        return Err(Failure::bad_request(format!(
            "the lab's node proxy reaches the kubelet's port only: {}",
            kubelet.port
        )));
    }
    if tunnel::asks_for(request.headers(), header::CONNECTION, "upgrade") {
        return Err(Failure::bad_request("the lab's node proxy upgrades no connection"));
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = request.uri().path();
    if cx.info.rest.is_empty() && !path.ends_with('/') && matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = text_reply(StatusCode::MOVED_PERMANENTLY, "");
        let place = header::HeaderValue::from_str(&format!("{path}/{query}")).map_err(Failure::internal)?;
        reply.headers_mut().insert(header::LOCATION, place);
        return Ok(reply);
    }
    let slash = if path.ends_with('/') && !cx.info.rest.is_empty() { "/" } else { "" };
    let onward = Request::builder().method(request.method()).uri(format!("/{}{slash}{query}", cx.info.rest));
    let forwarded = header::HeaderValue::from_str(path).map_err(Failure::internal)?;
    let (parts, body) = request.into_parts();
    let mut onward = onward.body(body).map_err(Failure::internal)?;
    *onward.headers_mut() = passed_on(parts.headers);
    onward.headers_mut().insert("x-forwarded-uri", forwarded);
    let answer = kubelet.send(&cx, onward).await.map_err(|error| {
        let message = format!("error trying to reach service: dial tcp {}: {error:#}", kubelet.authority);
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    })?;
    let (mut parts, body) = answer.into_parts();
    parts.headers = passed_on(parts.headers);
    Ok(Reply::from_parts(parts, body.map_err(std::io::Error::other).boxed_unsync()))
}

/// The node of `NODE`, `NODE:PORT` or `https:NODE:PORT`, and the port.
fn target(id: &str) -> Result<(&str, Option<u64>), Failure> {
    let invalid = || Failure::bad_request(format!("invalid node request {id:?}"));
    let (node, port) = match id.split(':').collect::<Vec<_>>()[..] {
        [node] => (node, ""),
        [node, port] | ["https" | "", node, port] => (node, port),
        _ => return Err(invalid()),
    };
    match port {
        _ if node.is_empty() => Err(invalid()),
        "" => Ok((node, None)),
        port => port.parse().map(|port| (node, Some(port))).map_err(|_| invalid()),
    }
}

/// Without the headers that are not for the other side: a kubelet does not hear who asked.
fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    for name in OF_A_CONNECTION.iter().chain(&[header::AUTHORIZATION]) {
        headers.remove(name);
    }
    headers
}
