//! Changes of the membership and of the leadership: judged, asked for, ordered, and looked at afterwards.

use std::time::Duration;

use etcd_members::{Seen, View, change};
use etcd_wire::order::Order;
use serde::Serialize;

use super::Args;
use super::list::{Row, rows};
use crate::context::Context;
use crate::live_members::Live;
use crate::output::confirm::{confirm_name, consent_to};
use crate::output::{API_VERSION, Exit, Failed, Format, Outcome, Printer, print_data};

/// How long it may take until the members show a change.
const SHOWN: Duration = Duration::from_secs(30);

pub(super) struct Changes<'a> {
    pub(super) args: &'a Args,
    pub(super) context: &'a Context,
    pub(super) live: &'a Live<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    cluster_id: String,
    /// `remove`, `promote`, or `move-leader`.
    action: &'static str,
    dry_run: bool,
    /// Whether there was anything to do.
    changed: bool,
    member: String,
    member_id: String,
    /// The members afterwards; in a dry run as they are.
    members: Vec<Row>,
    /// What to do next.
    next: Vec<String>,
    /// The same for people.
    #[serde(skip)]
    told: String,
}

impl<'a> Changes<'a> {
    fn view(&self) -> Outcome<&'a View> {
        self.live.view()
    }

    /// Removes a member.
    pub(super) async fn remove(&self, named: &str, format: Format) -> Outcome {
        let view = self.view()?;
        let member = view.find(named)?;
        let (id, title) = (member.id, member.title());
        let removal = change::removal(view, member)?;
        let node = self.live.listed().iter().find(|one| one.seen.id == id).and_then(|one| one.node.clone());
        let next = afterwards(node.as_deref(), removal.running);
        let left = format!(
            "{} voter(s) are left, of which {} have to agree",
            removal.voters_left,
            removal.voters_left / 2 + 1
        );
        if self.args.dry_run.is_some() {
            return self.show(
                self.live,
                "remove",
                member,
                format!("would remove member {title}: {left}"),
                next,
                format,
                false,
            );
        }
        let why =
            if removal.running { "is running and is removed from the cluster" } else { "is removed from the cluster" };
        let given = consent_to(
            "member",
            self.args.confirm.as_deref(),
            &title,
            Printer::interactive(),
            "look at it with --dry-run=client",
        )?;
        self.context.printer.note(format!("member {title} {why} for good: {left}"));
        self.context.interruptible(confirm_name("member", given, &title, self.context.printer)).await?;
        let is_there = |live: &Live<'_>| live.listed().iter().any(|one| one.seen.id == id);
        let missing = |live: &Live<'_>| match live.view() {
            Ok(view) if !is_there(live) && view.leader("").is_ok() => None,
            Ok(_) if is_there(live) => Some(format!("member {title} is in the member list still")),
            _ => Some("the members that are left know of no leader".to_owned()),
        };
        let live =
            self.carry_out(removal.at, Order::RemoveMember { id }, &format!("remove member {title}"), missing).await?;
        self.show(&live, "remove", member, format!("member {title} is removed: {left}"), next, format, true)
    }

    /// Makes a learner a voter.
    pub(super) async fn promote(&self, named: &str, format: Format) -> Outcome {
        let view = self.view()?;
        let member = view.find(named)?;
        let (id, title) = (member.id, member.title());
        let at = change::promotion(view, member)?;
        if self.args.dry_run.is_some() {
            return self.show(
                self.live,
                "promote",
                member,
                format!("would promote member {title}"),
                Vec::new(),
                format,
                false,
            );
        }
        let missing = |live: &Live<'_>| match live.listed().iter().find(|one| one.seen.id == id) {
            Some(one) if !one.seen.learner => None,
            _ => Some(format!("member {title} does not vote")),
        };
        let live = self.carry_out(at, Order::Promote { id }, &format!("promote member {title}"), missing).await?;
        self.show(&live, "promote", member, format!("member {title} votes now"), Vec::new(), format, true)
    }

    /// Moves the leadership to the member that is named, or to the best one.
    pub(super) async fn move_leader(&self, format: Format) -> Outcome {
        let view = self.view()?;
        let named = self.args.member.as_deref().map(|named| view.find(named)).transpose()?;
        let Some((from, to)) = change::new_leader(view, named)? else {
            let member = view.leader("move the leadership")?;
            let told = format!("member {} leads already", member.title());
            return self.show(self.live, "move-leader", member, told, Vec::new(), format, false);
        };
        let (old, new) = (self.live.title(from), self.live.title(to));
        let Some(member) = view.member(to) else {
            return Err(Failed::plain("the member is not in the list").unchanged());
        };
        if self.args.dry_run.is_some() {
            let told = format!("would move the leadership from member {old} to member {new}");
            return self.show(self.live, "move-leader", member, told, Vec::new(), format, false);
        }
        let doing = format!("move the leadership to member {new}");
        let missing = |live: &Live<'_>| match live.view().map(|view| view.leader("").map(|leader| leader.id)) {
            Ok(Ok(id)) if id == to => None,
            Ok(Ok(id)) => Some(format!("member {} leads", live.title(id))),
            _ => Some("the members know of no leader, or of several".to_owned()),
        };
        let live = self.carry_out(from, Order::MoveLeader { id: to }, &doing, missing).await?;
        self.show(
            &live,
            "move-leader",
            member,
            format!("member {new} leads, in place of {old}"),
            Vec::new(),
            format,
            true,
        )
    }

    /// Gives the order, and looks until the members show what it has done.
    async fn carry_out(
        &self,
        at: u64,
        order: Order,
        doing: &str,
        missing: impl Fn(&Live<'a>) -> Option<String>,
    ) -> Outcome<Live<'a>> {
        self.live.order(self.context, at, order).await?.map_err(|failed| failed.failed(doing))?;
        let shown = self.live.until(self.context, SHOWN, missing).await;
        shown.map_err(|failed| match failed.exit {
            Exit::Interrupted => failed.effect(format!("etcd has agreed to {doing}")),
            _ => failed
                .context(format!("etcd has agreed to {doing}, and its members do not show it"))
                .after_change("the member list may have been changed"),
        })
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one report")]
    fn show(
        &self,
        live: &Live<'_>,
        action: &'static str,
        member: &Seen,
        told: String,
        next: Vec<String>,
        format: Format,
        changed: bool,
    ) -> Outcome {
        let report = Report {
            api_version: API_VERSION,
            kind: "MemberChange",
            cluster_id: format!("{:x}", live.id),
            action,
            dry_run: self.args.dry_run.is_some(),
            changed,
            member: member.name.clone(),
            member_id: format!("{:x}", member.id),
            members: live.view().map(|view| rows(live, view)).unwrap_or_default(),
            next,
            told,
        };
        let text = || std::iter::once(&report.told).chain(&report.next).map(|line| format!("{line}\n")).collect();
        let printed = print_data(self.context.printer, format, &report, text);
        printed.map_err(|failed| if changed { failed.after_change(&report.told) } else { failed })
    }
}

/// What to do with the node of a member that was removed.
fn afterwards(node: Option<&str>, running: bool) -> Vec<String> {
    let Some(node) = node else {
        return vec!["Next: if its node still exists, run kubeadm reset on it before it joins again.".to_owned()];
    };
    let node = crate::output::visible::quoted(node);
    let mut lines = Vec::new();
    if running {
        lines.push(format!("etcd on node {node} ends, and its API server has no etcd any more."));
    }
    lines
        .push(format!("Next, on node {node}: kubeadm reset. If the node is gone for good: kubectl delete node {node}"));
    lines.push(
        "To have it back, join it anew: kubeadm token create --print-join-command, with --control-plane".to_owned(),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_with_the_node_is_said() {
        let told = afterwards(Some("cp3"), true).join("\n");
        for part in ["node cp3 ends", "kubeadm reset", "kubectl delete node cp3", "kubeadm token create"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(!afterwards(Some("cp3"), false).join("\n").contains("ends"));
        assert_eq!(afterwards(None, false).len(), 1);
    }
}
