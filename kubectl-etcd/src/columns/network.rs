//! Services and what leads to them.

use serde_json::Value;

use super::Kind;
use super::view::{NONE, View, first_three, items, labels, or, scalar, selector};

pub(super) const KINDS: &[Kind] = &[
    Kind::new("Service", &["TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "+SELECTOR"], |view| {
        let first = view.items("/spec/clusterIPs").first().and_then(Value::as_str);
        vec![
            view.text("/spec/type").to_owned(),
            first.map_or_else(|| view.text_or("/spec/clusterIP", NONE), str::to_owned),
            external_ip(view),
            ports(view),
            view.age(),
            labels(view.at("/spec/selector")),
        ]
    }),
    Kind::new("Endpoints", &["ENDPOINTS", "AGE"], |view| vec![endpoints(view), view.age()]),
    Kind::new("EndpointSlice", &["ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"], |view| {
        let port = |one: &Value| or(&scalar(&one["port"]), "*");
        let ports: Vec<String> = view.items("/ports").iter().map(port).collect();
        let addresses = view.items("/endpoints").iter().flat_map(|one| items(&one["addresses"])).map(scalar);
        let addresses: Vec<String> = addresses.collect();
        let kind = view.text("/addressType").to_owned();
        vec![kind, first_three(&ports, "<unset>"), first_three(&addresses, "<unset>"), view.age()]
    }),
    Kind::new("Ingress", &["CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"], |view| {
        let ports = if view.count("/spec/tls") > 0 { "80, 443" } else { "80" };
        vec![view.text_or("/spec/ingressClassName", NONE), hosts(view), balancer(view), ports.to_owned(), view.age()]
    }),
    Kind::new("IngressClass", &["CONTROLLER", "PARAMETERS", "AGE"], |view| {
        let parameters = match view.has("/spec/parameters") {
            false => NONE.to_owned(),
            true => {
                let text = |field: &str| view.text(&format!("/spec/parameters/{field}"));
                let group = if text("apiGroup").is_empty() { String::new() } else { format!(".{}", text("apiGroup")) };
                format!("{}{group}/{}", text("kind"), text("name"))
            }
        };
        vec![view.text("/spec/controller").to_owned(), parameters, view.age()]
    }),
    Kind::new("NetworkPolicy", &["POD-SELECTOR", "AGE"], |view| {
        vec![selector(view.at("/spec/podSelector")), view.age()]
    }),
    Kind::new("IPAddress", &["PARENTREF"], |view| {
        let text = |field: &str| view.text(&format!("/spec/parentRef/{field}"));
        let parts = [text("group"), text("resource"), text("namespace"), text("name")];
        vec![or(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"), NONE)]
    }),
    Kind::new("ServiceCIDR", &["CIDRS", "AGE"], |view| {
        let all: Vec<String> = view.items("/spec/cidrs").iter().map(scalar).collect();
        vec![all.join(","), view.age()]
    }),
];

/// What a load balancer has given: in a table that is not wide, cut off.
fn balancer(view: &View<'_>) -> String {
    const WIDTH: usize = 16;
    let address = |one: &Value| {
        let text = |field: &str| one[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        text("ip").or_else(|| text("hostname"))
    };
    let mut all: Vec<String> = view.items("/status/loadBalancer/ingress").iter().filter_map(address).collect();
    all.sort();
    all.dedup();
    let all = all.join(",");
    match all.char_indices().nth(WIDTH - 3) {
        Some((cut, _)) if !view.wide && all.len() > WIDTH => format!("{}...", &all[..cut]),
        _ => all,
    }
}

fn external_ip(view: &View<'_>) -> String {
    let own: Vec<String> = view.items("/spec/externalIPs").iter().map(scalar).collect();
    match view.text("/spec/type") {
        "ClusterIP" | "NodePort" => or(&own.join(","), NONE),
        "LoadBalancer" => {
            let given = balancer(view);
            let all: Vec<String> = [given].into_iter().filter(|text| !text.is_empty()).chain(own).collect();
            or(&all.join(","), "<pending>")
        }
        "ExternalName" => view.text("/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(view: &View<'_>) -> String {
    let port = |one: &Value| {
        let node = one["nodePort"].as_i64().filter(|&port| port > 0).map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{node}/{}", scalar(&one["port"]), or(one["protocol"].as_str().unwrap_or_default(), "TCP"))
    };
    or(&view.items("/spec/ports").iter().map(port).collect::<Vec<_>>().join(","), NONE)
}

fn endpoints(view: &View<'_>) -> String {
    let mut all = Vec::new();
    for subset in view.items("/subsets") {
        let addresses = items(&subset["addresses"]).iter().map(|one| one["ip"].as_str().unwrap_or_default());
        let ports = items(&subset["ports"]);
        // A headless service may have none.
        if ports.is_empty() {
            all.extend(addresses.clone().map(str::to_owned));
        }
        for port in ports {
            let port = scalar(&port["port"]);
            let joined = |ip: &str| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
            all.extend(addresses.clone().map(joined));
        }
    }
    first_three(&all, NONE)
}

fn hosts(view: &View<'_>) -> String {
    let hosts = view.items("/spec/rules").iter().filter_map(|rule| rule["host"].as_str());
    let hosts: Vec<String> = hosts.filter(|host| !host.is_empty()).map(str::to_owned).collect();
    first_three(&hosts, "*")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::row;
    use super::*;

    #[test]
    fn services() {
        let service = |spec: Value, status: Value, wide: bool| {
            let cells = row("Service", wide, &json!({"spec": spec, "status": {"loadBalancer": status}}));
            cells[..4].join(" ")
        };
        let ports = json!([{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]);
        let node = json!({"type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": ports});
        assert_eq!(service(node, json!({}), false), "NodePort 10.96.0.7 <none> 80:30080/TCP,53/UDP");
        let balanced =
            json!({"type": "LoadBalancer", "clusterIP": "10.96.0.8", "ports": [{"port": 443, "protocol": "TCP"}]});
        assert_eq!(service(balanced.clone(), json!({}), false), "LoadBalancer 10.96.0.8 <pending> 443/TCP");
        let long = json!({"ingress": [{"hostname": "a.long.name.example.com"}]});
        assert_eq!(service(balanced.clone(), long.clone(), false), "LoadBalancer 10.96.0.8 a.long.name.e... 443/TCP");
        assert_eq!(service(balanced, long, true), "LoadBalancer 10.96.0.8 a.long.name.example.com 443/TCP");
        let name = json!({"type": "ExternalName", "externalName": "db.example.com"});
        assert_eq!(service(name, json!({}), false), "ExternalName <none> db.example.com <none>");
    }

    #[test]
    fn endpoints_and_rules() {
        let addresses = json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]);
        let both = json!({"subsets": [{"addresses": addresses, "ports": [{"port": 80}, {"port": 443}]}]});
        assert_eq!(row("Endpoints", false, &both)[0], "10.0.0.1:80,10.0.0.2:80,10.0.0.1:443 + 1 more...");
        assert_eq!(row("Endpoints", false, &json!({"subsets": [{"addresses": addresses}]}))[0], "10.0.0.1,10.0.0.2");
        assert_eq!(row("Endpoints", false, &json!({}))[0], NONE);
        let slice = json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]});
        assert_eq!(row("EndpointSlice", false, &slice)[..3], ["IPv4", "80", "10.0.0.1"]);
        let ingress = json!({
            "spec": {"ingressClassName": "nginx", "tls": [{}], "rules": [{"host": "a.example.com"}, {"host": "b.example.com"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}},
        });
        let shown = ["nginx", "a.example.com,b.example.com", "192.0.2.7", "80, 443"];
        assert_eq!(row("Ingress", false, &ingress)[..4], shown);
        assert_eq!(row("Ingress", false, &json!({"spec": {"rules": [{}]}}))[..4], [NONE, "*", "", "80"]);
        let policy = json!({"spec": {"podSelector": {}}});
        assert_eq!(row("NetworkPolicy", false, &policy)[0], NONE);
    }
}
