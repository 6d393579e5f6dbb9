//! What is asked of the API server, and what its answers lead to. The answers are those of a real one.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use etcd_objects::catalog::Catalog;
use etcd_objects::key::Place;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::carry_out::{Action, Done, Uids, carry_out};
use super::facts::Facts;
use super::plan::{Item, Surroundings, plan};
use super::rehearse::{Refusals, rehearse};
use crate::api::{Served, Serving};
use crate::contents::entry_of;

/// An API server that gives these answers, one after the other, and keeps what it was asked: method, query and body.
#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<Value>>>,
    asked: Arc<Mutex<Vec<(String, String, Value)>>>,
}

impl Server {
    fn new(answers: impl IntoIterator<Item = Value>) -> (Server, Client) {
        let server = Server { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Server::default() };
        let own = server.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = own.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.expect("a body");
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let query = head.uri.query().unwrap_or_default().to_owned();
                server.asked.lock().expect("no panic").push((head.method.to_string(), query, body));
                let answer = server.answers.lock().expect("no panic").pop_front().expect("no more is asked");
                let code = answer["code"].as_u64().map_or(200, |code| u16::try_from(code).expect("a code"));
                let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, Infallible>(answer.expect("an answer"))
            }
        });
        (server, Client::new(service, "default"))
    }

    /// What was asked, and that there was no answer left.
    fn asked(&self) -> Vec<(String, String, Value)> {
        assert!(self.answers.lock().expect("no panic").is_empty(), "an answer was not asked for");
        self.asked.lock().expect("no panic").clone()
    }
}

fn map(uid: &str, version: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"v": value},
        "metadata": {"name": "a", "namespace": "shop", "uid": uid, "resourceVersion": version}})
}

fn status(code: u16, reason: &str, message: &str, causes: Value) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "details": {"name": "a", "kind": "configmaps", "causes": causes}, "code": code})
}

fn stale() -> Value {
    let message = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again";
    status(409, "Conflict", message, json!([]))
}

fn gone() -> Value {
    let message = "Operation cannot be fulfilled on configmaps \"a\": uid mismatch: the provided object specified uid u, and no existing object was found";
    status(409, "Conflict", message, json!([]))
}

fn of_others() -> Value {
    let by = "conflict with \"kubectl-edit\" using v1";
    let message = format!("Apply failed with 1 conflict: {by}: .data.v");
    status(409, "Conflict", &message, json!([{"reason": "FieldManagerConflict", "message": by, "field": ".data.v"}]))
}

fn not_found() -> Value {
    status(404, "NotFound", "configmaps \"a\" not found", json!([]))
}

/// What is planned for the config map of a file, where this is live.
fn item(live: Option<Value>) -> Item {
    let core = |resource: &str, namespace: Option<&str>, name: &str| Place {
        group: Some(String::new()),
        resource: resource.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    let namespace = (core("namespaces", None, "shop"), json!({"metadata": {"name": "shop", "uid": "n"}}));
    let live = live.map(|live| (core("configmaps", Some("shop"), "a"), live));
    let facts = Facts::of([namespace].into_iter().chain(live));
    let serving = Serving::of([Served::new("v1", "configmaps", "ConfigMap", true)]);
    let catalog = Catalog::builtin();
    let (facts, serving, catalog) = (&facts, &serving, &catalog);
    let around = Surroundings { facts, serving, catalog, whole_namespace: false, several_namespaces: false };
    let entry = entry_of("/registry/configmaps/shop/a", &map("old", "3", "file"));
    let mut planned = plan(&[entry], &around);
    assert!(planned.refusals.is_empty() && planned.items.len() == 1, "{planned:?}");
    planned.items.remove(0)
}

async fn rehearsed(item: Item, answers: Vec<Value>, force: bool) -> (Refusals, Item, Vec<(String, String, Value)>) {
    let (server, client) = Server::new(answers);
    let mut items = [item];
    let refusals = rehearse(&mut items, &Facts::default(), &client, force).await;
    let [item] = items;
    (refusals, item, server.asked())
}

async fn carried_out(item: &Item, answers: Vec<Value>) -> (Done, Vec<(String, String, Value)>) {
    let (server, client) = Server::new(answers);
    let done = carry_out(item, &mut Uids::default(), &client, false).await;
    (done, server.asked())
}

/// A namespace that is not there, and a config map in it that was rehearsed no more than that.
fn new_namespace() -> (Item, Item) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "old"}});
    let serving = Serving::of([
        Served::new("v1", "namespaces", "Namespace", false),
        Served::new("v1", "configmaps", "ConfigMap", true),
    ]);
    let (facts, catalog) = (Facts::of([]), Catalog::builtin());
    let around = Surroundings {
        facts: &facts,
        serving: &serving,
        catalog: &catalog,
        whole_namespace: true,
        several_namespaces: false,
    };
    let entries = [
        entry_of("/registry/namespaces/shop", &namespace),
        entry_of("/registry/configmaps/shop/a", &map("old", "3", "file")),
    ];
    let mut planned = plan(&entries, &around);
    assert!(planned.refusals.is_empty() && planned.items.len() == 2, "{planned:?}");
    (planned.items.remove(0), planned.items.remove(0))
}

/// The methods, and what the patches are for.
fn patches(asked: &[(String, String, Value)]) -> Vec<(&str, Option<&str>, Option<&str>)> {
    asked
        .iter()
        .map(|(method, _, body)| {
            (method.as_str(), body["metadata"]["uid"].as_str(), body["metadata"]["resourceVersion"].as_str())
        })
        .collect()
}

#[tokio::test]
async fn fields_of_others_are_refused_and_named_before_anything_is_changed() {
    let live = map("u", "7", "live");
    let (refusals, _, asked) = rehearsed(item(Some(live.clone())), vec![of_others()], false).await;
    assert_eq!(refusals.why, ["configmap/a: conflict with \"kubectl-edit\" using v1: .data.v"]);
    assert!(refusals.conflicts);
    assert_eq!(patches(&asked), [("PATCH", Some("u"), Some("7"))]);
    assert!(asked[0].1.contains("dryRun=All") && !asked[0].1.contains("force=true"), "{asked:?}");

    let (refusals, item, asked) = rehearsed(item(Some(live)), vec![map("u", "7", "file")], true).await;
    assert!(refusals.why.is_empty() && item.dry.is_some(), "{refusals:?}");
    assert!(asked[0].1.contains("dryRun=All") && asked[0].1.contains("force=true"), "{asked:?}");
    // They may have been set only since.
    let (done, asked) = carried_out(&item, vec![of_others()]).await;
    assert!(done.refused && !done.unknown && done.action == Action::Failed, "{done:?}");
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn what_was_rehearsed_is_what_is_applied() {
    let (_, item, asked) = rehearsed(item(Some(map("u", "7", "live"))), vec![map("u", "7", "file")], false).await;
    assert_eq!(patches(&asked), [("PATCH", Some("u"), Some("7"))]);
    let (done, asked) = carried_out(&item, vec![map("u", "8", "file")]).await;
    assert_eq!((done.action, patches(&asked)), (Action::Configured, vec![("PATCH", Some("u"), Some("7"))]));

    // Somebody has changed it, made it anew or deleted it.
    for (refusal, now, why) in [
        (stale(), map("u", "9", "theirs"), "the live object was changed meanwhile: data.v"),
        (stale(), map("w", "9", "live"), "the live object was replaced meanwhile"),
        (gone(), not_found(), "the live object was deleted meanwhile"),
    ] {
        let (done, asked) = carried_out(&item, vec![refusal, now]).await;
        assert_eq!(done.error.as_deref(), Some(format!("{why}; it was not overwritten").as_str()));
        assert!(done.refused && !done.unknown && done.action == Action::Failed, "{done:?}");
        assert_eq!(asked.iter().map(|(method, ..)| method.as_str()).collect::<Vec<_>>(), ["PATCH", "GET"]);
    }

    // A controller has written its status.
    let mut status = map("u", "9", "live");
    status["status"] = json!({"seen": true});
    let (done, asked) = carried_out(&item, vec![stale(), status, map("u", "10", "file")]).await;
    assert_eq!((done.action, done.error), (Action::Configured, None));
    assert_eq!(patches(&asked)[2], ("PATCH", Some("u"), Some("9")));
}

#[tokio::test]
async fn what_is_not_there_is_made_and_never_patched_over_another() {
    let mut made = map("u", "9", "file");
    made["metadata"]["resourceVersion"] = Value::Null;
    let (refusals, item, asked) = rehearsed(item(None), vec![made], false).await;
    assert!(refusals.why.is_empty(), "{refusals:?}");
    assert_eq!(patches(&asked), [("PATCH", None, Some("1"))]);
    let (done, asked) = carried_out(&item, vec![map("u", "9", "file")]).await;
    assert_eq!((done.action, patches(&asked)), (Action::Created, vec![("PATCH", None, Some("1"))]));
    let (done, asked) = carried_out(&item, vec![stale(), map("w", "9", "theirs")]).await;
    assert_eq!(done.error.as_deref(), Some("an object of this name was created meanwhile; it was not overwritten"));
    assert!(done.refused && asked.len() == 2, "{asked:?}");
}

#[tokio::test]
async fn a_change_before_the_rehearsal_is_told_there() {
    let old = || item(Some(map("u", "7", "live")));
    let (refusals, _, _) = rehearsed(old(), vec![stale(), map("u", "9", "theirs")], false).await;
    assert_eq!(refusals.why, ["configmap/a: the live object was changed meanwhile: data.v"]);
    assert!(!refusals.conflicts);
    let (refusals, item, asked) =
        rehearsed(old(), vec![stale(), map("u", "9", "live"), map("u", "9", "file")], false).await;
    assert!(refusals.why.is_empty() && item.live == Some(map("u", "9", "live")), "{refusals:?}");
    assert_eq!(patches(&asked)[2], ("PATCH", Some("u"), Some("9")));
}

#[test]
fn the_command_for_what_is_lacking_can_be_pasted() {
    let lacking = ["ns/a;id".to_owned(), "ns/shop".to_owned()].into();
    let hint = super::before("b c.db", &lacking);
    assert!(hint.ends_with("\n  kubectl etcd apply 'b c.db' 'ns/a;id' ns/shop"), "{hint}");
}

/// Controllers put objects into a namespace as soon as it is there.
#[tokio::test]
async fn what_controllers_put_into_a_namespace_that_was_made_just_now_is_applied_to() {
    let (namespace, map_in_it) = new_namespace();
    let mut uids = Uids::default();
    let made = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "uid": "n", "resourceVersion": "8"}});
    let answers = [made, stale(), map("w", "9", "theirs"), map("w", "10", "file")];
    let (server, client) = Server::new(answers);
    for item in [&namespace, &map_in_it] {
        let done = carry_out(item, &mut uids, &client, false).await;
        assert_eq!((done.action, done.error), (Action::Created, None));
    }
    let asked = server.asked();
    assert_eq!(patches(&asked)[1], ("PATCH", None, Some("1")));
    assert_eq!(patches(&asked)[3], ("PATCH", Some("w"), Some("9")));
    assert!(!asked[3].1.contains("force=true"), "{asked:?}");

    // A namespace that somebody else has made is not ours.
    let (done, _) = carried_out(&map_in_it, vec![stale(), map("w", "9", "theirs")]).await;
    assert_eq!(done.error.as_deref(), Some("an object of this name was created meanwhile; it was not overwritten"));
}
