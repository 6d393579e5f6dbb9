//! `rollback`, by hand.

use super::facts::{Facts, title};
use super::{Script, Step, static_pods};
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome};

/// How the data that a restore has set aside is put back without this plugin.
///
/// # Errors
/// What it takes is not shown by a member's pod (exit 4).
pub(crate) fn rollback(facts: &Facts, id: Option<&str>) -> Outcome<String> {
    let first = facts.members.first().ok_or_else(|| Failed::new(Exit::Refused, "no member is known"))?;
    let mut steps = static_pods::stop(facts);
    for (at, member) in facts.members.iter().enumerate() {
        let data_dir = member.data_dir()?;
        let step = Step::new(
            member.place(),
            "the folder member is exchanged; the ID must be the same on all nodes; stop if a command fails on a node",
        );
        let step = if at == 0 {
            step.beyond("the old data is built anew with a revision above all that clients have seen")
                .beyond("it must be there on every node, and of one restore, or nothing is done")
        } else {
            step
        };
        let own = |dir: &str| format!("{}/.kubectl-etcd", quoted(dir));
        let step = match id {
            Some(id) => step.run(format!("ID={}", quoted(id))),
            None => step.run(format!("ID=$(ls {} | tail -n 1)", own(data_dir))),
        };
        let exchange = |step: Step, from: String, own: String, name: &str| {
            // One command: data of now must not go before the old data is there.
            step.run(format!(
                "test -n \"$ID\" && test -d {own}/$ID/old/{name} && \\\n  mkdir -p {own}/$ID/new && \\\n  \
                 mv {from} {own}/$ID/new/{name} && \\\n  mv {own}/$ID/old/{name} {from}"
            ))
        };
        let step = exchange(step, quoted(&format!("{data_dir}/member")), own(data_dir), "member");
        steps.push(match &member.wal_dir {
            None => step,
            Some(wal) => step.run(format!(
                "test -n \"$ID\" && ls {0}/$ID/old/*.wal >/dev/null && \\\n  mkdir -p {0}/$ID/new && \\\n  \
                     mv {1}/*.wal {0}/$ID/new/ && \\\n  mv {0}/$ID/old/*.wal {1}/",
                own(wal),
                quoted(wal)
            )),
        });
    }
    steps.extend(static_pods::start(facts, first));
    steps.push(static_pods::restart_kubelets());
    let notes =
        vec![facts.tools_note(), "What was written since the restore is not in the data that comes back.".to_owned()];
    Ok(Script { title: title(&["rollback"]), notes, steps }.text())
}

#[cfg(test)]
mod tests {
    use super::super::Member;
    use super::*;
    use crate::explain::Version;

    #[test]
    fn the_data_that_was_set_aside_and_the_data_of_now_change_places() {
        let member = Member {
            node: "cp1".into(),
            data_dir: Some("/var/lib/etcd".into()),
            version: Version::parse("3.6.14"),
            ..Member::default()
        };
        let facts = Facts {
            cluster: "prod".into(),
            api_servers: vec![member.clone()],
            members: vec![member],
            manifests_dir: "/m".into(),
        };
        let text = rollback(&facts, Some("20261121-100000-abcde")).expect("all is known");
        let exchange = "\
ID=20261121-100000-abcde
test -n \"$ID\" && test -d /var/lib/etcd/.kubectl-etcd/$ID/old/member && \\
  mkdir -p /var/lib/etcd/.kubectl-etcd/$ID/new && \\
  mv /var/lib/etcd/member /var/lib/etcd/.kubectl-etcd/$ID/new/member && \\
  mv /var/lib/etcd/.kubectl-etcd/$ID/old/member /var/lib/etcd/member
";
        assert!(text.contains(exchange), "{text}");
        let stopped = text.find("pgrep -x etcd").expect("etcd is stopped");
        assert!(stopped < text.find(exchange).expect("it is there"), "{text}");
        let text = rollback(&facts, None).expect("all is known");
        assert!(text.contains("ID=$(ls /var/lib/etcd/.kubectl-etcd | tail -n 1)\n"), "{text}");
    }
}
