//! The connection of a pod, from its service account (client-go: rest.InClusterConfig, and inClusterClientConfig of
//! tools/clientcmd/client_config.go).

use std::path::Path;

use kube::config::{AuthInfo, Cluster};

const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A service account's files, and the API server's address from the environment.
#[derive(Debug, Clone)]
pub(crate) struct Mount {
    folder: std::path::PathBuf,
    server: String,
}

impl Mount {
    /// That of the pod in which this program runs, if it runs in one.
    pub(crate) fn here() -> Option<Mount> {
        Mount::at(Path::new(FOLDER), |name| std::env::var(name).ok())
    }

    fn at(folder: &Path, variable: impl Fn(&str) -> Option<String>) -> Option<Mount> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let (host, port) = (set("KUBERNETES_SERVICE_HOST")?, set("KUBERNETES_SERVICE_PORT")?);
        if !folder.join("token").metadata().is_ok_and(|token| !token.is_dir()) {
            return None;
        }
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Some(Mount { folder: folder.to_owned(), server: format!("https://{host}:{port}") })
    }

    /// The API server and who this pod is to it. Without an authority that can be read, the machine's own count.
    pub(crate) fn connection(&self) -> (Cluster, AuthInfo) {
        let file = |name: &str| Some(self.folder.join(name).to_string_lossy().into_owned());
        let authority =
            std::fs::read(self.folder.join("ca.crt")).is_ok_and(|pem| etcd_tls::roots_from_pem(&pem).is_ok());
        let cluster = Cluster {
            server: Some(self.server.clone()),
            certificate_authority: if authority { file("ca.crt") } else { None },
            ..Cluster::default()
        };
        (cluster, AuthInfo { token_file: file("token"), ..AuthInfo::default() })
    }

    /// The pod's own namespace, where it is told.
    pub(crate) fn namespace(&self) -> Option<String> {
        let told = std::env::var("POD_NAMESPACE").ok().filter(|name| !name.is_empty());
        let mounted = || std::fs::read_to_string(self.folder.join("namespace")).ok();
        told.or_else(|| mounted().map(|name| name.trim().to_owned())).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(folder: &Path, host: &str, port: &str) -> Option<Mount> {
        let set = [("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)];
        Mount::at(folder, |name| set.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_pod_is_known_by_its_token_and_its_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(mount(folder.path(), "10.0.0.1", "443").is_none(), "no token");
        std::fs::create_dir(folder.path().join("token")).expect("a folder");
        assert!(mount(folder.path(), "10.0.0.1", "443").is_none(), "a folder is no token");
        std::fs::remove_dir(folder.path().join("token")).expect("removed");
        std::fs::write(folder.path().join("token"), "t\n").expect("a file");
        assert!(mount(folder.path(), "", "443").is_none() && mount(folder.path(), "10.0.0.1", "").is_none());

        let (cluster, user) = mount(folder.path(), "fd00::1", "443").expect("a pod").connection();
        assert_eq!(cluster.server.as_deref(), Some("https://[fd00::1]:443"));
        assert_eq!(cluster.certificate_authority, None, "none is there");
        assert!(user.token_file.is_some_and(|file| file.ends_with("/token")));

        let key = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).expect("a certificate");
        std::fs::write(folder.path().join("ca.crt"), key.cert.pem()).expect("a file");
        std::fs::write(folder.path().join("namespace"), "ops\n").expect("a file");
        let mount = mount(folder.path(), "10.0.0.1", "6443").expect("a pod");
        assert!(mount.connection().0.certificate_authority.is_some_and(|file| file.ends_with("/ca.crt")));
        assert_eq!(mount.namespace().as_deref(), Some("ops"));
    }
}
