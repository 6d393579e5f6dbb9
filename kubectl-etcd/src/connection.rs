//! From kubectl's connection flags and kubeconfig files to a client, with kubectl's meaning.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use etcd_tls::Identity;
use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode, Uri};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use kube::{Client, Config};
use tower::BoxError;
use tower::buffer::BufferLayer;
use tower::filter::AsyncFilterLayer;
use tower::retry::{Policy, RetryLayer};

use crate::api_client;
use crate::client_config::{client_certificate, configured, server_url};
use crate::cluster_name::{Named, cluster_name};
use crate::kubeconfig::{self, Mount};
use crate::login::{self, Login};
use crate::output::{Exit, Failed, Outcome, ResultExt};
use crate::proxy;
use crate::request_limit::RequestLimit;
use crate::typed::Typed;

/// kubectl's connection flags; names and meaning as in kubectl.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection (as in kubectl)")]
pub(crate) struct ConnectionArgs {
    /// Path to the kubeconfig file to use for CLI requests
    // kubectl takes no name at all for none.
    #[arg(long, global = true, value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The name of the kubeconfig context to use
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The name of the kubeconfig cluster to use
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// The name of the kubeconfig user to use
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The address and port of the Kubernetes API server
    #[arg(short, long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Bearer token for authentication to the API server
    #[arg(long, global = true, hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Username to impersonate for the operation
    #[arg(long = "as", global = true, value_name = "USER")]
    pub(crate) as_user: Option<String>,
    /// Group to impersonate for the operation, this flag can be repeated
    #[arg(long, global = true, value_name = "GROUP")]
    pub(crate) as_group: Vec<String>,
    /// UID to impersonate for the operation
    #[arg(long, global = true, value_name = "UID")]
    pub(crate) as_uid: Option<String>,
    /// User extras to impersonate for the operation, this flag can be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) as_user_extra: Vec<String>,
    /// Path to a cert file for the certificate authority
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) certificate_authority: Option<PathBuf>,
    /// Path to a client certificate file for TLS
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) client_certificate: Option<PathBuf>,
    /// Path to a client key file for TLS
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) client_key: Option<PathBuf>,
    /// Do not check the server's certificate: this makes the connection insecure
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) insecure_skip_tls_verify: Option<bool>,
    /// Server name to use for server certificate validation
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) tls_server_name: Option<String>,
    /// How long to wait before giving up on a single server request (such as 1s, 2m, 3h); 0 does not time out
    /// [default: 30s, and 65s for a request that changes something]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) request_timeout: Option<Duration>,
    /// Opt out of response compression for all requests to the server
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) disable_compression: Option<bool>,
    /// Namespace: of objects as in kubectl, where a command is about objects; of the etcd pods otherwise [default: kube-system]
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The files, once they have been read: one may be a pipe.
    #[arg(skip)]
    loaded: Arc<OnceLock<Kubeconfig>>,
    /// The command line, for hints.
    #[arg(skip)]
    pub(crate) typed: Typed,
    /// The API server that is asked, once that is known.
    #[arg(skip)]
    asked: Arc<OnceLock<String>>,
}

/// Where an API server is looked for when neither a flag nor a kubeconfig names one.
struct Elsewhere {
    /// The pod's service account.
    mount: Option<Mount>,
    /// `KUBERNETES_MASTER`.
    master: Option<String>,
}

impl Elsewhere {
    /// What this machine has.
    fn here() -> Elsewhere {
        Elsewhere { mount: Mount::here(), master: std::env::var("KUBERNETES_MASTER").ok() }
    }
}

/// What the kubeconfig and the flags come to.
#[derive(Debug)]
struct Resolved {
    cluster: Cluster,
    user: AuthInfo,
    /// What the cluster is called.
    name: String,
    user_name: String,
    /// URL of the API server.
    url: Uri,
}

/// The API server that commands talk to, and what it is called.
#[derive(Clone)]
pub(crate) struct Connection {
    /// For single requests; `--request-timeout` holds here.
    pub(crate) client: Client,
    /// For exec streams, which may be silent for long.
    pub(crate) streams: Client,
    /// For orders that are sent once, and answered when they are carried out, however long that takes.
    pub(crate) orders: Client,
    /// What the cluster is called: a name that tells it from others, see [`cluster_name`].
    pub(crate) cluster: String,
    /// URL of the API server.
    pub(crate) server: String,
    /// The command line, for hints.
    pub(crate) typed: Typed,
    /// The user as the kubeconfig calls them; empty without one.
    pub(crate) user: String,
}

impl ConnectionArgs {
    /// A failure with what to do where the API server does not do its work.
    pub(crate) fn with_trouble(&self, failed: Failed) -> Failed {
        let (Some(trouble), Some(server)) = (&failed.trouble, self.asked.get()) else { return failed };
        let told = failed.hints.iter().any(|hint| hint.contains("kubectl auth can-i"));
        let hints = trouble.hints(server).into_iter().chain(trouble.instead(server, &self.typed));
        if told { failed } else { hints.fold(failed, Failed::hint) }
    }

    /// Namespace of the etcd pods.
    pub(crate) fn etcd_namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("kube-system")
    }

    /// The namespace that is named on the command line.
    pub(crate) fn named_namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Namespace of objects: that of the context, or of the pod in which this program runs, as in kubectl, unless one is named.
    ///
    /// # Errors
    /// A kubeconfig that cannot be read, or no context of the name that was typed. No kubeconfig at all is no error.
    pub(crate) fn object_namespace(&self) -> Outcome<String> {
        if let Some(namespace) = &self.namespace {
            return Ok(namespace.clone());
        }
        let kubeconfig = self.load()?;
        let name = self.context.as_ref().or(kubeconfig.current_context.as_ref());
        let context = kubeconfig.contexts.iter().find(|context| Some(&context.name) == name);
        if let (Some(name), None) = (self.context.as_ref().filter(|name| !name.is_empty()), context) {
            return Err(no_context(name));
        }
        let namespace = context.and_then(|context| context.context.as_ref()?.namespace.clone());
        let own = || Mount::here().and_then(|mount| mount.namespace());
        Ok(namespace.or_else(own).unwrap_or_else(|| "default".to_owned()))
    }

    /// Reads the kubeconfig, lays the flags over it and makes a client. Talks to no one, but for an
    /// exec-credential plugin.
    ///
    /// # Errors
    /// No or a bad kubeconfig, no such context, contradictory flags.
    pub(crate) async fn connect(&self) -> Outcome<Connection> {
        let Resolved { cluster, user, name, user_name, url } = self.resolve(self.load()?, Elsewhere::here())?;
        let (mut config, login, identity) = configured(&cluster, user, &user_name, url).await?;
        let agent = format!("kubectl-etcd/{}", env!("CARGO_PKG_VERSION"));
        if let Ok(agent) = http::HeaderValue::from_str(&agent) {
            config.headers.push((http::header::USER_AGENT, agent));
        }
        config.proxy_url =
            proxy::for_server(&config.cluster_url, cluster.proxy_url.as_deref(), |name| std::env::var(name).ok())
                .map_err(|why| Failed::plain("cannot use the proxy").cause(why))?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        self.asked.get_or_init(|| server.clone());
        let connect = |config: Config, limit: RequestLimit, tries: Tries| {
            client(&config, limit, login.clone(), identity.as_ref(), tries)
                .map_err(|error| Failed::plain(format!("cannot prepare a connection to {server}")).source(&*error))
        };
        let streams = connect(config.clone(), RequestLimit::of_streams(&server), Tries::Several)?;
        let orders = connect(config.clone(), RequestLimit::none(&server), Tries::One)?;
        let limit = RequestLimit::new(&server, self.request_timeout);
        config.read_timeout = limit.silence();
        if let Some(timeout) = self.request_timeout {
            config.connect_timeout = limit.silence().map(|_| timeout);
        }
        // The time counts from a request, not from when its connection was last used.
        config.reset_reader_on_write = true;
        let client = connect(config, limit, Tries::Several)?;
        let typed = self.typed.clone();
        Ok(Connection { client, streams, orders, cluster: name, server, typed, user: user_name })
    }

    /// The certificate that the user logs in with, as PEM; `None` if there is another way to log in.
    ///
    /// # Errors
    /// As [`ConnectionArgs::connect`]; the certificate cannot be read.
    pub(crate) fn client_certificate(&self) -> Outcome<Option<Vec<u8>>> {
        client_certificate(&self.resolve(self.load()?, Elsewhere::here())?.user)
    }

    /// The kubeconfig files, merged as kubectl does: `--kubeconfig` alone, or every file of `KUBECONFIG` that is
    /// there, or `~/.kube/config` if it is there. They are read once.
    pub(crate) fn load(&self) -> Outcome<Kubeconfig> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded.clone());
        }
        let named = self.kubeconfig.as_ref().filter(|path| !path.as_os_str().is_empty());
        let loaded = match (named, std::env::var_os("KUBECONFIG")) {
            (Some(path), _) => kubeconfig::read(path)?,
            (None, Some(list)) if !list.is_empty() => {
                let paths = std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty());
                kubeconfig::merged(&paths.collect::<Vec<PathBuf>>())?
            }
            _ => {
                let home = std::env::home_dir().map(|home| home.join(".kube").join("config"));
                kubeconfig::merged(&home.into_iter().collect::<Vec<PathBuf>>())?
            }
        };
        Ok(self.loaded.get_or_init(|| loaded).clone())
    }

    /// Cluster and user, with every flag in effect.
    fn resolve(&self, kubeconfig: Kubeconfig, elsewhere: Elsewhere) -> Outcome<Resolved> {
        let typed = self.context.as_ref().or(kubeconfig.current_context.as_ref()).filter(|name| !name.is_empty());
        let context = match typed {
            Some(name) => match kubeconfig.contexts.iter().find(|c| &c.name == name) {
                Some(found) => found.context.clone(),
                None => return Err(no_context(name)),
            },
            None => None,
        };
        let in_kubeconfig = self.cluster.clone().or(context.as_ref().map(|c| c.cluster.clone())).unwrap_or_default();
        let found = kubeconfig.clusters.iter().find(|c| c.name == in_kubeconfig).and_then(|c| c.cluster.clone());
        if found.is_none() && (self.cluster.is_some() || (!in_kubeconfig.is_empty() && self.server.is_none())) {
            return Err(Failed::plain(format!("cluster \"{in_kubeconfig}\" does not exist"))
                .hint("kubectl config get-clusters"));
        }
        let user_name = self.user.clone().or(context.and_then(|c| c.user)).unwrap_or_default();
        let user = kubeconfig.auth_infos.iter().find(|u| u.name == user_name).and_then(|u| u.auth_info.clone());
        if user.is_none() && self.user.is_some() {
            return Err(Failed::plain(format!("user \"{user_name}\" does not exist")).hint("kubectl config get-users"));
        }
        let (mut cluster, mut user) = (found.unwrap_or_default(), user.unwrap_or_default());
        if self.server.is_none() && cluster.server.is_none() {
            if let Some(mount) = &elsewhere.mount {
                (cluster, user) = mount.connection();
            } else {
                cluster.server = elsewhere.master.filter(|master| !master.is_empty());
            }
        }
        let cluster = self.cluster_with_flags(cluster)?;
        let user = self.user_with_flags(user)?;
        login::check(&user, &user_name)?;
        let server = cluster.server.as_deref().unwrap_or_default();
        let url = server_url(server).map_err(|why| {
            let exit = if self.server.is_some() { Exit::Usage } else { Exit::Failed };
            Failed::new(exit, format!("cannot use the server {server:?}")).cause(why)
        })?;
        let named = Named {
            context: typed.map(String::as_str),
            cluster: self.cluster.as_deref(),
            elsewhere: self.server.is_some(),
        };
        let name = cluster_name(&named, &url);
        Ok(Resolved { cluster, user, name, user_name, url })
    }

    fn cluster_with_flags(&self, mut cluster: Cluster) -> Outcome<Cluster> {
        if let Some(server) = &self.server {
            cluster.server = Some(server.clone());
            // The name is that of the server that is no longer asked.
            cluster.tls_server_name = None;
        }
        if cluster.server.as_ref().is_none_or(String::is_empty) {
            return Err(Failed::plain("no cluster is configured")
                .cause("neither --server nor a kubeconfig with a current context says which")
                .hint("kubectl config get-contexts, or name a file: kubectl etcd --kubeconfig FILE ..."));
        }
        if self.insecure_skip_tls_verify == Some(true) && self.certificate_authority.is_some() {
            return Err(Failed::new(
                Exit::Usage,
                "--certificate-authority and --insecure-skip-tls-verify exclude each other",
            ));
        }
        // Either flag takes the place of both fields.
        if let Some(file) = &self.certificate_authority {
            cluster.certificate_authority = Some(path_text(file)?);
            cluster.certificate_authority_data = None;
            cluster.insecure_skip_tls_verify = None;
        }
        if let Some(insecure) = self.insecure_skip_tls_verify {
            cluster.insecure_skip_tls_verify = Some(insecure);
            if insecure {
                cluster.certificate_authority = None;
                cluster.certificate_authority_data = None;
            }
        }
        if cluster.certificate_authority.is_some() && cluster.certificate_authority_data.is_some() {
            return Err(Failed::plain("cannot use the cluster of the kubeconfig")
                .cause("it has both certificate-authority and certificate-authority-data"));
        }
        if let Some(name) = &self.tls_server_name {
            cluster.tls_server_name = Some(name.clone());
        }
        if let Some(disable) = self.disable_compression {
            cluster.disable_compression = Some(disable);
        }
        Ok(cluster)
    }

    fn user_with_flags(&self, mut user: AuthInfo) -> Outcome<AuthInfo> {
        self.check_header_values()?;
        if let Some(token) = &self.token {
            // kubectl: a token on the command line takes the place of every other way to log in but a certificate.
            user.token = Some(token.clone().into());
            (user.token_file, user.exec, user.auth_provider, user.username, user.password) = Default::default();
        }
        if let Some(file) = &self.client_certificate {
            user.client_certificate = Some(path_text(file)?);
            user.client_certificate_data = None;
        }
        if let Some(file) = &self.client_key {
            user.client_key = Some(path_text(file)?);
            user.client_key_data = None;
        }
        if let Some(name) = &self.as_user {
            user.impersonate = Some(name.clone());
        }
        if let Some(uid) = &self.as_uid {
            user.impersonate_uid = Some(uid.clone());
        }
        if !self.as_group.is_empty() {
            user.impersonate_groups = Some(self.as_group.clone());
        }
        if !self.as_user_extra.is_empty() {
            let mut extras: HashMap<String, Vec<String>> = HashMap::new();
            for extra in &self.as_user_extra {
                let Some((key, value)) = extra.split_once('=') else {
                    return Err(Failed::new(Exit::Usage, format!("--as-user-extra {extra:?} is not KEY=VALUE")));
                };
                extras.entry(key.to_owned()).or_default().push(value.to_owned());
            }
            user.impersonate_user_extra = Some(extras);
        }
        let impersonates = user.impersonate.as_ref().is_some_and(|name| !name.is_empty());
        if !impersonates && (!self.as_group.is_empty() || self.as_uid.is_some() || !self.as_user_extra.is_empty()) {
            return Err(Failed::new(Exit::Usage, "--as-group, --as-uid and --as-user-extra need --as"));
        }
        let others = user.impersonate_uid.is_some()
            || user.impersonate_groups.is_some()
            || user.impersonate_user_extra.is_some();
        if !impersonates && others {
            return Err(Failed::plain("cannot use the user of the kubeconfig")
                .cause("as-uid, as-groups and as-user-extra need as"));
        }
        Ok(user)
    }

    /// Refuses values that no header of HTTP can carry.
    fn check_header_values(&self) -> Outcome {
        let one = [("--token", &self.token), ("--as", &self.as_user), ("--as-uid", &self.as_uid)];
        let one = one.into_iter().filter_map(|(flag, value)| Some((flag, value.as_deref()?)));
        let groups = self.as_group.iter().map(|group| ("--as-group", group.as_str()));
        let extras = self.as_user_extra.iter().map(|extra| ("--as-user-extra", extra.as_str()));
        one.chain(groups).chain(extras).try_for_each(|(flag, value)| login::refuse_control_in_flag(flag, value))
    }
}

fn no_context(name: &str) -> Failed {
    Failed::plain(format!("context \"{name}\" does not exist")).hint("kubectl config get-contexts")
}

/// How often a request is sent.
#[derive(Clone, Copy)]
enum Tries {
    One,
    Several,
}

/// A client that retries, if it may, what a busy server refuses for a moment, and tells it within seconds. kube's own policy waits
/// silently for minutes.
fn client(
    config: &Config,
    limit: RequestLimit,
    login: Login,
    identity: Option<&Identity>,
    tries: Tries,
) -> Result<Client, BoxError> {
    let again = RetryPolicy::new(Duration::from_millis(500), Duration::from_secs(2), 3, true);
    let again = again.expect("the first delay is shorter than the last");
    let client = ClientBuilder::new(api_client::service(config, identity)?, &*config.default_namespace);
    let client = client.with_layer(&limit).with_layer(&BufferLayer::new(64)).with_layer(&AsyncFilterLayer::new(login));
    Ok(match tries {
        Tries::One => client.build(),
        Tries::Several => client.with_layer(&RetryLayer::new(Again(again))).build(),
    })
}

/// kube's policy, but for two answers. An API server that says that a request took too long (504) has waited for a minute already,
/// and a change may have been made. One that wants to be asked again much later is not waited for.
#[derive(Clone)]
struct Again(RetryPolicy);

/// How long a server may ask to be left alone.
const LEFT_ALONE: u64 = 10;

impl<Answer> Policy<Request<Body>, Response<Answer>, BoxError> for Again {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<Answer>, BoxError>,
    ) -> Option<Self::Future> {
        if let Ok(answer) = result {
            let later = answer.headers().get(RETRY_AFTER).and_then(|later| later.to_str().ok()?.parse::<u64>().ok());
            if answer.status() == StatusCode::GATEWAY_TIMEOUT || later.is_some_and(|later| later > LEFT_ALONE) {
                return None;
            }
        }
        self.0.retry(request, result)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        <RetryPolicy as Policy<Request<Body>, Response<Answer>, BoxError>>::clone_request(&mut self.0, request)
    }
}

fn path_text(path: &Path) -> Outcome<String> {
    let absolute = std::path::absolute(path).or_fail(|| format!("cannot find the file {}", path.display()))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| Failed::plain(format!("the path {} is not text", path.display())))
}

/// A duration as Go and kubectl write it: `30s`, `1m30s`, `1.5h`, `500ms`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 30s, 2m or 1h30m");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, unit) = rest.split_at(digits);
        let letters = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, next) = unit.split_at(letters);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        total += Duration::try_from_secs_f64(number * scale).map_err(|_| wrong())?;
        rest = next;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// An age, or the time between two backups: a duration as [`parse_duration`] reads it, or whole days: `7d`.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u16>().ok());
    match days {
        Some(days) => Ok(Duration::from_secs(u64::from(days) * 24 * 3600)),
        None => parse_duration(text).map_err(|_| format!("{text:?} is not a duration such as 30m, 36h or 7d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: one
contexts:
- {name: one, context: {cluster: prod, user: anna}}
- {name: two, context: {cluster: gone, user: anna}}
clusters:
- {name: prod, cluster: {server: 'https://10.0.0.1:6443', certificate-authority-data: QUJD}}
- {name: test, cluster: {server: 'https://10.0.0.2:6443'}}
users:
- {name: anna, user: {token: secret, client-certificate: /a.crt, client-key: /a.key}}
";

    fn nowhere() -> Elsewhere {
        Elsewhere { mount: None, master: None }
    }

    fn resolve(args: ConnectionArgs) -> Outcome<(Cluster, AuthInfo, String)> {
        let kubeconfig = Kubeconfig::from_yaml(KUBECONFIG).expect("the test's own kubeconfig");
        let Resolved { cluster, user, name, .. } = args.resolve(kubeconfig, nowhere())?;
        Ok((cluster, user, name))
    }

    /// A server that takes connections and never answers.
    async fn deaf() -> (String, tokio::task::JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let holding = async move {
            let mut held = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                held.push(connection);
            }
        };
        (url, tokio::spawn(holding))
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_waits_for_ever() {
        use k8s_openapi::api::core::v1::Pod;
        use kube::api::{Api, AttachParams, ListParams, PostParams};

        let (url, _holding) = deaf().await;
        for (wanted, read, change) in [(None, "30s", "65s"), (Some(Duration::from_secs(2)), "2s", "2s")] {
            let args =
                ConnectionArgs { server: Some(url.clone()), request_timeout: wanted, ..ConnectionArgs::default() };
            args.loaded.get_or_init(Kubeconfig::default);
            let connection = args.connect().await.expect("a client");
            let pods: Api<Pod> = Api::namespaced(connection.client.clone(), "kube-system");
            let said = |error: &kube::Error| args.with_trouble(Failed::plain("cannot ask").source(error)).to_string();
            let listed = pods.list(&ListParams::default()).await.expect_err("no answer");
            let text = said(&listed);
            assert!(text.contains(&format!("{url} did not answer within {read}")), "{text}");
            assert!(text.contains("quorum") && text.contains("systemctl status kubelet"), "{text}");
            let made = pods.create(&PostParams::default(), &Pod::default()).await.expect_err("no answer");
            assert!(said(&made).contains(&format!("did not answer within {change}")), "{}", said(&made));
            // A stream has to begin.
            let pods: Api<Pod> = Api::namespaced(connection.streams, "kube-system");
            let Err(stream) = pods.exec("a", ["b"], &AttachParams::default()).await else { panic!("no answer") };
            assert!(said(&stream).contains("did not answer within 65s"), "{}", said(&stream));
        }
    }

    #[test]
    fn the_current_context_is_the_default() {
        let (cluster, user, name) = resolve(ConnectionArgs::default()).unwrap();
        assert_eq!((cluster.server.as_deref(), name.as_str()), (Some("https://10.0.0.1:6443"), "one"));
        assert!(user.token.is_some());
    }

    #[test]
    fn flags_win_over_the_file() {
        let args = ConnectionArgs {
            cluster: Some("test".into()),
            token: Some("t".into()),
            as_user: Some("bob".into()),
            as_user_extra: vec!["scope=a".into(), "scope=b".into()],
            insecure_skip_tls_verify: Some(true),
            tls_server_name: Some("api".into()),
            ..Default::default()
        };
        let (cluster, user, name) = resolve(args).unwrap();
        assert_eq!(name, "test");
        assert_eq!(cluster.insecure_skip_tls_verify, Some(true));
        assert_eq!(cluster.tls_server_name.as_deref(), Some("api"));
        assert_eq!(user.impersonate.as_deref(), Some("bob"));
        assert_eq!(user.impersonate_user_extra.unwrap()["scope"], ["a", "b"]);
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let no_context = ConnectionArgs { context: Some("nope".into()), ..Default::default() };
        assert_eq!(resolve(no_context).unwrap_err().message, "context \"nope\" does not exist");
        let dangling = ConnectionArgs { context: Some("two".into()), ..Default::default() };
        assert_eq!(resolve(dangling).unwrap_err().message, "cluster \"gone\" does not exist");
        let no_user = ConnectionArgs { user: Some("eve".into()), ..Default::default() };
        assert_eq!(resolve(no_user).unwrap_err().message, "user \"eve\" does not exist");
    }

    #[test]
    fn contradictory_flags_are_usage_errors() {
        let both = ConnectionArgs {
            certificate_authority: Some("/ca".into()),
            insecure_skip_tls_verify: Some(true),
            ..Default::default()
        };
        assert_eq!(resolve(both).unwrap_err().exit, Exit::Usage);
        let group = ConnectionArgs { as_group: vec!["g".into()], ..Default::default() };
        assert_eq!(resolve(group).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_server_alone_is_enough() {
        let args = ConnectionArgs { server: Some("https://10.9.9.9:6443".into()), ..Default::default() };
        let resolved = args.resolve(Kubeconfig::default(), nowhere()).unwrap();
        assert_eq!(resolved.url, "https://10.9.9.9:6443/");
        let refused = ConnectionArgs::default().resolve(Kubeconfig::default(), nowhere()).unwrap_err();
        assert_eq!(refused.message, "no cluster is configured");
        let master = Elsewhere { mount: None, master: Some("http://10.9.9.9:8080".into()) };
        assert_eq!(
            ConnectionArgs::default().resolve(Kubeconfig::default(), master).unwrap().url,
            "http://10.9.9.9:8080/"
        );
    }

    #[test]
    fn an_authority_by_flag_takes_the_place_of_what_the_file_says() {
        let kubeconfig = |cluster: &str| {
            let text = format!("{{clusters: [{{name: x, cluster: {{server: 'https://a', {cluster}}}}}]}}");
            Kubeconfig::from_yaml(&text).expect("the test's own kubeconfig")
        };
        let args = ConnectionArgs {
            cluster: Some("x".into()),
            certificate_authority: Some("/ca".into()),
            ..Default::default()
        };
        let file = kubeconfig("insecure-skip-tls-verify: true, certificate-authority-data: QUJD");
        let cluster = args.resolve(file, nowhere()).unwrap().cluster;
        assert_eq!(cluster.certificate_authority.as_deref(), Some("/ca"));
        assert_eq!((cluster.certificate_authority_data, cluster.insecure_skip_tls_verify), (None, None));
        // Another server has another name.
        let args = ConnectionArgs { cluster: Some("x".into()), server: Some("https://b".into()), ..Default::default() };
        let cluster = args.resolve(kubeconfig("tls-server-name: a"), nowhere()).unwrap().cluster;
        assert_eq!(cluster.tls_server_name, None);
        let args = ConnectionArgs { cluster: Some("x".into()), ..Default::default() };
        let both = kubeconfig("certificate-authority: /ca, certificate-authority-data: QUJD");
        assert!(args.resolve(both, nowhere()).unwrap_err().causes[0].contains("both"));
    }

    #[test]
    fn a_control_character_in_a_flag_is_a_usage_error_that_shows_no_value() {
        let flags = [
            ("--token", ConnectionArgs { token: Some("s3cret\r".into()), ..Default::default() }),
            ("--as", ConnectionArgs { as_user: Some("s3cret\n".into()), ..Default::default() }),
            ("--as-group", ConnectionArgs { as_group: vec!["s3cret\u{7f}".into()], ..Default::default() }),
            ("--as-uid", ConnectionArgs { as_uid: Some("s3cret\0".into()), ..Default::default() }),
            ("--as-user-extra", ConnectionArgs { as_user_extra: vec!["a=s3cret\n".into()], ..Default::default() }),
        ];
        for (flag, args) in flags {
            let refused = resolve(args).unwrap_err();
            assert_eq!((refused.exit, refused.message), (Exit::Usage, format!("cannot use the value of {flag}")));
            assert_eq!(
                refused.causes,
                ["character 7 of it is a control character"].map(|text| match flag {
                    "--as-user-extra" => text.replace('7', "9"),
                    _ => text.to_owned(),
                })
            );
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in
            [("0", 0), ("5", 5000), ("30s", 30_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("250ms", 250)]
        {
            assert_eq!(parse_duration(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "s", "5x", "-1s", "1m2", "1e3s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_age_may_be_in_days() {
        for (text, hours) in [("7d", 168), ("1d", 24), ("36h", 36)] {
            assert_eq!(parse_age(text).unwrap().as_secs(), hours * 3600, "{text}");
        }
        for text in ["d", "-1d", "1.5d", "1d12h", "99999999d", ""] {
            assert!(parse_age(text).unwrap_err().contains("36h or 7d"), "{text}");
        }
        assert!(parse_duration("7d").is_err(), "no request waits for days");
    }
}
