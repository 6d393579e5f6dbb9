//! `pods/exec` and `pods/portforward` over WebSocket, and `pods/log`: handed through to the node's kubelet.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use serde_json::Value;

use super::{
    kubelet::Kubelet,
    rbac,
    request::Info,
    resource,
    respond::{Failure, Reply, text_reply},
    rest,
    server::Cx,
    tunnel,
};

const EXEC_PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
const PORT_FORWARD_PROTOCOLS: &[&str] = &["v4.channel.k8s.io"];

pub(super) async fn answer(cx: Cx, request: Request<Incoming>) -> Result<Reply, Failure> {
    match (cx.info.subresource.as_str(), cx.info.verb) {
        ("log", "get") => log(&cx).await,
        ("exec", "get" | "create") => exec(cx, request).await,
        ("portforward", "get" | "create") => port_forward(cx, request).await,
        _ => Err(Failure::method_not_allowed()),
    }
}

async fn log(cx: &Cx) -> Result<Reply, Failure> {
    let (pod, container) = target(cx).await?;
    let query = encoded(cx.query.pairs().filter(|(name, _)| *name != "container"));
    let path = format!("/containerLogs/{}/{container}?{query}", place(&cx.info));
    let request = Request::get(path).body(Empty::<Bytes>::new()).map_err(Failure::internal)?;
    let answer = kubelet(cx, &pod).await?.stream(cx, request).await?;
    Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync()))
}

fn place(info: &Info) -> String {
    format!("{}/{}", info.namespace.as_deref().unwrap_or_default(), info.name.as_deref().unwrap_or_default())
}

fn encoded<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The kubelet of the pod's node.
async fn kubelet(cx: &Cx, pod: &Value) -> Result<Kubelet, Failure> {
    Kubelet::of_node(cx, pod["spec"]["nodeName"].as_str().unwrap_or_default()).await
}

/// The pod, which must have a node.
async fn placed(cx: &Cx) -> Result<Value, Failure> {
    let pod = rest::read(cx, resource::pods()).await?.object;
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        let name = cx.info.name.as_deref().unwrap_or_default();
        return Err(Failure::bad_request(format!("pod {name} does not have a host assigned")));
    }
    Ok(pod)
}

/// The pod, and the container asked for or its only one.
async fn target(cx: &Cx) -> Result<(Value, String), Failure> {
    let pod = rest::read(cx, resource::pods()).await?.object;
    let name = cx.info.name.as_deref().unwrap_or_default();
    let names: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .filter_map(|container| container["name"].as_str())
        .collect();
    let container = match (cx.query.get("container"), names.as_slice()) {
        (Some(asked), names) if names.contains(&asked) => asked.to_owned(),
        (Some(asked), _) => {
            return Err(Failure::bad_request(format!("container {asked} is not valid for pod {name}")));
        }
        (None, [only]) => (*only).to_owned(),
        (None, names) => {
            let choices = names.join(" ");
            let message = format!("a container name must be specified for pod {name}, choose one of: [{choices}]");
            return Err(Failure::bad_request(message));
        }
    };
    Ok((placed(cx).await?, container))
}

/// A WebSocket is a GET, and running a command or reaching a port is more than reading: newer servers ask for create as
/// well.
async fn may_create(cx: &Cx) -> Result<(), Failure> {
    if cx.info.verb != "get" {
        return Ok(());
    }
    let create = Info { verb: "create", ..cx.info.clone() };
    rbac::authorize(&cx.server.store, &cx.user, &create, &cx.faults.deny).await
}

async fn exec(cx: Cx, request: Request<Incoming>) -> Result<Reply, Failure> {
    may_create(&cx).await?;
    let (pod, container) = target(&cx).await?;
    tunnel::check_upgrade(request.headers(), "exec")?;
    let streams: Vec<(&str, &str)> = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
        .into_iter()
        .filter(|(ours, _)| cx.query.flag(ours))
        .collect();
    if streams.iter().all(|(ours, _)| *ours == "tty") {
        return Ok(text_reply(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr"));
    }
    if let Some(refusal) = tunnel::no_protocol(request.headers(), EXEC_PROTOCOLS) {
        return Ok(refusal);
    }
    let words = cx.query.all("command").map(|word| ("command", word));
    let query = encoded(words.chain(streams.iter().map(|(_, theirs)| (*theirs, "1"))));
    let path = format!("/exec/{}/{container}?{query}", place(&cx.info));
    let fault = cx.server.faults.strike().map_err(|error| Failure::internal(format!("faults.json: {error}")))?;
    tunnel::open(&cx, &kubelet(&cx, &pod).await?, path, request, fault).await
}

async fn port_forward(cx: Cx, request: Request<Incoming>) -> Result<Reply, Failure> {
    may_create(&cx).await?;
    let ports = ports(&cx)?;
    let pod = placed(&cx).await?;
    tunnel::check_upgrade(request.headers(), "port-forward")?;
    if let Some(refusal) = tunnel::no_protocol(request.headers(), PORT_FORWARD_PROTOCOLS) {
        return Ok(refusal);
    }
    let query = if ports.is_empty() { String::new() } else { encoded([("port", &*ports.join(","))].into_iter()) };
    let path = format!("/portForward/{}?{query}", place(&cx.info));
    tunnel::open(&cx, &kubelet(&cx, &pod).await?, path, request, None).await
}

/// The ports of the query: several in one, or one in several.
fn ports(cx: &Cx) -> Result<Vec<String>, Failure> {
    let ports = cx.query.all("ports").flat_map(|list| list.split(','));
    ports
        .map(|port| match port.parse::<u16>() {
            Ok(port) => Ok(port.to_string()),
            Err(_) => Err(Failure::bad_request(format!(
                "cannot convert to []int32: strconv.ParseUint: parsing {port:?}: invalid syntax"
            ))),
        })
        .collect()
}
