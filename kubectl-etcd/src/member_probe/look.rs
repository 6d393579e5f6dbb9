//! Finds the members, those without a mirror pod among them, and asks them.

use super::{Certificates, Probed, Questions, probe};
use crate::connection::Connection;
use crate::discovery::{self, ApiServer, Found, Overrides, Unreadable};
use crate::etcd_clusters::{Evidence, lists};
use crate::kube_system::{self, Served};
use crate::output::{Failed, Outcome, Printer};
use crate::sidecar::Surveyed;

/// What was found out.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The members.
    pub(crate) probed: Probed,
    /// Pods that could not be read.
    pub(crate) unreadable: Vec<Unreadable>,
    /// The API servers, as far as they can be seen.
    pub(crate) api_servers: Vec<ApiServer>,
    /// Namespace kube-system as the API serves it, or why that is not known.
    pub(crate) served: Result<Served, Failed>,
    /// Whether the user has named the members.
    pub(crate) named: bool,
    /// For people: how members outside of pods are reached.
    pub(crate) outside: Option<String>,
    /// Key of namespace kube-system in etcd.
    pub(crate) key: String,
}

/// Asks everybody, or the member on one node.
///
/// # Errors
/// No member was found.
pub(crate) async fn look(
    connection: &Connection,
    printer: Printer,
    namespace: &str,
    overrides: &Overrides,
    node: Option<&str>,
    certificates: Certificates<'_>,
) -> Outcome<Looked> {
    let (found, served) =
        tokio::join!(discovery::find(connection, namespace, overrides, node), kube_system::served(connection));
    let Found { members, mut unreadable, api_servers, named, outside, .. } = found?;
    let prefix = Evidence { api_servers: &api_servers, served: Err("") }.prefix();
    let key = kube_system::key(prefix);
    let questions = Questions { kube_system: &key, certificates };
    let mut probed = probe(connection, members, questions).await;
    if !named && lacks_members(&probed.asked) {
        let more = without_mirror(connection, printer, namespace, overrides, &probed).await;
        unreadable.extend(more.unreadable);
        let more = probe(connection, more.members, questions).await;
        probed.asked.extend(more.asked);
        probed.unreached.extend(more.unreached);
    }
    Ok(Looked { probed, unreadable, api_servers, served, named, outside, key })
}

/// Whether members know of others that were not found.
fn lacks_members(asked: &[Surveyed]) -> bool {
    let mut listed = asked.iter().filter_map(|one| one.etcd().ok()).flat_map(|status| &status.members);
    listed.any(|member| !asked.iter().any(|one| lists(std::slice::from_ref(member), &one.member)))
}

/// The members whose pods only the kubelets know, but for those that were asked.
async fn without_mirror(
    connection: &Connection,
    printer: Printer,
    namespace: &str,
    overrides: &Overrides,
    probed: &Probed,
) -> Found {
    let mut found = match discovery::without_mirror(connection, namespace, overrides).await {
        Ok((found, failures)) => {
            failures.iter().for_each(|failed| printer.warn(failed.one_line()));
            found
        }
        Err(failed) => {
            printer.warn(format!(
                "members are missing, and their pods may be known to the kubelets only: {}",
                failed.one_line()
            ));
            return Found::default();
        }
    };
    let asked = probed.asked.iter().map(|one| &one.member).chain(probed.unreached.iter().map(|(member, _)| member));
    let known: Vec<(String, String)> = asked.map(|member| (member.node.clone(), member.pod.clone())).collect();
    let is_new = |node: &str, pod: &str| !known.iter().any(|(its, name)| its == node && name == pod);
    found.members.retain(|member| is_new(&member.node, &member.pod));
    found.unreadable.retain(|one| is_new(one.node.as_deref().unwrap_or_default(), &one.pod));
    found
}
