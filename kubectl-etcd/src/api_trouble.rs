//! An API server that does not do its work: what that says of etcd, and what to do now. Pure functions.

use std::error::Error;
use std::io;

use crate::denial::Denial;
use crate::request_limit::NoAnswer;
use crate::typed::Typed;

/// What is known to do where there is no quorum any more.
const BY_HAND: &str = "https://github.com/kubectl-etcd/kubectl-etcd/blob/main/docs/RESTORE.md#without-an-api-server";
/// On a control-plane node. The names are those of the containers of static pods.
const ON_A_NODE: &str = "  systemctl status kubelet\n  \
                         crictl ps -a | grep -e etcd -e kube-apiserver\n  \
                         crictl logs --tail 50 $(crictl ps -a -q --name etcd | head -n 1)\n  \
                         journalctl -u kubelet --since '15 min ago'";
/// Words of etcd's client, and of an API server whose etcd does not answer.
const ETCD_SAYS: [&str; 10] = [
    "no leader",
    "etcdserver: request timed out",
    "etcdserver: leader changed",
    "etcdserver: server stopped",
    "context deadline exceeded",
    "did not complete within the allotted",
    "unable to return a response in the time allotted",
    "etcd cluster is unavailable",
    "no available endpoints",
    "error while dialing",
];

/// Why the API server does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApiTrouble {
    /// The user may not have it done.
    Denied(Box<Denial>),
    /// It says that its etcd does not answer.
    Etcd,
    /// It takes requests and does not answer them.
    Silent,
    /// Nothing listens where it should be.
    Away,
    /// The connection was cut before there was an answer.
    Cut,
}

impl ApiTrouble {
    /// What an error of a request says.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<ApiTrouble> {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<NoAnswer>() {
                return Some(ApiTrouble::Silent);
            }
            if let Some(kube::Error::Api(status)) = error.downcast_ref() {
                return match status.code {
                    403 => Denial::of(&status.message).map(|denial| ApiTrouble::Denied(Box::new(denial))),
                    code => from_answer(code, &status.message),
                };
            }
            let io = error.downcast_ref::<io::Error>();
            match io.map(io::Error::kind) {
                Some(io::ErrorKind::ConnectionRefused) => return Some(ApiTrouble::Away),
                // The end within a TLS handshake is of the second kind.
                Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => return Some(ApiTrouble::Cut),
                _ => {}
            }
            // An io::Error's source is the source of what it wraps: step into the wrapped error itself.
            next = match io.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }

    /// What to type instead of a command that changes the nodes or their etcd, and needs no API server for that.
    pub(crate) fn instead(&self, server: &str, typed: &Typed) -> Option<String> {
        let changes =
            matches!(typed.command(), "restore" | "rollback" | "cleanup" | "alarms" | "compact" | "defrag" | "member");
        // The other members are asked through the API server.
        if !changes || typed.is("member", "replace") || matches!(self, ApiTrouble::Denied(_)) {
            return None;
        }
        let nodes = host_of(server).unwrap_or_else(|| "NODE=ADDRESS,...".to_owned());
        let same = typed.over_ssh(&nodes);
        Some(format!(
            "if etcd has its quorum, the same over SSH, without an API server; name all control-plane nodes\n  {same}\n\
             if the quorum is lost, it is rebuilt from what is left\n  kubectl etcd recover --ssh --nodes {nodes}"
        ))
    }

    /// What to do, on the cluster with this API server.
    pub(crate) fn hints(&self, server: &str) -> Vec<String> {
        let look = match self {
            ApiTrouble::Denied(denial) => return denial.hints(),
            ApiTrouble::Etcd => format!(
                "etcd has no quorum: more than half of its members are down, or do not reach each other. The API \
                 server {server} can neither read nor write; running pods keep running. On each control-plane \
                 node, see why:\n{ON_A_NODE}"
            ),
            ApiTrouble::Silent => format!(
                "most often etcd has lost its quorum: more than half of its members are down, and the API server \
                 {server} waits for them. On each control-plane node, see why:\n{ON_A_NODE}\n\
                 if the API server is only slow, --request-timeout=2m gives it more time"
            ),
            ApiTrouble::Cut => format!(
                "the connection to {server} was cut before there was an answer: a load balancer with no API server behind it does that, as when \
                 etcd is down. On a control-plane node, see why:\n{ON_A_NODE}"
            ),
            ApiTrouble::Away => format!(
                "no API server listens at {server}: wrong address, or the API server is down, as it is when etcd is. \
                 On a control-plane node, see why:\n{ON_A_NODE}"
            ),
        };
        vec![
            look,
            over_ssh(server),
            format!(
                "members that start again make a quorum by themselves. If too many are lost for good, put a snapshot back by \
                 hand:\n  {BY_HAND}"
            ),
        ]
    }
}

/// The host of an API server, if it is not this machine.
fn host_of(server: &str) -> Option<String> {
    let host = server.parse::<http::Uri>().ok().and_then(|url| Some(url.host()?.to_owned()));
    host.filter(|host| host != "localhost" && host != "[::1]" && !host.starts_with("127."))
}

/// The commands that need no API server, for this cluster: the address in the kubeconfig is that of a node, or of a load balancer.
fn over_ssh(server: &str) -> String {
    let host = host_of(server);
    let (nodes, which) = match &host {
        Some(host) => {
            (host.as_str(), format!(" If {host} is a load balancer, name the nodes as NODE=ADDRESS,... instead."))
        }
        None => ("NODE=ADDRESS,...", String::new()),
    };
    format!(
        "etcd can be asked and backed up over SSH, without an API server; the record beside a backup names the nodes as well \
         (--plan FILE.json).{which}\n  kubectl etcd status --ssh --nodes {nodes}\n  kubectl etcd recover --ssh --nodes {nodes}\n  kubectl etcd backup --ssh --nodes {nodes}"
    )
}

/// What an answer with an error says. A webhook that does not answer is not etcd, and neither is a database that is full.
fn from_answer(code: u16, message: &str) -> Option<ApiTrouble> {
    let message = message.to_lowercase();
    let etcd = code >= 500 && !message.contains("webhook") && ETCD_SAYS.iter().any(|word| message.contains(word));
    etcd.then_some(ApiTrouble::Etcd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_api_server_says_of_its_etcd() {
        for (code, message, etcd) in [
            (500, "etcdserver: no leader", true),
            (500, "rpc error: code = Unavailable desc = etcdserver: leader changed", true),
            (500, "etcdserver: request timed out", true),
            (500, "context deadline exceeded", true),
            (504, "Timeout: request did not complete within the allotted duration", true),
            (504, "the server was unable to return a response in the time allotted, but may still be processing", true),
            (503, "storage is (re)initializing", false),
            (500, "etcdserver: mvcc: database space exceeded", false),
            (500, "failed calling webhook \"w\": context deadline exceeded", false),
            (403, "pods is forbidden", false),
            (404, "no leader", false),
        ] {
            let status = kube::core::Status { message: message.into(), code, ..Default::default() };
            let found = ApiTrouble::of(&kube::Error::Api(Box::new(status)));
            assert_eq!(found, etcd.then_some(ApiTrouble::Etcd), "{message}");
        }
    }

    #[test]
    fn a_right_that_is_missing_is_named() {
        let message =
            "nodes is forbidden: User \"u\" cannot list resource \"nodes\" in API group \"\" at the cluster scope";
        let status = kube::core::Status { message: message.into(), code: 403, ..Default::default() };
        let trouble = ApiTrouble::of(&kube::Error::Api(Box::new(status))).expect("a denial");
        assert_eq!(trouble.hints("")[0], "kubectl auth can-i list nodes");
    }

    #[test]
    fn a_refused_connection_is_found_below_other_errors() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "refused");
        let wrapped = kube::Error::Service(Box::new(io::Error::other(refused)));
        assert_eq!(ApiTrouble::of(&wrapped), Some(ApiTrouble::Away));
        let eof = kube::Error::Service(Box::new(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof")));
        assert_eq!(ApiTrouble::of(&eof), Some(ApiTrouble::Cut));
        assert_eq!(ApiTrouble::of(&kube::Error::Service("a certificate".into())), None);
    }

    #[test]
    fn the_way_over_ssh_is_filled_in_as_far_as_it_is_known() {
        let said = over_ssh("https://10.0.0.1:6443");
        assert!(
            said.contains("\n  kubectl etcd status --ssh --nodes 10.0.0.1\n") && said.contains("load balancer"),
            "{said}"
        );
        assert!(over_ssh("https://[fd00::1]:6443").ends_with("kubectl etcd backup --ssh --nodes [fd00::1]"));
        for unknown in ["https://127.0.0.1:6443", "https://localhost:6443", "nonsense "] {
            let said = over_ssh(unknown);
            assert!(said.ends_with("--nodes NODE=ADDRESS,..."), "{said}");
        }
    }

    #[test]
    fn a_restore_is_led_to_the_nodes() {
        let typed = |line: &str| {
            Typed::new(line.split(' ').next().expect("a word"), &line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        };
        let said = ApiTrouble::Away
            .instead("https://10.0.0.1:6443", &typed("restore a.db --context prod -v=3"))
            .expect("a hint");
        assert!(said.contains("\n  kubectl etcd restore a.db -v=3 --ssh --nodes 10.0.0.1\n"), "{said}");
        assert!(said.ends_with("kubectl etcd recover --ssh --nodes 10.0.0.1"), "{said}");
        let orders = ApiTrouble::Away.instead("https://10.0.0.1:6443", &typed("defrag --yes")).expect("a hint");
        assert!(orders.contains("\n  kubectl etcd defrag --yes --ssh --nodes 10.0.0.1\n"), "{orders}");
        for other in ["status", "member replace cp1"] {
            assert!(ApiTrouble::Away.instead("https://10.0.0.1:6443", &typed(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn each_says_what_to_do_on_this_cluster() {
        for trouble in [ApiTrouble::Etcd, ApiTrouble::Silent, ApiTrouble::Away, ApiTrouble::Cut] {
            let hints = trouble.hints("https://10.0.0.1:6443").join("\n");
            for text in ["https://10.0.0.1:6443", "systemctl status kubelet", "crictl ps", "journalctl", BY_HAND] {
                assert!(hints.contains(text), "{trouble:?}: {hints}");
            }
        }
    }
}
