//! The API server stand-in against a real etcd: answers are pinned to what a real kube-apiserver 1.36 said.

mod apiserver_exec;
mod apiserver_support;

use apiserver_support::{Client, Lab, pod};
use lab::apiserver;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/kube-system/pods";

fn fixture(case: &str) -> Value {
    let cases: Value = serde_json::from_str(include_str!("../../data/kubeadm/api.json")).expect("the fixture is JSON");
    let found = cases.as_array().into_iter().flatten().find(|c| c["case"] == case);
    found.unwrap_or_else(|| panic!("no case {case:?}")).clone()
}

/// Sends a case of the fixture and compares status and whole answer.
async fn pinned(client: &Client, case: &str) {
    let case = fixture(case);
    let (method, path) = case["request"].as_str().and_then(|r| r.split_once(' ')).expect("METHOD PATH");
    let sent = (!case["sent"].is_null()).then(|| case["sent"].clone());
    let (code, answer) = client.send(method, path, sent).await;
    let want: u16 = case["status"].as_str().and_then(|s| s.split(' ').nth(1)?.parse().ok()).expect("a status line");
    assert_eq!((code, &answer), (want, &case["answer"]), "{}", case["case"]);
}

#[tokio::test]
async fn says_what_a_real_server_said() {
    let lab = Lab::start().await;
    let (admin, mallory) = (lab.admin(), lab.user("mallory", &[]));
    for case in ["version", "readyz", "livez", "create without a name", "no such pod"] {
        pinned(&admin, case).await;
    }
    for case in ["forbidden to create", "forbidden to exec"] {
        pinned(&mallory, case).await;
    }
    pinned(&lab.anonymous(), "anonymous").await;

    let sent = fixture("already exists")["sent"].clone();
    assert_eq!(admin.send("POST", PODS, Some(sent)).await.0, 201);
    pinned(&admin, "already exists").await;

    let namespaces = "/api/v1/namespaces";
    let label = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    admin.make(namespaces, json!({ "metadata": { "name": "locked", "labels": label } })).await;
    pinned(&admin, "refused by Pod Security").await;
    admin.make(namespaces, json!({ "metadata": { "name": "full" } })).await;
    let quota = json!({ "metadata": { "name": "q" }, "spec": { "hard": { "pods": "0" } } });
    admin.make("/api/v1/namespaces/full/resourcequotas", quota).await;
    pinned(&admin, "refused by quota").await;
    for namespace in ["locked", "full"] {
        let (_, list) = admin.send("GET", &format!("/api/v1/namespaces/{namespace}/pods"), None).await;
        assert_eq!(list["items"], json!([]), "a refused pod was left in {namespace}");
    }
    lab.stop().await;
}

#[tokio::test]
async fn dry_run_stores_nothing() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    let case = fixture("server dry run");
    let (code, made) = admin.send("POST", &format!("{PODS}?dryRun=All"), Some(case["sent"].clone())).await;
    assert_eq!((code, &made["kind"], &made["metadata"]["name"]), (201, &json!("Pod"), &case["answer"]["name"]));
    assert_eq!(made["status"]["phase"], "Pending");
    assert_eq!(admin.send("GET", &format!("{PODS}/trace-i"), None).await.0, 404);
    lab.stop().await;
}

#[tokio::test]
async fn pages_of_nodes() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    for name in ["cp1", "cp2", "cp3"] {
        admin.make("/api/v1/nodes", json!({ "metadata": { "name": name } })).await;
    }
    let want = fixture("list page of nodes")["answer"].clone();
    let (code, first) = admin.send("GET", "/api/v1/nodes?limit=1", None).await;
    assert_eq!((code, names(&first)), (200, vec!["cp1".to_owned()]));
    assert_eq!(first["metadata"]["remainingItemCount"], want["metadata"]["remainingItemCount"]);
    let token = |list: &Value| {
        use base64::Engine as _;
        let text = list["metadata"]["continue"].as_str().expect("a token").to_owned();
        let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64");
        serde_json::from_slice::<Value>(&bytes).expect("JSON")
    };
    let (ours, theirs) = (token(&first), token(&want));
    assert_eq!((&ours["v"], &ours["start"]), (&theirs["v"], &theirs["start"]));
    // A node made after the first page is not on the second: both are of one revision.
    admin.make("/api/v1/nodes", json!({ "metadata": { "name": "cp4" } })).await;
    let next = format!("/api/v1/nodes?limit=5&continue={}", first["metadata"]["continue"].as_str().expect("a token"));
    let (_, second) = admin.send("GET", &next, None).await;
    assert_eq!(names(&second), ["cp2", "cp3"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert!(second["metadata"].get("continue").is_none());
    lab.stop().await;
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("a list");
    items.iter().map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn a_watch_from_a_compacted_revision_has_expired() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    for name in ["a", "b", "c"] {
        admin.make("/api/v1/namespaces/default/configmaps", json!({ "metadata": { "name": name } })).await;
    }
    let compacted = lab.compact().await;
    let mut events = admin.watch("/api/v1/configmaps?watch=1&resourceVersion=5").await;
    let mut want = fixture("watch from a compacted revision")["answer"].clone();
    want["object"]["message"] = json!(format!("too old resource version: 5 ({compacted})"));
    assert_eq!(events.next().await, Some(want));
    assert_eq!(events.next().await, None, "the watch ends");
    lab.stop().await;
}

#[tokio::test]
async fn a_watch_tells_a_pods_life_in_order() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    let (_, list) = admin.send("GET", PODS, None).await;
    let from = list["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    let mut events = admin.watch(&format!("{PODS}?watch=1&labelSelector=app=x&resourceVersion={from}")).await;
    admin.make(PODS, pod("other", json!({}))).await;
    admin.make(PODS, pod("one", json!({ "app": "x" }))).await;
    let status = json!({ "status": { "phase": "Running" } });
    let path = format!("{PODS}/one");
    assert_eq!(admin.patch(&format!("{path}/status"), "merge-patch", &status).await.0, 200);
    // A pod on a node is first told to end, and gone when its kubelet says so.
    let (code, marked) = admin.send("DELETE", &path, None).await;
    assert_eq!((code, &marked["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(2)));
    assert_eq!(admin.send("GET", &path, None).await.0, 200);
    assert_eq!(admin.send("DELETE", &path, Some(json!({ "gracePeriodSeconds": 0 }))).await.0, 200);
    assert_eq!(admin.send("GET", &path, None).await.0, 404);
    let mut seen = Vec::new();
    let mut last = 0;
    for _ in 0..4 {
        let event = events.next().await.expect("an event");
        let object = &event["object"];
        let revision: i64 = object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).expect("one");
        assert!(revision > last, "events come in the order of their revisions");
        last = revision;
        assert_eq!(object["metadata"]["name"], "one");
        let ending = object["metadata"]["deletionTimestamp"].is_string();
        seen.push((event["type"].clone(), object["status"]["phase"].clone(), ending));
    }
    let want = [
        ("ADDED", "Pending", false),
        ("MODIFIED", "Running", false),
        ("MODIFIED", "Running", true),
        ("DELETED", "Running", true),
    ];
    assert_eq!(seen, want.map(|(kind, phase, ending)| (json!(kind), json!(phase), ending)));
    lab.stop().await;
}

#[tokio::test]
async fn the_second_writer_of_one_revision_loses() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    let maps = "/api/v1/namespaces/default/configmaps";
    let path = format!("{maps}/m");
    let made = admin.make(maps, json!({ "metadata": { "name": "m" }, "data": { "k": "1" } })).await;
    let mut mine = made.clone();
    mine["data"]["k"] = json!("2");
    assert_eq!(admin.send("PUT", &path, Some(mine.clone())).await.0, 200);
    mine["data"]["k"] = json!("3");
    let (code, refusal) = admin.send("PUT", &path, Some(mine)).await;
    assert_eq!((code, &refusal["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        refusal["message"],
        "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );
    let stale = json!({ "preconditions": { "uid": "not-this-one" } });
    assert_eq!(admin.send("DELETE", &path, Some(stale)).await.0, 409);
    let (_, kept) = admin.send("GET", &path, None).await;
    assert_eq!(kept["data"]["k"], "2");
    lab.stop().await;
}

#[tokio::test]
async fn roles_grant_exactly_what_they_say() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system";
    let rules = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["mine"] },
        { "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"] },
    ]);
    admin.make(&format!("{rbac}/roles"), json!({ "metadata": { "name": "r" }, "rules": rules })).await;
    let binding = json!({ "metadata": { "name": "b" }, "roleRef": { "kind": "Role", "name": "r" },
        "subjects": [{ "kind": "Group", "name": "team" }] });
    admin.make(&format!("{rbac}/rolebindings"), binding).await;
    let user = lab.user("eve", &["team"]);
    assert_eq!(user.send("GET", &format!("{PODS}/mine"), None).await.0, 404, "allowed, and not there");
    assert_eq!(user.send("GET", &format!("{PODS}/other"), None).await.0, 403);
    assert_eq!(user.send("GET", "/api/v1/namespaces/default/pods/mine", None).await.0, 403);
    // The right to read exec is not the right to run a command.
    let (code, refusal) = user.send("GET", &format!("{PODS}/mine/exec?command=x&stdout=1"), None).await;
    assert_eq!(code, 403);
    let want = "User \"eve\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"kube-system\"";
    assert_eq!(refusal["message"], format!("pods \"mine\" is forbidden: {want}"));
    let review = fixture("self subject access review");
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let kubeadm = lab.user("kubernetes-admin", &["kubeadm:cluster-admins"]);
    let (code, answer) = kubeadm.send("POST", path, Some(review["sent"].clone())).await;
    assert_eq!((code, &answer["status"]), (201, &review["answer"]));
    let (_, answer) = user.send("POST", path, Some(review["sent"].clone())).await;
    assert_eq!(answer["status"]["allowed"], false);
    lab.stop().await;
}

#[tokio::test]
async fn impersonation_takes_a_right_and_leaves_only_the_others() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    let as_mallory = admin.with_headers(&[("impersonate-user", "mallory"), ("impersonate-group", "g")]);
    let (code, refusal) = as_mallory.send("GET", PODS, None).await;
    assert_eq!(code, 403);
    assert_eq!(
        refusal["message"],
        fixture("anonymous")["answer"]["message"].as_str().expect("text").replace("system:anonymous", "mallory")
    );
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let (_, who) = as_mallory.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", Some(review)).await;
    assert_eq!(who["status"]["userInfo"], json!({ "username": "mallory", "groups": ["g", "system:authenticated"] }));
    let eve = lab.user("eve", &[]).with_headers(&[("impersonate-user", "mallory")]);
    let (code, refusal) = eve.send("GET", PODS, None).await;
    let want = "users \"mallory\" is forbidden: User \"eve\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope";
    assert_eq!((code, &refusal["message"]), (403, &json!(want)));
    lab.stop().await;
}

#[tokio::test]
async fn bad_credentials_are_unauthorized_and_tokens_are_users() {
    let lab = Lab::start().await;
    let token = |token: &str| lab.anonymous().with_headers(&[("authorization", &format!("Bearer {token}"))]);
    let (code, refusal) = token("wrong").send("GET", PODS, None).await;
    assert_eq!((code, &refusal["reason"]), (401, &json!("Unauthorized")));
    assert_eq!(token("s3cret").send("GET", PODS, None).await.0, 200);
    assert_eq!(lab.stranger().send("GET", PODS, None).await.0, 401, "a certificate of another authority");
    lab.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    let (code, refusal) = admin.send("POST", "/api/v1/namespaces/nope/pods", Some(pod("p", json!({})))).await;
    assert_eq!((code, &refusal["message"]), (404, &json!("namespaces \"nope\" not found")));
    assert_eq!(admin.send("POST", PODS, Some(pod("Bad_Name", json!({})))).await.0, 422);
    let mut typo = pod("typo", json!({}));
    typo["spec"]["hostPid"] = json!(true);
    let (code, refusal) = admin.send("POST", &format!("{PODS}?fieldValidation=Strict"), Some(typo)).await;
    assert_eq!(code, 400);
    assert!(refusal["message"].as_str().is_some_and(|m| m.ends_with("unknown field \"spec.hostPid\"")), "{refusal}");
    assert_eq!(admin.patch(&format!("{PODS}/x"), "json-patch", &json!([])).await.0, 415);
    let protobuf = admin.with_headers(&[("accept", "application/vnd.kubernetes.protobuf")]);
    assert_eq!(protobuf.send("GET", PODS, None).await.0, 406);
    let (code, refusal) = admin.send("GET", &format!("{PODS}?resourceVersion=99999"), None).await;
    assert_eq!((code, &refusal["details"]["causes"][0]["reason"]), (504, &json!("ResourceVersionTooLarge")));
    let (_, list) = admin.send("GET", PODS, None).await;
    assert_eq!(list["items"], json!([]), "nothing refused was stored");
    lab.stop().await;
}

#[tokio::test]
async fn faults_strike_when_the_file_says_so() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    lab.faults(&json!({ "refusePods": "no pods today" }));
    let (code, refusal) = admin.send("POST", PODS, Some(pod("p", json!({})))).await;
    assert_eq!(code, 403);
    assert_eq!(refusal["message"], "admission webhook \"pods.lab.example\" denied the request: no pods today");
    lab.faults(&json!({ "deny": [{ "verb": "list", "resource": "pods" }], "status": { "/api/v1/nodes": 503 } }));
    assert_eq!(admin.send("GET", PODS, None).await.0, 403);
    assert_eq!(admin.send("GET", "/api/v1/nodes", None).await.0, 503);
    assert_eq!(admin.send("GET", "/api/v1/namespaces", None).await.0, 200);
    lab.faults(&json!({ "mistyped": 1 }));
    assert_eq!(admin.send("GET", "/api/v1/namespaces", None).await.0, 500, "a mistyped fault is not passed over");
    lab.faults(&json!({}));
    assert_eq!(admin.send("GET", &format!("{PODS}/p"), None).await.0, 404, "the refused pod was not stored");
    lab.stop().await;
}

#[tokio::test]
async fn not_ready_without_etcd() {
    let mut lab = Lab::start().await;
    let admin = lab.admin();
    lab.kill_etcd();
    let (code, _) = admin.send("GET", "/readyz", None).await;
    assert_eq!(code, 500);
    lab.stop().await;
}

#[tokio::test]
async fn a_request_ends_when_its_time_is_over_and_rights_are_remembered() {
    let mut lab = Lab::start().await;
    let (admin, robot, mallory) = (lab.admin(), lab.user("robot", &[]), lab.user("mallory", &[]));
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rules = json!([{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "create"] }]);
    admin.make(&format!("{rbac}/clusterroles"), json!({ "metadata": { "name": "nodes" }, "rules": rules })).await;
    let subjects = json!([{ "kind": "User", "name": "robot", "apiGroup": "rbac.authorization.k8s.io" }]);
    let role = json!({ "kind": "ClusterRole", "name": "nodes", "apiGroup": "rbac.authorization.k8s.io" });
    let binding = json!({ "metadata": { "name": "nodes" }, "subjects": subjects, "roleRef": role });
    admin.make(&format!("{rbac}/clusterrolebindings"), binding).await;
    let nodes = "/api/v1/nodes";
    assert_eq!(robot.send("GET", nodes, None).await.0, 200);
    assert_eq!(mallory.send("GET", nodes, None).await.0, 403);
    let (code, answer) = admin.send("GET", &format!("{nodes}?timeout=soon"), None).await;
    let wrong = "invalid timeout specified in the request URL - time: invalid duration \"soon\"";
    assert_eq!((code, &answer["message"]), (400, &json!(wrong)));
    // A real server's answer, which is of no kind and no version.
    let late = json!({ "metadata": {}, "status": "Failure", "reason": "Timeout", "code": 504, "details": {},
        "message": "Timeout: request did not complete within the allotted timeout" });

    lab.signal_etcd("STOP");
    assert_eq!(robot.send("GET", &format!("{nodes}?timeout=3s"), None).await, (504, late));
    assert_eq!(mallory.send("GET", nodes, None).await.0, 403);
    lab.signal_etcd("CONT");
    assert_eq!(robot.send("GET", nodes, None).await.0, 200);

    // An etcd that is not there answers at once, and a read gives up before its time is over.
    lab.kill_etcd();
    let node = json!({ "metadata": { "name": "cp9" } });
    for (method, body) in [("POST", Some(node)), ("GET", None)] {
        let (code, answer) = robot.send(method, nodes, body).await;
        assert_eq!((code, answer.get("reason")), (500, None), "{answer}");
        assert!(answer["message"].as_str().is_some_and(|m| m.starts_with("rpc error: code = Unavailable")), "{answer}");
    }
    lab.stop().await;
}

#[tokio::test]
async fn kubectl_works_by_hand() {
    let lab = Lab::start().await;
    let manifest = lab.dir().join("pod.json");
    let mut object = pod("hand", json!({}));
    object["apiVersion"] = json!("v1");
    object["kind"] = json!("Pod");
    fs_err::write(&manifest, object.to_string()).expect("the manifest is written");
    let manifest = manifest.to_str().expect("UTF-8");
    assert_eq!(lab.kubectl(&["create", "-n", "kube-system", "-f", manifest]).await, "pod/hand created\n");
    let table = lab.kubectl(&["get", "pods", "-n", "kube-system"]).await;
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(&words[1][..4], ["hand", "0/1", "Pending", "0"]);
    assert_eq!(lab.kubectl(&["auth", "can-i", "create", "pods/exec", "-n", "kube-system"]).await, "yes\n");
    let labelled = lab.kubectl(&["label", "-n", "kube-system", "pod", "hand", "a=b"]).await;
    assert_eq!(labelled, "pod/hand labeled\n");
    let applied = lab.kubectl(&["apply", "-n", "kube-system", "-f", manifest]).await;
    assert_eq!(applied, "pod/hand configured\n");
    let listed = lab.kubectl(&["auth", "can-i", "--list", "-n", "kube-system"]).await;
    assert!(listed.starts_with("Resources"), "{listed}");
    let deleted = lab.kubectl(&["delete", "pod", "-n", "kube-system", "hand", "--grace-period=0", "--force"]).await;
    assert!(deleted.contains("\"hand\" force deleted"), "{deleted}");
    assert_eq!(lab.admin().send("GET", &format!("{PODS}/hand"), None).await.0, 404);
    lab.stop().await;
}

#[test]
fn the_manifest_of_kubeadm_is_understood_and_an_unknown_flag_is_not() {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: apiserver::Args,
    }
    let manifest = include_str!("../../data/kubeadm/cp1/manifests/kube-apiserver.yaml");
    let manifest: Value = serde_yaml_ng::from_str(manifest).expect("the manifest is YAML");
    let words = manifest["spec"]["containers"][0]["command"].as_array().expect("a command");
    let mut words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let command = Command::try_parse_from(&words).expect("every flag is known");
    assert_eq!(command.args.secure_port, 6443);
    assert_eq!(command.args.etcd_servers, ["https://127.0.0.1:2379"]);
    words.push("--no-such-flag=1");
    assert!(Command::try_parse_from(&words).is_err());
}

#[tokio::test]
async fn a_gentle_end_for_pods_and_mirror_pods_go_at_once() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    let mut mirror = pod("etcd-cp1", json!({}));
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    let made = admin.make(PODS, mirror).await;
    assert!(made["spec"].get("serviceAccountName").is_none());
    assert_eq!(admin.send("DELETE", &format!("{PODS}/etcd-cp1"), None).await.0, 200);
    assert_eq!(admin.send("GET", &format!("{PODS}/etcd-cp1"), None).await.0, 404);
    let made = admin.make(PODS, pod("p", json!({}))).await;
    let fields = ["restartPolicy", "dnsPolicy", "terminationGracePeriodSeconds", "serviceAccountName", "priority"];
    let found = fields.map(|field| made["spec"][field].clone());
    assert_eq!(found, [json!("Always"), json!("ClusterFirst"), json!(2), json!("default"), json!(0)]);
    assert_eq!((&made["status"]["phase"], &made["status"]["qosClass"]), (&json!("Pending"), &json!("BestEffort")));
    let moved = json!({ "spec": { "nodeName": "cp2" } });
    assert_eq!(admin.patch(&format!("{PODS}/p"), "merge-patch", &moved).await.0, 422, "a bound pod stays where it is");
    let condition = |status: &str| json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } });
    for status in ["False", "True"] {
        let (code, _) = admin.patch(&format!("{PODS}/p/status"), "strategic-merge-patch", &condition(status)).await;
        assert_eq!(code, 200);
    }
    let (_, now) = admin.send("GET", &format!("{PODS}/p"), None).await;
    assert_eq!(now["status"]["conditions"], json!([{ "type": "Ready", "status": "True" }]));
    assert_eq!(now["status"]["phase"], "Pending", "the rest of the status is kept");
    lab.stop().await;
}

#[tokio::test]
async fn what_is_served_is_what_is_in_etcd_now() {
    let mut lab = Lab::start().await;
    let admin = lab.admin();
    admin.make(PODS, pod("before", json!({}))).await;
    let (_, list) = admin.send("GET", PODS, None).await;
    assert_eq!(names(&list), ["before"]);
    let mut events = admin.watch(&format!("{PODS}?watch=1")).await;
    assert_eq!(events.next().await.expect("an event")["object"]["metadata"]["name"], "before");
    lab.replace_etcd().await;
    // The watch was of the other history and ends, with or without a word.
    while let Some(event) = events.next().await {
        assert_eq!(event["type"], "ERROR", "{event}");
    }
    let (code, list) = admin.send("GET", PODS, None).await;
    assert_eq!((code, names(&list)), (200, Vec::new()));
    assert_eq!(admin.send("GET", &format!("{PODS}/before"), None).await.0, 404);
    lab.stop().await;
}
