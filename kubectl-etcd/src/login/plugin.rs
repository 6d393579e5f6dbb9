//! Login programs: credentials from what a program prints (client.authentication.k8s.io).

use std::io::IsTerminal;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;
use jiff::Timestamp;
use kube::config::{AuthInfo, Cluster, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::output::{Failed, Outcome};

/// client-go accepts these; the older v1alpha1 went with 1.26.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
/// The name of the cluster's extension that is meant for login programs.
const EXTENSION: &str = "client.authentication.k8s.io/exec";

/// A login program, ready to be run.
#[derive(Debug)]
pub(super) struct Plugin {
    command: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    version: String,
    interactive: ExecInteractiveMode,
    cluster: Option<Value>,
    install_hint: Option<String>,
}

/// What a login program gave.
pub(super) struct Credentials {
    pub(super) token: Option<String>,
    /// Certificate and key, PEM.
    pub(super) identity: Option<(String, String)>,
    pub(super) expires: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Printed {
    kind: Option<String>,
    #[serde(rename = "apiVersion")]
    version: Option<String>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Plugin {
    /// Reads a kubeconfig's `exec`. `cluster` is what the program may be told of.
    pub(super) fn new(exec: ExecConfig, cluster: &Cluster) -> Outcome<Plugin> {
        let wrong = |why: String| Failed::plain("cannot use the login program of the kubeconfig").cause(why);
        let command = exec.command.ok_or_else(|| wrong("exec has no command".to_owned()))?;
        let version = exec.api_version.ok_or_else(|| wrong("exec has no apiVersion".to_owned()))?;
        if !VERSIONS.contains(&version.as_str()) {
            return Err(wrong(format!("exec has the apiVersion {version:?}; it must be {}", VERSIONS.join(" or "))));
        }
        // The older version leaves it open.
        let interactive = match exec.interactive_mode {
            Some(mode) => mode,
            None if version == VERSIONS[1] => ExecInteractiveMode::IfAvailable,
            None => return Err(wrong("exec has no interactiveMode (Never, IfAvailable or Always)".to_owned())),
        };
        let mut env = Vec::new();
        for mut variable in exec.env.unwrap_or_default() {
            let name =
                variable.remove("name").ok_or_else(|| wrong("exec has an env entry without a name".to_owned()))?;
            env.push((name, variable.remove("value").unwrap_or_default()));
        }
        let cluster = if exec.provide_cluster_info { Some(described(cluster)?) } else { None };
        let (args, install_hint) = (exec.args.unwrap_or_default(), exec.install_hint);
        Ok(Plugin { command, args, env, version, interactive, cluster, install_hint })
    }

    /// Runs the program and reads what it prints. Its stderr is the user's.
    pub(super) async fn run(&self) -> Outcome<Credentials> {
        let terminal = std::io::stdin().is_terminal();
        let interactive = match self.interactive {
            ExecInteractiveMode::Never => false,
            ExecInteractiveMode::IfAvailable => terminal,
            ExecInteractiveMode::Always if terminal => true,
            ExecInteractiveMode::Always => {
                return Err(self.failed().cause("the program asks questions, and standard input is not a terminal"));
            }
        };
        let mut spec = json!({"interactive": interactive});
        if let Some(cluster) = &self.cluster {
            spec["cluster"] = cluster.clone();
        }
        let info = json!({"kind": "ExecCredential", "apiVersion": self.version, "spec": spec});
        let mut command = Command::new(&self.command);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(if interactive { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let run = async { command.spawn()?.wait_with_output().await };
        let output = run.await.map_err(|error| {
            self.install_hint
                .iter()
                .fold(self.failed().source(&error), |failed, hint| failed.hint(hint.trim().replace('\n', "\n  ")))
        })?;
        if !output.status.success() {
            return Err(self.failed().cause(format!("the program ended with {}", output.status)));
        }
        self.understand(&output.stdout)
    }

    /// Credentials from what the program printed, JSON or YAML. No error shows any of it.
    fn understand(&self, printed: &[u8]) -> Outcome<Credentials> {
        let wrong = |why: &str| self.failed().cause(why);
        let text = std::str::from_utf8(printed).map_err(|_| wrong("what the program printed is not text"))?;
        let options = serde_saphyr::options! { with_snippet: false };
        let printed: Printed = serde_saphyr::from_str_with_options(text, options)
            .map_err(|_| wrong("what the program printed is not an ExecCredential in JSON"))?;
        if printed.kind.is_some_and(|kind| kind != "ExecCredential") {
            return Err(wrong("what the program printed is of another kind than ExecCredential"));
        }
        match printed.version {
            Some(theirs) if theirs == self.version => {}
            Some(theirs) => {
                return Err(self
                    .failed()
                    .cause(format!("the program answers with {theirs:?}, asked for {}", self.version)));
            }
            None => return Err(wrong("what the program printed has no apiVersion")),
        }
        let status = printed.status.ok_or_else(|| wrong("what the program printed has no status"))?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let expires = match given(status.expiration_timestamp) {
            Some(text) => {
                Some(text.parse().map_err(|_| wrong("its expirationTimestamp is not a time as in RFC 3339"))?)
            }
            None => None,
        };
        let token = given(status.token);
        let identity = match (given(status.client_certificate_data), given(status.client_key_data)) {
            (None, None) if token.is_none() => return Err(wrong("the program gave neither a token nor a certificate")),
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => return Err(wrong("the program gave only one of certificate and key")),
        };
        Ok(Credentials { token, identity, expires })
    }

    /// The header that carries the token, if there is one. A line end behind the token does not count.
    pub(super) fn header(&self, given: &Credentials) -> Outcome<Option<HeaderValue>> {
        let field = || format!("the token of the login program {}", self.command);
        given.token.as_ref().map(|token| super::header(token.trim(), field)).transpose()
    }

    fn failed(&self) -> Failed {
        Failed::plain(format!("cannot log in with the program {}", self.command))
    }
}

/// Puts a certificate where a kubeconfig has it.
pub(super) fn put_identity(user: &mut AuthInfo, certificate: &str, key: &str) {
    user.client_certificate_data = Some(STANDARD.encode(certificate));
    user.client_key_data = Some(STANDARD.encode(key).into());
}

/// The cluster as a login program is told of it (client-go: rest/exec.go).
fn described(cluster: &Cluster) -> Outcome<Value> {
    let mut told = json!({"server": cluster.server});
    if let Some(name) = &cluster.tls_server_name {
        told["tls-server-name"] = json!(name);
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        told["insecure-skip-tls-verify"] = json!(true);
    }
    if cluster.disable_compression == Some(true) {
        told["disable-compression"] = json!(true);
    }
    if let Some(url) = &cluster.proxy_url {
        told["proxy-url"] = json!(url);
    }
    if let Some(file) = &cluster.certificate_authority {
        let bytes = std::fs::read(file)
            .map_err(|error| Failed::plain(format!("cannot read the certificate authority {file}")).source(&error))?;
        told["certificate-authority-data"] = json!(STANDARD.encode(bytes));
    } else if let Some(data) = &cluster.certificate_authority_data {
        told["certificate-authority-data"] = json!(data);
    }
    let extension = cluster.extensions.iter().flatten().find(|extension| extension.name == EXTENSION);
    if let Some(extension) = extension {
        told["config"] = extension.extension.clone();
    }
    Ok(told)
}
