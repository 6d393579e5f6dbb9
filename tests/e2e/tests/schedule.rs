//! `kubectl etcd schedule` through the binary: its output is what it was, and what kubectl, Kubernetes' schemas and Prometheus take.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Ran, names, plugin, run, workspace};
use serde_json::{Value, json};

const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const OTHER: &str = "age1lgyn4lvrmc7lgh90nz0s0hjndf6xkg0rysu4g9m4gpnlec7q9upqd9vn0u";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti backup\n";
const IMAGE: &str =
    "registry.example/etcd-sidecar@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        std::fs::write(desk.path().join("team.txt"), format!("# us\n{OTHER}\n")).unwrap();
        std::fs::write(desk.path().join("backup.pub"), KEY).unwrap();
        desk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn schedule(&self, args: &str) -> Ran {
        let mut command = Command::new(plugin());
        command.arg("schedule").args(args.split_whitespace()).current_dir(self.path());
        command.env("KUBECONFIG", "/nonexistent").env("HOME", self.path()).env_remove("KUBECTL_ETCD_IMAGE");
        run(command)
    }
}

/// Few flags, and all that change an object.
fn lines() -> [(&'static str, String); 2] {
    let plain = format!("--store gs://backups/prod --every 1h --recipient {RECIPIENT} --image {IMAGE}");
    let whole = format!(
        "--store s3://backups/prod?region=eu-central-1&endpoint=https://minio.example:9000&ca=/etc/kubectl-etcd/ca/ca.crt \
         --every 6h --time-zone Etc/UTC -n etcd-safe --recipient {RECIPIENT} -R team.txt --sign-key-secret sign-key \
         --trust-key backup.pub --node-files --max-age 20h --cluster-uid {UID} --keep-last 3 --keep-daily 7 \
         --keep-within 1y2m --credential-secret store --prune-credential-secret prune --ca-config-map store-ca \
         --node-selector role=cp --node-selector node-role.kubernetes.io/etcd=true --node-dir /var/lib/pki/etcd \
         --spool-size 800Mi --drill weekly --drill-etcd-image registry.example/etcd:3.6.6-0 --drill-identity-secret identity \
         --drill-size 30Gi --image {IMAGE} --image-pull-policy Always --image-pull-secret pull"
    );
    [("plain", plain), ("whole", whole)]
}

fn objects(yaml: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(yaml);
    documents.map(|one| serde::Deserialize::deserialize(one).unwrap()).collect()
}

fn of<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn the_output_is_what_it_was() {
    let desk = Desk::new();
    for (name, line) in lines() {
        let ran = desk.schedule(&line).expect_code(0);
        assert_eq!(ran.stderr, "", "an image with a digest is warned of");
        let golden = workspace().join(format!("tests/data/schedule/{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
            std::fs::write(&golden, &ran.stdout).unwrap();
        }
        let before = std::fs::read_to_string(&golden).unwrap();
        assert_eq!(ran.stdout, before, "{name}: UPDATE_GOLDEN=1 writes what is printed");
        assert_eq!(desk.schedule(&line).expect_code(0).stdout, ran.stdout);
    }
    let untagged =
        desk.schedule("--store s3://b --every 1h --no-encryption --image registry.example/a:1").expect_code(0);
    assert!(
        untagged.stderr.starts_with("Warning: image registry.example/a:1 is named without a digest"),
        "{}",
        untagged.stderr
    );
    assert_eq!(names(desk.path()), ["backup.pub", "team.txt"]);
}

/// What the pods may, whatever the flags.
#[test]
fn no_pod_has_more_rights_than_it_needs() {
    let desk = Desk::new();
    for (_, line) in lines() {
        let objects = objects(&desk.schedule(&line).expect_code(0).stdout);
        assert!(of(&objects, "Secret").is_empty() && of(&objects, "ClusterRole").is_empty());
        let pods =
            of(&objects, "CronJob").into_iter().map(|job| &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]);
        let pods = pods.chain(of(&objects, "Deployment").into_iter().map(|one| &one["spec"]["template"]["spec"]));
        for spec in pods {
            let container = &spec["containers"][0];
            let security = &container["securityContext"];
            let command = container["args"][0].as_str().unwrap();
            assert_eq!(
                (&spec["automountServiceAccountToken"], &security["privileged"]),
                (&json!(false), &json!(false))
            );
            assert_eq!(
                (&security["readOnlyRootFilesystem"], &security["capabilities"]["drop"]),
                (&json!(true), &json!(["ALL"]))
            );
            let mounts = container["volumeMounts"].as_array().into_iter().flatten();
            let writable: Vec<&Value> =
                mounts.filter(|mount| mount["readOnly"] != true).map(|mount| &mount["name"]).collect();
            let hosts = spec["volumes"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|volume| volume.get("hostPath").is_some())
                .count();
            match command {
                "backup" => {
                    assert_eq!(
                        (&spec["hostNetwork"], &security["capabilities"]["add"]),
                        (&json!(true), &json!(["DAC_READ_SEARCH"]))
                    );
                    assert_eq!(writable, ["spool"]);
                    assert!(hosts > 0);
                }
                "drill" => {
                    assert_eq!((spec.get("hostNetwork"), &security["runAsNonRoot"]), (None, &json!(true)));
                    assert!(writable == ["data"] && hosts == 0 && security["capabilities"].get("add").is_none());
                    let init = &spec["initContainers"][0];
                    assert_eq!(&init["securityContext"], security);
                    assert_eq!(init["volumeMounts"].as_array().map(Vec::len), Some(1));
                    assert_eq!(
                        (&init["args"][0], &container["command"]),
                        (&json!("install"), &json!(["/program/etcd-sidecar"]))
                    );
                }
                _ => {
                    assert_eq!((spec.get("hostNetwork"), &security["runAsNonRoot"]), (None, &json!(true)), "{command}");
                    assert!(writable.is_empty() && hosts == 0, "{command}");
                    assert!(security["capabilities"].get("add").is_none(), "{command}");
                }
            }
        }
    }
}

/// A pod that puts up with a node that is off would stay on it, and its Job with it.
#[test]
fn a_node_that_is_off_is_left() {
    let desk = Desk::new();
    for (name, line) in lines() {
        let objects = objects(&desk.schedule(&line).expect_code(0).stdout);
        let jobs = of(&objects, "CronJob");
        assert!(!jobs.is_empty(), "{name}");
        for job in jobs {
            let spec = &job["spec"]["jobTemplate"]["spec"];
            assert_eq!(job["spec"]["concurrencyPolicy"], "Forbid", "{name}: {}", job["metadata"]["name"]);
            // And none is at work for ever.
            assert!(spec["activeDeadlineSeconds"].as_u64().is_some_and(|seconds| seconds > 0), "{name}");
            let tolerations = spec["template"]["spec"]["tolerations"].as_array().into_iter().flatten();
            assert!(tolerations.into_iter().all(|one| one["effect"] == "NoSchedule"), "{name}");
        }
    }
}

#[test]
fn kubernetes_has_these_objects() {
    let desk = Desk::new();
    let tool = workspace().join("target/tools/kubernetes-validate-1.37");
    for (name, line) in lines() {
        let yaml = desk.schedule(&line).expect_code(0).stdout;
        // The schemas are those of Kubernetes itself: not of the Prometheus operator.
        let known: Vec<Value> =
            objects(&yaml).into_iter().filter(|one| one["apiVersion"] != "monitoring.coreos.com/v1").collect();
        let texts: Vec<String> =
            known.iter().map(|one| format!("---\n{}", serde_yaml_ng::to_string(one).unwrap())).collect();
        let file = desk.path().join(format!("{name}.yaml"));
        std::fs::write(&file, texts.concat()).unwrap();
        for version in ["1.27", "1.37"] {
            let mut command = Command::new("python3");
            command.args(["-m", "kubernetes_validate", "--strict", "-k", version]).arg(&file).env("PYTHONPATH", &tool);
            let told = run(command).expect_code(0);
            assert_eq!(told.stdout.matches("INFO").count(), known.len(), "{}{}", told.stdout, told.stderr);
        }
        std::fs::write(&file, texts.concat().replace("timeZone", "timezone")).unwrap();
        let mut command = Command::new("python3");
        command.args(["-m", "kubernetes_validate", "--strict"]).arg(&file).env("PYTHONPATH", &tool);
        assert_ne!(run(command).status.code(), Some(0), "the validator sees what is misspelled");
    }
}

#[test]
fn a_folder_for_kustomize_has_the_same_objects() {
    let desk = Desk::new();
    let sorted = |yaml: &str| {
        let mut all = objects(yaml);
        all.sort_by_key(|one| format!("{} {}", one["kind"], one["metadata"]["name"]));
        all
    };
    for (name, line) in lines() {
        let plain = desk.schedule(&line).expect_code(0).stdout;
        let told = desk.schedule(&format!("{line} --kustomize new/{name}")).expect_code(0);
        assert!(
            told.stdout.is_empty() && told.stderr.contains(&format!("files written to new/{name}")),
            "{}",
            told.stderr
        );
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("kustomize").arg(desk.path().join("new").join(name));
        let built = run(kubectl).expect_code(0).stdout;
        assert_eq!(sorted(&built), sorted(&plain));
    }
    // Nothing that is there is written over, nor is anything beside it.
    let folder = desk.path().join("new/plain");
    let mine = folder.join("kustomization.yaml");
    std::fs::write(&mine, "mine").unwrap();
    let before = names(&folder);
    let refused = desk.schedule(&format!("{} --kustomize new/plain", lines()[1].1));
    refused.expect_code(4).expect_error(&["new/plain is not empty", "nothing was changed"]);
    assert_eq!((names(&folder), std::fs::read_to_string(&mine).unwrap()), (before, "mine".to_owned()));
}

#[test]
fn what_no_cluster_would_take_is_refused_and_nothing_is_written() {
    let desk = Desk::new();
    let good = format!("--store s3://b/p --every 1h --recipient {RECIPIENT} --kustomize out");
    for (line, said) in [
        ("--store s3://b --every 1h --kustomize out".to_owned(), "no recipient is named"),
        (good.replace("s3://b/p", "file:///srv/backups"), "a folder is on one machine"),
        (good.replace("s3://b/p", "s3://key:hunter2@b"), "must not contain a user or a password"),
        (good.replace("s3://b/p", &format!("s3://b/p/{UID}")), "--store names a cluster"),
        (good.replace("s3://b/p", "s3://b/p?ca=/tmp/ca.crt"), "is a file of this machine"),
        (good.replace("s3://b/p", "s3://b/p?ca=ca.crt") + " --ca-config-map x", "must be absolute"),
        (good.replace("1h", "45m"), "--every: a CronJob cannot run every 45m"),
        (good.replace("1h", "7h"), "a CronJob cannot run every 7h"),
        (good.replace(RECIPIENT, "age1x"), "this is not an age recipient"),
        (format!("{good} --max-age 1h"), "every backup would be stale"),
        (format!("{good} --time-zone Mars/Olympus"), "--time-zone \"Mars/Olympus\" is not known"),
        (format!("{good} --time-zone Local"), "is not known"),
        (format!("{good} -n kube-system"), "is one of Kubernetes"),
        (format!("{good} -n Backups"), "is not the name of a namespace"),
        (format!("{good} --credential-secret a_b"), "--credential-secret \"a_b\" is not a name"),
        (format!("{good} --sign-key-secret s --keep-last 3"), "prune is given no key"),
        (format!("{good} --trust-key team.txt"), "cannot read the trust keys"),
        (format!("{good} --ca-config-map x"), "--ca-config-map has no effect"),
        (format!("{good} --node-selector x"), "expected KEY=VALUE"),
        (format!("{good} --node-dir ../etc"), "--node-dir"),
        (format!("{good} --node-dir /"), "not the root"),
        (format!("{good} --spool-size much"), "is not a quantity"),
        (format!("{good} --image a@sha256:12"), "is not a reference"),
        (format!("{good} --no-encryption"), "cannot be used with"),
        (format!("{good} --keep-last 0"), "0"),
        (format!("{good} --drill weekly"), "--drill-etcd-image"),
        (format!("{good} --drill-etcd-image e:1"), "--drill"),
        (format!("{good} --drill-size 1Gi"), "--drill-size has no effect"),
        (format!("{good} --drill weekly --drill-etcd-image e:1"), "has no identity to decrypt"),
        (format!("{good} --drill weekly --drill-etcd-image e:1 --drill-identity-secret A"), "is not a name"),
        (format!("{good} --drill monthly --drill-etcd-image e:1 --drill-identity-secret a"), "expected weekly, daily"),
        (
            format!("{good} --drill weekly --drill-etcd-image e:1 --drill-identity-secret a --drill-max-age 120h"),
            "too old before the next",
        ),
        (
            format!("{good} --drill weekly --drill-etcd-image e:1 --drill-identity-secret a --sign-key-secret s"),
            "the drill is given no key",
        ),
        (format!("{good} --context prod"), "--context has no effect: schedule asks no cluster"),
    ] {
        let ran = desk.schedule(&line);
        assert!(ran.stderr.contains(said) && !ran.stderr.contains("hunter2"), "{line}: {}", ran.stderr);
        ran.expect_code(2);
        assert_eq!(names(desk.path()), ["backup.pub", "team.txt"], "{line}");
    }
}

/// promtool, in a folder with the rules as Prometheus has them.
fn promtool(desk: &Desk, args: &[&str]) -> Ran {
    let mut command = Command::new("promtool");
    command.args(args).current_dir(desk.path());
    run(command)
}

fn rules(desk: &Desk) -> PathBuf {
    let drill = "--drill weekly --drill-etcd-image e:1 --drill-identity-secret a";
    let line = format!("--store s3://b/p --every 1h --recipient {RECIPIENT} -n n {drill}");
    let objects = objects(&desk.schedule(&line).expect_code(0).stdout);
    let file = desk.path().join("rules.yaml");
    std::fs::write(&file, serde_yaml_ng::to_string(&of(&objects, "PrometheusRule")[0]["spec"]).unwrap()).unwrap();
    file
}

#[test]
fn alerts_are_raised_when_they_should_be() {
    let desk = Desk::new();
    rules(&desk);
    promtool(&desk, &["check", "rules", "rules.yaml"]).expect_code(0);
    let series = |name: &str, values: &str| {
        let of_cluster = if name.starts_with("backup") { ",cluster_uid=\"u\",cluster=\"prod\"" } else { "" };
        json!({"series": format!("kubectl_etcd_{name}{{namespace=\"n\",pod=\"w\"{of_cluster}}}"), "values": values})
    };
    let case = |interval: &str, series: Vec<Value>, times: &[(&str, &[&str])]| {
        let at = |(time, alerts): &(&str, &[&str])| {
            let samples: Vec<Value> = alerts
                .iter()
                .map(|name| json!({"labels": format!("{{alertname=\"EtcdBackup{name}\"}}"), "value": 1}))
                .collect();
            let expr = "sum by (alertname) (ALERTS{alertstate=\"firing\"})";
            json!({"expr": expr, "eval_time": time, "exp_samples": samples})
        };
        json!({"interval": interval, "input_series": series, "promql_expr_test": times.iter().map(at).collect::<Vec<_>>()})
    };
    let well = || vec![series("watch_success", "1x600"), series("watch_clusters", "1x600")];
    let and = |more: Vec<Value>| well().into_iter().chain(more).collect::<Vec<_>>();
    let opened = || series("backup_opened_timestamp_seconds", "0x600");
    let booted = || series("backup_booted_timestamp_seconds", "0x600");
    // The store is taken away after half an hour, and given back after four; then the next backup is taken.
    let away = vec![
        series("watch_success", "1x29 0x209 1x61"),
        series("watch_clusters", "1x400"),
        series("backup_fresh", "1x29 _x210 0 1x60"),
        series("backup_age_seconds", "0+60x240 60x60"),
        series("backup_suspects", "0x29 _x210 0x61"),
        opened(),
        booted(),
    ];
    let tests = [
        case("1m", away, &[("20m", &[]), ("70m", &["Unknown"]), ("190m", &["Stale", "Unknown"]), ("260m", &[])]),
        case("1m", vec![], &[("10m", &[]), ("20m", &["WatchAbsent"])]),
        case("1m", vec![series("watch_success", "1x600"), series("watch_clusters", "0x600")], &[("20m", &["Absent"])]),
        case("1m", and(vec![series("backup_fresh", "0x600"), opened()]), &[("20m", &["Absent"])]),
        case(
            "1m",
            and(vec![series("backup_suspects", "0x9 2x20 0x600"), opened()]),
            &[("5m", &[]), ("20m", &["Suspect"]), ("60m", &[])],
        ),
        case(
            "1m",
            and(vec![series("backup_fresh", "1x600"), series("backup_age_seconds", "60x600"), booted()]),
            &[("30m", &[]), ("90m", &["KeyNotProven"])],
        ),
        case(
            "1m",
            and(vec![series("backup_fresh", "1x600"), series("backup_age_seconds", "60x600"), opened()]),
            &[("30m", &[]), ("90m", &["NotDrilled"])],
        ),
        case(
            "1d",
            and(vec![series("backup_fresh", "1x600"), series("backup_age_seconds", "60x600"), opened(), booted()]),
            &[("13d", &[]), ("29d", &["NotDrilled"]), ("33d", &["KeyNotProven", "NotDrilled"])],
        ),
    ];
    let file = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests[..7]});
    std::fs::write(desk.path().join("minutes.yaml"), file.to_string()).unwrap();
    let file = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "1d", "tests": tests[7..]});
    std::fs::write(desk.path().join("days.yaml"), file.to_string()).unwrap();
    promtool(&desk, &["test", "rules", "minutes.yaml", "days.yaml"]).expect_code(0);
    // Without encryption there is no key to prove.
    let clear = desk.schedule("--store s3://b --every 1h --no-encryption").expect_code(0).stdout;
    assert!(clear.contains("EtcdBackupStale") && !clear.contains("KeyNotProven"));
    let none = desk.schedule("--store s3://b --every 1h --no-encryption --no-prometheus").expect_code(0).stdout;
    assert!(!none.contains("monitoring.coreos.com"));
}
