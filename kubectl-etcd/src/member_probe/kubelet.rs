//! Runs a command in a member's container by the kubelet of its node, which the API server's node proxy leads to. It needs no pod in
//! the API.

use http::Request;
use kube::Client;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Ended;
use super::exec::not_started;
use crate::bounded;
use crate::discovery::EtcdPod;
use crate::output::Failed;

/// The most that a command may write, in bytes.
const LIMIT: u64 = 1 << 20;

/// Runs a command and gives what it writes, stdout before stderr.
pub(super) async fn run(client: &Client, member: &EtcdPod, words: &[String]) -> Result<String, Ended> {
    // The kubelet takes the line apart at every space.
    if words.iter().any(|word| word.contains(' ')) {
        return Err(Ended::NoWay(Failed::plain("a path has a space in it, which the kubelet does not take")));
    }
    let request = Request::post(path(member, words)).body(Vec::new());
    let request = request.map_err(|error| Ended::NoWay(Failed::plain("cannot ask the kubelet").source(&error)))?;
    bounded::text(client, request, LIMIT).await.map_err(|error| failed(member, &error))
}

/// The way through the API server to the kubelet.
fn path(member: &EtcdPod, words: &[String]) -> String {
    let part = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let plain = |text: &str| part(text).replace("%2D", "-").replace("%2E", ".");
    let (namespace, container) = (plain(&member.own.namespace), plain(&member.own.container));
    let (node, pod) = (plain(&member.node), plain(&member.pod));
    format!("/api/v1/nodes/{node}/proxy/run/{namespace}/{pod}/{container}?cmd={}", part(&words.join(" ")))
}

fn failed(member: &EtcdPod, error: &kube::Error) -> Ended {
    let node = &member.node;
    match error {
        kube::Error::Api(status) if status.code == 403 => Ended::NoWay(Failed::plain(format!(
            "no right to create nodes/proxy, which leads to the kubelet of node {node}"
        ))),
        kube::Error::Api(status) if status.code == 404 || status.code == 405 => {
            let failed = Failed::plain(format!("the kubelet of node {node} does not run commands"));
            Ended::NoWay(failed.cause(status.message.clone()))
        }
        kube::Error::Api(status) => {
            let text = format!("{} {}", status.message, status.reason);
            // It gives the command's own words after its exit code.
            match text.split_once(" exited with ") {
                Some((_, said)) => Ended::Failed(said.to_owned()),
                None => not_started(&text),
            }
        }
        error => {
            let failed = Failed::plain(format!("cannot ask the kubelet of node {node}")).source(error);
            Ended::Failed(failed.one_line())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_one_parameter() {
        let mut member = EtcdPod { node: "cp1.example".into(), pod: "etcd-cp1".into(), ..EtcdPod::default() };
        (member.own.namespace, member.own.container) = ("kube-system".into(), "etcd".into());
        let words = ["etcdctl", "--cert=/a/b.crt", "&x"].map(str::to_owned);
        assert_eq!(
            path(&member, &words),
            "/api/v1/nodes/cp1.example/proxy/run/kube-system/etcd-cp1/etcd?cmd=etcdctl%20%2D%2Dcert%3D%2Fa%2Fb%2Ecrt%20%26x"
        );
    }
}
