//! Whether nodes can be reached when the API server cannot.

use crate::check::Check;
use crate::facts::Facts;
use crate::judgement::Judgement;

pub(super) const BREAK_GLASS: Check = Check {
    name: "break-glass",
    title: "the nodes can be reached without an API server",
    looks_at: "With --ssh: on every node, whether this machine's ssh can log in, become root, and run a program from a folder that is not mounted noexec; whether the port is free at which
the nodes of a restore speak to each other; and whether etcd runs, so that its image is there. What fails is an error; a port that is taken is a warning.",
    why: "Without quorum the API server does not answer, and no pod can be made. Then SSH is the way to the nodes: kubectl etcd recover --ssh, backup --ssh, status --ssh.",
    by_hand: "Let your key log in to every control-plane node, and let the user become root: ssh NODE sudo -n true. Keep a way in that does not depend on the cluster itself. Keep the record
beside a backup (--plan) at hand: it tells the addresses.",
    judge: break_glass,
};

fn break_glass(facts: &Facts) -> Judgement {
    let logins = match &facts.logins {
        Ok(logins) => logins,
        Err(why) => return Judgement::unknown(why),
    };
    let mut judgement = Judgement::pass("ssh, sudo, and a program on every node work");
    for login in logins {
        if let Err(why) = &login.outcome {
            judgement.error(format!("{}: {why}", login.node), format!("ssh {} sudo -n true", login.node));
        }
    }
    let reached = |name: &str| logins.iter().any(|login| login.node == name && login.outcome.is_ok());
    for node in facts.nodes.iter().filter(|node| reached(&node.node)) {
        match node.health().and_then(|health| health.peer_port_taken.clone()) {
            Ok(false) => {}
            Ok(true) => judgement.warning(
                format!("{}: a process listens at the port of restores", node.node),
                "pass another one to restore: --peer-port",
            ),
            Err(why) => judgement.lacks(format!("{}: whether the port of restores is free: {why}", node.node)),
        }
        if let Err(why) = &node.status {
            judgement.lacks(format!("{}: whether the image of etcd is there: etcd does not answer: {why}", node.node));
        }
    }
    judgement
}

#[cfg(test)]
mod tests {
    use crate::check::Severity;
    use crate::samples::{assert_finds, assert_passes, health, healthy};

    #[test]
    fn a_node_that_cannot_be_logged_in_to_is_an_error() {
        assert_passes("break-glass");
        let mut facts = healthy(3);
        health(&mut facts, 1).peer_port_taken = Ok(true);
        assert_finds("break-glass", &facts, Severity::Warning, "cp2: a process listens at the port of restores");
        facts.nodes[2].status = Err("no answer".to_owned());
        facts.logins.as_mut().unwrap()[0].outcome = Err("sudo needs a password".to_owned());
        assert_finds("break-glass", &facts, Severity::Error, "cp1: sudo needs a password");
        facts.logins = Err("not tried: pass --ssh".to_owned());
        assert_finds("break-glass", &facts, Severity::Unknown, "pass --ssh");
    }
}
