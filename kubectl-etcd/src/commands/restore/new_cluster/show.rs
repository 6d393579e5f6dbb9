//! What was compared with a lost cluster, for people.

use std::fmt::Write as _;

use etcd_doctor::{CameBack, NodeLeft};
use unicode_width::UnicodeWidthStr as _;

use super::NewCluster;
use super::compare::{Comparison, Outcome};
use crate::output::visible;
use crate::transaction::Report;

/// Columns of a terminal.
const WIDTH: usize = 80;

impl NewCluster {
    /// Which data comes, and what it replaces, in one sentence.
    pub(in super::super) fn line(&self) -> String {
        let (lost, replaced) = (&self.lost_uid, &self.replaced_uid);
        format!("cluster {lost}, which is lost, takes the place of cluster {replaced}, which is here")
    }

    /// What fits and what does not.
    pub(in super::super) fn text(&self) -> String {
        let mut text = String::new();
        let of = |result: Outcome| self.comparisons.iter().filter(move |one| one.result == result);
        let same: Vec<&str> = of(Outcome::Same).map(|one| one.subject.name()).collect();
        if !same.is_empty() {
            text.push_str("\nThe same as in the lost cluster:\n");
            text.push_str(&folded(&same.join(", "), 2));
        }
        for one in of(Outcome::Same).filter(|one| one.lost.as_deref() != Some("none")) {
            if let Some(effect) = &one.effect {
                text.push_str(&folded(&format!("{}: {effect}", one.subject.name()), 2));
            }
        }
        for one in of(Outcome::Differs) {
            let _infallible = write!(text, "\nDiffers: {}\n", one.subject.name());
            text.push_str(&body(one));
        }
        let unknown: Vec<&Comparison> = of(Outcome::NotCompared).collect();
        if !unknown.is_empty() {
            text.push_str("\nNot compared:\n");
            for one in unknown {
                let why = one.effect.as_deref().unwrap_or_default();
                text.push_str(&folded(&format!("{}: {why}", one.subject.name()), 2));
            }
        }
        if !self.nodes_without_machine.is_empty() {
            text.push_str("\nNodes without a machine:\n");
            for line in NodeLeft::lines(&self.nodes_without_machine) {
                text.push_str(&folded(&line, 2));
            }
        }
        text
    }

    /// Nodes that come back, and are no machines here.
    pub(in super::super) fn came_back(&self) -> Vec<CameBack> {
        let of = |left: &NodeLeft| CameBack { node: left.node.clone(), with: Some(left.clone()) };
        self.nodes_without_machine.iter().map(of).collect()
    }

    /// Adds to the report of what was done what is left to do.
    pub(in super::super) fn complete(&self, report: &mut Report) {
        report.nodes_without_machine.clone_from(&self.nodes_without_machine);
        report.to_do = self.to_do();
    }

    /// What is to be done after the restore.
    fn to_do(&self) -> Vec<String> {
        let differs = self.comparisons.iter().filter(|one| one.result == Outcome::Differs && !one.mend.is_empty());
        let note = |one: &Comparison| {
            let effect = one.effect.as_deref().unwrap_or_default();
            let commands: String =
                one.mend.iter().map(|mend| format!("\n  # {}\n  {}", mend.to, mend.command)).collect();
            format!("{} of the lost cluster: {effect}{commands}", one.subject.name())
        };
        differs.map(note).collect()
    }
}

fn body(one: &Comparison) -> String {
    let mut text = String::new();
    // What is long says nothing to a reader.
    let short = |side: &Option<String>| side.as_ref().filter(|text| text.len() <= WIDTH).cloned();
    if let (Some(lost), Some(present)) = (short(&one.lost), short(&one.present)) {
        text.push_str(&folded(&format!("lost: {lost}; here: {present}"), 2));
    }
    if let Some(effect) = &one.effect {
        text.push_str(&folded(&format!("{effect}."), 2));
    }
    for mend in &one.mend {
        text.push_str(&folded(&format!("{}:", mend.to), 2));
        // A command is never folded: it is there to be copied.
        let _infallible = writeln!(text, "      {}", visible::name(&mend.command));
    }
    text
}

/// Folded between words at the width of a terminal.
fn folded(text: &str, indent: usize) -> String {
    let mut all = String::new();
    let mut line = " ".repeat(indent);
    for (index, word) in visible::name(text).split(' ').enumerate() {
        if index > 0 && line.width() + 1 + word.width() > WIDTH {
            let _infallible = writeln!(all, "{line}");
            line = " ".repeat(indent + 2);
        } else if index > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _infallible = writeln!(all, "{line}");
    all
}

#[cfg(test)]
mod tests {
    use super::super::compare;
    use super::super::side::tests::side;
    use super::*;

    #[test]
    fn what_differs_is_told_with_its_commands_and_the_rest_by_name() {
        let (mut lost, mut present) = (side(), side());
        present.cluster_ca = Ok(["new".to_owned()].into());
        lost.service_account_keys = Err("the backup has no node files".into());
        let pods = ["a/1", "a/2", "a/3", "a/4"].map(str::to_owned).to_vec();
        let found = NewCluster {
            lost_uid: "L".into(),
            replaced_uid: "H".into(),
            comparisons: compare(&lost, &present),
            nodes_without_machine: vec![
                NodeLeft { node: "old".into(), pods, lease: true },
                NodeLeft { node: "older".into(), pods: Vec::new(), lease: false },
            ],
        };
        let text = found.text();
        for line in [
            "Differs: cluster CA",
            "      kubeadm reset && kubeadm join ...",
            "  service account keys: the lost cluster: the backup has no node files",
            "  old: 4 pods (a/1, a/2, a/3, ...), a lease",
            "  older: no pods",
        ] {
            assert!(text.lines().any(|other| other == line), "{line:?} is not in:\n{text}");
        }
        let commands = |line: &&str| line.starts_with("      ");
        assert!(text.lines().filter(|line| !commands(line)).all(|line| line.width() <= WIDTH), "{text}");
        let to_do = found.to_do();
        assert!(to_do.len() == 1 && to_do[0].contains("\n  # ") && to_do[0].contains("\n  kubeadm reset"), "{to_do:?}");
        assert!(found.line().starts_with("cluster L, which is lost"));
    }
}
