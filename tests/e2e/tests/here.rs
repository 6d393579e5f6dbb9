//! An administrator who has logged in to a node: the plugin runs there, and needs no ssh, no kubectl and no API server.

use e2e::restores::{make, stage};
use e2e::ssh::OverSsh;
use e2e::{Ran, plugin, run, until};
use lab::Etcd;

#[test]
fn on_the_node_itself_everything_works_without_ssh() {
    let scene = stage(1, Etcd::V3_5);
    let ssh = OverSsh::start(&scene.lab);
    // Whatever ssh would be called as, it is not there.
    let binary = plugin().display().to_string();
    let go = |words: &str| -> Ran {
        let flags =
            format!("--ssh --ssh-command /nonexistent/ssh --nodes cp1=local --sidecar-binary {}", ssh.sidecar());
        run(ssh.on(&scene.lab, "cp1", &format!("cd /var/lib && KUBECONFIG=/nonexistent {binary} {words} {flags}")))
    };
    let status = go("status -o json --exit-code").expect_code(0).json();
    assert_eq!(status["members"][0]["node"], "cp1", "{status}");
    go("backup here.db").expect_code(0);
    go("verify here.db --live").expect_code(0);
    make(&scene, "later", "1");
    go("restore here.db --confirm cp1").expect_code(0).expect_error(&["restored cluster cp1"]);
    let maps = || run(scene.kubectl(&["get", "configmaps", "-o", "name"])).stdout;
    until("the API server serves the backup", || maps().contains("comes") && !maps().contains("later"));

    let survey = go("recover").expect_code(0);
    assert!(survey.stdout.contains("Node cp1 has the most"), "{}", survey.stdout);
    let refused = go("recover --from best --confirm cp1").expect_code(4);
    refused.expect_error(&["cannot recover cluster cp1", "are a quorum", "nothing was changed"]);
    ssh.assert_nothing_on_nodes(&scene.lab);
}
