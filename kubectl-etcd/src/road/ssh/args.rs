//! The flags of the road over SSH, and which nodes they name.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::script::Sudo;
use crate::idle::Idle;
use crate::output::{Exit, Failed, Outcome};

/// Longest record that is read.
const LONGEST: u64 = 16 << 20;

/// How the nodes are reached where no API server answers.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Over SSH, without an API server")]
pub(crate) struct SshArgs {
    /// Reach the nodes with this machine's ssh, as this user, and ask no API server; as --ssh=USER@ or --ssh
    #[arg(long, value_name = "USER@", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = user)]
    pub(crate) ssh: Option<User>,
    /// Nodes and their addresses: cp1=10.0.0.11,cp2=10.0.0.12; a name alone is an address as well; the address local is this machine, without SSH. Where etcd is on machines of its own, those and the nodes with API servers
    #[arg(long, value_name = "NODE=ADDRESS", value_delimiter = ',', value_parser = host, requires = "ssh", conflicts_with = "plan")]
    pub(crate) nodes: Vec<Host>,
    /// Nodes and their addresses from the record of a backup: FILE.json; recover also takes STORE/latest and STORE/NAME
    #[arg(long, value_name = "FILE", requires = "ssh")]
    pub(crate) plan: Option<PathBuf>,
    /// Program and options to connect with, split as a shell does, such as 'ssh -p 2222 -i KEY'
    #[arg(long, value_name = "COMMAND", default_value = "ssh", value_parser = command_line)]
    pub(crate) ssh_command: CommandLine,
    /// How to become root on the nodes
    #[arg(long, value_enum, default_value_t = Sudo::Auto, value_name = "HOW")]
    pub(crate) sudo: Sudo,
    /// Static etcd-sidecar of this version for the machine type of the nodes, in place of the one in this program
    #[arg(long, value_name = "FILE", requires = "ssh")]
    pub(crate) sidecar_binary: Option<PathBuf>,
}

impl SshArgs {
    /// The flags that have no effect: of this road without `--ssh`, of the API server with it. `A` has those of pods.
    pub(crate) fn idle<A: clap::Args>(&self) -> Vec<Idle> {
        const OVER_SSH: &str = "with --ssh no API server is asked, and no pod is made";
        match self.ssh {
            None => vec![Idle::flags(
                &["ssh_command", "sudo"],
                "the nodes are reached through the API server without --ssh",
            )],
            Some(_) => vec![Idle::connection(OVER_SSH), Idle::group::<A>(OVER_SSH)],
        }
    }

    /// The nodes that are meant: those of this plan, or those that are named.
    ///
    /// # Errors
    /// None are named, or the plan does not tell their addresses.
    pub(crate) fn hosts(&self, plan: Option<&Plan>) -> Outcome<Vec<Host>> {
        let hosts = match plan {
            Some(plan) => plan.hosts()?,
            None => self.nodes.clone(),
        };
        if hosts.is_empty() {
            return Err(Failed::new(Exit::Usage, "--ssh needs to know the nodes")
                .hint("name them, or a file that does: the record beside any backup\n  --nodes cp1=10.0.0.11,cp2=10.0.0.12\n  --plan FILE.json"));
        }
        let twice =
            hosts.iter().enumerate().find(|(index, one)| hosts[..*index].iter().any(|other| other.node == one.node));
        match twice {
            Some((_, one)) => Err(Failed::new(Exit::Usage, format!("node {} is named twice", one.node))),
            None => Ok(hosts),
        }
    }
}

/// Who logs in; nobody in particular, as ssh itself decides then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User(pub(crate) Option<String>);

/// A program with its options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CommandLine(pub(crate) Vec<String>);

/// A node, and where ssh reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Name of the node.
    pub(crate) node: String,
    /// A name or an address, as ssh takes it, or [`LOCAL`].
    pub(crate) address: String,
}

/// The address of the machine that the command runs on: no ssh is needed there.
const LOCAL: &str = "local";

impl Host {
    /// Whether the command runs on this node.
    pub(crate) fn is_local(&self) -> bool {
        self.address == LOCAL
    }

    /// Addresses under which other machines may reach it.
    pub(crate) fn addresses(&self) -> Vec<String> {
        if self.is_local() { Vec::new() } else { vec![self.address.clone()] }
    }
}

fn user(text: &str) -> Result<User, String> {
    let name = text.strip_suffix('@').unwrap_or(text);
    match () {
        () if name.is_empty() => Ok(User(None)),
        () if is_word(name) && !name.contains('@') => Ok(User(Some(name.to_owned()))),
        () => Err("this is the name of a user, with @ behind it".to_owned()),
    }
}

fn host(text: &str) -> Result<Host, String> {
    let (node, address) = text.split_once('=').unwrap_or((text, text));
    let (node, address) = (node.trim(), address.trim());
    match is_word(node) && is_word(address) && !address.contains('@') {
        true => Ok(Host { node: node.to_owned(), address: address.trim_matches(['[', ']']).to_owned() }),
        false => Err("nodes are named as NODE=ADDRESS; the user is named with --ssh=USER@".to_owned()),
    }
}

/// What ssh can take for nothing but a name: no option, and nothing that a shell splits.
fn is_word(text: &str) -> bool {
    let plain = |one: char| one.is_ascii_alphanumeric() || ".-_:@[]%".contains(one);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

fn command_line(text: &str) -> Result<CommandLine, String> {
    match shlex::split(text) {
        Some(words) if words.first().is_some_and(|program| !program.is_empty()) => Ok(CommandLine(words)),
        Some(_) => Err("this is no program".to_owned()),
        None => Err("a quotation mark is open".to_owned()),
    }
}

/// The record of a backup, in a store or beside a file, as far as it tells of nodes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What it is called, for people.
    shown: String,
    record: Record,
}

/// What counts of a record.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    cluster: Option<Cluster>,
    recovery_plan: Option<etcd_store::RecoveryPlan>,
    #[serde(default)]
    members: Vec<FileMember>,
    #[serde(default)]
    api_servers: Vec<FileApiServer>,
}

/// A node with an API server in the record beside a file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileApiServer {
    node: String,
    addresses: Vec<String>,
}

/// Whose backup it is.
#[derive(Debug, Deserialize)]
struct Cluster {
    name: Option<String>,
}

/// A member in the record beside a file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileMember {
    node: String,
    name: String,
    peer_urls: Vec<String>,
    client_urls: Vec<String>,
}

impl Plan {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is no record.
    pub(crate) fn open(file: &Path) -> Outcome<Plan> {
        let failed = || unusable(&file.display().to_string());
        let size = fs_err::metadata(file).map_err(|error| failed().source(&error))?.len();
        if size > LONGEST {
            return Err(failed().cause(format!("it has {size} bytes, and a record has a few thousand")));
        }
        let bytes = fs_err::read(file).map_err(|error| failed().source(&error))?;
        Plan::parse(file.display().to_string(), &bytes)
    }

    /// Reads the bytes of a record, which is called so for people.
    ///
    /// # Errors
    /// It is no record.
    pub(crate) fn parse(shown: String, bytes: &[u8]) -> Outcome<Plan> {
        let record = serde_json::from_slice(bytes).map_err(|error| unusable(&shown).source(&error))?;
        Ok(Plan { shown, record })
    }

    /// What it calls the cluster.
    pub(crate) fn cluster(&self) -> Option<String> {
        self.record.cluster.as_ref()?.name.clone().filter(|name| !name.is_empty())
    }

    /// The nodes.
    ///
    /// # Errors
    /// It tells of none, or not of the address of each.
    fn hosts(&self) -> Outcome<Vec<Host>> {
        let failed = || unusable(&self.shown);
        let hosts = read(&self.record).map_err(|why| failed().cause(why))?;
        match hosts.is_empty() {
            true => Err(failed().cause("it names no node").hint("name the nodes with --nodes cp1=10.0.0.11,...")),
            false => Ok(hosts),
        }
    }
}

fn unusable(shown: &str) -> Failed {
    Failed::plain(format!("cannot use the plan {shown}"))
}

/// The nodes that have members or API servers, each with its first address.
fn read(plan: &Record) -> Result<Vec<Host>, String> {
    let of_store = plan.recovery_plan.iter().flat_map(|plan| &plan.nodes).filter_map(|node| {
        let member = node.member.as_ref()?;
        let name = if node.name.is_empty() { &member.name } else { &node.name };
        let urls = member.peer_urls.iter().chain(&member.client_urls);
        Some((name.clone(), node.addresses.first().cloned().or_else(|| first_address(urls))))
    });
    let of_file = plan.members.iter().filter(|_| plan.recovery_plan.is_none()).map(|member| {
        let name = if member.node.is_empty() { &member.name } else { &member.node };
        (name.clone(), first_address(member.peer_urls.iter().chain(&member.client_urls)))
    });
    let host = |(node, address): (String, Option<String>)| match address {
        Some(address) if is_word(&node) && is_word(&address) => Ok(Host { node, address }),
        _ => Err(format!("it tells no address of node {node:?}")),
    };
    let mut hosts = of_store.chain(of_file).map(host).collect::<Result<Vec<Host>, String>>()?;
    // Nodes without a member have an API server. A member outside of pods is called otherwise than its node: that is known by its address.
    let of_store = plan.recovery_plan.iter().flat_map(|plan| &plan.nodes).filter(|node| node.member.is_none());
    let of_store = of_store.map(|node| (&node.name, &node.addresses));
    let of_file = plan.api_servers.iter().filter(|_| plan.recovery_plan.is_none());
    let servers: Vec<_> = of_store.chain(of_file.map(|server| (&server.node, &server.addresses))).collect();
    for (node, addresses) in servers {
        let known = hosts.iter().any(|host| host.node == *node || addresses.contains(&host.address));
        if let Some(address) = addresses.first().filter(|_| !known && !node.is_empty()) {
            hosts.push(host((node.clone(), Some(address.clone())))?);
        }
    }
    Ok(hosts)
}

/// The first host of URLs that is not the machine itself.
fn first_address<'a>(urls: impl Iterator<Item = &'a String>) -> Option<String> {
    let host = |url: &String| Some(url.parse::<http::Uri>().ok()?.host()?.trim_matches(['[', ']']).to_owned());
    urls.filter_map(host).find(|host| host != "localhost" && host != "::1" && !host.starts_with("127."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(node: &str, address: &str) -> Host {
        Host { node: node.into(), address: address.into() }
    }

    #[test]
    fn nodes_are_names_with_addresses() {
        assert_eq!(host("cp1=10.0.0.11"), Ok(named("cp1", "10.0.0.11")));
        assert_eq!(host("cp1.example.com"), Ok(named("cp1.example.com", "cp1.example.com")));
        assert_eq!(host(" cp1=[fd00::1]"), Ok(named("cp1", "fd00::1")));
        for wrong in [
            "",
            "cp1=",
            "=10.0.0.1",
            "-oProxyCommand=x",
            "cp1=-oProxyCommand",
            "cp1=root@10.0.0.1",
            "a b",
            "cp1=a;id",
            "cp1=$(id)",
        ] {
            assert!(host(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn this_machine_has_no_address_for_others() {
        let here = host("cp1=local").expect("a node");
        assert!(here.is_local() && here.addresses().is_empty());
        let other = host("local=10.0.0.1").expect("a node");
        assert!(!other.is_local());
        assert_eq!(other.addresses(), ["10.0.0.1"]);
    }

    #[test]
    fn users_and_programs() {
        assert_eq!(user(""), Ok(User(None)));
        assert_eq!(user("core@"), Ok(User(Some("core".into()))));
        assert_eq!(user("core"), Ok(User(Some("core".into()))));
        for wrong in ["-oX@", "a b@", "a@b@", "a'@"] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
        let words = command_line("ssh -i 'my key' -o \"ProxyJump=a\"").expect("words").0;
        assert_eq!(words, ["ssh", "-i", "my key", "-o", "ProxyJump=a"]);
        assert!(command_line("ssh 'x").is_err() && command_line("").is_err() && command_line("''").is_err());
    }

    #[test]
    fn both_kinds_of_record_tell_where_the_nodes_are() {
        let read = |text: &str| read(&serde_json::from_str(text).expect("JSON"));
        let store = r#"{"kind": "Backup", "recoveryPlan": {"nodes": [
            {"name": "cp1", "addresses": ["10.0.0.11", "cp1"], "member": {"name": "m1"}},
            {"name": "", "member": {"name": "cp2", "peerUrls": ["https://127.0.0.1:2380", "https://10.0.0.12:2380"]}},
            {"name": "cp9", "addresses": ["10.0.0.19"]}]}}"#;
        assert_eq!(
            read(store),
            Ok(vec![named("cp1", "10.0.0.11"), named("cp2", "10.0.0.12"), named("cp9", "10.0.0.19")])
        );
        // Members outside of pods, one of them on a node with an API server.
        let apart = r#"{"recoveryPlan": {"nodes": [
            {"name": "cp1", "addresses": ["10.0.0.11"]}, {"name": "cp2", "addresses": ["10.0.0.12"]}, {"name": "cp3"},
            {"name": "", "member": {"name": "etcd1", "peerUrls": ["https://10.0.0.11:2380"]}}]}}"#;
        assert_eq!(read(apart), Ok(vec![named("etcd1", "10.0.0.11"), named("cp2", "10.0.0.12")]));
        let apart = r#"{"members": [{"node": "", "name": "etcd1", "peerUrls": ["https://10.0.0.21:2380"]}],
            "apiServers": [{"node": "cp1", "addresses": ["10.0.0.11", "fd00::11"]}, {"node": "cp2", "addresses": ["10.0.0.21"]}]}"#;
        assert_eq!(read(apart), Ok(vec![named("etcd1", "10.0.0.21"), named("cp1", "10.0.0.11")]));
        let file = r#"{"members": [{"node": "cp1", "name": "m1", "peerUrls": ["https://[fd00::1]:2380"]}]}"#;
        assert_eq!(read(file), Ok(vec![named("cp1", "fd00::1")]));
        let silent = r#"{"members": [{"node": "cp1", "peerUrls": ["https://localhost:2380"]}]}"#;
        assert_eq!(read(silent), Err("it tells no address of node \"cp1\"".to_owned()));
        assert_eq!(read("{}"), Ok(Vec::new()));
        let plan = |text: &str| Plan::parse("a.json".to_owned(), text.as_bytes());
        let named_so = plan(r#"{"cluster": {"name": "prod"}}"#).expect("a record");
        assert_eq!(named_so.cluster().as_deref(), Some("prod"));
        let none = named_so.hosts().expect_err("no node").to_string();
        assert!(none.contains("cannot use the plan a.json") && none.contains("it names no node"), "{none}");
        assert!(plan("no JSON").expect_err("no record").to_string().contains("cannot use the plan a.json"));
        // What a record says is no option of ssh either.
        assert!(read(r#"{"members": [{"node": "cp1", "peerUrls": ["https://-oProxyCommand:1"]}]}"#).is_err());
    }
}
