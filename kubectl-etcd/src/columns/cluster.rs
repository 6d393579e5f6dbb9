//! Nodes, namespaces, events and what else a cluster has.

use serde_json::Value;

use super::Kind;
use super::view::{NONE, View, human_duration, items, or, scalar, truth};

pub(super) const KINDS: &[Kind] = &[
    Kind::new(
        "Node",
        &[
            "STATUS",
            "ROLES",
            "AGE",
            "VERSION",
            "+INTERNAL-IP",
            "+EXTERNAL-IP",
            "+OS-IMAGE",
            "+KERNEL-VERSION",
            "+CONTAINER-RUNTIME",
        ],
        |view| {
            let info = |field: &str| view.text_or(&format!("/status/nodeInfo/{field}"), "<unknown>");
            vec![
                node_status(view),
                roles(view),
                view.age(),
                view.text("/status/nodeInfo/kubeletVersion").to_owned(),
                address(view, "InternalIP"),
                address(view, "ExternalIP"),
                info("osImage"),
                info("kernelVersion"),
                info("containerRuntimeVersion"),
            ]
        },
    ),
    Kind::new("Namespace", &["STATUS", "AGE"], |view| vec![view.text("/status/phase").to_owned(), view.age()]),
    Kind {
        named: false,
        ..Kind::new(
            "Event",
            &[
                "LAST SEEN",
                "TYPE",
                "REASON",
                "OBJECT",
                "+SUBOBJECT",
                "+SOURCE",
                "MESSAGE",
                "+FIRST SEEN",
                "+COUNT",
                "+NAME",
            ],
            event,
        )
    },
    Kind::new("ConfigMap", &["DATA", "AGE"], |view| {
        vec![(view.count("/data") + view.count("/binaryData")).to_string(), view.age()]
    }),
    Kind::new("Secret", &["TYPE", "DATA", "AGE"], |view| {
        vec![view.text("/type").to_owned(), view.count("/data").to_string(), view.age()]
    }),
    Kind::new("Lease", &["HOLDER", "AGE"], |view| vec![view.text("/spec/holderIdentity").to_owned(), view.age()]),
    Kind::new("PriorityClass", &["VALUE", "GLOBAL-DEFAULT", "AGE", "PREEMPTIONPOLICY"], |view| {
        let default = view.at("/globalDefault").as_bool().unwrap_or_default();
        vec![
            view.number("/value").to_string(),
            default.to_string(),
            view.age(),
            view.text("/preemptionPolicy").to_owned(),
        ]
    }),
    Kind::new("RuntimeClass", &["HANDLER", "AGE"], |view| vec![view.text("/handler").to_owned(), view.age()]),
    Kind::new("ResourceQuota", &["REQUEST", "LIMIT", "AGE"], |view| {
        let [requests, limits] = quota(view);
        vec![requests, limits, view.age()]
    }),
    Kind::new("APIService", &["SERVICE", "AVAILABLE", "AGE"], |view| {
        let service = match view.has("/spec/service") {
            true => format!("{}/{}", view.text("/spec/service/namespace"), view.text("/spec/service/name")),
            false => "Local".to_owned(),
        };
        let available = view.condition("Available");
        let status = available.and_then(|one| one["status"].as_str()).unwrap_or("Unknown").to_owned();
        let reason = available.and_then(|one| one["reason"].as_str()).filter(|_| status != "True");
        vec![service, reason.map_or(status.clone(), |reason| format!("{status} ({reason})")), view.age()]
    }),
    Kind::new(
        "FlowSchema",
        &["PRIORITYLEVEL", "MATCHINGPRECEDENCE", "DISTINGUISHERMETHOD", "AGE", "MISSINGPL"],
        |view| {
            let dangling = view.condition("Dangling").and_then(|one| one["status"].as_str()).unwrap_or("?");
            vec![
                view.text("/spec/priorityLevelConfiguration/name").to_owned(),
                view.number("/spec/matchingPrecedence").to_string(),
                view.text_or("/spec/distinguisherMethod/type", NONE),
                view.age(),
                dangling.to_owned(),
            ]
        },
    ),
    Kind::new(
        "PriorityLevelConfiguration",
        &["TYPE", "NOMINALCONCURRENCYSHARES", "QUEUES", "HANDSIZE", "QUEUELENGTHLIMIT", "AGE"],
        |view| {
            let shown = |field: &str| or(&scalar(view.at(&format!("/spec/limited/{field}"))), NONE);
            // Its name in the first versions of the API was another.
            let shares = [shown("nominalConcurrencyShares"), shown("assuredConcurrencyShares")];
            let shares = shares.into_iter().find(|shares| shares != NONE).unwrap_or_else(|| NONE.to_owned());
            let queue = |field: &str| shown(&format!("limitResponse/queuing/{field}"));
            let kind = view.text("/spec/type").to_owned();
            vec![kind, shares, queue("queues"), queue("handSize"), queue("queueLengthLimit"), view.age()]
        },
    ),
    Kind::new("ResourceClaim", &["STATE", "AGE"], |view| {
        let mut states = Vec::new();
        if view.has("/metadata/deletionTimestamp") {
            states.push("deleted");
        }
        if !view.has("/status/allocation") {
            states.push("pending");
        } else if view.count("/status/reservedFor") > 0 {
            states.extend(["allocated", "reserved"]);
        } else {
            states.push("allocated");
        }
        vec![states.join(","), view.age()]
    }),
    Kind::new("ResourceSlice", &["NODE", "DRIVER", "POOL", "AGE"], |view| {
        let (node, driver, pool) = ("/spec/nodeName", "/spec/driver", "/spec/pool/name");
        vec![view.text(node).to_owned(), view.text(driver).to_owned(), view.text(pool).to_owned(), view.age()]
    }),
];

fn node_status(view: &View<'_>) -> String {
    let ready = match view.condition("Ready").map(|one| one["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    };
    match truth(view.at("/spec/unschedulable"), "").as_str() {
        "True" => format!("{ready},SchedulingDisabled"),
        _ => ready.to_owned(),
    }
}

/// By the labels `node-role.kubernetes.io/ROLE` and `kubernetes.io/role=ROLE`.
fn roles(view: &View<'_>) -> String {
    let labels = view.at("/metadata/labels").as_object().into_iter().flatten();
    let role = |(name, value): (&String, &Value)| match name.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if name == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        None => None,
    };
    let mut roles: Vec<String> = labels.filter_map(role).filter(|role| !role.is_empty()).collect();
    roles.sort();
    roles.dedup();
    or(&roles.join(","), NONE)
}

fn address(view: &View<'_>, kind: &str) -> String {
    let found = view.items("/status/addresses").iter().find(|one| one["type"] == kind);
    or(found.and_then(|one| one["address"].as_str()).unwrap_or_default(), NONE)
}

/// Used of what is allowed: requests, and limits.
fn quota(view: &View<'_>) -> [String; 2] {
    let hard = view.at("/status/hard").as_object().into_iter().flatten();
    let used = view.at("/status/used");
    let mut columns = [Vec::new(), Vec::new()];
    for (name, hard) in hard {
        let used = or(&scalar(&used[name.as_str()]), "0");
        columns[usize::from(name.starts_with("limits"))].push(format!("{name}: {used}/{}", scalar(hard)));
    }
    columns.map(|column| column.join(", "))
}

/// An event of either API group.
fn event(view: &View<'_>) -> Vec<String> {
    let either = |one: &'static str, other: &'static str| if view.has(one) { one } else { other };
    let made = "/eventTime";
    let first = either(either("/firstTimestamp", "/deprecatedFirstTimestamp"), made);
    let last = either(either("/lastTimestamp", "/deprecatedLastTimestamp"), first);
    let last = either("/series/lastObservedTime", last);
    let count = either("/series/count", either("/count", "/deprecatedCount"));
    let object = either("/involvedObject", "/regarding");
    let of = |field: &str| view.text(&format!("{object}/{field}"));
    let name = if of("name").is_empty() { String::new() } else { format!("/{}", of("name")) };
    let component = view.text(either("/source/component", "/deprecatedSource/component"));
    let host = view.text(either("/source/host", "/deprecatedSource/host"));
    let (component, host) = match component {
        "" => (view.text("/reportingComponent"), view.text("/reportingInstance")),
        component => (component, host),
    };
    let controller = view.text("/reportingController");
    let component = if component.is_empty() { controller } else { component };
    let source: Vec<&str> = [component, host].into_iter().filter(|part| !part.is_empty()).collect();
    let since = |pointer: &str| match view.moment(pointer) {
        Some(moment) => human_duration(view.now.as_second() - moment.as_second()),
        None => "<unknown>".to_owned(),
    };
    vec![
        since(last),
        view.text("/type").to_owned(),
        view.text("/reason").to_owned(),
        format!("{}{name}", of("kind").to_lowercase()),
        of("fieldPath").to_owned(),
        source.join(", "),
        view.text(either("/message", "/note")).trim().to_owned(),
        since(first),
        view.number(count).max(1).to_string(),
        view.text("/metadata/name").to_owned(),
    ]
}

/// The names of a list's items.
pub(super) fn names(list: &Value) -> Vec<&str> {
    items(list).iter().filter_map(|one| one["name"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::row;

    #[test]
    fn nodes() {
        let node = json!({
            "metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "etcd", "a": "b"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}], "nodeInfo": {"kubeletVersion": "v1.36.0"},
                       "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
        });
        let cells = row("Node", true, &node);
        let (first, rest) = cells.split_at(4);
        assert_eq!(first, ["NotReady,SchedulingDisabled", "control-plane,etcd", "<unknown>", "v1.36.0"]);
        assert_eq!(rest, ["10.0.0.1", "<none>", "<unknown>", "<unknown>", "<unknown>"]);
        assert_eq!(row("Node", false, &json!({}))[..2], ["Unknown", "<none>"]);
    }

    #[test]
    fn events_of_both_groups() {
        let core = json!({
            "metadata": {"name": "web.1"}, "type": "Warning", "reason": "BackOff", "message": "Back-off restarting \n", "count": 7,
            "firstTimestamp": "2026-11-21T05:00:00Z", "lastTimestamp": "2026-11-21T05:55:00Z", "eventTime": null,
            "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{a}"},
            "source": {"component": "kubelet", "host": "w1"},
        });
        let shown = [
            "5m",
            "Warning",
            "BackOff",
            "pod/web",
            "spec.containers{a}",
            "kubelet, w1",
            "Back-off restarting",
            "60m",
            "7",
            "web.1",
        ];
        assert_eq!(row("Event", true, &core), shown);
        let new = json!({
            "metadata": {"name": "web.2"}, "type": "Normal", "reason": "Scheduled", "note": "assigned", "eventTime": "2026-11-21T05:59:00Z",
            "regarding": {"kind": "Pod", "name": "web"}, "reportingController": "scheduler",
        });
        let shown = ["60s", "Normal", "Scheduled", "pod/web", "", "scheduler", "assigned", "60s", "1", "web.2"];
        assert_eq!(row("Event", true, &new), shown);
    }

    #[test]
    fn what_else_there_is() {
        let quota = json!({"status": {"hard": {"pods": "10", "limits.cpu": "2"}, "used": {"pods": "3"}}});
        assert_eq!(row("ResourceQuota", false, &quota)[..2], ["pods: 3/10", "limits.cpu: 0/2"]);
        let secret = json!({"type": "Opaque", "data": {"a": "eA=="}});
        assert_eq!(row("Secret", false, &secret)[..2], ["Opaque", "1"]);
        let map = json!({"data": {"a": "b"}, "binaryData": {"c": "eA=="}});
        assert_eq!(row("ConfigMap", false, &map)[0], "2");
        let service = json!({"spec": {"service": {"namespace": "kube-system", "name": "metrics"}},
            "status": {"conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]}});
        assert_eq!(row("APIService", false, &service)[..2], ["kube-system/metrics", "False (MissingEndpoints)"]);
        assert_eq!(row("APIService", false, &json!({"spec": {}}))[..2], ["Local", "Unknown"]);
    }
}
