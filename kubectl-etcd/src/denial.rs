//! A refusal for want of rights, in the words of the API server's RBAC: what was refused, how to ask whether it is allowed, and the smallest
//! Role that allows it. Pure functions.

/// What was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    verb: String,
    resource: String,
    subresource: String,
    group: String,
    /// `None`: in the whole cluster.
    namespace: Option<String>,
}

impl Denial {
    /// Reads the message of an answer: kubernetes apiserver pkg/endpoints/handlers/responsewriters/errors.go @ v1.36.0.
    pub(crate) fn of(message: &str) -> Option<Denial> {
        let (_, said) = message.split_once(" cannot ")?;
        let (verb, said) = said.split_once(" resource \"")?;
        let (resource, said) = said.split_once("\" in API group \"")?;
        let (group, scope) = said.split_once('"')?;
        let namespace = scope.split_once(" in the namespace \"").and_then(|(_, named)| named.split('"').next());
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:*".contains(c));
        let parts = [verb, resource, subresource, group, namespace.unwrap_or_default()];
        parts.iter().all(|part| plain(part)).then(|| Denial {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            group: group.to_owned(),
            namespace: namespace.map(str::to_owned),
        })
    }

    /// The rule of a Role that allows it.
    pub(crate) fn rule(&self) -> String {
        let Denial { verb, resource, subresource, group, .. } = self;
        let of = if subresource.is_empty() { resource.clone() } else { format!("{resource}/{subresource}") };
        format!("{{apiGroups: [\"{group}\"], resources: [{of}], verbs: [{verb}]}}")
    }

    /// How to see it, and what mends it.
    pub(crate) fn hints(&self) -> Vec<String> {
        let Denial { verb, resource, subresource, group, namespace } = self;
        let dotted = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
        let sub = if subresource.is_empty() { String::new() } else { format!(" --subresource={subresource}") };
        let (kind, scope, place) = match namespace {
            Some(namespace) => ("Role", format!(" -n {namespace}"), format!(", namespace: {namespace}")),
            None => ("ClusterRole", String::new(), String::new()),
        };
        vec![
            format!("kubectl auth can-i {verb} {dotted}{sub}{scope}"),
            format!(
                "the smallest {kind} that allows it, to be bound to the user by someone who may:\n\
                 \x20 apiVersion: rbac.authorization.k8s.io/v1\n\
                 \x20 kind: {kind}\n\
                 \x20 metadata: {{name: kubectl-etcd-{verb}-{resource}{place}}}\n\
                 \x20 rules:\n\
                 \x20 - {}",
                self.rule()
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_and_gets_the_line_and_the_role() {
        for (message, parts) in [
            (
                "pods is forbidden: User \"mallory\" cannot list resource \"pods\" in API group \"\" in the namespace \"kube-system\"",
                &[
                    "kubectl auth can-i list pods -n kube-system",
                    "kind: Role\n",
                    "name: kubectl-etcd-list-pods, namespace: kube-system",
                    "apiGroups: [\"\"], resources: [pods], verbs: [list]",
                ][..],
            ),
            (
                "deployments.apps \"web\" is forbidden: User \"a b\" cannot patch resource \"deployments\" in API group \"apps\" \
                 in the namespace \"shop\": no",
                &[
                    "can-i patch deployments.apps -n shop",
                    "apiGroups: [\"apps\"], resources: [deployments], verbs: [patch]",
                ],
            ),
            (
                "nodes \"cp1\" is forbidden: User \"u\" cannot get resource \"nodes/proxy\" in API group \"\" at the cluster scope",
                &[
                    "can-i get nodes --subresource=proxy",
                    "kind: ClusterRole\n",
                    "resources: [nodes/proxy], verbs: [get]",
                ],
            ),
        ] {
            let hints = Denial::of(message).expect(message).hints().join("\n");
            for part in parts {
                assert!(hints.contains(part), "{part:?} is not in {hints}");
            }
        }
        for message in [
            "pods \"x\" is forbidden: violates PodSecurity \"restricted\"",
            "User \"x\" cannot get path \"/version\"",
            // Nothing of a message is put into a command that is no name.
            "User \"x\" cannot list resource \"pods; rm\" in API group \"\" at the cluster scope",
        ] {
            assert_eq!(Denial::of(message), None, "{message}");
        }
    }
}
