//! Backups in a store through the binary, offline: every command that reads a snapshot file reads them, and only what is as it was written.
//! And docs/STORE.md, block by block.

mod copied;
pub(crate) mod offline;
mod passphrase;
mod proxied;
mod rotated;

use std::process::Command;

use e2e::{etcd_3_5, names, run, unpacked, workspace};
use etcd_store::Part;
use serde_json::Value;

use offline::{Offline, sha256};

#[test]
fn every_command_reads_a_store() {
    let offline = Offline::new();
    let name = offline.backup();
    let latest = offline.latest();
    let told = offline.trusted(&["verify", &latest]).expect_code(0);
    assert!(told.stdout.contains("is whole:") && told.stdout.contains("cluster prod-eu"), "{}", told.stdout);
    assert!(told.stderr.contains("signed by ci (SHA256:") && !told.stderr.contains("--trust-key"), "{}", told.stderr);
    for reference in [offline.url(&name.to_string()), offline.url(&format!("{}/{name}", offline.cluster))] {
        offline.trusted(&["verify", &reference]).expect_code(0);
    }
    // Without a trust key it is said, once, and also where two backups are read.
    let told = offline.run(&["diff", &latest, &latest, "--identity", "identity.txt"]).expect_code(0);
    assert_eq!(told.stderr.matches("--trust-key FILE").count(), 1, "{}", told.stderr);
    let whole: Value = offline.trusted(&["inspect", &latest, "-o", "json"]).expect_code(0).json();
    assert!(whole["resources"].as_array().is_some_and(|all| all.len() > 10));
    let web = offline.trusted(&["get", &latest, "deploy/web", "-n", "shop", "-o", "name"]).expect_code(0);
    assert_eq!(web.stdout.trim(), "deployment.apps/web");
    std::fs::write(offline.path("a.db"), unpacked("snapshots/kubeadm-ha.db.zst")).unwrap();
    offline.trusted(&["diff", "a.db", &latest]).expect_code(0);
    // The members are those of the record.
    let built = offline.trusted(&["restore", &latest, "--data-dir", "cp2", "--name", "cp2"]).expect_code(0);
    assert!(
        built.stderr.contains("https://10.0.0.2:2380") && built.stderr.contains(&name.to_string()),
        "{}",
        built.stderr
    );
    assert!(offline.path("cp2/member/snap/db").is_file());
    offline.run(&["verify", &latest, "--explain"]).expect_code(2).expect_error(&["kubectl etcd copy"]);
}

#[test]
fn what_is_not_as_it_was_written_is_refused() {
    let offline = Offline::new();
    let latest = offline.latest();
    offline.trusted(&["verify", &latest]).expect_code(1).expect_error(&["there is no backup"]);
    offline.trusted(&["verify", &offline.url("")]).expect_code(2);
    for args in [
        &["verify", "s3://me:hidden@b/latest"][..],
        &["copy", "s3://me:hidden@b/latest", "x"],
        &["copy", &latest, "s3://me:hidden@b"],
    ] {
        let told = offline.run(args).expect_code(2);
        assert!(!format!("{}{}", told.stdout, told.stderr).contains("hidden"), "{}", told.stderr);
    }
    let name = offline.backup();
    let restore = |args: &[&str]| {
        let ran = offline.run(&[&["restore", &latest, "--data-dir", "out", "--name", "cp1"], args].concat());
        assert!(!offline.path("out").exists());
        ran
    };
    let identity = ["--identity", "identity.txt"];
    restore(&[]).expect_code(2).expect_error(&["no identity is given", &offline.recipient, "--identity FILE"]);
    restore(&["--identity", "other.txt"]).expect_code(2).expect_error(&["encrypted for", &offline.recipient]);
    restore(&["--identity", "sign.pub"]).expect_code(2).expect_error(&["not an age identity"]);
    let stranger = [&identity[..], &["--trust-key", "stranger.pub"]].concat();
    restore(&stranger).expect_code(4).expect_error(&["which is not trusted", "nothing was changed"]);
    let trusted = [&identity[..], &["--trust-key", "sign.pub"]].concat();
    let signature = offline.object(&name, Part::Signature);
    let good = std::fs::read(&signature).unwrap();
    std::fs::remove_file(&signature).unwrap();
    restore(&trusted).expect_code(4).expect_error(&["is not signed"]);
    let record = offline.object(&name, Part::Record);
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&signature, &good).unwrap();
    std::fs::write(&record, text.replace("prod-eu", "prod-us")).unwrap();
    restore(&trusted).expect_code(4).expect_error(&["a signature of other bytes"]);
    std::fs::write(&record, &text).unwrap();
    let data = std::fs::read(offline.data(&name)).unwrap();
    let mut changed = data.clone();
    changed[data.len() / 2] ^= 1;
    std::fs::write(offline.data(&name), &changed).unwrap();
    restore(&trusted).expect_code(3).expect_error(&["is damaged or was replaced"]);
    offline.run(&["verify", &latest]).expect_code(3).expect_error(&["is damaged or was replaced"]);
    std::fs::write(offline.data(&name), &data[1..]).unwrap();
    restore(&trusted).expect_code(3).expect_error(&["contradicts the store"]);
    std::fs::write(offline.data(&name), &data).unwrap();
    std::fs::remove_file(&record).unwrap();
    restore(&trusted).expect_code(1).expect_error(&["no backup of cluster", "kubectl etcd list"]);
}

#[test]
fn what_was_verified_is_written_beside_the_backup() {
    let offline = Offline::new();
    let name = offline.backup();
    let latest = offline.latest();
    let read = offline.run(&["verify", &latest, "--attest", "--trust-key", "sign.pub", "-o", "json"]).expect_code(0);
    assert_eq!((&read.json()["level"], &read.json()["ok"]), (&"read".into(), &true.into()));
    // Who has signed the backup is not known.
    let signed = ["verify", &latest, "--identity", "identity.txt", "--attest", "--sign-key", "sign"];
    offline.run(&signed).expect_code(2).expect_error(&["the signature of the backup is not checked", "--trust-key"]);
    offline.trusted(&["verify", &latest, "--attest", "--sign-key", "sign"]).expect_code(0);
    let folder = offline.path("store/v1").join(offline.cluster.as_str());
    let all = names(&folder);
    let proofs: Vec<&String> = all.iter().filter(|one| one.contains(".proof")).collect();
    assert_eq!(proofs.len(), 3, "{all:?}");
    let opened = proofs.iter().find(|one| one.contains(".opened-") && one.ends_with(".proof")).unwrap();
    let proof: Value = serde_json::from_slice(&std::fs::read(folder.join(opened)).unwrap()).unwrap();
    let record = std::fs::read(offline.object(&name, Part::Record)).unwrap();
    assert_eq!((&proof["kind"], &proof["recordSha256"]), (&"BackupProof".into(), &sha256(&record).into()));
    std::fs::write(
        offline.path("signers"),
        format!("ci {}", std::fs::read_to_string(offline.path("sign.pub")).unwrap()),
    )
    .unwrap();
    let check = format!(
        "ssh-keygen -Y verify -f signers -I ci -n kubectl-etcd -s '{0}.sig' < '{0}'",
        folder.join(opened).display()
    );
    offline.tool("sh", &["-c", &check]);
    // A damaged backup gets none.
    std::fs::write(offline.data(&name), b"x").unwrap();
    offline.run(&["verify", &latest, "--attest"]).expect_code(3);
    assert_eq!(names(&folder), all);
}

#[test]
fn docs_store_md_restores_with_stock_tools() {
    let document = std::fs::read_to_string(workspace().join("docs/STORE.md")).unwrap();
    let blocks: Vec<&str> =
        document.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```\n").next().unwrap()).collect();
    assert!(blocks.len() >= 9, "{}", blocks.len());
    let offline = Offline::new();
    let name = offline.backup();
    std::fs::create_dir(offline.path("here")).unwrap();
    for key in ["identity.txt", "sign.pub"] {
        std::fs::copy(offline.path(key), offline.path("here").join(key)).unwrap();
    }
    let path = format!("{}:{}", etcd_3_5().display(), std::env::var("PATH").unwrap());
    let shell = |lines: &[&str]| {
        let mut command = Command::new("bash");
        command.args(["-e", "-c", &lines.join("\n")]).current_dir(offline.path("here"));
        command.env("STORE", offline.path("store")).env("CLUSTER", offline.cluster.as_str()).env("PATH", &path);
        run(command)
    };
    // All blocks in their order, and what each has to show.
    let told = shell(&blocks).expect_code(0);
    let sums = [format!("{name}.db.zst.age: OK"), format!("{name}.node.tar.zst.age: OK"), "etcd.db: OK".to_owned()];
    let shown = ["Good \"kubectl-etcd\" signature", "cp2=https://10.0.0.2:2380", "node/etc/kubernetes/pki/ca.key"];
    for text in sums.iter().map(String::as_str).chain(shown).chain([name.to_string().as_str()]) {
        assert!(told.stdout.contains(text), "{text}: {}{}", told.stdout, told.stderr);
    }
    // Nothing is left in clear.
    assert!(names(&offline.path("here")).iter().all(|one| !["etcd.db", "restored", "node"].contains(&one.as_str())));
    // Each check ends it where something is wrong.
    let ends = |text: &str| {
        for entry in names(&offline.path("here")).iter().filter(|one| one.starts_with(&name.to_string())) {
            std::fs::remove_file(offline.path("here").join(entry)).unwrap();
        }
        let told = shell(&blocks);
        assert!(
            !told.status.success() && format!("{}{}", told.stdout, told.stderr).contains(text),
            "{text}: {}{}",
            told.stdout,
            told.stderr
        );
        assert!(!names(&offline.path("here")).iter().any(|one| one == "restored"));
    };
    let data = std::fs::read(offline.data(&name)).unwrap();
    let mut changed = data.clone();
    changed[300] ^= 1;
    std::fs::write(offline.data(&name), changed).unwrap();
    ends("FAILED");
    std::fs::write(offline.data(&name), data).unwrap();
    let record = offline.object(&name, Part::Record);
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("prod-eu", "prod-us")).unwrap();
    ends("incorrect signature");
}
