//! The main job, end to end, on one node and on three, with etcd 3.4 and 3.5: what the README promises.

#[path = "support/story.rs"]
mod story;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use e2e::{Running, Scene, etcdutl, plugin, run, vendor};
use lab::Etcd;
use serde_json::Value;

fn config_maps(count: usize) -> String {
    let one = |n| {
        let value = "x".repeat(n);
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}, namespace: default}}\ndata: {{n: '{value}'}}\n"
        )
    };
    (0..count).map(one).collect()
}

/// Takes a backup in every form and holds it against what the vendor's tools, the API and the nodes say.
fn main_job(scene: &Scene) {
    scene.apply(&config_maps(100));
    let taken = run(scene.kubectl_etcd(&["backup", "one.db", "-o", "json"])).expect_code(0);
    assert_eq!(scene.files(), ["one.db", "one.db.json"]);
    for name in scene.files() {
        assert_eq!(scene.path(&name).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let written: Value = serde_json::from_slice(&std::fs::read(scene.path("one.db.json")).unwrap()).unwrap();
    assert_eq!(written, taken.json());
    describes_the_cluster(scene, &written);

    let file = scene.path("one.db");
    let file = file.to_str().unwrap();
    let verified = scene.ok(&["verify", file, "-o", "json"]).json();
    let tool = if scene.lab.etcd_version().starts_with("3.4") { "etcdctl".into() } else { etcdutl() };
    let theirs = vendor(tool, &["snapshot", "status", file, "-w", "json"]);
    for name in ["hash", "revision", "totalKey", "totalSize"] {
        assert_eq!(verified[name], theirs[name], "{name}");
        assert_eq!(written["snapshot"][name], theirs[name], "{name}");
    }
    let mut sha256sum = Command::new("sha256sum");
    sha256sum.arg(file);
    let sum = run(sha256sum).expect_code(0).stdout;
    assert_eq!(sum.split_whitespace().next(), written["snapshot"]["sha256"].as_str());
    assert!(scene.sidecars().is_empty());
    scene.assert_nodes_untouched();
}

fn describes_the_cluster(scene: &Scene, written: &Value) {
    let uid = run(scene.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"])).expect_code(0);
    assert_eq!(written["cluster"]["kubeSystemUid"], uid.stdout.as_str());
    assert_eq!(written["cluster"]["server"], scene.lab.server());
    let members = written["members"].as_array().expect("members");
    let nodes: Vec<&str> = members.iter().filter_map(|member| member["node"].as_str()).collect();
    assert_eq!(nodes, scene.lab.node_names());
    for member in members {
        assert_eq!(member["etcdVersion"], scene.lab.etcd_version());
        assert_eq!(member["dataDir"], "/var/lib/etcd");
        assert_eq!(member["certificates"]["ca"], "/etc/kubernetes/pki/etcd/ca.crt");
        assert!(member["clientUrls"][0].as_str().is_some_and(|url| url.starts_with("https://")));
    }
    if members.len() > 1 {
        assert_eq!(written["source"]["role"], "follower");
    }
}

#[test]
fn one_node_with_etcd_3_4() {
    let scene = Scene::new(1, Etcd::V3_4);
    main_job(&scene);
    story::outlives_its_cluster(&scene);
}

#[test]
fn one_node_with_etcd_3_5() {
    let mut scene = Scene::new(1, Etcd::V3_5);
    main_job(&scene);
    beside_another_etcd(&mut scene);
}

/// An etcd of its own with the same labels, as for events, on the same node: it is told from that of the API server, which is taken.
fn beside_another_etcd(scene: &mut Scene) {
    let manifest = scene.lab.node_root("cp1").join("etc/kubernetes/manifests/etcd.yaml");
    let mut text = std::fs::read_to_string(&manifest).unwrap();
    for (from, to) in [
        (":2379", ":2389"),
        (":2380", ":2390"),
        (":2381", ":2391"),
        ("/var/lib/etcd", "/var/lib/etcd-events"),
        ("--name=cp1", "--name=events"),
        ("initial-cluster=cp1=", "initial-cluster=events="),
        ("    tier: control-plane\n  name: etcd\n", "    app: events\n    tier: control-plane\n  name: etcd-events\n"),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        text = text.replace(from, to);
    }
    std::fs::write(manifest.with_file_name("etcd-events.yaml"), text).unwrap();
    let clusters = || {
        let json = scene.ok(&["status", "-o", "json"]).json();
        json["clusters"].as_array().expect("a list").clone()
    };
    e2e::until("the other etcd answers", || clusters().len() == 2);
    let contents: Vec<Value> = clusters().iter().map(|cluster| cluster["contents"].clone()).collect();
    assert_eq!(contents, ["cluster", "none"]);
    let taken = scene.ok(&["backup", "main.db", "-o", "json"]).json();
    assert_eq!((&taken["source"]["name"], &taken["contents"]), (&"cp1".into(), &"cluster".into()));
    assert_eq!(taken["members"].as_array().map(Vec::len), Some(1));
    // Named, it is taken, and said to be none of the cluster.
    let taken = scene.ok(&["backup", "events.db", "-l", "app=events", "-o", "json"]);
    taken.expect_error(&["its snapshot is no backup of the objects of cluster lab"]);
    scene.accept_nodes();
}

#[test]
fn three_nodes_with_etcd_3_4() {
    main_job(&Scene::new(3, Etcd::V3_4));
}

#[test]
fn three_nodes_with_etcd_3_5() {
    let scene = Scene::new(3, Etcd::V3_5);
    main_job(&scene);
    every_form(&scene);
    into_a_store(&scene);
    status(&scene);
    versions(&scene);
}

/// A node that is down costs a few seconds, and nothing else: a quorum's answers do, the other members' sidecars are
/// still there after it, and the pod that nobody will ever end does not stay.
#[test]
fn a_node_that_is_down_is_passed_over() {
    let scene = Scene::new(3, Etcd::V3_4);
    let kubelet = scene.lab.init("cp3").unwrap();
    e2e::trouble::signal(kubelet, "STOP");
    let ran = run(scene.plugin(&["backup", "one.db", "-o", "json"]));
    let left = scene.sidecars();
    e2e::trouble::signal(kubelet, "CONT");
    let ran = ran.expect_code(0).expect_error(&["2 of 3 members answer; quorum holds"]);
    let taken = ran.json();
    assert_ne!(taken["source"]["node"], "cp3");
    assert_eq!(taken["members"].as_array().map(Vec::len), Some(3));
    assert!(left.is_empty(), "{left:?}");
    scene.ok(&["verify", "one.db"]);
}

fn every_form(scene: &Scene) {
    let verifies = |name: &str| {
        let path = scene.path(name);
        let report = scene.ok(&["verify", path.to_str().unwrap(), "-o", "json"]).json();
        assert_eq!((&report["ok"], &report["digest"]), (&true.into(), &"matches".into()), "{name}");
    };
    // Without a name: the cluster and the time make one.
    // The keys are another user's, who alone may read them, and etcd runs as root all the same (as Kubespray has it).
    for node in scene.lab.node_names() {
        let folder = scene.lab.node_root(&node).join("etc/kubernetes/pki/etcd");
        for path in e2e::names(&folder).iter().map(|name| folder.join(name)).chain([folder.clone()]) {
            std::os::unix::fs::chown(&path, Some(2003), Some(2004)).unwrap();
            let mode = if path == folder { 0o700 } else { 0o400 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let before = scene.files();
    scene.ok(&["backup"]);
    let new: Vec<String> = scene.files().into_iter().filter(|name| !before.contains(name)).collect();
    assert!(new.len() == 2 && new[0].starts_with("etcd-lab-2") && new[0].ends_with("Z.db"), "{new:?}");
    assert_eq!(new[1], format!("{}.json", new[0]));

    // From a member that is named, uncompressed.
    let ran = scene.ok(&["backup", "two.db", "--node", "cp2", "--compress", "none", "-o", "json"]);
    assert!(!ran.stderr.contains("members answer"), "the others were not asked: {}", ran.stderr);
    assert_eq!(ran.json()["source"]["node"], "cp2");
    assert_eq!(ran.json()["members"].as_array().map(Vec::len), Some(3));
    verifies("two.db");

    // Into a pipe, with nothing written beside it.
    let before = scene.files();
    let piped = scene.ok(&["backup", "-"]);
    assert_eq!(scene.files(), before);
    std::fs::write(scene.path("piped.db"), &piped.bytes).unwrap();
    verifies("piped.db");

    // With a copy on the node, which is the same, byte by byte.
    let kept = scene.lab.node_root("cp1").join("var/lib/etcd-backups");
    std::fs::create_dir_all(&kept).unwrap();
    // Whoever owns the folder, and whatever its mode.
    std::os::unix::fs::chown(&kept, Some(2001), Some(2002)).unwrap();
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o500)).unwrap();
    scene.ok(&["backup", "three.db", "--node", "cp1", "--on-node", "/var/lib/etcd-backups"]);
    assert_eq!(e2e::names(&kept), ["three.db"]);
    assert_eq!(std::fs::read(kept.join("three.db")).unwrap(), std::fs::read(scene.path("three.db")).unwrap());
    let copy = kept.join("three.db").metadata().unwrap();
    assert_eq!((copy.permissions().mode() & 0o777, copy.uid(), copy.gid()), (0o600, 0, 0));
    assert!(scene.sidecars().is_empty());
}

/// Into a store: encrypted and signed, readable with stock tools, and nothing in clear anywhere.
fn into_a_store(scene: &Scene) {
    const VALUE: &str = "not-to-be-found-in-clear";
    scene.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: known, namespace: default}}\nstringData: {{password: {VALUE}}}\n"
    ));
    let tool = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(scene.path(""));
        run(command).expect_code(0)
    };
    tool("age-keygen", &["-o", "identity.txt"]);
    let recipient = tool("age-keygen", &["-y", "identity.txt"]).stdout.trim().to_owned();
    tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "sign.key"]);
    for folder in ["store", "tmp"] {
        std::fs::create_dir(scene.path(folder)).unwrap();
    }
    let url = format!("file://{}", scene.path("store").display());
    let backup = |flags: &[&str]| {
        let mut command = scene.plugin(&[&["backup", "--store", &url], flags].concat());
        command.env("TMPDIR", scene.path("tmp"));
        command
    };
    // Nobody could decrypt it; and flags of a file.
    run(backup(&[])).expect_code(2).expect_error(&["no recipient is named"]);
    run(backup(&["--recipient", &recipient, "--force"])).expect_code(2);
    run(backup(&["--no-encryption", "--node-files"])).expect_code(2).expect_error(&["--no-encryption", "--node-files"]);
    assert_eq!(e2e::names(&scene.path("store")), [""; 0]);

    let flags = ["--recipient", &recipient, "--sign-key", "sign.key", "--node-files", "-o", "json"];
    let taken = run(backup(&flags)).expect_code(0).expect_error(&["kubectl etcd verify", "--identity FILE"]);
    let record = taken.json();
    let name = record["name"].as_str().unwrap();
    let uid = run(scene.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"])).expect_code(0);
    let folder = scene.path("store").join("v1").join(&uid.stdout);
    let suffixes = [".db.zst.age", ".json", ".json.sig", ".node.tar.zst.age"];
    assert_eq!(e2e::names(&folder), suffixes.map(|suffix| format!("{name}{suffix}")));
    let object = |suffix: &str| folder.join(format!("{name}{suffix}"));
    let written: Value = serde_json::from_slice(&std::fs::read(object(".json")).unwrap()).unwrap();
    assert_eq!(written, record);
    assert_eq!((&record["level"], &record["class"]), (&"written".into(), &"manual".into()));
    assert_eq!((&record["cluster"]["uid"], &record["recipients"][0]), (&uid.stdout.into(), &recipient.as_str().into()));
    let stored = std::fs::read(object(".db.zst.age")).unwrap();
    assert_eq!(record["objects"][0]["size"], stored.len());
    let nodes = record["recoveryPlan"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.iter().map(|node| node["name"].as_str().unwrap()).collect::<Vec<_>>(), scene.lab.node_names());
    for node in nodes {
        let member = &node["member"];
        let data = scene.lab.node_root(node["name"].as_str().unwrap()).join("var/lib/etcd").metadata().unwrap();
        let owner = format!("{}:{}", data.uid(), data.gid());
        assert_eq!((&member["dataDir"], &member["owner"]), (&"/var/lib/etcd".into(), &owner.into()));
        assert_eq!(member["mode"], format!("{:04o}", data.mode() & 0o7777));
        let ca = tool("openssl", &["x509", "-noout", "-fingerprint", "-sha256", "-in", &ca_of(scene, node)]).stdout;
        let print = ca.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase();
        assert_eq!(member["certificates"][0]["fingerprint"], print.as_str());
        let all = member["certificates"].as_array().unwrap();
        let peer = all.iter().find(|one| one["purpose"] == "peer-ca").unwrap();
        assert_eq!(peer["fingerprint"], print.as_str());
    }
    node_files(scene, &record, &object(".node.tar.zst.age"));

    // Stock tools read it.
    tool(
        "sh",
        &["-c", &format!("age -d -i identity.txt '{}' | zstd -q -d > opened.db", object(".db.zst.age").display())],
    );
    let sum = tool("sha256sum", &["opened.db"]).stdout;
    assert_eq!(sum.split_whitespace().next(), record["snapshot"]["sha256"].as_str());
    let theirs = vendor(etcdutl(), &["snapshot", "status", scene.path("opened.db").to_str().unwrap(), "-w", "json"]);
    for figure in ["hash", "revision", "totalKey", "totalSize"] {
        assert_eq!(record["snapshot"][figure], theirs[figure], "{figure}");
    }
    let counted = scene.ok(&["inspect", "opened.db", "-o", "json"]).json();
    for one in counted["resources"].as_array().unwrap() {
        assert_eq!(record["snapshot"]["resources"][one["resource"].as_str().unwrap()], one["objects"], "{one}");
    }
    std::fs::write(
        scene.path("signers"),
        format!("backup {}", std::fs::read_to_string(scene.path("sign.key.pub")).unwrap()),
    )
    .unwrap();
    let check = format!(
        "ssh-keygen -Y verify -f signers -I backup -n kubectl-etcd -s '{}' < '{}'",
        object(".json.sig").display(),
        object(".json").display()
    );
    tool("sh", &["-c", &check]);

    // The value is in the snapshot, and neither in the store nor in the folder for temporary files.
    let has = |bytes: &[u8]| memchr::memmem::find(bytes, VALUE.as_bytes()).is_some();
    assert!(has(&std::fs::read(scene.path("opened.db")).unwrap()));
    for file in e2e::names(&folder) {
        assert!(!has(&std::fs::read(folder.join(file)).unwrap()));
    }
    assert_eq!(e2e::names(&scene.path("tmp")), [""; 0]);

    // One that is cut off in its middle, by a person or by force, is none.
    for signal in ["INT", "KILL"] {
        e2e::trouble::cut(scene, 100_000, "stall");
        let mut running = Running::start(backup(&["--recipient", &recipient, "--compress", "none"]));
        running.wait_for("taking the snapshot from");
        running.signal(signal);
        let (status, said) = running.end();
        assert!(signal == "KILL" || status.code() == Some(130) && said.contains("no backup is in the store"), "{said}");
        assert_eq!(e2e::names(&folder).len(), suffixes.len(), "{signal}");
    }
    e2e::trouble::mend(scene);
    scene.ok(&["cleanup", "--yes"]);

    // The spool has no room: it is a backup all the same, and is said to be less.
    let mut crowded = backup(&["--no-encryption", "-o", "json"]);
    crowded.env("TMPDIR", "/proc");
    let record =
        run(crowded).expect_code(0).expect_error(&["the pages of the snapshot were not checked", "level digest"]);
    let record = record.json();
    assert_eq!((&record["level"], &record["snapshot"]["revision"]), (&"digest".into(), &Value::Null));
    let clear = folder.join(format!("{}.db.zst", record["name"].as_str().unwrap()));
    let snapshot = tool("zstd", &["-q", "-dc", clear.to_str().unwrap()]).bytes;
    assert_eq!(snapshot.len(), record["snapshot"]["size"].as_u64().unwrap() as usize);
    assert!(scene.sidecars().is_empty());
    by_a_pod(scene, &url, &recipient, &folder);
}

/// By the program of a pod of a schedule, in the network of a control-plane node and with its folder /etc/kubernetes alone. What it has stored is
/// all that a restore needs.
fn by_a_pod(scene: &Scene, url: &str, recipient: &str, folder: &std::path::Path) {
    let (init, program) = (scene.lab.init("cp2").unwrap().to_string(), e2e::plugin().with_file_name("etcd-sidecar"));
    let pod = |args: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &init, "--net", "--"]).arg(&program).args(args).current_dir(scene.path(""));
        command
    };
    let kubernetes = scene.lab.node_root("cp2").join("etc/kubernetes");
    let tick = || {
        let to = ["backup", "--store", url, "--recipient", recipient, "--sign-key", "sign.key", "--node-files"];
        let how = ["--every", "1h", "--spool", "tmp", "--kubernetes", kubernetes.to_str().unwrap()];
        run(pod(&[&to[..], &how].concat())).expect_code(0)
    };
    let before = e2e::names(folder);
    tick();
    let after = e2e::names(folder);
    let new: Vec<&String> = after.iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(after.len(), before.len() + 4, "{new:?}");
    assert!(new.iter().all(|name| name.contains("-scheduled-")), "{new:?}");
    // Another pod of the same hour finds it.
    tick().expect_error(&["nothing to do"]);
    assert_eq!(e2e::names(folder), after);
    assert_eq!(e2e::names(&scene.path("tmp")), [""; 0]);

    let latest = format!("{url}/latest");
    let keys = ["--identity", "identity.txt", "--trust-key", "sign.key.pub"];
    scene.ok(&[&["verify", &latest], &keys[..]].concat());
    scene.ok(&[&["restore", &latest, "--data-dir", "restored", "--name", "cp2"], &keys[..]].concat());
    assert_eq!(e2e::names(&scene.path("restored/member")), ["snap", "wal"]);
    let archive = new.iter().find(|name| name.ends_with(".node.tar.zst.age")).unwrap();
    let unpack = format!("age -d -i identity.txt '{}' | zstd -q -d | tar -t", folder.join(archive).display());
    let mut unpacked = Command::new("bash");
    unpacked.args(["-euo", "pipefail", "-c", &unpack]).current_dir(scene.path(""));
    assert!(run(unpacked).expect_code(0).stdout.contains("etc/kubernetes/pki/ca.key"));

    // All of them are younger than a day.
    run(pod(&["prune", "--store", url, "--keep-last", "1", "--trust-key", "sign.key.pub"])).expect_code(0);
    assert_eq!(e2e::names(folder), after);
}

/// Files of the node, unpacked with stock tools, are those of the node, byte by byte, with owner and mode; and links and pipes do no harm.
fn node_files(scene: &Scene, record: &Value, object: &std::path::Path) {
    let node = record["source"]["node"].as_str().unwrap();
    let there = scene.lab.node_root(node).join("etc/kubernetes");
    let stored = &record["objects"][1];
    assert_eq!(stored["name"], object.file_name().unwrap().to_str().unwrap());
    let bytes = std::fs::read(object).unwrap();
    assert_eq!((&stored["size"], &stored["recipients"]), (&bytes.len().into(), &record["recipients"]));
    let script = format!(
        "echo '{}  {}' | sha256sum --check --strict && mkdir node && age -d -i identity.txt '{1}' | zstd -q -d | tar -xpf - -C node \
         && diff -r --no-dereference '{}' node/etc/kubernetes \
         && find '{2}' -mindepth 1 -printf '%P %m %U %G %l\n' | sort > there \
         && find node/etc/kubernetes -mindepth 1 -printf '%P %m %U %G %l\n' | sort > here && diff there here",
        stored["sha256"].as_str().unwrap(),
        object.display(),
        there.display()
    );
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &script]).current_dir(scene.path(""));
    run(command).expect_code(0);
    assert!(scene.path("node/etc/kubernetes/pki/ca.key").is_file());
    let recorded = record["recoveryPlan"]["nodes"].as_array().unwrap();
    for one in recorded {
        let manifests = one["manifests"].as_array().unwrap();
        if one["name"] != node {
            assert_eq!((&one["manifestsFolder"], manifests.len()), (&Value::Null, 0));
            continue;
        }
        assert_eq!(one["manifestsFolder"], "/etc/kubernetes/manifests");
        let files: Vec<&str> = manifests.iter().map(|manifest| manifest["file"].as_str().unwrap()).collect();
        assert_eq!(files, e2e::names(&there.join("manifests")));
        let mut sum = Command::new("sha256sum");
        sum.arg(there.join("manifests/etcd.yaml"));
        let sum = run(sum).expect_code(0).stdout;
        let etcd = manifests.iter().find(|manifest| manifest["file"] == "etcd.yaml").unwrap();
        assert_eq!(sum.split(' ').next(), etcd["sha256"].as_str());
    }
}

/// The certificate of a node's etcd authority, on this machine.
fn ca_of(scene: &Scene, node: &Value) -> String {
    let root = scene.lab.node_root(node["name"].as_str().unwrap());
    root.join("etc/kubernetes/pki/etcd/ca.crt").display().to_string()
}

fn status(scene: &Scene) {
    let json = scene.ok(&["status", "-o", "json"]).json();
    let members = json["members"].as_array().unwrap();
    assert_eq!(members.len(), 3);
    assert_eq!(members.iter().filter(|member| member["role"] == "leader").count(), 1);
    for member in members {
        assert_eq!(member["version"], scene.lab.etcd_version());
        assert_eq!(member["quota"], 2_147_483_648_i64);
        assert!(member["dbSize"].as_i64() >= member["dbSizeInUse"].as_i64());
        assert!(member["lag"].as_u64().unwrap() < 1000 && member["raftTerm"].as_u64().unwrap() > 0);
        assert_eq!(member["alarms"], serde_json::json!([]));
        assert!(member["servedCertificate"]["notAfter"].is_string(), "{member}");
    }
    let wide = scene.ok(&["status", "-o", "wide"]).stdout;
    let header = wide.lines().next().unwrap();
    assert!(header.starts_with("NAME") && header.contains("QUOTA") && header.contains("TERM"), "{header}");
    let lines: Vec<&str> = wide.lines().skip(4).collect();
    assert_eq!(lines, ["", "3 of 3 members healthy; can lose 1"], "{wide}");
    let yaml = scene.ok(&["status", "-o", "yaml", "--node", "cp3"]).stdout;
    assert!(yaml.contains("kind: Status") && yaml.contains("node: cp3"), "{yaml}");
    assert!(scene.sidecars().is_empty());
}

fn versions(scene: &Scene) {
    let json = run(scene.kubectl_etcd(&["version", "-o", "json"])).expect_code(0).json();
    assert_eq!(json["etcd"].as_array().map(Vec::len), Some(3));
    assert!(json["serverVersion"].as_str().is_some_and(|version| version.starts_with('v')));
    let mut offline = Command::new(plugin());
    offline.args(["version", "--client", "-o", "json"]).env("KUBECONFIG", "/nowhere");
    let client = run(offline).expect_code(0).json();
    assert_eq!((&client["protocol"], &client["serverVersion"]), (&"1.0".into(), &Value::Null));
}
