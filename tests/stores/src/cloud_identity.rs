//! The services by which AWS gives credentials to what runs in it: STS, the metadata of an instance (IMDSv2), and the agent of EKS Pod
//! Identity. A stand-in, because none of them can be had; it refuses what they refuse. Each gives the credential that [`crate::Rclone`]
//! knows, with a session token.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use fs_err as fs;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::http::Head;
use crate::serve::Stream;
use crate::{ACCESS_KEY, SECRET_KEY, Variables, certificates, serve};

/// What is asked for a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `AssumeRoleWithWebIdentity` of STS, over HTTPS (docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
    WebIdentity,
    /// The metadata service of an instance, version 2 (docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html).
    Instance,
    /// The agent of EKS Pod Identity (docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html).
    Pod,
}

const ROLE: &str = "arn:aws:iam::111122223333:role/backup";
/// What session tokens begin with. Each that is given has a number of its own.
const SESSION: &str = "session-token-of-the-tests";
const TOKEN: &str = "projected-token-of-the-tests";
const METADATA: &str = "metadata-token-of-the-tests";

/// The services, on two ports of this machine.
#[derive(Debug)]
pub struct CloudIdentity {
    folder: TempDir,
    http: u16,
    https: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Who has given credentials since the last look.
    given: Vec<Source>,
    /// How many were given in all.
    count: usize,
    /// For how long a credential is good.
    lifetime: SignedDuration,
}

impl State {
    /// The session token of the next credential, and until when that is good.
    fn session(&self) -> (String, String) {
        let until = Timestamp::now().saturating_add(self.lifetime);
        (format!("{SESSION}-{}", self.count), until.map_or_else(|_| String::new(), |at| at.to_string()))
    }
}

impl CloudIdentity {
    /// Starts them.
    pub fn start() -> Result<CloudIdentity> {
        let folder = tempfile::Builder::new().prefix("cloud-identity-").tempdir()?;
        fs::write(folder.path().join("token"), TOKEN)?;
        let files = certificates::make(folder.path())?;
        let tls = certificates::server_config(&files)?;
        let state = State { given: Vec::new(), count: 0, lifetime: SignedDuration::from_hours(1) };
        let state = Arc::new(Mutex::new(state));
        let (http, https) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let identity =
            CloudIdentity { folder, http: http.local_addr()?.port(), https: https.local_addr()?.port(), state };
        let (plain, secure) = (Arc::clone(&identity.state), Arc::clone(&identity.state));
        serve::plain(http, move |stream| answer(stream, &metadata, &plain));
        serve::secure(https, tls, move |stream| answer(stream, &sts, &secure));
        Ok(identity)
    }

    /// The variables by which a program finds its credential there, as the cloud sets them in a pod or on an instance.
    pub fn variables(&self, source: Source) -> Variables {
        let token = self.folder.path().join("token").display().to_string();
        let pairs = match source {
            Source::WebIdentity => vec![
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
                ("AWS_ROLE_ARN", ROLE.to_owned()),
                ("AWS_ENDPOINT_URL_STS", format!("https://127.0.0.1:{}", self.https)),
            ],
            Source::Instance => {
                vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://127.0.0.1:{}", self.http))]
            }
            Source::Pod => vec![
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://127.0.0.1:{}/v1/credentials", self.http)),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token),
            ],
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The certificate of the authority that STS is to be trusted by.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Who has given credentials since the last look.
    pub fn given(&self) -> Vec<Source> {
        std::mem::take(&mut self.lock().given)
    }

    /// From now on credentials are good for so long. They were for an hour.
    pub fn give_for(&self, lifetime: SignedDuration) {
        self.lock().lifetime = lifetime;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the token of the pod is another one, which nobody knows.
    pub fn spoil_token(&self) -> Result<()> {
        Ok(fs::write(self.folder.path().join("token"), "another")?)
    }
}

/// A request, and what is answered: the status, the body, and what was given with it.
type Answer = (u16, String, Option<Source>);

fn answer(
    mut stream: &mut dyn Stream,
    service: &dyn Fn(&Head, &str, &State) -> Answer,
    state: &Mutex<State>,
) -> Result<()> {
    let Some(head) = Head::read(&mut stream)? else { return Ok(()) };
    let mut body = vec![0; head.length()];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8(body).context("a form is text")?;
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, body, source) = service(&head, &body, &state);
    state.count += usize::from(source.is_some());
    state.given.extend(source);
    drop(state);
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
    Ok(stream.flush()?)
}

/// The metadata service and the agent.
fn metadata(head: &Head, _body: &str, state: &State) -> Answer {
    let mut words = head.first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let knows = head.header("x-aws-ec2-metadata-token").as_deref() == Some(METADATA);
    let nothing = |status| (status, String::new(), None);
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    match (method, path) {
        ("PUT", "/latest/api/token") => match head.header("x-aws-ec2-metadata-token-ttl-seconds") {
            Some(seconds) if seconds.parse().is_ok_and(|seconds: u32| (1..=21600).contains(&seconds)) => {
                (200, METADATA.to_owned(), None)
            }
            _ => nothing(400),
        },
        // An instance that insists on version 2.
        ("GET", ROLES | "/latest/meta-data/iam/security-credentials/backup") if !knows => nothing(401),
        ("GET", ROLES) => (200, "backup".to_owned(), None),
        ("GET", "/latest/meta-data/iam/security-credentials/backup") => {
            (200, credential(state), Some(Source::Instance))
        }
        ("GET", "/v1/credentials") if head.header("authorization").as_deref() == Some(TOKEN) => {
            (200, credential(state), Some(Source::Pod))
        }
        ("GET", "/v1/credentials") => nothing(403),
        _ => nothing(404),
    }
}

fn credential(state: &State) -> String {
    let (token, until) = state.session();
    let credential = serde_json::json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": Timestamp::now().to_string(),
        "AccessKeyId": ACCESS_KEY,
        "SecretAccessKey": SECRET_KEY,
        "Token": token,
        "Expiration": until,
    });
    credential.to_string()
}

/// STS.
fn sts(head: &Head, body: &str, state: &State) -> Answer {
    let error = |status, code: &str| {
        (
            status,
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>refused</Message></Error></ErrorResponse>"
            ),
            None,
        )
    };
    let mut words = head.first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let query = target.split_once('?').map_or(body, |(_, query)| query);
    let has = |name: &str, value: &str| query.split('&').any(|pair| pair == format!("{name}={}", encoded(value)));
    if method != "POST" || !has("Action", "AssumeRoleWithWebIdentity") || !has("Version", "2011-06-15") {
        return error(400, "InvalidAction");
    }
    if !has("WebIdentityToken", TOKEN) {
        return error(400, "InvalidIdentityToken");
    }
    if !has("RoleArn", ROLE) || !query.contains("RoleSessionName=") {
        return error(403, "AccessDenied");
    }
    let (token, until) = state.session();
    let credential = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>{token}</SessionToken><Expiration>{until}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    (200, credential, Some(Source::WebIdentity))
}

/// A value as a form has it.
fn encoded(value: &str) -> String {
    value.replace(':', "%3A").replace('/', "%2F")
}
