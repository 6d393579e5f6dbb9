//! Checked arguments: what is rendered from them is right.

use std::path::PathBuf;
use std::time::Duration;

use etcd_store::{ClusterUid, Encryption, Recipients, StoreUrl, TrustedKeys};

use super::Args;
use super::cadence::{Cadence, short};
use super::drill::Drill;
use crate::output::{Exit, Failed, Outcome};
use crate::stores;

/// Namespaces of Kubernetes itself: this command's would get a label that lets privileged pods in.
const TAKEN: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const NAMESPACE: &str = "kubectl-etcd";

/// What is rendered.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) namespace: String,
    pub(super) store: StoreUrl,
    pub(super) cluster: Option<ClusterUid>,
    pub(super) cadence: Cadence,
    pub(super) time_zone: String,
    pub(super) encryption: Encryption,
    pub(super) sign_key: Option<String>,
    /// Files of public keys, by the names that they get in the pods.
    pub(super) trust: Vec<(String, String)>,
    pub(super) node_files: bool,
    pub(super) max_age: Duration,
    /// Flags of `etcd-sidecar prune`; none: nothing is pruned.
    pub(super) keep: Vec<String>,
    /// Secret of backup and watch.
    pub(super) credential: Option<String>,
    /// Secret of prune.
    pub(super) prune_credential: Option<String>,
    /// File of the store's URL, and the ConfigMap that it comes from.
    pub(super) ca: Option<(String, String)>,
    pub(super) node_selector: Vec<(String, String)>,
    pub(super) node_dirs: Vec<String>,
    pub(super) spool: String,
    pub(super) image: String,
    pub(super) pull_policy: String,
    pub(super) pull_secrets: Vec<String>,
    pub(super) prometheus: bool,
    pub(super) drill: Option<Drill>,
}

pub(super) fn usage(message: impl Into<String>) -> Failed {
    Failed::new(Exit::Usage, message)
}

impl Plan {
    /// Checks arguments, and reads the files of recipients and public keys that they name.
    ///
    /// # Errors
    /// Exit 2: a value that no cluster would take, or that leads to a backup nobody can use.
    pub(super) fn of(args: &Args, namespace: Option<&str>) -> Outcome<Plan> {
        let store = store(args)?;
        let cadence = Cadence::of(args.every).map_err(|why| usage(format!("--every: {why}")))?;
        let max_age = args.max_age.unwrap_or(args.every * 3);
        if max_age <= args.every {
            let message =
                format!("--max-age {}: every backup would be stale before the next one is taken", short(max_age));
            return Err(usage(message).hint(format!("name more than --every {}", short(args.every))));
        }
        let keep = args.keep.words();
        if !keep.is_empty() && args.sign_key_secret.is_some() && args.trust_keys.is_empty() {
            return Err(usage("backups are signed, and prune is given no key to check the signatures with")
                .hint("name the public key of the Secret\n  --trust-key FILE"));
        }
        let pods = &args.pods;
        let credential = |flag: &str, name: &str| match pods.no_credential_secret {
            true => Ok(None),
            false => own(flag, name).map(Some),
        };
        let encryption = encryption(args)?;
        let signs = args.sign_key_secret.is_some();
        let drill = Drill::of(&args.drill, encryption.is_on(), signs, !args.trust_keys.is_empty())?;
        Ok(Plan {
            namespace: self::namespace(namespace)?,
            ca: ca(&store, pods.ca_config_map.as_deref())?,
            store,
            cluster: args.cluster_uid.clone(),
            cadence,
            time_zone: time_zone(&args.time_zone)?,
            encryption,
            sign_key: args.sign_key_secret.as_deref().map(|name| own("--sign-key-secret", name)).transpose()?,
            trust: trust(&args.trust_keys)?,
            node_files: args.node_files,
            max_age,
            credential: credential("--credential-secret", &pods.credential_secret)?,
            prune_credential: credential("--prune-credential-secret", &pods.prune_credential_secret)?,
            keep,
            node_selector: pods.node_selector.iter().map(|text| label(text)).collect::<Outcome<_>>()?,
            node_dirs: pods.node_dir.iter().map(|path| node_dir(path)).collect::<Outcome<_>>()?,
            spool: quantity("--spool-size", &pods.spool_size)?,
            image: image("--image", &pods.image)?,
            pull_policy: pods.image_pull_policy.clone(),
            pull_secrets: pods
                .image_pull_secret
                .iter()
                .filter(|name| !name.is_empty())
                .map(|name| own("--image-pull-secret", name))
                .collect::<Outcome<_>>()?,
            prometheus: !args.no_prometheus,
            drill,
        })
    }

    /// The same for the same store and namespace.
    pub(super) fn number(&self) -> u32 {
        let cluster = self.cluster.as_ref().map(ToString::to_string).unwrap_or_default();
        etcd_wire::crc32c(format!("{} {} {cluster}", self.store, self.namespace).as_bytes())
    }
}

fn store(args: &Args) -> Outcome<StoreUrl> {
    let scope = stores::scope(&args.store)?;
    if scope.store.folder().is_some() {
        return Err(usage("--store: a folder is on one machine, and the pods run on any control-plane node")
            .hint("name an object store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://ACCOUNT/CONTAINER/PREFIX"));
    }
    match scope.cluster {
        None => Ok(scope.store),
        Some(cluster) => Err(usage(format!("--store names a cluster, {cluster}: name the store alone"))
            .hint(format!("name the cluster by its flag\n  --cluster-uid {cluster}"))),
    }
}

fn encryption(args: &Args) -> Outcome<Encryption> {
    if args.no_encryption {
        return Ok(Encryption::Off);
    }
    if args.recipient.is_empty() && args.recipients_file.is_empty() {
        return Err(usage("nobody could decrypt the backups: no recipient is named").hint(
            "name a recipient, which age-keygen prints, or say that nothing is to be encrypted\n  \
             --recipient age1...\n  --no-encryption",
        ));
    }
    let recipients = Recipients::parse(&args.recipient, &args.recipients_file);
    recipients.map(Encryption::Recipients).map_err(|error| usage("cannot encrypt the backups").source(&error))
}

fn trust(files: &[PathBuf]) -> Outcome<Vec<(String, String)>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    TrustedKeys::read(files).map_err(|error| usage("cannot read the trust keys").source(&error))?;
    let read = |(index, path): (usize, &PathBuf)| {
        let text = fs_err::read_to_string(path).map_err(|error| usage("cannot read the trust keys").source(&error))?;
        // A file with Windows' ends of lines means the same.
        let lines: String = text.lines().map(|line| format!("{line}\n")).collect();
        Ok((format!("trust-{}.pub", index + 1), lines))
    };
    files.iter().enumerate().map(read).collect()
}

fn ca(store: &StoreUrl, config_map: Option<&str>) -> Outcome<Option<(String, String)>> {
    match (store.ca(), config_map) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(usage("--ca-config-map has no effect: the URL of the store has no ca=FILE")),
        (Some(file), None) => Err(usage(format!("ca={} is a file of this machine, and not of the pods", file.display()))
            .hint("name a ConfigMap whose key ca.crt is that certificate; the pods find it at this path\n  --ca-config-map NAME")),
        (Some(file), Some(name)) => {
            subdomain("--ca-config-map", name)?;
            let path = file.to_str().filter(|path| is_plain_path(path));
            let path = path.ok_or_else(|| usage(format!("ca={}: the path in the pods must be absolute", file.display())))?;
            Ok(Some((path.to_owned(), name.to_owned())))
        }
    }
}

/// An absolute path that means what it says.
fn is_plain_path(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("") && parts.all(|part| !part.is_empty() && part != "." && part != "..") && !path.contains(':')
}

fn node_dir(path: &str) -> Outcome<String> {
    let trimmed = path.trim_end_matches('/');
    match is_plain_path(trimmed) && !trimmed.is_empty() {
        true => Ok(trimmed.to_owned()),
        false => Err(usage(format!("--node-dir {path:?}: expected an absolute path without \"..\", and not the root"))),
    }
}

/// A part of a name in the DNS.
fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.starts_with(inner)
        && name.ends_with(inner)
        && name.chars().all(|c| inner(c) || c == '-')
}

/// The name of an object of the user's.
pub(super) fn own(flag: &str, name: &str) -> Outcome<String> {
    subdomain(flag, name).map(|()| name.to_owned())
}

fn subdomain(flag: &str, name: &str) -> Outcome {
    match name.len() <= 253 && name.split('.').all(is_label) {
        true => Ok(()),
        false => Err(usage(format!(
            "{flag} {name:?} is not a name of Kubernetes: expected small letters, digits, - and . between them"
        ))),
    }
}

fn namespace(name: Option<&str>) -> Outcome<String> {
    let name = name.unwrap_or(NAMESPACE);
    if TAKEN.contains(&name) {
        return Err(usage(format!("namespace {name} is one of Kubernetes: the backups need one of their own"))
            .cause("its label pod-security.kubernetes.io/enforce lets privileged pods in")
            .hint(format!("leave -n out, for namespace {NAMESPACE}, or name another")));
    }
    match is_label(name) {
        true => Ok(name.to_owned()),
        false => Err(usage(format!("{name:?} is not the name of a namespace: expected small letters, digits and -"))),
    }
}

fn time_zone(name: &str) -> Outcome<String> {
    let parts = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    let formed = name.split('/').all(parts) && !name.eq_ignore_ascii_case("local");
    // A machine without a database of time zones knows none of them.
    let database = jiff::tz::db();
    let known = name == "Etc/UTC" || database.is_definitively_empty() || database.get(name).is_ok();
    match formed && known {
        true => Ok(name.to_owned()),
        false => {
            Err(usage(format!("--time-zone {name:?} is not known: expected a name such as Etc/UTC or Europe/Berlin")))
        }
    }
}

/// `KEY=VALUE`, each as labels are.
fn label(text: &str) -> Outcome<(String, String)> {
    let wrong = || usage(format!("--node-selector {text:?}: expected KEY=VALUE, as a label of a node"));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let word = |word: &str| {
        let outer = |c: char| c.is_ascii_alphanumeric();
        (1..=63).contains(&word.len())
            && word.starts_with(outer)
            && word.ends_with(outer)
            && word.chars().all(|c| outer(c) || matches!(c, '-' | '_' | '.'))
    };
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let fits = prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_label));
    match fits && word(name) && (value.is_empty() || word(value)) {
        true => Ok((key.to_owned(), value.to_owned())),
        false => Err(wrong()),
    }
}

pub(super) fn quantity(flag: &str, text: &str) -> Outcome<String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let positive = number.len() <= 15 && number.parse::<u64>().is_ok_and(|number| number > 0);
    match positive && ["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&unit) {
        true => Ok(text.to_owned()),
        false => Err(usage(format!("{flag} {text:?} is not a quantity such as 10Gi or 800Mi"))),
    }
}

/// A reference of an image.
pub(super) fn image(flag: &str, text: &str) -> Outcome<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@' | '[' | ']');
    let digest = text.split_once('@').is_none_or(|(_, digest)| {
        digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()))
    });
    match !text.is_empty() && text.chars().all(allowed) && digest {
        true => Ok(text.to_owned()),
        false => {
            Err(usage(format!("{flag} {text:?} is not a reference such as registry.example/etcd-sidecar@sha256:...")))
        }
    }
}
