//! How requests say who sends them: a bearer token, from the kubeconfig, from a file that is read again, or from a login program
//! (client-go: transport/token_source.go, plugin/pkg/client/auth/exec). kube's own ways take tokens as they come, line ends
//! included, and run a login program three times.

mod plugin;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderValue};
use jiff::Timestamp;
use kube::config::{AuthInfo, Cluster};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::BoxError;
use tower::filter::AsyncPredicate;

use crate::output::{Exit, Failed, Outcome};
use plugin::{Credentials, Plugin};

/// How long a token file's contents count. The kubelet renews a projected token well before it ends.
const READ_AGAIN: Duration = Duration::from_secs(50);

/// What puts the `Authorization` header on requests. A copy shares what is known.
#[derive(Debug, Clone)]
pub(crate) struct Login(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    source: Source,
    /// `None`: no token is needed.
    header: Option<HeaderValue>,
    until: Until,
}

#[derive(Debug)]
enum Source {
    Fixed,
    File(PathBuf),
    Plugin(Box<Plugin>),
}

#[derive(Debug)]
enum Until {
    Forever,
    /// By the clock of this process.
    Then(Instant),
    /// By the clock on the wall.
    Date(Timestamp),
}

impl Login {
    /// Takes the bearer token's source out of a kubeconfig's user, and runs its login program, if it has one. What the program gives of
    /// certificates goes to where a kubeconfig has them. `name` is the user's.
    ///
    /// # Errors
    /// A token that no header can carry, a file that cannot be read, a login program that fails.
    pub(crate) async fn prepare(user: &mut AuthInfo, name: &str, cluster: &Cluster) -> Outcome<Login> {
        let (token, file, exec) = (user.token.take(), user.token_file.take(), user.exec.take());
        // Without a password the empty one is sent.
        if user.username.is_some() && user.password.is_none() {
            user.password = Some(String::new().into());
        }
        let state = match (token, file, exec) {
            (token, Some(file), _) => {
                // The file counts, as long as it can be read.
                let header = match (read(&file), token) {
                    (Ok(read), _) => read,
                    (Err(_), Some(token)) => header(token.expose_secret(), || in_user(name, "token"))?,
                    (Err(failed), None) => return Err(failed),
                };
                State {
                    source: Source::File(file.into()),
                    header: Some(header),
                    until: Until::Then(Instant::now() + READ_AGAIN),
                }
            }
            (Some(token), None, _) => {
                let header = header(token.expose_secret(), || in_user(name, "token"))?;
                State { source: Source::Fixed, header: Some(header), until: Until::Forever }
            }
            (None, None, Some(exec)) if user.username.is_none() && !has_certificate(user) => {
                let plugin = Plugin::new(exec, cluster)?;
                let given = plugin.run().await?;
                if let Some((certificate, key)) = &given.identity {
                    plugin::put_identity(user, certificate, key);
                }
                let (header, until) = (plugin.header(&given)?, given.until());
                State { source: Source::Plugin(Box::new(plugin)), header, until }
            }
            _ => State { source: Source::Fixed, header: None, until: Until::Forever },
        };
        Ok(Login(Arc::new(Mutex::new(state))))
    }

    /// No token at all.
    pub(crate) fn nobody() -> Login {
        Login(Arc::new(Mutex::new(State { source: Source::Fixed, header: None, until: Until::Forever })))
    }

    /// What requests carry now.
    async fn header(&self) -> Outcome<Option<HeaderValue>> {
        // Held while a program runs: it may ask a person, and once is enough.
        let mut state = self.0.lock().await;
        let over = match state.until {
            Until::Forever => false,
            Until::Then(then) => Instant::now() >= then,
            Until::Date(date) => Timestamp::now() >= date,
        };
        if over {
            match &state.source {
                Source::Fixed => {}
                Source::File(file) => {
                    // A file that has gone meanwhile leaves the token that was in it last.
                    if let Ok(header) = read(&file.to_string_lossy()) {
                        state.header = Some(header);
                    }
                    state.until = Until::Then(Instant::now() + READ_AGAIN);
                }
                Source::Plugin(plugin) => {
                    let given = plugin.run().await?;
                    (state.header, state.until) = (plugin.header(&given)?, given.until());
                }
            }
        }
        Ok(state.header.clone())
    }
}

impl Credentials {
    fn until(&self) -> Until {
        self.expires.map_or(Until::Forever, Until::Date)
    }
}

impl<B: Send + 'static> AsyncPredicate<http::Request<B>> for Login {
    type Future = BoxFuture<'static, Result<http::Request<B>, BoxError>>;
    type Request = http::Request<B>;

    fn check(&mut self, mut request: http::Request<B>) -> Self::Future {
        let login = self.clone();
        async move {
            let header = login.header().await.map_err(|failed| BoxError::from(failed.one_line()))?;
            if let Some(header) = header {
                request.headers_mut().entry(AUTHORIZATION).or_insert(header);
            }
            Ok(request)
        }
        .boxed()
    }
}

fn has_certificate(user: &AuthInfo) -> bool {
    user.client_certificate.is_some() || user.client_certificate_data.is_some()
}

/// Refuses what client-go refuses of a user (tools/clientcmd/validation.go), as ways to log in that exclude each other.
pub(crate) fn check(user: &AuthInfo, name: &str) -> Outcome {
    let wrong = |why: &str| Err(Failed::plain(format!("cannot use the user {name:?} of the kubeconfig")).cause(why));
    let basic = user.username.is_some() || user.password.is_some();
    if basic && (user.token.is_some() || user.token_file.is_some()) {
        return wrong("it has a token and a user name with a password: only one of them can be sent");
    }
    if user.exec.is_some() && user.auth_provider.is_some() {
        return wrong("it has both exec and auth-provider");
    }
    if user.client_certificate.is_some() && user.client_certificate_data.is_some() {
        return wrong("it has both client-certificate and client-certificate-data");
    }
    let key = user.client_key.is_some() || user.client_key_data.is_some();
    if has_certificate(user) {
        if !key {
            return wrong("it has a client certificate without client-key or client-key-data");
        }
        if user.client_key.is_some() && user.client_key_data.is_some() {
            return wrong("it has both client-key and client-key-data");
        }
    }
    if let Some(provider) = &user.auth_provider {
        let (kind, instead) = match provider.name.as_str() {
            "oidc" => return Ok(()),
            "gcp" => ("has been removed from kubectl", Some("use the login program gke-gcloud-auth-plugin")),
            "azure" => ("has been removed from kubectl", Some("use the login program kubelogin")),
            _ => ("is not known", None),
        };
        let failed = Failed::plain(format!("cannot use the user {name:?} of the kubeconfig"))
            .cause(format!("its auth-provider {:?} {kind}", provider.name));
        return Err(instead.into_iter().fold(failed, Failed::hint));
    }
    Ok(())
}

/// The token of a file. Line ends and blanks around it do not count.
fn read(file: &str) -> Outcome<HeaderValue> {
    let failed = || Failed::plain(format!("cannot read the token file {file}"));
    let text = std::fs::read_to_string(file).map_err(|error| failed().source(&error))?;
    match text.trim() {
        "" => Err(failed().cause("it is empty")),
        token => header(token, || format!("the token file {file}")),
    }
}

/// The header that carries a token. `field` says where the token is from; it is not shown itself.
fn header(token: &str, field: impl Fn() -> String) -> Outcome<HeaderValue> {
    refuse_control(token, || Failed::plain(format!("cannot use {}", field())))?;
    let header = HeaderValue::try_from(format!("Bearer {}", token.trim()));
    let mut header =
        header.map_err(|_| Failed::plain(format!("cannot use {}", field())).cause("it fits in no header"))?;
    header.set_sensitive(true);
    Ok(header)
}

fn in_user(name: &str, field: &str) -> String {
    format!("{field} of the user {name:?} in the kubeconfig")
}

/// Refuses a text with a control character, which no header can carry. Go allows the tab, and so does HTTP.
pub(crate) fn refuse_control(text: &str, failed: impl Fn() -> Failed) -> Outcome {
    match text.chars().position(|c| c.is_ascii_control() && c != '\t') {
        Some(at) => Err(failed().cause(format!("character {} of it is a control character", at + 1))),
        None => Ok(()),
    }
}

/// As [`refuse_control`], for the value of a flag: a mistake on the command line.
pub(crate) fn refuse_control_in_flag(flag: &str, value: &str) -> Outcome {
    refuse_control(value, || Failed::new(Exit::Usage, format!("cannot use the value of {flag}")))
}

#[cfg(test)]
mod tests;
