//! Backups that happen by themselves and outlive their cluster: from the YAML that `kubectl etcd schedule` prints, with a server of S3.

#[path = "aged.rs"]
mod aged;
#[path = "alerts.rs"]
mod alerts;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use alerts::{Metrics, Phase, value};
use e2e::{PATIENCE, Ran, Scene, names, run, until};
use etcd_store::{ClusterUid, SigningKey};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use stores::{Act, Proxy, Rclone};

/// The namespace of the pods, unless `schedule -n` says otherwise.
const NAMESPACE: &str = "kubectl-etcd";
/// The node that the pods run on.
const NODE: &str = "cp1";

/// A lab, a store that its nodes reach, and what was rendered.
struct Story<'a> {
    scene: &'a Scene,
    server: Rclone,
    proxy: Proxy,
    cluster: ClusterUid,
    objects: Vec<Value>,
}

/// The whole story, on the only node of a lab, which is lost in it.
pub(crate) fn outlives_its_cluster(scene: &Scene) {
    let mut story = Story::new(scene);
    story.render();
    story.backups_appear_and_age_out();
    story.is_drilled();
    story.comes_back();
}

impl Story<'_> {
    fn new(scene: &Scene) -> Story<'_> {
        let server = Rclone::start().unwrap();
        let proxy = Proxy::start_at(scene.lab.host_ip(), server.port()).unwrap();
        let uid = run(scene.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]));
        let cluster = uid.expect_code(0).stdout.parse().unwrap();
        let story = Story { scene, server, proxy, cluster, objects: Vec::new() };
        story.tool("age-keygen", &["-o", "identity.txt"]);
        story.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "sign"]);
        story
    }

    fn tool(&self, program: &str, args: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.scene.path(""));
        run(command).expect_code(0)
    }

    fn url(&self, last: &str) -> String {
        self.proxy.url(&format!("prod{last}"))
    }

    /// The plugin with the credential of the store.
    fn with_store(&self, args: &[&str]) -> Ran {
        let mut command = self.scene.plugin(args);
        command.envs(self.proxy.variables());
        run(command)
    }

    fn kubectl(&self, args: &[&str]) -> Ran {
        run(self.scene.kubectl(args))
    }

    /// Renders, and applies, as the first lines of the YAML say.
    fn render(&mut self) {
        let recipient = self.tool("age-keygen", &["-y", "identity.txt"]).stdout;
        let to =
            ["schedule", "--store", &self.url(""), "--every", "1h", "--recipient", recipient.trim(), "--node-files"];
        let more = ["--sign-key-secret", "sign-key", "--trust-key", "sign.pub", "--keep-last", "1"];
        // The very image of the cluster's etcd.
        let etcd =
            ["get", "pod", &format!("etcd-{NODE}"), "-n", "kube-system", "-o", "jsonpath={.spec.containers[0].image}"];
        let etcd = self.kubectl(&etcd).expect_code(0).stdout;
        let drill =
            ["--drill", "weekly", "--drill-etcd-image", etcd.trim(), "--drill-identity-secret", "etcd-backup-identity"];
        let yaml = self.scene.ok(&[&to[..], &more, &drill].concat()).stdout;
        std::fs::write(self.scene.path("all.yaml"), &yaml).unwrap();
        let documents = serde_yaml_ng::Deserializer::from_str(&yaml);
        self.objects = documents.map(|one| serde::Deserialize::deserialize(one).unwrap()).collect();

        // The lab has no Prometheus operator, as many a cluster; everything else it serves.
        let kept = |one: &&Value| one["apiVersion"] != "monitoring.coreos.com/v1";
        let served: Vec<Value> = self.objects.iter().filter(kept).cloned().collect();
        let write = |name: &str, all: &[Value]| {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": all});
            std::fs::write(self.scene.path(name), list.to_string()).unwrap();
        };
        write("served.json", &served);
        write("namespace.json", &served[..1]);
        let refused = self.kubectl(&["apply", "--dry-run=server", "-f", "all.yaml"]).expect_code(1);
        for kind in ["ServiceMonitor", "PrometheusRule"] {
            assert_eq!(
                refused.stderr.matches(&format!("no matches for kind \"{kind}\"")).count(),
                1,
                "{}",
                refused.stderr
            );
        }
        self.kubectl(&["apply", "-f", "namespace.json"]).expect_code(0);
        let rehearsed = self.kubectl(&["apply", "--dry-run=server", "-f", "served.json"]).expect_code(0);
        assert_eq!(rehearsed.stdout.matches("(server dry run)").count(), served.len(), "{}", rehearsed.stdout);
        assert_eq!(self.kubectl(&["get", "cronjobs", "-A", "-o", "name"]).stdout, "");
        self.kubectl(&["apply", "-f", "served.json"]).expect_code(0);

        let lines: Vec<String> =
            self.proxy.variables().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        std::fs::write(self.scene.path("store.env"), lines.concat()).unwrap();
        for (name, from) in [
            ("etcd-backup-store", "--from-env-file=store.env"),
            ("etcd-backup-prune", "--from-env-file=store.env"),
            ("sign-key", "--from-file=key=sign"),
            ("etcd-backup-identity", "--from-file=identity=identity.txt"),
        ] {
            // The lab takes JSON only, and kubectl would send it another form.
            let secret = ["create", "secret", "generic", name, "-n", NAMESPACE, from, "--dry-run=client", "-o", "json"];
            self.scene.apply(&self.kubectl(&secret).expect_code(0).stdout);
        }
    }

    fn object(&self, kind: &str, name: &str) -> &Value {
        let found = self.objects.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("{kind} {name} is rendered"))
    }

    /// Makes a pod of a template, as a controller does, on the node to which its selector leads.
    fn make(&self, name: &str, template: &Value) {
        let selector = template["spec"]["nodeSelector"].as_object().cloned().unwrap_or_default();
        let node = self.kubectl(&["get", "node", NODE, "-o", "json"]).expect_code(0).json();
        assert!(selector.iter().all(|(label, value)| node["metadata"]["labels"][label] == *value), "{selector:?}");
        let mut spec = template["spec"].clone();
        spec["nodeName"] = NODE.into();
        // The lab has no network of pods.
        spec["hostNetwork"] = true.into();
        let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": template["metadata"]["labels"]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        std::fs::write(self.scene.path("pod.json"), pod.to_string()).unwrap();
        self.kubectl(&["create", "--validate=strict", "-f", "pod.json"]).expect_code(0);
    }

    /// One run of a CronJob: whether it has succeeded, and its log.
    fn job(&self, cron_job: &str, number: u32) -> (bool, String) {
        let pod = format!("{cron_job}-{number}");
        self.make(&pod, &self.object("CronJob", cron_job)["spec"]["jobTemplate"]["spec"]["template"]);
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}");
        let client = self.scene.lab.client(NODE).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut phase = Value::Null;
        let ended = |phase: &Value| *phase == "Succeeded" || *phase == "Failed";
        let deadline = Instant::now() + PATIENCE;
        while !ended(&phase) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            phase = runtime.block_on(client.call(Method::GET, &path, None)).unwrap().1["status"]["phase"].clone();
        }
        let log = self.kubectl(&["logs", &pod, "-n", NAMESPACE]).expect_code(0).stdout;
        assert!(ended(&phase), "{pod} does not end: {phase}\n{log}");
        (phase == "Succeeded", log)
    }

    #[track_caller]
    fn tick(&self, number: u32, text: &str) {
        let (good, log) = self.job("etcd-backup", number);
        assert!(good && log.contains(text), "{log}");
    }

    /// Where the objects of the cluster are, one file each.
    fn folder(&self) -> PathBuf {
        self.server.folder().unwrap().join(self.prefix())
    }

    fn prefix(&self) -> String {
        format!("prod/v1/{}", self.cluster)
    }

    /// The names of the objects in the store.
    fn stored(&self) -> Vec<String> {
        names(&self.folder())
    }

    /// As if the clock had moved: everything in the store is older.
    fn hours_pass(&mut self, hours: i64) {
        let key = SigningKey::read(&self.scene.path("sign")).unwrap();
        let (prefix, by) = (self.prefix(), SignedDuration::from_hours(hours));
        let aged = |bucket: &Path| aged::age(&bucket.join(prefix), &self.cluster, &key, by);
        self.server.change(aged).unwrap();
    }

    /// What the pod of the Deployment serves, as soon as a metric has a value.
    fn metrics(&self, name: &str, wanted: f64) -> Metrics {
        let address = SocketAddr::from((self.scene.lab.node_ip(NODE), 8080));
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            write!(stream, "GET /metrics HTTP/1.1\r\nHost: watch\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
        };
        let mut metrics = Metrics::new();
        let deadline = Instant::now() + PATIENCE;
        while value(&metrics, name) != Some(wanted) {
            if Instant::now() > deadline {
                let log = self.kubectl(&["logs", "watch", "-n", NAMESPACE]).stdout;
                panic!("{name} is never {wanted}: {metrics:?}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
            metrics = ask().map(|answer| alerts::parse(&answer)).unwrap_or_default();
        }
        metrics
    }

    fn backups_appear_and_age_out(&mut self) {
        let scene = self.scene;
        self.tick(1, "is in the store");
        let first = self.stored();
        let suffixes: Vec<&str> = first.iter().map(|name| name.split_once('.').unwrap().1).collect();
        assert_eq!(suffixes, ["db.zst.age", "json", "json.sig", "node.tar.zst.age"]);
        assert!(first.iter().all(|name| name.contains("-scheduled-")), "{first:?}");
        self.tick(2, "nothing to do");
        assert_eq!(self.stored(), first);

        let mut watch = self.object("Deployment", "etcd-backup-watch")["spec"]["template"].clone();
        // The lab looks more often than every five minutes.
        watch["spec"]["containers"][0]["args"].as_array_mut().unwrap().push("--every=1s".into());
        self.make("watch", &watch);
        let fresh = self.metrics("kubectl_etcd_watch_success", 1.0);
        assert_eq!(value(&fresh, "kubectl_etcd_backup_fresh"), Some(1.0), "{fresh:?}");
        // The store is taken away, and given back.
        self.proxy.decide(|_| Act::Refuse(404, "NoSuchBucket", ""));
        let away = self.metrics("kubectl_etcd_watch_success", 0.0);
        assert!(value(&away, "kubectl_etcd_backup_age_seconds") > value(&fresh, "kubectl_etcd_backup_age_seconds"));
        assert_eq!(value(&away, "kubectl_etcd_backup_fresh"), None);
        self.proxy.decide(|_| Act::Pass);
        self.metrics("kubectl_etcd_watch_success", 1.0);

        // Two more hours.
        for number in [3, 4] {
            self.hours_pass(1);
            self.tick(number, "is in the store");
        }
        assert_eq!(self.stored().len(), 12);
        let back = self.metrics("kubectl_etcd_backup_fresh", 1.0);
        let mut away = away;
        away.iter_mut().filter(|(name, _)| name.contains("_age_seconds")).for_each(|(_, age)| *age += 30.0 * 60.0);
        let phases = [
            Phase { metrics: fresh, minutes: 30 },
            Phase { metrics: away, minutes: 240 },
            Phase { metrics: back, minutes: 60 },
        ];
        let expected: [(usize, &[&str]); 4] =
            [(20, &[]), (90, &["EtcdBackupUnknown"]), (260, &["EtcdBackupStale", "EtcdBackupUnknown"]), (300, &[])];
        let rule = self.object("PrometheusRule", "etcd-backup");
        alerts::fire(scene.folder.path(), rule, NAMESPACE, &phases, &expected);

        // No tick for thirty hours: nothing is deleted then.
        self.hours_pass(30);
        self.metrics("kubectl_etcd_backup_fresh", 0.0);
        let asked = ["freshness", &self.url(""), "--max-age", "3h", "--trust-key", "sign.pub"];
        self.with_store(&asked).expect_code(1);
        let before = self.stored();
        let (good, log) = self.job("etcd-backup-prune", 1);
        assert!(!good && log.contains("nothing is deleted: the newest backup is stale"), "{log}");
        assert_eq!(self.stored(), before);

        scene.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: last, namespace: default}\ndata: {a: b}\n");
        self.tick(5, "is in the store");
        scene.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: later, namespace: default}\n");
        self.metrics("kubectl_etcd_backup_fresh", 1.0);
        self.with_store(&asked).expect_code(0);
        // The oldest goes; the newest three stay whatever the rule says.
        let before = self.stored();
        let (good, log) = self.job("etcd-backup-prune", 2);
        assert!(good, "{log}");
        assert_eq!((before.len(), self.stored()), (16, before[4..].to_vec()), "{log}");
    }

    /// The cluster's own etcd serves the newest backup, in a pod of the rendered template; the store and the metrics tell.
    fn is_drilled(&mut self) {
        let asked = ["freshness", &self.url(""), "--max-age", "3h", "--trust-key", "sign.pub", "--level", "booted"];
        self.with_store(&asked).expect_code(1);
        let (good, log) = self.job("etcd-backup-drill", 1);
        assert!(good && log.contains("\"verdict\": \"passed\"") && log.contains(".proof"), "{log}");
        let added: Vec<String> = self.stored().into_iter().filter(|name| name.contains(".booted-")).collect();
        for end in [".proof", ".proof.sig", ".report", ".report.sig"] {
            assert_eq!(added.iter().filter(|name| name.ends_with(end)).count(), 1, "{added:?}");
        }
        self.with_store(&asked).expect_code(0);
        let metrics = self.metrics("kubectl_etcd_backup_level", 4.0);
        assert!(value(&metrics, "kubectl_etcd_backup_booted_timestamp_seconds").is_some(), "{metrics:?}");
        // What no longer is what was recorded fails the Job.
        let newest = self.stored().into_iter().rfind(|name| name.ends_with(".db.zst.age")).unwrap();
        let newest = Path::new(&self.prefix()).join(newest);
        let turn = |bucket: &Path| {
            let mut bytes = std::fs::read(bucket.join(&newest)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(bucket.join(&newest), bytes).unwrap();
        };
        self.server.change(turn).unwrap();
        let (good, log) = self.job("etcd-backup-drill", 2);
        assert!(!good && log.contains("damaged"), "{log}");
        self.server.change(turn).unwrap();
    }

    /// The machine is lost. Another of its address and name gets the store, the identity and the trust key, and nothing else.
    fn comes_back(&self) {
        let scene = self.scene;
        scene.lab.power_off(NODE).unwrap();
        for path in ["etc/kubernetes", "var/lib/etcd"] {
            let folder = scene.lab.node_root(NODE).join(path);
            std::fs::remove_dir_all(&folder).unwrap();
            std::fs::create_dir(&folder).unwrap();
        }
        let latest = self.url("/latest");
        let keys = ["--identity", "identity.txt", "--trust-key", "sign.pub"];
        // No cluster answers.
        let offline = |args: &[&str]| {
            let mut command = scene.plugin(args);
            command.envs(self.proxy.variables()).env("KUBECONFIG", "/nonexistent");
            run(command).expect_code(0)
        };
        let built = offline(&[&["restore", &latest, "--data-dir", "member-data"], &keys[..]].concat());
        assert!(built.stderr.contains("member cp1 has peer URL"), "{}", built.stderr);
        std::fs::create_dir(scene.path("objects")).unwrap();
        offline(&["copy", &latest, "objects", "--trust-key", "sign.pub"]);
        let root = scene.lab.node_root(NODE).display().to_string();
        let unpack = format!(
            "age -d -i identity.txt objects/*.node.tar.zst.age | zstd -q -d | tar -xpf - -C '{root}'
             cp -a member-data/. '{root}/var/lib/etcd/'"
        );
        self.tool("bash", &["-euo", "pipefail", "-c", &unpack]);
        scene.lab.power_on(NODE).unwrap();
        until("the API serves", || self.kubectl(&["get", "--raw", "/readyz"]).status.success());
        let maps =
            self.kubectl(&["get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}"]).expect_code(0).stdout;
        let has = |name: &str| maps.split(' ').any(|one| one == name);
        assert!(has("last") && !has("later"), "{maps}");
        scene.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: after, namespace: default}\n");
    }
}
