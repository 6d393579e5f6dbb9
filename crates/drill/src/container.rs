//! An etcd of a container image, which docker or podman runs on this machine. The container sees nothing but the folder of the drill: it has no network, no
//! capability and a read-only root, and its process is that of the user who drills.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::program::{Origin, Program, in_search_path, version};
use crate::{Kind, Outcome, Trouble};

/// How long a program may take to answer what needs no network. A first container may wait for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where the container sees the folder of the drill.
const INSIDE: &str = "/drill";
/// How another etcd is named.
const OTHER_WAYS: &str = "drill with an etcd program, or in the cluster\n  --etcd PATH\n  --in-cluster";
/// How an image is named.
const NAME_ONE: &str =
    "name an image of etcd that this machine has or can pull\n  --etcd-image registry.k8s.io/etcd:3.5.16-0";

/// Which program runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    Docker,
    Podman,
}

impl Make {
    fn name(self) -> &'static str {
        match self {
            Make::Docker => "docker",
            Make::Podman => "podman",
        }
    }

    /// Arguments by which it tells how it maps users, which it does only where it can run containers.
    fn probe(self) -> [&'static str; 3] {
        match self {
            Make::Docker => ["info", "--format", "{{json .SecurityOptions}}"],
            Make::Podman => ["info", "--format", "rootless={{.Host.Security.Rootless}}"],
        }
    }
}

/// Docker or podman, which has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    path: PathBuf,
    make: Make,
    users: Users,
}

/// Whose process a container's is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Users {
    /// That of the same number.
    Same,
    /// That of the same number, once the mapping of docker's daemon is turned off for the container.
    Remapped,
    /// Root in the container is who has started it.
    Rootless,
}

impl Users {
    /// By the answer to [`Make::probe`].
    fn of(answer: &str) -> Users {
        match answer {
            _ if answer.contains("name=rootless") || answer.contains("rootless=true") => Users::Rootless,
            _ if answer.contains("name=userns") => Users::Remapped,
            _ => Users::Same,
        }
    }
}

/// An image that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What runs it.
    pub engine: Engine,
    /// As the user has named it.
    pub reference: String,
    /// By its content: `sha256:` and 64 digits. This is what is run, whatever the name stands for meanwhile.
    pub id: String,
    /// Names of variables that it sets and etcd would take for flags.
    variables: Vec<String>,
}

fn refused(message: impl Into<String>) -> Trouble {
    Trouble::new(Kind::Refused, message)
}

impl Engine {
    /// The first of docker and podman in a search path that answers: docker is often there without its daemon.
    ///
    /// # Errors
    /// There is neither, or none of them can run containers; or this is no Linux.
    pub async fn find(search: Option<&OsStr>) -> Outcome<Engine> {
        if !cfg!(target_os = "linux") {
            return Err(refused("a drill with --etcd-image needs Linux")
                .cause("containers run in a virtual machine here, and the sockets of etcd do not leave it")
                .hint(OTHER_WAYS));
        }
        let mut troubles = Vec::new();
        for make in [Make::Docker, Make::Podman] {
            let Some(path) = in_search_path(search, make.name()) else { continue };
            match output(&path, &make.probe()).await {
                Ok(said) if said.status.success() => {
                    let users = Users::of(&String::from_utf8_lossy(&said.stdout));
                    return Ok(Engine { path, make, users });
                }
                Ok(said) => troubles.push(format!("{}: {}", path.display(), last_line(&said))),
                Err(trouble) => troubles.push(trouble.to_string()),
            }
        }
        Err(match troubles.is_empty() {
            true => refused("neither docker nor podman was found on PATH").hint(OTHER_WAYS),
            false => refused("no container can be run on this machine").causes(troubles).hint(OTHER_WAYS),
        })
    }

    /// `docker` or `podman`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.make.name()
    }

    /// The image, if it is on this machine.
    ///
    /// # Errors
    /// The program cannot be run, or does not answer.
    pub async fn image(&self, reference: &str) -> Outcome<Option<Image>> {
        let said = output(&self.path, &["image", "inspect", "--format", INSPECTED, reference]).await?;
        let text = String::from_utf8_lossy(&said.stdout);
        let inspected = Some(&*text).filter(|_| said.status.success()).and_then(inspected);
        Ok(inspected.map(|(id, variables)| Image {
            engine: self.clone(),
            reference: reference.to_owned(),
            id,
            variables,
        }))
    }

    /// Pulls an image, for as long as that takes.
    ///
    /// # Errors
    /// It cannot be pulled.
    pub async fn pull(&self, reference: &str) -> Outcome<Image> {
        let cannot = || refused(format!("cannot pull image {reference}"));
        let said = command(&self.path, &["pull", "--quiet", reference]).output().await;
        let said = said.map_err(|error| cannot().source(&error))?;
        if !said.status.success() {
            return Err(cannot().cause(format!("{}: {}", self.name(), last_line(&said))).hint(NAME_ONE));
        }
        let image = self.image(reference).await?;
        image.ok_or_else(|| cannot().cause(format!("{} does not know it afterwards", self.name())))
    }

    /// Whether a container of that name is left.
    pub(crate) fn is_there(&self, name: &str) -> bool {
        let mut inspect = std::process::Command::new(&self.path);
        inspect.args(["container", "inspect", name]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        inspect.status().is_ok_and(|status| status.success())
    }
}

impl Image {
    /// Asks the etcd in it for its version.
    ///
    /// # Errors
    /// A container of it cannot be run, or there is no etcd in it.
    pub async fn ask(self) -> Outcome<Program> {
        let cannot = || refused(format!("cannot run the etcd of image {}", self.reference));
        let mut run = self.run(&[]);
        run.push("--version".to_owned());
        let run: Vec<&str> = run.iter().map(String::as_str).collect();
        let said = output(&self.engine.path, &run).await?;
        if !said.status.success() {
            return Err(cannot().cause(format!("{}: {}", self.engine.name(), last_line(&said))).hint(NAME_ONE));
        }
        match version(&said.stdout) {
            Some((version, minor)) => Ok(Program { origin: Origin::Image(self), version, minor }),
            None => Err(cannot().cause("etcd --version prints no version of etcd").hint(NAME_ONE)),
        }
    }

    /// The program that runs it.
    pub(crate) fn engine(&self) -> &Path {
        &self.engine.path
    }

    /// Arguments that run its etcd in the folder of a drill, of which arguments of etcd follow.
    pub(crate) fn serve(&self, name: &str, folder: &str, user: (u32, u32)) -> Vec<String> {
        let user = match self.engine.users {
            Users::Rootless => "0:0".to_owned(),
            Users::Same | Users::Remapped => format!("{}:{}", user.0, user.1),
        };
        // A field of the flag may be quoted, as in CSV. Unlike --volume, this makes no folder where there is none.
        let source = format!("source={folder}").replace('"', "\"\"");
        self.run(&[
            format!("--name={name}"),
            format!("--mount=type=bind,\"{source}\",target={INSIDE}"),
            format!("--workdir={INSIDE}"),
            format!("--user={user}"),
        ])
    }

    /// Nothing is kept of the container, its log included. The label of the folder stays, too: SELinux would keep the container out of it.
    fn run(&self, more: &[String]) -> Vec<String> {
        let mut run: Vec<String> = [
            "run",
            "--rm",
            "--network=none",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--security-opt=label=disable",
            "--log-driver=none",
            "--entrypoint=etcd",
        ]
        .map(str::to_owned)
        .into();
        run.extend(self.variables.iter().map(|name| match self.engine.make {
            // Of a variable without a value, which this program's environment does not have either, docker takes that of the image away.
            Make::Docker => format!("--env={name}"),
            Make::Podman => format!("--unsetenv={name}"),
        }));
        run.push("--env=ETCD_UNSUPPORTED_ARCH=arm64".to_owned());
        if self.engine.users == Users::Remapped {
            run.push("--userns=host".to_owned());
        }
        run.extend_from_slice(more);
        run.push(self.id.clone());
        run
    }
}

/// What is asked of an image: its ID, and then the variables that it sets.
const INSPECTED: &str = "{{.Id}} {{json .Config.Env}}";

/// The ID of an image, and those of its variables that etcd would take for flags: etcd ends where a flag is given, too.
fn inspected(text: &str) -> Option<(String, Vec<String>)> {
    let (id, variables) = text.trim().split_once(' ')?;
    let digits = id.trim_start_matches("sha256:");
    let is_id = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let variables: Option<Vec<String>> = serde_json::from_str(variables).ok()?;
    let names = variables.unwrap_or_default().into_iter().filter_map(|one| Some(one.split('=').next()?.to_owned()));
    is_id.then(|| (format!("sha256:{digits}"), names.filter(|name| name.starts_with(OF_ETCD)).collect()))
}

/// What the names of variables begin with that etcd takes for flags.
const OF_ETCD: &str = "ETCD_";

/// What failed, as the program that runs containers says it in its last line.
fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(|| output.status.to_string(), |line| line.chars().take(400).collect())
}

/// Takes from the environment of a command what etcd would take for flags.
pub(crate) fn without_flags(command: &mut std::process::Command) {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.as_encoded_bytes().starts_with(OF_ETCD.as_bytes())) {
        command.env_remove(name);
    }
}

fn command(program: &Path, arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    without_flags(command.as_std_mut());
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).process_group(0);
    command
}

async fn output(program: &Path, arguments: &[&str]) -> Outcome<Output> {
    let cannot = || refused(format!("cannot run {}", program.display())).hint(OTHER_WAYS);
    match tokio::time::timeout(PATIENCE, command(program, arguments).output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(cannot().source(&error)),
        Err(_) => Err(cannot().cause(format!("it has not answered within {} seconds", PATIENCE.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(make: Make, users: Users) -> Image {
        let engine = Engine { path: format!("/usr/bin/{}", make.name()).into(), make, users };
        Image {
            engine,
            reference: "etcd:3.5".to_owned(),
            id: "sha256:00".to_owned(),
            variables: vec!["ETCD_NAME".to_owned()],
        }
    }

    #[test]
    fn an_image_tells_its_id_and_what_etcd_would_take_for_flags() {
        let id = "ab".repeat(32);
        let of = |text: &str| inspected(&text.replace("ID", &id));
        let named =
            |names: &[&str]| Some((format!("sha256:{id}"), names.iter().map(|&name| name.to_owned()).collect()));
        let docker = "sha256:ID [\"PATH=/bin\",\"ETCD_DATA_DIR=/data\",\"ETCD_NAME=\",\"ETCDCTL_API=3\"]\n";
        assert_eq!(of(docker), named(&["ETCD_DATA_DIR", "ETCD_NAME"]));
        assert_eq!((of("ID null"), of("ID []")), (named(&[]), named(&[])));
        assert_eq!((of("ID"), of("ab []"), of("ID {}")), (None, None, None));
    }

    #[test]
    fn variables_of_an_image_are_no_flags_of_its_etcd() {
        for (make, flag) in [(Make::Docker, "--env=ETCD_NAME"), (Make::Podman, "--unsetenv=ETCD_NAME")] {
            let run = image(make, Users::Same).serve("drill-1", "/f", (1000, 100));
            assert!(run.iter().any(|one| one == flag), "{flag}: {run:?}");
        }
    }

    #[test]
    fn the_container_sees_the_folder_of_the_drill_alone() {
        let run = image(Make::Docker, Users::Same).serve("drill-1", "/tmp/a,\"b", (1000, 100));
        for wanted in
            ["--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--log-driver=none", "--user=1000:100"]
        {
            assert!(run.iter().any(|one| one == wanted), "{wanted}: {run:?}");
        }
        let mounts: Vec<&String> = run.iter().filter(|one| one.contains("mount") || one.contains("volume")).collect();
        assert_eq!(mounts, ["--mount=type=bind,\"source=/tmp/a,\"\"b\",target=/drill"]);
        assert_eq!((run[0].as_str(), run.last().map(String::as_str)), ("run", Some("sha256:00")));
        assert!(!run.iter().any(|one| one.contains("userns")));
    }

    #[test]
    fn the_process_is_that_of_the_user_whatever_the_mapping() {
        let of = |answer: &str| {
            let run = image(Make::Podman, Users::of(answer)).serve("x", "/f", (1000, 100));
            let has = |flag: &str| run.iter().any(|one| one == flag);
            (has("--user=1000:100"), has("--user=0:0"), has("--userns=host"))
        };
        assert_eq!(of("rootless=false"), (true, false, false));
        assert_eq!(of("rootless=true"), (false, true, false));
        assert_eq!(of(r#"["name=seccomp,profile=builtin","name=cgroupns"]"#), (true, false, false));
        assert_eq!(of(r#"["name=seccomp,profile=builtin","name=rootless"]"#), (false, true, false));
        assert_eq!(of(r#"["name=userns"]"#), (true, false, true));
    }
}
