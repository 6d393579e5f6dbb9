//! Rights: what this tool needs, whether the user has it, and the smallest Role that grants it.

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use crate::connection::Connection;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome};

/// Verb, resource, subresource. Exec over WebSocket is a GET, which is authorised as `get`, and by newer servers as
/// `create` too.
type Right = (&'static str, &'static str, &'static str);

/// What running a sidecar takes.
const SIDECAR: [Right; 5] = [
    ("create", "pods", ""),
    ("get", "pods", ""),
    ("delete", "pods", ""),
    ("get", "pods", "exec"),
    ("create", "pods", "exec"),
];

/// etcd's alarm NOSPACE stops every write of the API server, and a pod is one.
const NO_SPACE: &str = "etcd takes no writes until there is space again (alarm NOSPACE), so no pod can be made. The commands that make \
                        room need no pod where etcd itself is in one\n  kubectl etcd status\n\
                        where etcd runs outside of pods, they go over SSH to the machines of etcd, or use etcdctl there\n  \
                        kubectl etcd compact --physical --ssh --nodes NODE=ADDRESS,...\n  \
                        kubectl etcd defrag --ssh --nodes NODE=ADDRESS,...";

/// Asks the API server whether the user may run sidecars in `namespace`, before anything is made there.
///
/// # Errors
/// Exit 4 with the missing rights, the `kubectl auth can-i` line for each, and a Role. An API server that cannot be
/// reached is reported as such.
pub(crate) async fn preflight(connection: &Connection, namespace: &str) -> Outcome {
    let reviews = SIDECAR
        .iter()
        .map(|&right| async move { Ok::<_, Failed>((right, allowed(connection, namespace, right).await?)) });
    let answers = try_join_all(reviews).await?;
    let missing: Vec<Right> = answers.into_iter().filter(|(_, allowed)| !allowed).map(|(right, _)| right).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(|right| describe(*right)).collect();
    let failed = Failed::new(Exit::Refused, format!("no right to {} in namespace {namespace}", names.join(", ")));
    Err(missing.iter().fold(failed, |failed, right| failed.hint(can_i(*right, namespace))).hint(role(namespace)))
}

async fn allowed(connection: &Connection, namespace: &str, (verb, resource, subresource): Right) -> Outcome<bool> {
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some(verb.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
        ..Default::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None },
        ..Default::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(connection.client.clone());
    match reviews.create(&PostParams::default(), &review).await {
        Ok(review) => Ok(review.status.is_some_and(|status| status.allowed)),
        // A server without this API, or one that does not let the user ask, will say no later, to the request itself.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(true),
        Err(error) => Err(explain(&error, verb, resource, namespace, format!("ask {} for rights", connection.server))),
    }
}

/// A failed request to the API server, explained. `doing` is what cannot be done. A refusal for want of rights gets the line that
/// shows it and the Role that mends it.
pub(crate) fn explain(
    error: &kube::Error,
    verb: &'static str,
    resource: &'static str,
    namespace: &str,
    doing: String,
) -> Failed {
    let failed = Failed::plain(format!("cannot {doing}"));
    match error {
        kube::Error::Api(status) => {
            let message = if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
            let failed = failed.cause(message.clone());
            match status.code {
                401 => failed.hint("the API server does not know this user: check the login with\n  kubectl auth whoami"),
                403 if message.contains("PodSecurity") => failed.hint(format!(
                    "Pod Security forbids the sidecar's pod in namespace {namespace}: take one that allows it with \
                     --pod-namespace, or see\n  kubectl get namespace {} --show-labels",
                    quoted(namespace)
                )),
                403 if message.contains("exceeded quota") => failed.hint(format!(
                    "make room in the quota, or take another namespace with --pod-namespace\n  kubectl get resourcequota -n {}",
                    quoted(namespace)
                )),
                403 if message.contains("cannot") => {
                    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                    failed.hint(can_i((verb, resource, subresource), namespace)).hint(role(namespace))
                }
                403 => failed.hint("an admission controller refused the pod; its webhook's owner knows the exception:\n  kubectl get validatingwebhookconfigurations,validatingadmissionpolicies"),
                _ if message.contains("database space exceeded") => failed.hint(NO_SPACE),
                _ => failed.source(error),
            }
        }
        error => {
            let failed = failed.source(error);
            match failed.trouble {
                // What it says of the API server is told with it.
                Some(_) => failed,
                None => {
                    failed.hint("see whether kubectl reaches the API server with the same flags:\n  kubectl version")
                }
            }
        }
    }
}

fn describe((verb, resource, subresource): Right) -> String {
    if subresource.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}/{subresource}") }
}

fn can_i((verb, resource, subresource): Right, namespace: &str) -> String {
    let subresource = if subresource.is_empty() { String::new() } else { format!(" --subresource={subresource}") };
    format!("kubectl auth can-i {verb} {resource}{subresource} -n {}", quoted(namespace))
}

/// The smallest Role that lets someone use this tool.
fn role(namespace: &str) -> String {
    format!(
        "the smallest Role that allows it, to be bound to the user by someone who may:\n\
         \x20 apiVersion: rbac.authorization.k8s.io/v1\n\
         \x20 kind: Role\n\
         \x20 metadata: {{name: kubectl-etcd, namespace: {namespace}}}\n\
         \x20 rules:\n\
         \x20 - {{apiGroups: [\"\"], resources: [pods], verbs: [get, list, create, delete]}}\n\
         \x20 - {{apiGroups: [\"\"], resources: [pods/exec], verbs: [get, create]}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> Failed {
        let status = kube::core::Status { message: message.into(), code: 403, ..Default::default() };
        explain(&kube::Error::Api(Box::new(status)), "create", "pods", "kube-system", "make a pod".into())
    }

    #[test]
    fn a_refusal_shows_the_line_and_the_role() {
        let failed = refused("pods is forbidden: User \"mallory\" cannot create resource \"pods\"");
        assert_eq!(failed.hints[0], "kubectl auth can-i create pods -n kube-system");
        assert!(failed.hints[1].contains("resources: [pods/exec], verbs: [get, create]"));
        let shown = failed.to_string();
        assert!(shown.contains("\n  kind: Role\n") && !shown.contains("\\n"), "{shown}");
    }

    #[test]
    fn a_namespace_is_one_word_of_a_command() {
        assert_eq!(can_i(("get", "pods", "log"), "a;id"), "kubectl auth can-i get pods --subresource=log -n 'a;id'");
    }

    #[test]
    fn other_refusals_get_the_flag_that_mends_them() {
        assert!(
            refused("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"").hints[0]
                .contains("--pod-namespace")
        );
        assert!(refused("pods \"x\" is forbidden: exceeded quota: q").hints[0].contains("resourcequota"));
        assert!(refused("admission webhook \"w\" denied the request").hints[0].contains("webhook"));
    }
}
