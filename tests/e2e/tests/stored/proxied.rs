//! A store that is reached through a proxy, as variables of the process say.

use std::net::TcpListener;

use e2e::{Ran, run};
use stores::Seaweed;

use super::offline::Offline;
use crate::proxy::Proxy;

#[test]
fn a_proxy_leads_to_a_store() {
    let (offline, server) = (Offline::new(), Seaweed::start().unwrap());
    let address = server
        .url("p")
        .split_once("https://")
        .and_then(|(_, rest)| rest.split('?').next()?.split('&').next().map(str::to_owned));
    let address = address.expect("an endpoint");
    let proxy = Proxy::start(&address);
    let list = |variables: &[(&str, &str)]| -> Ran {
        let mut command = offline.plugin(&["list", &server.url("p"), "-o", "json"]);
        command.envs(server.variables()).envs(variables.iter().copied());
        run(command)
    };
    list(&[("HTTPS_PROXY", &proxy.url)]).expect_code(0);
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|target| *target == address), "{asked:?}");
    // Who is not to be reached through it is not.
    list(&[("HTTPS_PROXY", &proxy.url), ("NO_PROXY", "127.0.0.1")]).expect_code(0);
    assert_eq!(proxy.asked(), [""; 0]);
    // One that is down is named, and its password is not.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let down = list(&[("HTTPS_PROXY", &format!("http://me:hunter2@127.0.0.1:{closed}"))]).expect_code(1);
    let down = down.expect_error(&["HTTPS_PROXY"]);
    assert!(!down.stderr.contains("hunter2"), "{}", down.stderr);
}
