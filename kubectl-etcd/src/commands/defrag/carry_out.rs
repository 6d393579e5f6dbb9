//! Defragments the members one after the other. Before each step the cluster is looked at and judged anew.

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_members::Seen;
use etcd_members::defrag::{self, Step};
use etcd_wire::order::Order;

use crate::context::Context;
use crate::interruption::interrupted;
use crate::live_members::Live;
use crate::output::{Exit, Failed, Outcome, Progress, bytes};

/// An election may fall between a look and an order; a leadership that never stays where it was put is another matter.
const MOVES: usize = 5;

/// What was done.
pub(super) struct Done<'a> {
    /// The cluster afterwards.
    pub(super) live: Live<'a>,
    /// Size of a member's database before and afterwards, by ID.
    pub(super) freed: Vec<(u64, u64, u64)>,
    /// From which member to which one the leadership went, by their names.
    pub(super) moved: Vec<(String, String)>,
}

impl Done<'_> {
    /// In one line.
    pub(super) fn told(&self) -> String {
        let names: Vec<String> = self.freed.iter().map(|(id, ..)| self.live.title(*id)).collect();
        let moved = self.moved.last().map(|(_, to)| format!("member {to} leads now"));
        match (names.is_empty(), moved) {
            (true, None) => "nothing was changed".to_owned(),
            (true, Some(moved)) => moved,
            (false, moved) => {
                let moved = moved.map(|moved| format!("; {moved}")).unwrap_or_default();
                format!("defragmented: {}{moved}", names.join(", "))
            }
        }
    }

    /// A failure after that.
    pub(super) fn after(&self, failed: Failed) -> Failed {
        let nothing = self.freed.is_empty() && self.moved.is_empty();
        match failed.exit {
            _ if nothing && failed.exit == Exit::Changed => failed,
            Exit::Interrupted => failed.effect(self.told()),
            _ if nothing => failed.unchanged(),
            _ => {
                let effects = failed.effects.into_iter().filter(|effect| effect != "nothing was changed").collect();
                Failed { effects, ..failed }.after_change(self.told())
            }
        }
    }
}

/// Takes one step after the other until nothing is to be done.
///
/// # Errors
/// A step is refused or fails, a member is not healthy in time, or the user has interrupted: then nothing more is begun.
pub(super) async fn carry_out<'a>(
    context: &Context,
    live: &Live<'a>,
    mut to_do: BTreeSet<u64>,
    timeout: Duration,
) -> Outcome<Done<'a>> {
    let progress = Progress::new(context.printer, "defragmentation", 0);
    let mut done = Done { live: live.again().await, freed: Vec::new(), moved: Vec::new() };
    loop {
        let step = done.live.view().and_then(|view| Ok(defrag::next(view, &to_do)?));
        let Some(step) = step.map_err(|failed| done.after(failed))? else { return Ok(done) };
        if context.interruption.happened() {
            return Err(done.after(interrupted()));
        }
        match step {
            Step::MoveLeader { from, to } => {
                let names = (done.live.title(from), done.live.title(to));
                if done.moved.len() >= MOVES {
                    let failed = Failed::plain("the leadership does not stay where it was moved to");
                    return Err(done.after(failed.hint("kubectl etcd status")));
                }
                progress.turn(&format!("the leadership moves from {} to {}", names.0, names.1));
                let doing = format!("move the leadership to member {}", names.1);
                let ordered = done.live.order(context, from, Order::MoveLeader { id: to }).await;
                let ordered = ordered.and_then(|ordered| ordered.map_err(|failed| failed.failed(&doing)));
                ordered.map_err(|failed| done.after(failed))?;
                done.moved.push(names);
                let moved = done.live.until_led_by_another(context, from, timeout).await;
                done.live = moved.map_err(|failed| done.after(failed))?;
            }
            Step::Defragment(id) => {
                let title = done.live.title(id);
                progress.turn(&format!("member {title}"));
                let before = size(&done.live, id);
                let doing = format!("defragment member {title}");
                let ordered = done.live.order(context, id, Order::Defragment).await;
                ordered
                    .and_then(|ordered| ordered.map_err(|failed| failed.failed(&doing)))
                    .map_err(|failed| done.after(failed))?;
                to_do.remove(&id);
                done.freed.push((id, before, before));
                let healthy = done.live.until(context, timeout, |live| unwell(live, id)).await;
                done.live = healthy.map_err(|failed| match failed.exit {
                    Exit::Interrupted => done.after(failed),
                    _ => done.after(failed.context(format!("member {title} was defragmented, and is not healthy"))),
                })?;
                let after = size(&done.live, id);
                if let Some(last) = done.freed.last_mut() {
                    last.2 = after;
                }
                let freed = bytes(before.saturating_sub(after));
                context.printer.note(format!("member {title} has given back {freed}: {} are left", bytes(after)));
            }
        }
    }
}

/// What keeps a member from being healthy.
fn unwell(live: &Live<'_>, id: u64) -> Option<String> {
    let Ok(view) = live.view() else { return Some("no member tells the member list".to_owned()) };
    match view.member(id) {
        None => Some(format!("member {id:x} is not in the member list")),
        Some(member) => view.trouble(member).map(|trouble| format!("member {} {trouble}", member.title())),
    }
}

/// Bytes of a member's database.
fn size(live: &Live<'_>, id: u64) -> u64 {
    let member = live.view().ok().and_then(|view| view.member(id));
    let size = member.and_then(|member: &Seen| Some(member.status.as_ref()?.db_size));
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default()
}
