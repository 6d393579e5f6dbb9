//! The stand-in for systemd on a lab's node, by the systemctl that lies there, called after a chroot into the node's file tree. Needs root,
//! crun, Debian's etcd, and for one test OpenSSH.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lab::{Lab, Options};

/// How long a failure takes; nothing that works depends on it.
const PATIENCE: Duration = Duration::from_secs(30);
/// A drop-in by which a service is not started: nobody makes this file.
const HELD: &str = "[Unit]\nConditionPathExists=/nonexistent/held\n";
const ALL: &str = "Id,LoadState,ActiveState,SubState,Result,MainPID,FragmentPath,DropInPaths,NeedDaemonReload,ConditionResult,UnitFileState";

/// A lab of one node with a service manager.
struct Node(Lab);

impl Node {
    /// Starts it with a unit `a.service` of these lines; `[Service]` comes first.
    fn start(unit: &str) -> Node {
        let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_lab")));
        let node = Node(Lab::start(Options { program, ..Options::default() }).expect("a lab starts"));
        node.write("a.service", &format!("[Service]\n{unit}"));
        node.0.systemd("cp1").expect("a service manager");
        node
    }

    /// A path among the node's units.
    fn unit(&self, name: &str) -> PathBuf {
        self.0.node_root("cp1").join("etc/systemd/system").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.unit(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a unit");
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.unit(name)).expect("it was there");
    }

    /// systemctl with these words, where there is nothing but the node's tree.
    fn systemctl(&self, words: &str) -> Output {
        let mut command = self.0.command("cp1", "chroot").expect("the node runs");
        command.arg(self.0.node_root("cp1")).arg("/usr/bin/systemctl").args(words.split(' '));
        command.output().expect("it runs")
    }

    /// The same, which has to succeed without a word on stderr.
    #[track_caller]
    fn ok(&self, words: &str) -> String {
        self.fails(words, 0, "")
    }

    /// The same, which has to end with this code and to say exactly this on stderr.
    #[track_caller]
    fn fails(&self, words: &str, code: i32, errors: &str) -> String {
        let output = self.systemctl(words);
        assert_eq!(String::from_utf8_lossy(&output.stderr), errors, "{words}\n{}", self.log());
        assert_eq!(output.status.code(), Some(code), "{words}\n{}", self.log());
        String::from_utf8(output.stdout).expect("text")
    }

    fn log(&self) -> String {
        let log = self.0.kubeconfig().with_file_name("systemd-cp1.log");
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// A property of the unit.
    #[track_caller]
    fn shows(&self, property: &str) -> String {
        let line = self.ok(&format!("show a --property={property}"));
        line.trim_end().strip_prefix(&format!("{property}=")).expect("the property").to_owned()
    }

    /// Its state in three words.
    #[track_caller]
    fn state(&self) -> [String; 3] {
        ["ActiveState", "SubState", "Result"].map(|property| self.shows(property))
    }

    /// The id of its process on the node, which must be there.
    #[track_caller]
    fn pid(&self) -> String {
        let pid = self.shows("MainPID");
        assert!(pid != "0" && self.is_there(&pid), "{:?}\n{}", self.state(), self.log());
        pid
    }

    /// Whether the node has a process of this id.
    fn is_there(&self, pid: &str) -> bool {
        let mut look = self.0.command("cp1", "test").expect("the node runs");
        look.args(["-d", &format!("/proc/{pid}")]).status().expect("it runs").success()
    }

    fn kill(&self, pid: &str) {
        let mut kill = self.0.command("cp1", "kill").expect("the node runs");
        assert!(kill.args(["-KILL", pid]).status().expect("it runs").success());
    }

    #[track_caller]
    fn until(&self, what: &str, check: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !check() {
            assert!(Instant::now() < until, "{what} did not come about: {:?}\n{}", self.state(), self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// All processes of a lab.
fn processes(lab: &Lab) -> Vec<String> {
    let in_namespace = |name: &String| {
        let pids = Command::new("ip").args(["netns", "pids", name]).output().expect("it runs");
        String::from_utf8(pids.stdout).expect("numbers")
    };
    let all: Vec<String> = lab.namespaces().iter().map(in_namespace).collect();
    all.concat().lines().map(|pid| pid.trim().to_owned()).collect()
}

/// What systemctl says where the files are not those that were read.
fn changed() -> String {
    "Warning: The unit file, source configuration file or drop-ins of a.service changed on disk. Run 'systemctl daemon-reload' to reload units.\n".into()
}

#[test]
fn a_held_service_stays_down_and_a_killed_one_comes_back() {
    let node = Node::start("ExecStart=/bin/sleep 1000\nRestart=always\n[Install]\nWantedBy=multi-user.target\n");
    assert_eq!(node.fails("is-active a", 3, ""), "inactive\n");
    let shown = "MainPID=0\nResult=success\nId=a.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\n\
                 FragmentPath=/etc/systemd/system/a.service\nDropInPaths=\nUnitFileState=disabled\nNeedDaemonReload=no\nConditionResult=no\n";
    assert_eq!(node.ok(&format!("show a.service --property={ALL},Odd")), shown);
    assert_eq!(node.ok("start a"), "");
    assert_eq!(node.ok("is-active a"), "active\n");
    assert_eq!(
        (node.state(), node.shows("ConditionResult")),
        (["active", "running", "success"].map(str::to_owned), "yes".into())
    );
    let first = node.pid();
    node.ok("start a");
    assert_eq!(node.pid(), first, "a start of what runs does nothing");

    // What is not read yet holds nothing.
    let drop_in = "a.service.d/10-hold.conf";
    node.write(drop_in, HELD);
    assert_eq!((node.shows("NeedDaemonReload"), node.shows("DropInPaths")), ("yes".into(), String::new()));
    node.fails("stop a", 0, &changed());
    assert!(!node.is_there(&first) && node.state() == ["inactive", "dead", "success"]);
    node.fails("start a", 0, &changed());
    let second = node.pid();
    node.ok("daemon-reload");
    assert_eq!(node.shows("DropInPaths"), format!("/etc/systemd/system/{drop_in}"));
    assert_eq!((node.shows("NeedDaemonReload"), node.pid()), ("no".into(), second.clone()));
    // Its end is seen, the condition too.
    node.kill(&second);
    node.until("the end of a held service", || node.state() == ["inactive", "dead", "signal"]);
    assert_eq!(node.shows("ConditionResult"), "no");
    assert_eq!(node.ok("start a"), "");
    assert_eq!((node.shows("MainPID"), node.shows("ActiveState")), ("0".into(), "inactive".into()));

    node.remove(drop_in);
    assert_eq!(node.shows("NeedDaemonReload"), "yes");
    node.fails("start a", 0, &changed());
    assert_eq!(node.shows("ActiveState"), "inactive", "what is not read yet frees nothing");
    node.ok("daemon-reload");
    node.ok("start a");
    let third = node.pid();
    node.kill(&third);
    node.until("the restart of a killed service", || {
        let pid = node.shows("MainPID");
        pid != "0" && pid != third && node.shows("ActiveState") == "active"
    });
    let fourth = node.pid();
    node.ok("restart a");
    assert!(!node.is_there(&fourth) && node.pid() != fourth);
    node.ok("stop a");
    node.write("a.service", "[Service]\nExecStart=/bin/sleep 1000\nUser=daemon\n");
    node.ok("daemon-reload");
    let bad = "Failed to start a.service: Unit a.service has a bad unit file setting.\nSee system logs and 'systemctl status a.service' for details.\n";
    node.fails("start a", 1, bad);
    node.remove("a.service");
    node.ok("daemon-reload");
    assert_eq!(node.shows("LoadState"), "not-found");
    node.fails("start a", 5, "Failed to start a.service: Unit a.service not found.\n");
    node.fails("edit a", 1, "Unknown command verb edit.\n");
    node.fails("start --now a", 1, "systemctl: unrecognized option '--now'\n");
}

#[test]
fn what_ends_again_and_again_is_given_up() {
    let node = Node::start("ExecStart=/bin/false\nRestart=always\nRestartSec=0\n[Unit]\nStartLimitIntervalSec=1h\n");
    node.ok("start --no-block a");
    node.until("the limit", || node.state() == ["failed", "failed", "start-limit-hit"]);
    assert!(node.log().contains("a.service: Start request repeated too quickly."));
    let failed = "Job for a.service failed because start of the service was attempted too often.\nSee \"systemctl status a.service\" and \"journalctl -xeu a.service\" for details.\n\
                  To force a start use \"systemctl reset-failed a.service\"\nfollowed by \"systemctl start a.service\" again.\n";
    node.fails("start a", 1, failed);
    assert_eq!(node.fails("is-active a", 3, ""), "failed\n");
    node.ok("stop a");
    assert_eq!(node.state(), ["failed", "failed", "start-limit-hit"], "a stop does not help");
    node.ok("reset-failed a");
    assert_eq!(node.state(), ["inactive", "dead", "success"]);
    node.ok("start a");
    node.until("the limit again", || node.state() == ["failed", "failed", "start-limit-hit"]);

    // One that does not go is killed in the end, with all it has started.
    let stubborn = "[Service]\nTimeoutStopSec=200ms\nEnvironment=\"SCRIPT=trap : TERM; echo up $NAME; while :; do sleep 1000; done\"\n\
                    EnvironmentFile=/etc/a.env\nExecStart=/bin/sh -c '${SCRIPT}' ${NAME}\n";
    node.write("a.service", stubborn);
    node.ok("daemon-reload");
    let unavailable = "Job for a.service failed because of unavailable resources or another system error.\n\
                       See \"systemctl status a.service\" and \"journalctl -xeu a.service\" for details.\n";
    node.ok("stop a");
    node.fails("start a", 1, unavailable);
    assert_eq!(node.state(), ["failed", "failed", "resources"]);
    std::fs::write(node.0.node_root("cp1").join("etc/a.env"), "NAME='of the node'\n").expect("variables");
    node.ok("start a");
    let log = node.0.unit_log("cp1", "a.service").expect("a log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    node.until("the service's word", || said().contains("up of the node\n"));
    node.ok("stop a");
    assert_eq!(node.state(), ["failed", "failed", "timeout"]);
}

#[test]
fn an_etcd_is_a_unit_and_its_files_are_the_nodes() {
    let unit = "ExecStart=/usr/bin/etcd\nType=notify\nUser=root\nEnvironmentFile=/etc/etcd/etcd.env\nRestart=always\n\
                LimitNOFILE=40000\n[Install]\nWantedBy=multi-user.target\n";
    let node = Node::start(unit);
    let folder = node.0.node_root("cp1").join("etc/etcd");
    std::fs::create_dir(&folder).expect("a folder that comes after the manager");
    let (ip, pki) = (node.0.node_ip("cp1"), "/etc/kubernetes/pki/etcd");
    let variables = format!(
        "# as kubespray has them\nETCD_DATA_DIR=/var/lib/etcd\nETCD_NAME=cp1\nETCD_INITIAL_CLUSTER=cp1=https://{ip}:2380\n\
         ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{ip}:2380\nETCD_ADVERTISE_CLIENT_URLS=https://{ip}:2379\n\
         ETCD_LISTEN_CLIENT_URLS=https://{ip}:2379,https://127.0.0.1:2379\nETCD_LISTEN_PEER_URLS=https://{ip}:2380\n\
         ETCD_TRUSTED_CA_FILE={pki}/ca.crt\nETCD_CERT_FILE={pki}/server.crt\nETCD_KEY_FILE={pki}/server.key\n\
         ETCD_CLIENT_CERT_AUTH=true\nETCD_PEER_TRUSTED_CA_FILE={pki}/ca.crt\nETCD_PEER_CERT_FILE={pki}/peer.crt\n\
         ETCD_PEER_KEY_FILE={pki}/peer.key\nETCD_PEER_CLIENT_CERT_AUTH=true\n"
    );
    std::fs::write(folder.join("etcd.env"), variables).expect("variables");
    let etcdctl = |args: &[&str]| {
        let output = node.0.etcdctl("cp1", args).expect("it runs");
        output.status.success().then(|| String::from_utf8(output.stdout).expect("text"))
    };
    assert_eq!(etcdctl(&["put", "/a", "b"]).as_deref(), Some("OK\n"));
    std::fs::remove_file(node.0.node_root("cp1").join("etc/kubernetes/manifests/etcd.yaml")).expect("a manifest");
    node.until("the end of the pod", || etcdctl(&["get", "/a"]).is_none());
    node.ok("start a");
    node.until("the unit's etcd, on the pod's data", || etcdctl(&["get", "/a"]).as_deref() == Some("/a\nb\n"));
    let command = format!("/proc/{}/cmdline", node.pid());
    let words = node.0.command("cp1", "cat").expect("the node runs").arg(command).output().expect("it runs");
    assert_eq!(words.stdout, b"/usr/bin/etcd\0", "{words:?}");
    // Another folder in its place is etcd's at its next start.
    node.ok("stop a");
    assert_eq!(node.state(), ["inactive", "dead", "success"], "etcd ends by SIGTERM, and well");
    let data = node.0.node_root("cp1").join("var/lib/etcd");
    std::fs::rename(&data, data.with_file_name("aside")).expect("it was there");
    std::fs::create_dir(&data).expect("a new folder");
    node.ok("start a");
    node.until("an etcd without data", || etcdctl(&["get", "/a"]).as_deref() == Some(""));

    // What is enabled starts with the manager; what is left of a lab is nothing.
    let link = "/etc/systemd/system/multi-user.target.wants/a.service";
    let file = "/etc/systemd/system/a.service";
    node.fails("enable a", 0, &format!("Created symlink {link} -> {file}.\n"));
    node.ok("enable a");
    node.fails("disable a", 0, &format!("Removed \"{link}\".\n"));
    assert_eq!(node.shows("UnitFileState"), "disabled");
    assert!(!node.unit("multi-user.target.wants").exists());
    node.ok("disable a");
    node.fails("enable none", 1, "Failed to enable unit: Unit file none.service does not exist.\n");
    node.fails("disable none", 1, "Failed to disable unit: Unit file none.service does not exist.\n");
    node.fails("enable a", 0, &format!("Created symlink {link} -> {file}.\n"));
    assert_eq!(node.shows("UnitFileState"), "enabled");
    node.0.power_off("cp1").expect("off");
    node.0.power_on("cp1").expect("on");
    node.fails("is-active a", 1, "Failed to connect to bus: No such file or directory\n");
    node.0.systemd("cp1").expect("a service manager");
    assert_eq!(node.ok("is-active a"), "active\n");
    let before = node.pid();
    node.0.systemd("cp1").expect("it runs already");
    assert_eq!(node.pid(), before);

    // The same over SSH, where it stands in the place of this machine's.
    let access = node.0.ssh().expect("SSH servers");
    let line = format!("{} root@{} systemctl show a --property=MainPID", access.command(), node.0.node_ip("cp1"));
    let output = Command::new("sh").args(["-c", &line]).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("MainPID={before}\n"), "{output:?}");

    let pids = processes(&node.0);
    let words = pids.iter().map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default());
    assert_eq!(words.filter(|words| words == "/usr/bin/etcd\0").count(), 1, "the unit's is among them");
    node.0.stop().expect("it goes");
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_else(|_| ") Z".into());
        assert!(stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')), "{stat}");
    }
}
