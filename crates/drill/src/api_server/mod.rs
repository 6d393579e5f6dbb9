//! The cluster's own API server on the etcd of the drill: it starts there, and lists every resource that it serves.
//!
//! It writes to that etcd, so everything else has been compared before. It listens on the loopback, and takes nobody's orders but those of the drill.

mod client;
mod discovery;
pub mod flags;
mod judge;
mod process;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Etcd;
use crate::credentials::Credentials;
use crate::report::{self, Encryption, Listing, Sampled};
use crate::{Clock, Folder, Kind, Outcome, Subject, Trouble};
use client::{Api, Unanswered};
use discovery::{ApiService, Definition, GroupVersion, Listable};
use judge::{Asked, Counted};
use process::Process;
use stored::Stored;

/// How long the program may take to print its version.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an API server that is ready may take until it serves what the file defines, and how often it is asked.
const DEFINED: Duration = Duration::from_secs(60);
const PULSE: Duration = Duration::from_millis(250);
/// CustomResourceDefinitions and APIServices of a page: the schemas of a definition may be large.
const FEW: u32 = 20;

/// The program of an API server, and how the cluster starts it. The encryption configuration is never shown.
pub struct ApiServer {
    path: PathBuf,
    version: String,
    image: String,
    flags: Vec<String>,
    encryption_config: Option<String>,
    memory: PathBuf,
}

/// How an API server is started in a drill.
pub struct ApiServerOrder<'a> {
    /// Its program.
    pub path: &'a Path,
    /// The image that the program is of.
    pub image: String,
    /// What [`flags::kept`] gives of the flags of the cluster's own.
    pub flags: Vec<String>,
    /// The text of an EncryptionConfiguration that asks no KMS.
    pub encryption_config: Option<String>,
    /// A folder in memory: what is written there is on no disk.
    pub memory: PathBuf,
}

impl ApiServer {
    /// Asks the program for its version.
    ///
    /// # Errors
    /// It cannot be run, does not answer, or is no API server.
    pub async fn ask(order: ApiServerOrder<'_>) -> Outcome<ApiServer> {
        let ApiServerOrder { path, image, flags, encryption_config, memory } = order;
        let refused = |why: String| {
            let failed =
                Trouble::new(Kind::Refused, format!("cannot run the kube-apiserver of image {image}")).cause(why);
            failed.hint("the image of etcd has to have what the program needs, unless it is linked statically; drill without it\n  kubectl etcd drill FILE --in-cluster")
        };
        let mut command = tokio::process::Command::new(path);
        command.arg("--version").env_clear().stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(refused(format!("{}: {error}", path.display()))),
            Err(_) => {
                return Err(refused(format!("it has not printed its version within {} seconds", PATIENCE.as_secs())));
            }
        };
        match version(&output.stdout) {
            Some(version) => Ok(ApiServer { path: path.to_owned(), version, image, flags, encryption_config, memory }),
            None => Err(refused(format!("it prints no version of Kubernetes ({})", output.status))),
        }
    }
}

/// What `kube-apiserver --version` prints.
fn version(stdout: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(stdout);
    said.lines().find_map(|line| line.strip_prefix("Kubernetes ")).map(|version| version.trim().to_owned())
}

/// Where etcd and the API server listen on the loopback.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    pub(crate) api_server: u16,
}

impl Ports {
    /// Two that nobody listens on.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn free() -> Outcome<Ports> {
        let cannot = |error: std::io::Error| Trouble::plain("cannot find a free port on the loopback").source(&error);
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(cannot);
        let (one, other) = (bind()?, bind()?);
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port()).map_err(cannot);
        Ok(Ports { etcd: port(&one)?, api_server: port(&other)? })
    }
}

/// What the drill knows of the etcd that the API server is started on.
pub(crate) struct Ground<'a> {
    pub(crate) ports: Ports,
    pub(crate) etcd: &'a Etcd,
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) encryption: &'a [Encryption],
    pub(crate) credentials: &'a Credentials,
    pub(crate) folder: &'a Arc<Folder>,
}

/// Starts the API server, and lists through it. It has ended when this returns, or is dropped.
///
/// # Errors
/// It cannot even be started, or etcd does not answer. That it is not ready, or lists something else, is no error.
pub(crate) async fn prove(program: &ApiServer, ground: &Ground<'_>, clock: &mut Clock) -> Outcome<report::ApiServer> {
    let begun = Instant::now();
    let prefix = ground.subject.prefix.as_str();
    let mut process = Process::start(program, ground.ports, prefix, ground.credentials, ground.folder)?;
    let api = Api::new(ground.ports.api_server, ground.credentials.api_client())?;
    let open: BTreeSet<String> =
        ground.encryption.iter().filter(|one| one.result != Sampled::Read).map(|one| one.key.clone()).collect();
    let ready = process.ready(&api, open.is_empty()).await;
    let ready_seconds = ready.is_ok().then(|| report::rounded(begun.elapsed()));
    clock.lap("apiServer", true);
    let listed = match ready {
        Ok(()) => list(&mut process, &api, ground, &open).await?,
        Err(why) => Err(why),
    };
    clock.lap("list", false);
    let (resources, reason) = match listed {
        Ok(resources) => (resources, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let result = match &reason {
        // Without the keys, it may need to read what it cannot.
        Some(_) if !open.is_empty() => Listing::NotProved,
        Some(_) => Listing::Failed,
        None => resources.iter().map(|one| one.result).max().unwrap_or(Listing::NotProved),
    };
    Ok(report::ApiServer {
        version: program.version.clone(),
        image: program.image.clone(),
        ready_seconds,
        objects: resources.iter().filter_map(|one| one.listed).sum(),
        result,
        reason,
        resources,
    })
}

/// Lists everything; the inner error says why the API server could not be asked.
async fn list(
    process: &mut Process,
    api: &Api,
    ground: &Ground<'_>,
    open: &BTreeSet<String>,
) -> Outcome<Result<Vec<report::Listed>, String>> {
    let Subject { keys, prefix, neighbours, .. } = ground.subject;
    let file = stored::stored(keys, prefix, neighbours);
    let discovered = match discover(api, &file).await {
        Ok(discovered) => discovered,
        Err(why) => return Ok(Err(process.ended().unwrap_or_else(|| why.why()))),
    };
    let mut asked = BTreeMap::new();
    for (name, of) in discovered {
        let path = format!("{}/{}", of.path(), name.split('.').next().unwrap_or_default());
        let counted = match api.count(&path, ground.etcd.revision).await {
            Ok(counted) => Ok(counted),
            Err(Unanswered::Lost(why)) => return Ok(Err(process.ended().unwrap_or(why))),
            Err(why) => Err(why.why()),
        };
        let counted = match counted {
            Err(why) => Err(why),
            Ok(client::Counted { revision, items, unchanged }) => {
                let stored =
                    match judge::in_file(&name, &file).map(|(_, stored)| stored.prefixes.iter().collect::<Vec<_>>()) {
                        Some(prefixes) if prefixes.len() == 1 => {
                            Some(ground.etcd.count_under(prefixes[0], revision).await?)
                        }
                        _ => None,
                    };
                Ok(Counted { items, unchanged, stored })
            }
        };
        asked.insert(name, Asked { version: of.text(), counted });
    }
    Ok(Ok(judge::judge(&asked, &file, open)))
}

/// Which resources there are, and in which version each is listed. Waits for those that definitions of the file make.
async fn discover(api: &Api, file: &BTreeMap<String, Stored>) -> Result<BTreeMap<String, GroupVersion>, Unanswered> {
    let elsewhere: Vec<ApiService> = or_none(api.all("/apis/apiregistration.k8s.io/v1/apiservices", FEW).await)?;
    let custom: Vec<&String> = file.iter().filter(|(_, stored)| stored.custom).map(|(name, _)| name).collect();
    let definitions: Vec<Definition> = match custom.is_empty() {
        true => Vec::new(),
        false => or_none(api.all("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", FEW).await)?,
    };
    let stored_in = definitions.into_iter().filter_map(Definition::stored_in).collect();
    let begun = Instant::now();
    loop {
        let versions = discovery::group_versions(api.get("/api").await?, api.get("/apis").await?, &elsewhere);
        let mut listable = Listable::default();
        for of in &versions {
            // A version may come and go while definitions are taken in.
            if let Some(resources) = or_none(api.get(&of.path()).await.map(Some))? {
                listable.add(of, resources);
            }
        }
        if custom.iter().all(|name| listable.has(name)) || begun.elapsed() >= DEFINED {
            return Ok(listable.all(&stored_in));
        }
        tokio::time::sleep(PULSE).await;
    }
}

/// Nothing, where there is no such path.
fn or_none<T: Default>(answer: Result<T, Unanswered>) -> Result<T, Unanswered> {
    match answer {
        Err(Unanswered::Missing) => Ok(T::default()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_the_program_prints() {
        assert_eq!(version(b"Kubernetes v1.36.2\n").as_deref(), Some("v1.36.2"));
        assert_eq!(version(b"etcd Version: 3.5.16\n"), None);
    }

    #[test]
    fn the_ports_are_two() {
        let ports = Ports::free().expect("ports");
        assert_ne!(ports.etcd, ports.api_server);
    }
}
