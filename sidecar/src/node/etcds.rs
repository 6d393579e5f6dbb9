//! Where etcd keeps its data on this node, found without an API server and without a running etcd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use etcd_wire::message::KeyPair;
use etcd_wire::restore::Parts;
use etcd_wire::services::{EtcdService, NodeServices, SettingsSource};
use etcd_wire::{Failure, FailureCode};

use super::document;
pub(crate) use super::manifest::UnitFile;
use super::manifest::{Manifest, flags};
use super::manifests::{self, ControlPlane};
use super::settings::Settings;
use super::unit::{Unit, environment_file};

/// The variable that names the data directory.
pub(crate) const DATA_DIR: &str = "ETCD_DATA_DIR";
/// The kubelet's folder where nothing else is said.
pub(crate) const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Where units are, the first that has one wins (systemd.unit(5)).
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Files with variables that installers leave, also where their unit is not found: kubespray's and Debian's.
const ENVIRONMENT_FILES: [&str; 2] = ["/etc/etcd.env", "/etc/default/etcd"];
/// Where packages and kubeadm put the data if nothing else is said.
const USUAL: [&str; 2] = ["/var/lib/etcd/default", "/var/lib/etcd"];
/// Settings that name certificates and keys.
const CERTIFICATES: [&str; 6] =
    ["cert-file", "key-file", "trusted-ca-file", "peer-cert-file", "peer-key-file", "peer-trusted-ca-file"];
/// Those of them that name authorities.
const AUTHORITIES: [&str; 2] = ["trusted-ca-file", "peer-trusted-ca-file"];
/// More are no node's.
const MOST: usize = 4;

/// A data directory, and what has named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataDir {
    pub(crate) found_by: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) wal_dir: Option<PathBuf>,
}

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) dirs: Vec<DataDir>,
    pub(crate) failures: Vec<Failure>,
}

/// An etcd that something on the node starts.
struct Service {
    found_by: String,
    settings: Settings,
    working_directory: PathBuf,
    /// The command line of its process, where a unit tells.
    argv: Vec<String>,
    /// The data directory as it stands in the environment of its process, if it does.
    data_dir_variable: Option<String>,
    /// Where the settings come from, outside of static pods.
    source: Option<SettingsSource>,
}

impl Service {
    fn data_dir(self) -> DataDir {
        let Service { found_by, settings, working_directory, .. } = self;
        let (data_dir, wal_dir) = (settings.data_dir(&working_directory), settings.wal_dir(&working_directory));
        DataDir { found_by, data_dir, wal_dir }
    }

    fn told(self) -> EtcdService {
        EtcdService {
            settings: self.settings.told(&self.working_directory),
            found_by: self.found_by,
            source: self.source,
        }
    }
}

/// Looks in all places of a node whose root is `root`, in the order of likelihood. Directories without a member are left out, but for one that
/// a manifest names, or a unit where there is no manifest: a package of etcd brings a unit that nobody uses.
pub(crate) fn find(root: &Path, manifests_dir: &Path, host: &str) -> Found {
    let mut found = Found::default();
    match manifests::etcd(&below(root, manifests_dir)) {
        Ok(None) => {}
        Ok(Some(manifest)) => match of_manifest(root, manifests_dir, &manifest) {
            Ok(service) => add(&mut found, service.data_dir()),
            Err(failure) => found.failures.push(failure),
        },
        Err(failure) => found.failures.push(failure),
    }
    let has_manifest = !found.dirs.is_empty();
    for service in services(root, host, &mut found.failures) {
        let dir = service.data_dir();
        if !has_manifest || below(root, &dir.data_dir).join("member").is_dir() {
            add(&mut found, dir);
        }
    }
    for usual in USUAL {
        let data_dir = PathBuf::from(usual);
        if below(root, &data_dir).join("member").is_dir() {
            add(&mut found, DataDir { found_by: "its usual place".to_owned(), data_dir, wal_dir: None });
        }
    }
    found
}

/// How etcd is started on this node outside of static pods.
pub(crate) fn started() -> NodeServices {
    let mut failures = Vec::new();
    let etcd = services(Path::new("/"), &hostname(), &mut failures).into_iter().map(Service::told);
    NodeServices { etcd: etcd.collect(), failures }
}

/// The etcd of this node, however it is started: the one of a static pod, or else those outside of static pods.
pub(crate) fn of_this_node(manifests_dir: &Path) -> NodeServices {
    let root = Path::new("/");
    let manifest = manifests::etcd(manifests_dir)
        .and_then(|found| found.map(|manifest| of_manifest(root, manifests_dir, &manifest)).transpose());
    match manifest {
        Ok(Some(service)) => NodeServices { etcd: vec![service.told()], failures: Vec::new() },
        Ok(None) => started(),
        Err(failure) => {
            let mut found = started();
            found.failures.insert(0, failure);
            found
        }
    }
}

/// What starts these parts of a control plane on a node: static pods, and where none of them is etcd, its unit. `root` is where the node's file tree is, and
/// `dir` the folder of manifests as it is seen here.
///
/// # Errors
/// As [`ControlPlane::read`]'s; or the unit cannot be read, or starts no program etcd on the node itself.
pub(crate) fn control_plane(root: &Path, dir: &Path, parts: Parts) -> Result<ControlPlane, Failure> {
    ControlPlane::read(dir, parts, || Ok(unit(root)?.map(Manifest::of_unit)))
}

/// The same of a node that has etcd: with an API server; or alone, started by a unit. Where a restore holds the manifests of the node, its data is not
/// decided on.
///
/// # Errors
/// See [`control_plane`]; or a restore holds manifests.
pub(crate) fn with_etcd(root: &Path, dir: &Path) -> Result<(Manifest, ControlPlane), Failure> {
    let is_alone = manifests::is_empty(dir)?;
    if let Some(held) = manifests::held_beside(dir).filter(|_| is_alone) {
        let message = format!("a restore holds the static pod manifests of this node in {}", held.display());
        return Err(Failure::new(FailureCode::Refused, message));
    }
    let found = control_plane(root, dir, if is_alone { Parts::Etcd } else { Parts::Both })?;
    match found.etcd.clone() {
        Some(etcd) => Ok((etcd, found)),
        None => Err(Failure::new(FailureCode::BadRequest, "there is no etcd on this node")),
    }
}

/// The unit that starts etcd; `None` if there is none.
///
/// # Errors
/// See [`control_plane`].
pub(crate) fn unit(root: &Path) -> Result<Option<UnitFile>, Failure> {
    let mut failures = Vec::new();
    let found = of_unit(root, &hostname(), &mut failures);
    // A file that cannot be read may set anything.
    if let (Some(_), Some(failure)) = (&found, failures.into_iter().next()) {
        return Err(failure);
    }
    let Some(service) = found.flatten() else { return Ok(None) };
    let path = service.source.as_ref().and_then(|source| source.unit.clone());
    let settings = service.settings.told(&service.working_directory);
    let (argv, data_dir_variable) = (service.argv, service.data_dir_variable);
    Ok(path.map(|path| UnitFile { path, argv, settings, data_dir_variable }))
}

/// The files that make the unit of etcd, and those that it names: the unit with its drop-ins, its variables, its configuration, its certificates and keys,
/// and the keys of its authorities where they lie beside their certificates.
///
/// # Errors
/// See [`control_plane`].
pub(crate) fn files_of_unit(root: &Path) -> Result<UnitFiles, Failure> {
    let mut failures = Vec::new();
    let found = of_unit(root, &hostname(), &mut failures);
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure);
    }
    let Some(Service { settings, working_directory, source: Some(source), .. }) = found.flatten() else {
        return Ok(UnitFiles::default());
    };
    let named = settings.told(&working_directory);
    let certificates = CERTIFICATES.iter().filter_map(|name| named.get(*name)).map(PathBuf::from);
    let authorities =
        AUTHORITIES.iter().filter_map(|name| named.get(*name)).flat_map(|file| keys_beside(Path::new(file)));
    // Variables may be left out, and whether a key is beside its certificate is a guess.
    let optional = source.environment_files.into_iter().map(PathBuf::from).chain(authorities);
    let required =
        source.unit.into_iter().chain(source.config_file).map(PathBuf::from).chain(drop_ins(root)).chain(certificates);
    let is_missing = |path: &PathBuf| match std::fs::metadata(below(root, path)) {
        Ok(found) => !found.is_file(),
        // One that cannot be looked at cannot be read, which whoever reads it tells.
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    let (missing, mut files): (Vec<_>, Vec<_>) = required.partition(is_missing);
    files.extend(optional.filter(|path| !is_missing(path)));
    files.sort_unstable();
    files.dedup();
    Ok(UnitFiles { files, missing })
}

/// The files of a unit of etcd.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct UnitFiles {
    /// Those that are there.
    pub(crate) files: Vec<PathBuf>,
    /// Those that the unit names, and that are no files.
    pub(crate) missing: Vec<PathBuf>,
}

/// What is told of a file that is missing.
pub(crate) const NAMED: &str = "is named by the unit of etcd, and is no file";

/// Where the key of a certificate may lie: `ca.key` beside `ca.crt`, as kubeadm names them, and `ca-key.pem` beside `ca.pem`, as kubespray does.
fn keys_beside(certificate: &Path) -> Vec<PathBuf> {
    let Some(stem) = certificate.file_stem().and_then(|stem| stem.to_str()) else { return Vec::new() };
    [format!("{stem}.key"), format!("{stem}-key.pem")].map(|name| certificate.with_file_name(name)).to_vec()
}

/// The certificate with which the API server of this node, where one is a static pod, is a client of etcd.
pub(crate) fn api_servers_pair(manifests_dir: &Path) -> Option<KeyPair> {
    let manifest = manifests::only(manifests_dir, "kube-apiserver")?;
    let file = |flag: &str| Some(manifest.host_path(manifest.flag(flag)?)?.display().to_string());
    Some(KeyPair { cert: file("etcd-certfile")?, key: file("etcd-keyfile")? })
}

/// What the node calls itself.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// By a unit; where there is none, by the files that installers leave.
fn services(root: &Path, host: &str, failures: &mut Vec<Failure>) -> Vec<Service> {
    match of_unit(root, host, failures) {
        Some(service) => service.into_iter().collect(),
        None => of_environment_files(root, failures),
    }
}

/// Where a path of the node is here.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn add(found: &mut Found, dir: DataDir) {
    if found.dirs.len() < MOST && found.dirs.iter().all(|other| other.data_dir != dir.data_dir) {
        found.dirs.push(dir);
    }
}

fn read(root: &Path, path: &Path) -> Result<Option<Vec<u8>>, String> {
    match document::read(&below(root, path)) {
        Ok(contents) => Ok(contents),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn unread(path: &Path, why: String) -> Failure {
    Failure::new(FailureCode::Storage, format!("cannot read {} on the node", path.display())).cause(why)
}

/// An etcd that the kubelet starts, with paths of the node.
fn of_manifest(root: &Path, dir: &Path, manifest: &Manifest) -> Result<Service, Failure> {
    let path = dir.join(&manifest.file);
    let host = |inside: &str| manifest.host_path(inside).ok_or_else(|| format!("{inside} is not a path of the node"));
    let settings = Settings::of_manifest(manifest)
        .with_file(|file| read(root, &host(file)?)?.ok_or_else(|| format!("there is no {file}")));
    let settings = settings.and_then(|settings| settings.on_node(manifest)).map_err(|why| {
        let message = format!("{} does not say where on the node the data of etcd is", path.display());
        Failure::new(FailureCode::BadRequest, message).cause(why)
    })?;
    let found_by = format!("the manifest {}", path.display());
    Ok(Service {
        found_by,
        settings,
        working_directory: "/".into(),
        argv: Vec::new(),
        data_dir_variable: None,
        source: None,
    })
}

/// By the unit `etcd.service`: `None` if there is none, and nothing in it if the unit does not say how etcd is started.
fn of_unit(root: &Path, host: &str, failures: &mut Vec<Failure>) -> Option<Option<Service>> {
    let paths = UNITS.map(|dir| Path::new(dir).join("etcd.service"));
    let mut unit = None;
    for path in paths {
        match read(root, &path) {
            Ok(Some(text)) => {
                unit = Some((path, text));
                break;
            }
            Ok(None) => {}
            Err(why) => failures.push(unread(&path, why)),
        }
    }
    let (path, text) = unit?;
    let mut unit = Unit::default();
    unit.take(&String::from_utf8_lossy(&text), "etcd", host);
    for path in drop_ins(root) {
        match read(root, &path) {
            Ok(text) => unit.take(&String::from_utf8_lossy(&text.unwrap_or_default()), "etcd", host),
            Err(why) => failures.push(unread(&path, why)),
        }
    }
    let mut files = Vec::new();
    for file in unit.environment_files.clone() {
        match read(root, Path::new(&file)) {
            Ok(text) => files.push(environment_file(&String::from_utf8_lossy(&text.unwrap_or_default()))),
            Err(why) => failures.push(unread(Path::new(&file), why)),
        }
    }
    let variables = unit.variables(files);
    let Some(command) = unit.command(&variables) else {
        let message = format!("{} starts no program etcd on the node itself", path.display());
        failures.push(Failure::new(FailureCode::BadRequest, message).hint(WHERE));
        return Some(None);
    };
    let settings = Settings::of(&command, &variables);
    let source = SettingsSource {
        unit: Some(path.display().to_string()),
        flags: flags(&command, false).into_keys().collect(),
        environment_files: unit.environment_files.clone(),
        config_file: settings.config_file().map(str::to_owned),
    };
    let settings = settings.with_file(|file| read(root, Path::new(file))?.ok_or_else(|| format!("there is no {file}")));
    match settings {
        Ok(settings) => {
            let directory = unit.working_directory.as_deref().map_or(Path::new("/"), Path::new);
            let found_by = format!("the unit {}", path.display());
            let working_directory = directory.to_owned();
            let (argv, data_dir_variable) = (command, variables.get(DATA_DIR).cloned());
            Some(Some(Service { found_by, settings, working_directory, argv, data_dir_variable, source: Some(source) }))
        }
        Err(why) => {
            let message = format!("the configuration file of {} cannot be read", path.display());
            failures.push(Failure::new(FailureCode::Storage, message).cause(why).hint(WHERE));
            Some(None)
        }
    }
}

/// What to do where etcd is not found.
pub(crate) const WHERE: &str = "name the data directory of etcd\n  --data-dir DIR";

/// Drop-ins of all folders, by name; of two with one name, that of the first folder counts.
fn drop_ins(root: &Path) -> Vec<PathBuf> {
    let mut all = BTreeMap::new();
    for dir in UNITS.iter().rev() {
        let dir = Path::new(dir).join("etcd.service.d");
        let Ok(entries) = std::fs::read_dir(below(root, &dir)) else { continue };
        for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            if name.ends_with(".conf") {
                all.insert(name.clone(), dir.join(name));
            }
        }
    }
    all.into_values().collect()
}

fn of_environment_files(root: &Path, failures: &mut Vec<Failure>) -> Vec<Service> {
    let mut services = Vec::new();
    for path in ENVIRONMENT_FILES.map(Path::new) {
        match read(root, path) {
            Ok(Some(text)) => {
                let settings = Settings::of(&[], &environment_file(&String::from_utf8_lossy(&text)));
                if settings.get("data-dir").is_some() {
                    let found_by = format!("the variables in {}", path.display());
                    let environment_files = vec![path.display().to_string()];
                    let source = SettingsSource { environment_files, ..SettingsSource::default() };
                    let (working_directory, argv) = (PathBuf::from("/"), Vec::new());
                    let (data_dir_variable, source) = (None, Some(source));
                    services.push(Service { found_by, settings, working_directory, argv, data_dir_variable, source });
                }
            }
            Ok(None) => {}
            Err(why) => failures.push(unread(path, why)),
        }
    }
    services
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    struct Root(tempfile::TempDir);

    impl Root {
        fn new(files: &[(&str, &str)]) -> Root {
            let root = Root(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let path = below(root.0.path(), Path::new(path));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            root
        }

        /// What is found, as `found by: data [wal]`, and the failures.
        fn found(&self) -> (Vec<String>, Vec<String>) {
            let found = find(self.0.path(), Path::new(MANIFESTS), "cp1");
            let shown = |dir: &DataDir| {
                let wal = dir.wal_dir.as_ref().map(|wal| format!(" {}", wal.display())).unwrap_or_default();
                format!("{}: {}{wal}", dir.found_by, dir.data_dir.display())
            };
            let failures = found.failures.iter().map(|failure| format!("{failure}: {}", failure.causes.join(", ")));
            (found.dirs.iter().map(shown).collect(), failures.collect())
        }
    }

    const POD: &str = "kind: Pod\nmetadata: {name: etcd, namespace: kube-system}\nspec:\n  containers:\n  - name: etcd\n    command: [etcd, ARGS]\n    \
                       volumeMounts: [{name: data, mountPath: /inside}]\n  volumes: [{name: data, hostPath: {path: /srv/etcd}}]\n";

    #[test]
    fn a_manifest_is_followed_to_the_node_without_an_api_server() {
        let manifest = |args: &str| POD.replace("ARGS", args);
        let root = Root::new(&[(
            "/etc/kubernetes/manifests/etcd.yaml",
            &manifest("--data-dir=/inside/data, --wal-dir=/inside/wal"),
        )]);
        let by = "the manifest /etc/kubernetes/manifests/etcd.yaml";
        assert_eq!(root.found(), (vec![format!("{by}: /srv/etcd/data /srv/etcd/wal")], vec![]));
        // RKE2 has all of it in a file.
        let root = Root::new(&[
            ("/etc/kubernetes/manifests/etcd.yaml", &manifest("--config-file=/inside/config")),
            ("/srv/etcd/config", "data-dir: /inside/db\nname: a\nclient-transport-security: {cert-file: /x}\n"),
        ]);
        assert_eq!(root.found(), (vec![format!("{by}: /srv/etcd/db")], vec![]));
        let root = Root::new(&[("/etc/kubernetes/manifests/etcd.yaml", &manifest("--data-dir=/elsewhere"))]);
        let (dirs, failures) = root.found();
        assert_eq!(dirs, [""; 0]);
        assert!(failures[0].ends_with("/elsewhere is not a path of the node"), "{failures:?}");
    }

    #[test]
    fn a_unit_that_was_never_used_is_no_etcd_beside_a_manifest() {
        let manifest = POD.replace("ARGS", "--data-dir=/inside/data");
        let files = [
            ("/etc/kubernetes/manifests/etcd.yaml", manifest.as_str()),
            ("/lib/systemd/system/etcd.service", "[Service]\nExecStart=/usr/bin/etcd --data-dir=/var/lib/unused\n"),
        ];
        let of_manifest = "the manifest /etc/kubernetes/manifests/etcd.yaml: /srv/etcd/data";
        assert_eq!(Root::new(&files).found().0, [of_manifest]);
        assert_eq!(Root::new(&files[1..]).found().0, ["the unit /lib/systemd/system/etcd.service: /var/lib/unused"]);
        let used = Root::new(&[&files[..], &[("/var/lib/unused/member/snap/db", "")]].concat());
        assert_eq!(used.found().0, [of_manifest, "the unit /lib/systemd/system/etcd.service: /var/lib/unused"]);
    }

    #[test]
    fn units_files_and_usual_places() {
        let unit = "[Service]\nEnvironmentFile=-/etc/etcd.env\nExecStart=/usr/local/bin/etcd\n";
        let env = "ETCD_DATA_DIR=/var/lib/etcd\nETCD_NAME=etcd1\nETCD_WAL_DIR=\"/fast disk/wal\"\n";
        let root = Root::new(&[
            ("/etc/systemd/system/etcd.service", unit),
            ("/etc/etcd.env", env),
            ("/var/lib/etcd/member/snap/db", ""),
        ]);
        let by = "the unit /etc/systemd/system/etcd.service";
        assert_eq!(root.found(), (vec![format!("{by}: /var/lib/etcd /fast disk/wal")], vec![]));
        // The file is there, and the unit is not.
        let root = Root::new(&[("/etc/etcd.env", env)]);
        assert_eq!(root.found().0, ["the variables in /etc/etcd.env: /var/lib/etcd /fast disk/wal"]);
        // A drop-in; a name alone.
        let root = Root::new(&[
            (
                "/lib/systemd/system/etcd.service",
                "[Service]\nExecStart=/usr/bin/etcd --name m\nWorkingDirectory=/var/lib/x\n",
            ),
            ("/etc/systemd/system/etcd.service.d/10.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/etcd --name n\n"),
        ]);
        assert_eq!(root.found().0, ["the unit /lib/systemd/system/etcd.service: /var/lib/x/n.etcd"]);
        // A configuration file alone counts.
        let root = Root::new(&[
            (
                "/lib/systemd/system/etcd.service",
                "[Service]\nExecStart=/usr/bin/etcd --config-file /etc/etcd.yml --data-dir /no\n",
            ),
            ("/etc/etcd.yml", "data-dir: /yes\n"),
        ]);
        assert_eq!(root.found().0, ["the unit /lib/systemd/system/etcd.service: /yes"]);
        let root = Root::new(&[("/var/lib/etcd/default/member/snap/db", "")]);
        assert_eq!(root.found(), (vec!["its usual place: /var/lib/etcd/default".to_owned()], vec![]));
        assert_eq!(Root::new(&[]).found(), (vec![], vec![]));
    }

    #[test]
    fn a_unit_takes_the_place_of_the_manifest_that_is_not_there() {
        let kubeadm = super::super::manifests::tests::kubeadm("cp1");
        let dir = kubeadm.path();
        let unit = "[Service]\nEnvironmentFile=/etc/etcd.env\nExecStart=/usr/local/bin/etcd --name=etcd1\n";
        let env = "ETCD_DATA_DIR=/var/lib/etcd\nETCD_CERT_FILE=/etc/ssl/etcd/cert.pem\n";
        let root = Root::new(&[("/etc/systemd/system/etcd.service", unit), ("/etc/etcd.env", env)]);
        let etcd = |root: &Root| control_plane(root.0.path(), dir, Parts::Both).map(|all| all.etcd.unwrap());
        assert_eq!(etcd(&root).unwrap().file, "etcd.yaml", "a manifest counts before a unit, which may be disabled");
        fs::remove_file(dir.join("etcd.yaml")).unwrap();
        let found = etcd(&root).unwrap();
        assert_eq!((found.file.as_str(), found.flag("name")), ("etcd.service", Some("etcd1")));
        let cert = found.flag("cert-file").and_then(|file| found.host_path(file));
        assert_eq!(cert.as_deref(), Some(Path::new("/etc/ssl/etcd/cert.pem")));
        let unit = found.unit.unwrap();
        assert_eq!(unit.argv, ["/usr/local/bin/etcd", "--name=etcd1"]);
        assert_eq!(
            (unit.path.as_str(), unit.data_dir_variable.as_deref()),
            ("/etc/systemd/system/etcd.service", Some("/var/lib/etcd"))
        );

        let said = |root: &Root| etcd(root).unwrap_err().message;
        let container =
            Root::new(&[("/lib/systemd/system/etcd.service", "[Service]\nExecStart=/usr/bin/docker run etcd\n")]);
        assert!(said(&container).contains("starts no program etcd on the node itself"));
        // Files that installers leave start nothing.
        let variables = Root::new(&[("/etc/etcd.env", env)]);
        assert!(said(&variables).contains("there is no manifest of etcd"));
        // One that cannot be read may be the manifest; another file is passed over, as the kubelet does.
        fs::write(dir.join("README"), "").unwrap();
        assert_eq!(etcd(&root).unwrap().file, "etcd.service");
        fs::write(dir.join("etcd.yaml"), "kind: [").unwrap();
        assert!(
            said(&root).starts_with("etcd.yaml in ") && said(&root).ends_with("may start etcd beside etcd.service")
        );
    }

    #[test]
    fn a_unit_tells_where_its_settings_are() {
        let source = |files: &[(&str, &str)]| {
            let root = Root::new(files);
            let mut told = services(root.0.path(), "cp1", &mut Vec::new()).into_iter().map(Service::told);
            told.next().and_then(|one| one.source).unwrap()
        };
        let unit = "[Service]\nEnvironmentFile=-/etc/etcd.env\nExecStart=/usr/bin/etcd --name n\n";
        let env = "ETCD_DATA_DIR=/var/lib/etcd\n";
        let whole = source(&[("/lib/systemd/system/etcd.service", unit), ("/etc/etcd.env", env)]);
        let expected = SettingsSource {
            unit: Some("/lib/systemd/system/etcd.service".to_owned()),
            flags: vec!["name".to_owned()],
            environment_files: vec!["/etc/etcd.env".to_owned()],
            config_file: None,
        };
        assert_eq!(whole, expected);
        let alone = source(&[("/etc/etcd.env", env)]);
        assert_eq!(alone, SettingsSource { unit: None, flags: Vec::new(), ..expected });
        let unit = "[Service]\nExecStart=/usr/bin/etcd --config-file /etc/etcd.yml\n";
        let file = source(&[("/lib/systemd/system/etcd.service", unit), ("/etc/etcd.yml", "data-dir: /d\n")]);
        assert_eq!(file.config_file.as_deref(), Some("/etc/etcd.yml"));
    }

    #[test]
    fn the_files_of_a_unit_are_those_that_it_names() {
        let unit = "[Service]\nEnvironmentFile=-/etc/etcd.env\nExecStart=/usr/local/bin/etcd\n";
        let env = "ETCD_DATA_DIR=/var/lib/etcd\nETCD_CERT_FILE=/ssl/member.pem\nETCD_KEY_FILE=/ssl/member-key.pem\nETCD_TRUSTED_CA_FILE=/ssl/ca.pem\n\
                   ETCD_PEER_TRUSTED_CA_FILE=/ssl/ca.pem\nETCD_PEER_CERT_FILE=/ssl/gone.pem\n";
        let files = ["/etc/etcd.env", "/ssl/member.pem", "/ssl/member-key.pem", "/ssl/ca.pem", "/ssl/ca-key.pem"];
        let drop_in = "/etc/systemd/system/etcd.service.d/10.conf";
        let path = "/etc/systemd/system/etcd.service";
        let mut all =
            vec![(path, unit), (drop_in, "[Service]\nNice=1\n"), (files[0], env), ("/ssl/other-key.pem", "x")];
        all.extend(files[1..].iter().map(|file| (*file, "x")));
        let root = Root::new(&all);
        let mut wanted: Vec<PathBuf> = files.iter().chain(&[path, drop_in]).map(PathBuf::from).collect();
        wanted.sort_unstable();
        let found = files_of_unit(root.0.path()).unwrap();
        assert_eq!(found, UnitFiles { files: wanted, missing: vec!["/ssl/gone.pem".into()] });
        assert_eq!(files_of_unit(Root::new(&[]).0.path()).unwrap(), UnitFiles::default());
        // What cannot be read may name more.
        let broken = Root::new(&[(path, "[Service]\nExecStart=/usr/bin/docker run etcd\n")]);
        assert!(files_of_unit(broken.0.path()).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_told_and_no_secret_with_it() {
        let root = Root::new(&[
            ("/lib/systemd/system/etcd.service", "[Service]\nExecStart=/usr/bin/etcd --config-file /etc/etcd.yml\n"),
            ("/etc/etcd.yml", "data-dir: [hunter2]\n"),
        ]);
        let (dirs, failures) = root.found();
        assert!(dirs.is_empty() && failures.len() == 1 && !failures[0].contains("hunter2"), "{failures:?}");
        let root =
            Root::new(&[("/lib/systemd/system/etcd.service", "[Service]\nExecStart=/usr/bin/docker run etcd\n")]);
        assert!(root.found().1[0].contains("starts no program etcd"));
    }
}
