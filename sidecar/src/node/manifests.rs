//! The static pod manifests of a control-plane node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use etcd_wire::facts::StaticFile;
use etcd_wire::restore::Parts;
use etcd_wire::{Failure, FailureCode};

use super::dir::Place;
use super::document;
use super::manifest::{COMPONENTS, Manifest};

/// Files that a failure tells of, of those that were passed over.
const TOLD: usize = 5;

/// The static pod manifests of a control-plane node that has etcd and an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifests {
    /// The folder that they are in.
    pub(crate) dir: PathBuf,
    /// etcd's.
    pub(crate) etcd: Manifest,
    /// kube-apiserver's.
    pub(crate) api_server: Manifest,
}

impl Manifests {
    /// Reads the folder as the kubelet does: every file that does not begin with a dot. Files that are no pods, or cannot be read,
    /// are passed over, as the kubelet passes them over; so are other static pods.
    ///
    /// # Errors
    /// [`FailureCode::Storage`] if there is no such folder; [`FailureCode::BadRequest`] if etcd or the API server is not in it, or
    /// two files start the same component, of which the kubelet may run either.
    pub(crate) fn read(dir: &Path) -> Result<Manifests, Failure> {
        let mut folder = Folder::read(dir)?;
        let (etcd, api_server) = (folder.required(ETCD)?, folder.required(API_SERVER)?);
        Ok(Manifests { dir: dir.to_owned(), etcd, api_server })
    }
}

/// What starts the parts of a control plane that are on a node: static pods, and where none of them is etcd, perhaps a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlPlane {
    /// etcd.
    pub(crate) etcd: Option<Manifest>,
    /// kube-apiserver.
    pub(crate) api_server: Option<Manifest>,
    /// kube-controller-manager.
    controller_manager: Option<Manifest>,
    /// kube-scheduler.
    scheduler: Option<Manifest>,
}

impl ControlPlane {
    /// Reads the folder as [`Manifests::read`] does. Where no manifest starts etcd, `unit` finds what does.
    ///
    /// # Errors
    /// As [`Manifests::read`]'s, for the parts that are to be there, and that of `unit`. [`FailureCode::BadRequest`] if a part is there that is not
    /// to be.
    pub(super) fn read(
        dir: &Path,
        parts: Parts,
        unit: impl FnOnce() -> Result<Option<Manifest>, Failure>,
    ) -> Result<ControlPlane, Failure> {
        // A machine of etcd alone need have no kubelet.
        let mut folder = match Folder::read(dir) {
            Err(_) if parts == Parts::Etcd && !dir.exists() => Folder::empty(dir),
            folder => folder?,
        };
        let etcd = match parts {
            Parts::ApiServer => folder.absent(ETCD)?,
            Parts::Both | Parts::Etcd => Some(folder.etcd_or(unit)?),
        };
        let api_server = match parts {
            Parts::Etcd => {
                folder.absent(CONTROLLER_MANAGER)?;
                folder.absent(SCHEDULER)?;
                folder.absent(API_SERVER)?
            }
            Parts::Both | Parts::ApiServer => Some(folder.required(API_SERVER)?),
        };
        let (controller_manager, scheduler) = (folder.found.remove(CONTROLLER_MANAGER), folder.found.remove(SCHEDULER));
        Ok(ControlPlane { etcd, api_server, controller_manager, scheduler })
    }

    /// Those that are stopped while a restore exchanges the database, with their components' names, in the order in which they
    /// go: who writes to etcd before etcd itself.
    pub(crate) fn moved(&self) -> impl Iterator<Item = (&'static str, &Manifest)> {
        [
            (API_SERVER, &self.api_server),
            (CONTROLLER_MANAGER, &self.controller_manager),
            (SCHEDULER, &self.scheduler),
            (ETCD, &self.etcd),
        ]
        .into_iter()
        .filter_map(|(component, manifest)| Some((component, manifest.as_ref()?)))
    }
}

const ETCD: &str = COMPONENTS[0];
const API_SERVER: &str = COMPONENTS[1];
const CONTROLLER_MANAGER: &str = COMPONENTS[2];
const SCHEDULER: &str = COMPONENTS[3];

/// A folder of manifests that was read.
struct Folder<'a> {
    dir: &'a Path,
    found: BTreeMap<&'static str, Manifest>,
    passed_over: Vec<String>,
}

impl Folder<'_> {
    fn read(dir: &Path) -> Result<Folder<'_>, Failure> {
        let (found, passed_over) = all(dir)?;
        Ok(Folder { dir, found, passed_over })
    }

    fn empty(dir: &Path) -> Folder<'_> {
        Folder { dir, found: BTreeMap::new(), passed_over: Vec::new() }
    }

    fn missing(&self, component: &str) -> Failure {
        let message = format!("there is no manifest of {component} in {}", self.dir.display());
        let failure = Failure::new(FailureCode::BadRequest, message).hint(WHERE);
        self.passed_over.iter().take(TOLD).fold(failure, Failure::cause)
    }

    fn required(&mut self, component: &str) -> Result<Manifest, Failure> {
        self.found.remove(component).ok_or_else(|| self.missing(component))
    }

    /// Nothing, if nothing starts a component here.
    fn absent(&mut self, component: &str) -> Result<Option<Manifest>, Failure> {
        // What cannot be read, and is called so, may be its manifest.
        let unread = self.passed_over.iter().find(|file| file.starts_with(component));
        let file = self.found.get(component).map(|manifest| manifest.file.as_str());
        match file.or(unread.map(|file| quoted_name(file))) {
            None => Ok(None),
            Some(file) => {
                let message =
                    format!("{file} in {} may start {component}, which is not to be on this node", self.dir.display());
                Err(Failure::new(FailureCode::BadRequest, message)
                    .hint("run the command again: it looks anew at what is on each node"))
            }
        }
    }

    fn etcd_or(&mut self, unit: impl FnOnce() -> Result<Option<Manifest>, Failure>) -> Result<Manifest, Failure> {
        if let Some(etcd) = self.found.remove(ETCD) {
            return Ok(etcd);
        }
        let unit = unit()?.ok_or_else(|| self.missing(ETCD))?;
        // What cannot be read, and is called so, may be the manifest of etcd.
        match self.passed_over.iter().find(|file| file.starts_with(ETCD)) {
            None => Ok(unit),
            Some(file) => {
                let name = quoted_name(file);
                let message = format!("{name} in {} may start etcd beside {}", self.dir.display(), unit.file);
                Err(Failure::new(FailureCode::BadRequest, message)
                    .cause(file)
                    .hint("move the file out of the folder if the unit starts etcd"))
            }
        }
    }
}

/// The name of a file that was passed over, of what is told of it.
fn quoted_name(told: &str) -> &str {
    told.split_once(PASSED_OVER).map_or(told, |(name, _)| name)
}

/// What follows the name of a file in what is told of it.
const PASSED_OVER: &str = " was passed over: ";

/// The manifest of etcd alone; `None` if there is none, or no such folder, as where etcd does not run in a pod.
///
/// # Errors
/// As [`Manifests::read`]'s, but for what is missing; none is found, and a file that may be it cannot be read.
pub(super) fn etcd(dir: &Path) -> Result<Option<Manifest>, Failure> {
    match std::fs::symlink_metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => match all(dir)? {
            (mut found, passed_over) if found.contains_key("etcd") || passed_over.is_empty() => {
                Ok(found.remove("etcd"))
            }
            (_, passed_over) => {
                let message = format!("there is no manifest of etcd in {}", dir.display());
                let failure = Failure::new(FailureCode::BadRequest, message);
                Err(passed_over.iter().take(TOLD).fold(failure, Failure::cause))
            }
        },
    }
}

/// Whether nothing in the folder is, or may be, a part of a control plane; also where there is no such folder.
///
/// # Errors
/// As [`Manifests::read`]'s.
pub(super) fn is_empty(dir: &Path) -> Result<bool, Failure> {
    if std::fs::symlink_metadata(dir).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(true);
    }
    let (found, passed_over) = all(dir)?;
    let may_be_one = |file: &String| COMPONENTS.iter().any(|component| file.starts_with(component));
    Ok(found.is_empty() && !passed_over.iter().any(may_be_one))
}

/// Where a restore keeps the manifests that it holds, beside their folder.
pub(super) fn held_beside(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir.parent()?).ok()?;
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(HELD));
    names.find(is_ours)
}

/// What the names of such folders begin with.
const HELD: &str = ".kubectl-etcd-";

/// The manifest of one component; `None` if there is none, or more than one. That another component has two says nothing of this one.
pub(super) fn only(dir: &Path, wanted: &str) -> Option<Manifest> {
    let read = |file: &String| document::read(&dir.join(file)).ok().flatten().map(|contents| (file.clone(), contents));
    let parsed = list(dir).ok()?.iter().filter_map(read).collect::<Vec<_>>();
    let mut found = parsed.iter().filter_map(|(file, contents)| {
        let (component, manifest) = Manifest::parse(file, contents).ok().flatten()?;
        (component == wanted).then_some(manifest)
    });
    let first = found.next();
    first.filter(|_| found.next().is_none())
}

/// Components with their manifests, and the files that were passed over.
type Read = (BTreeMap<&'static str, Manifest>, Vec<String>);

fn all(dir: &Path) -> Result<Read, Failure> {
    let mut found: BTreeMap<&str, Manifest> = BTreeMap::new();
    let mut passed_over = Vec::new();
    for file in list(dir)? {
        let read = match document::read(&dir.join(&file)) {
            Ok(Some(contents)) => Manifest::parse(&file, &contents),
            Ok(None) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(Some((component, manifest))) => {
                if let Some(other) = found.insert(component, manifest) {
                    return Err(twice(dir, component, &other.file, &file));
                }
            }
            Ok(None) => {}
            Err(why) => passed_over.push(format!("{file}{PASSED_OVER}{why}")),
        }
    }
    Ok((found, passed_over))
}

/// The files that the kubelet reads, by name, each with what it starts. Nothing is passed over, and no two contradict each other.
///
/// # Errors
/// [`FailureCode::Storage`] if there is no such folder.
pub(super) fn files(dir: &Path) -> Result<Vec<StaticFile>, Failure> {
    let mut files = Vec::new();
    for name in list(dir)? {
        let (component, trouble) = match document::read(&dir.join(&name)) {
            Ok(Some(contents)) => match Manifest::parse(&name, &contents) {
                Ok(found) => (found.map(|(component, _)| component.to_owned()), None),
                Err(why) => (None, Some(why)),
            },
            // The kubelet passes over folders.
            Ok(None) => continue,
            Err(error) => (None, Some(error.to_string())),
        };
        files.push(StaticFile { name, component, trouble });
    }
    Ok(files)
}

const WHERE: &str =
    "name the folder that the node's kubelet reads (staticPodPath in its configuration):\n  --manifests-dir PATH";

/// The names in the folder that the kubelet looks at, sorted.
fn list(dir: &Path) -> Result<Vec<String>, Failure> {
    let cannot = |error: std::io::Error| {
        let message = format!("cannot read the manifests in {} on the node", dir.display());
        Failure::new(FailureCode::Storage, message).source(&error).hint(WHERE)
    };
    let mut names = Vec::new();
    for name in Place::new(dir).names().map_err(cannot)? {
        // A name that is no text is nothing that could be told or moved by name.
        if let Ok(name) = name.into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn twice(dir: &Path, component: &str, one: &str, other: &str) -> Failure {
    let message = format!("{} has two manifests of {component}: {one} and {other}", dir.display());
    Failure::new(FailureCode::BadRequest, message)
        .cause("the kubelet may run either of them")
        .hint("move the one that is not in use out of the folder; a copy beside the original is run, too")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The manifests of a real kubeadm 1.36 control-plane node, in a folder of their own.
    pub(crate) fn kubeadm(node: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/kubeadm").join(node).join("manifests");
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        folder
    }

    fn whole(dir: &Path) -> Result<ControlPlane, Failure> {
        ControlPlane::read(dir, Parts::Both, || Ok(None))
    }

    #[test]
    fn only_the_parts_that_are_to_be_there_are_there() {
        let read = |dir: &Path, parts| ControlPlane::read(dir, parts, || Ok(None));
        let names = |plane: ControlPlane| plane.moved().map(|(component, _)| component).collect::<Vec<_>>();
        let folder = kubeadm("cp1");
        let dir = folder.path();
        for (parts, said) in [(Parts::Etcd, "kube-controller-manager"), (Parts::ApiServer, "etcd.yaml")] {
            let failure = read(dir, parts).unwrap_err();
            assert!(failure.message.contains(said) && failure.message.contains("not to be on this node"), "{failure}");
        }
        std::fs::rename(dir.join("etcd.yaml"), dir.join(".etcd")).unwrap();
        let server = names(read(dir, Parts::ApiServer).unwrap());
        assert_eq!(server, ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]);
        std::fs::write(dir.join("etcd.bak"), "kind: [").unwrap();
        assert!(read(dir, Parts::ApiServer).unwrap_err().message.starts_with("etcd.bak in "));
        std::fs::remove_file(dir.join("etcd.bak")).unwrap();
        for server in ["kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml"] {
            std::fs::remove_file(dir.join(server)).unwrap();
        }
        assert!(read(dir, Parts::Etcd).unwrap_err().message.contains("no manifest of etcd"));
        std::fs::rename(dir.join(".etcd"), dir.join("etcd.yaml")).unwrap();
        assert_eq!(names(read(dir, Parts::Etcd).unwrap()), ["etcd"]);
        assert!(read(dir, Parts::ApiServer).is_err());
        // A machine without a kubelet has no such folder, and etcd as a unit.
        let none = dir.join("none");
        let unit = Manifests::read(kubeadm("cp1").path()).unwrap().etcd;
        let alone = ControlPlane::read(&none, Parts::Etcd, || Ok(Some(unit.clone()))).unwrap();
        assert_eq!(names(alone), ["etcd"]);
        assert_eq!(ControlPlane::read(&none, Parts::Both, || Ok(Some(unit))).unwrap_err().code, FailureCode::Storage);
    }

    #[test]
    fn kubeadms_four_are_found_whatever_their_files_are_called() {
        for node in ["cp1", "cp3"] {
            let folder = kubeadm(node);
            let dir = folder.path();
            std::fs::rename(dir.join("kube-scheduler.yaml"), dir.join("9")).unwrap();
            // What the kubelet passes over, and somebody else's pods.
            std::fs::copy(dir.join("etcd.yaml"), dir.join(".etcd.yaml.swp")).unwrap();
            std::fs::create_dir(dir.join("old")).unwrap();
            std::fs::copy(dir.join("etcd.yaml"), dir.join("old/etcd.yaml")).unwrap();
            std::fs::write(dir.join("README"), "nothing: [").unwrap();
            std::os::unix::fs::symlink("/nonexistent", dir.join("dangling.yaml")).unwrap();
            std::fs::write(dir.join("vip.yaml"), "kind: Pod\nmetadata: {name: kube-vip, namespace: kube-system}")
                .unwrap();
            let manifests = Manifests::read(dir).unwrap();
            let whole = whole(dir).unwrap();
            let moved: Vec<_> = whole.moved().map(|(component, one)| (component, one.file.as_str())).collect();
            assert_eq!(
                moved,
                [
                    ("kube-apiserver", "kube-apiserver.yaml"),
                    ("kube-controller-manager", "kube-controller-manager.yaml"),
                    ("kube-scheduler", "9"),
                    ("etcd", "etcd.yaml"),
                ]
            );
            assert_eq!((manifests.dir.as_path(), manifests.etcd.flag("name")), (dir, Some(node)));
            assert_eq!(manifests.etcd.argv[0], "etcd");
            let data = manifests.etcd.flag("data-dir").and_then(|path| manifests.etcd.host_path(path));
            assert_eq!(data.as_deref(), Some(Path::new("/var/lib/etcd")));
            let server = &manifests.api_server;
            assert_eq!(server.flag("etcd-servers"), Some("https://127.0.0.1:2379"));
            let key = server.host_path("/etc/kubernetes/pki/sa.key");
            assert_eq!(key.as_deref(), Some(Path::new("/etc/kubernetes/pki/sa.key")));
            assert_eq!(server.host_path("/etc/kubernetes/enc.yaml"), None);
        }
    }

    #[test]
    fn a_file_may_be_json_and_two_may_be_missing() {
        let folder = kubeadm("cp2");
        let dir = folder.path();
        for name in ["kube-scheduler.yaml", "kube-controller-manager.yaml"] {
            std::fs::remove_file(dir.join(name)).unwrap();
        }
        let before = whole(dir).unwrap();
        assert_eq!(before.moved().map(|(component, _)| component).collect::<Vec<_>>(), ["kube-apiserver", "etcd"]);
        let yaml = std::fs::read(dir.join("etcd.yaml")).unwrap();
        let value: serde_json::Value = serde_yaml_ng::from_slice(&yaml).unwrap();
        std::fs::write(dir.join("etcd.yaml"), value.to_string()).unwrap();
        assert_eq!(whole(dir).unwrap(), before);
    }

    #[test]
    fn a_copy_beside_the_original_is_refused_with_both_names() {
        let folder = kubeadm("cp1");
        std::fs::copy(folder.path().join("etcd.yaml"), folder.path().join("etcd.yaml.bak")).unwrap();
        let failure = Manifests::read(folder.path()).unwrap_err();
        assert_eq!(failure.code, FailureCode::BadRequest);
        assert!(failure.message.ends_with("has two manifests of etcd: etcd.yaml and etcd.yaml.bak"), "{failure}");
    }

    #[test]
    fn what_is_missing_is_told_with_the_folder_and_the_flag() {
        for (name, component) in [("etcd.yaml", "etcd"), ("kube-apiserver.yaml", "kube-apiserver")] {
            let folder = kubeadm("cp1");
            std::fs::write(folder.path().join(name), "kind: [").unwrap();
            let failure = Manifests::read(folder.path()).unwrap_err();
            let expected = format!("there is no manifest of {component} in {}", folder.path().display());
            assert_eq!((failure.code, &failure.message), (FailureCode::BadRequest, &expected));
            assert!(failure.causes[0].starts_with(&format!("{name} was passed over: ")), "{:?}", failure.causes);
            assert!(failure.hint.unwrap().contains("--manifests-dir"));
        }
        let failure = Manifests::read(Path::new("/nonexistent/manifests")).unwrap_err();
        assert_eq!(failure.code, FailureCode::Storage);
        assert!(
            failure.message.contains("/nonexistent/manifests") && failure.hint.unwrap().contains("--manifests-dir")
        );
    }
}
