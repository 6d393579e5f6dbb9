//! Certificates that expire.

use etcd_wire::message::Certificate;

use crate::check::Check;
use crate::facts::{Facts, Node};
use crate::judgement::{Judgement, span};
use crate::start::Start;

/// A certificate that expires sooner is told, seconds. kubeadm's last a year, and are renewed by an upgrade.
const SOON: i64 = 30 * 86_400;

pub(super) const CERTIFICATES: Check = Check {
    name: "certificates",
    title: "no certificate of etcd has expired or is about to",
    looks_at: "The certificates that etcd presents to clients and to its peers, the client's, and the authorities that signed them: the files on every node, and what each member
presents. One that has expired is an error, one that expires within 30 days a warning.",
    why: "A member whose peer certificate has expired does not come back after it stops, and a restore stops every member. Without a valid client certificate neither the API server nor a
backup reaches etcd. etcd reads renewed files by itself for new connections.",
    by_hand: "On every control-plane node, look at them and renew them:
    kubeadm certs check-expiration
    kubeadm certs renew all
Then restart the static pods there, one node after the other: move each manifest out
of /etc/kubernetes/manifests, wait until its container has stopped, move it back.

An authority (ca.crt) is not renewed by kubeadm: see \"Manual Rotation of CA Certificates\" in the documentation of Kubernetes.",
    judge: certificates,
};

fn certificates(facts: &Facts) -> Judgement {
    let mut judgement = Judgement::each(&facts.nodes, "", Node::certificates, |node, files, judgement| {
        for file in files {
            judge(facts.now, &format!("{}: ", node.node), file, renewal(node), judgement);
        }
    });
    for node in &facts.nodes {
        // What is presented is one of the files, unless etcd has not read a renewed one yet.
        let known = |served: &Certificate| {
            let files = node.certificates.as_deref().unwrap_or_default();
            files.iter().any(|file| file.not_after == served.not_after && file.subject == served.subject)
        };
        if let Some(served) = node.served.as_ref().filter(|served| served.error.is_none() && !known(served)) {
            judge(facts.now, &format!("{}: presented at ", node.node), served, renewal(node), &mut judgement);
        }
    }
    let all = facts.nodes.iter().flat_map(|node| node.certificates.as_deref().unwrap_or_default());
    let first = all.filter_map(|file| file.not_after).min();
    judgement.passed = match first {
        Some(first) => format!("the first one expires in {}", span(first - facts.now)),
        None => "there is none: etcd is reached without TLS".to_owned(),
    };
    judgement
}

/// How a certificate of a node is renewed.
fn renewal(node: &Node) -> &'static str {
    match node.start {
        Start::Service(_) => "renew the certificate in the way in which it was made; etcd reads the new file by itself",
        Start::StaticPod | Start::Unknown => "kubeadm certs renew all (on the node), then restart its static pods",
    }
}

fn judge(now: i64, at: &str, certificate: &Certificate, mend: &str, judgement: &mut Judgement) {
    let Certificate { path, not_after, error, .. } = certificate;
    let left = match (not_after, error) {
        (Some(end), _) => end - now,
        (None, Some(error)) => return judgement.lacks(format!("{at}{path}: {error}")),
        (None, None) => return judgement.lacks(format!("{at}{path}: its end is not known")),
    };
    match left {
        ..=0 => judgement.error(format!("{at}{path} expired {} ago", span(left)), mend),
        1..SOON => judgement.warning(format!("{at}{path} expires in {}", span(left)), mend),
        _ => {}
    }
}

pub(super) const KUBECONFIG: Check = Check {
    name: "kubeconfig",
    title: "the kubeconfig that you use stays valid",
    looks_at: "The client certificate of the user of the kubeconfig, if it has one. Expired is an error, 30 days a warning. A user with a token or a login program has
none.",
    why: "Every command of this program that goes through the API server uses it. The night of a restore is not the time to find that it has expired.",
    by_hand: "Copy a new one from a control-plane node, after kubeadm certs renew admin.conf there: /etc/kubernetes/admin.conf, or super-admin.conf if authorization itself
is what is broken.",
    judge: kubeconfig,
};

fn kubeconfig(facts: &Facts) -> Judgement {
    const MEND: &str = "kubeadm certs renew admin.conf (on a control-plane node), and copy /etc/kubernetes/admin.conf";
    match &facts.kubeconfig {
        Err(why) => Judgement::unknown(why),
        Ok(None) => Judgement::pass("its user logs in without a client certificate"),
        Ok(Some(certificate)) => {
            let left = certificate.not_after.map(|end| span(end - facts.now)).unwrap_or_default();
            let mut judgement = Judgement::pass(format!("its client certificate expires in {left}"));
            judge(facts.now, "", certificate, MEND, &mut judgement);
            judgement
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;
    use crate::samples::{NOW, assert_finds, assert_passes, certificate, healthy, made};

    #[test]
    fn a_certificate_that_has_expired_or_is_about_to_is_told() {
        assert_passes("certificates");
        let with = |end: i64| {
            let mut facts = healthy(3);
            facts.nodes[1].certificates.as_mut().unwrap()[1] = certificate("/pki/etcd/peer.crt", end);
            facts
        };
        assert_finds("certificates", &with(NOW + SOON), Severity::Ok, "the first one expires in 30 days");
        assert_finds(
            "certificates",
            &with(NOW + SOON - 1),
            Severity::Warning,
            "cp2: /pki/etcd/peer.crt expires in 29 days",
        );
        assert_finds("certificates", &with(NOW), Severity::Error, "cp2: /pki/etcd/peer.crt expired 0 seconds ago");
        assert!(made("certificates", &with(NOW)).mend[0].contains("kubeadm certs renew"));
    }

    #[test]
    fn what_a_member_presents_counts_if_it_is_none_of_the_files() {
        let mut facts = healthy(3);
        facts.nodes[0].served = Some(certificate("https://10.0.0.1:2379", NOW - 86_400));
        assert_finds(
            "certificates",
            &facts,
            Severity::Error,
            "cp1: presented at https://10.0.0.1:2379 expired 24 hours ago",
        );
        // A look that failed takes nothing away where the file is known.
        facts.nodes[0].served = Some(Certificate { error: Some("no right".to_owned()), ..Certificate::default() });
        assert_eq!(made("certificates", &facts).severity, Severity::Ok);
        facts.nodes[0].certificates = Err("no pod".to_owned());
        assert_finds("certificates", &facts, Severity::Unknown, "cp1: no pod");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_a_valid_one() {
        let mut facts = healthy(3);
        let broken =
            Certificate { path: "/pki/x".to_owned(), error: Some("no such file".to_owned()), ..Certificate::default() };
        facts.nodes[0].certificates.as_mut().unwrap().push(broken);
        assert_finds("certificates", &facts, Severity::Unknown, "cp1: /pki/x: no such file");
    }

    #[test]
    fn the_kubeconfig_is_looked_at() {
        assert_passes("kubeconfig");
        let mut facts = healthy(3);
        facts.kubeconfig = Ok(Some(certificate("the client certificate", NOW + 86_400)));
        assert_finds("kubeconfig", &facts, Severity::Warning, "the client certificate expires in 24 hours");
        facts.kubeconfig = Ok(Some(certificate("the client certificate", NOW - 1)));
        assert_finds("kubeconfig", &facts, Severity::Error, "expired");
        facts.kubeconfig = Ok(None);
        assert_finds("kubeconfig", &facts, Severity::Ok, "without a client certificate");
        facts.kubeconfig = Err("not read".to_owned());
        assert_finds("kubeconfig", &facts, Severity::Unknown, "not read");
    }
}
