//! Which store: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://ACCOUNT/CONTAINER/PREFIX`, `file:///DIR`.
//!
//! A store's URL is written into schedules, records and error messages, so that it never carries a credential: a user, a password and
//! every key that is not known are refused.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// The place of a store, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreUrl {
    pub(crate) place: Place,
    pub(crate) prefix: String,
    pub(crate) options: Options,
}

/// Where objects lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    S3 { bucket: String },
    Gcs { bucket: String },
    Azure { account: String, container: String },
    Folder(PathBuf),
}

/// What stands behind the question mark.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Options {
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) path_style: Option<bool>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) sse: Option<ServerSideEncryption>,
}

/// What the server is asked to encrypt objects with, beside the encryption of this program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ServerSideEncryption {
    /// With the store's own keys.
    Aes256,
    /// With a key of its key management, or with the bucket's where none is named.
    Kms(Option<String>),
}

/// Why a text is not the URL of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or none.
    #[error(
        "{0:?} is not the URL of a store: expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX or file:///FOLDER"
    )]
    Scheme(String),
    /// A user or a password. The text itself is not repeated.
    #[error(
        "the URL of a store must not contain a user or a password: set credentials in the environment, as AWS_ACCESS_KEY_ID"
    )]
    Credential,
    /// Something of the URL is missing or is not what it should be.
    #[error("the URL of a store is not valid: {0}")]
    Part(String),
    /// A key after the question mark that this kind of store does not have. Its value is not repeated: it may be a secret.
    #[error("a store with {scheme}:// has no option {key:?}: expected {known}")]
    Option {
        /// The scheme of the URL.
        scheme: &'static str,
        /// The key.
        key: String,
        /// The keys that there are, for people.
        known: &'static str,
    },
    /// A value after the question mark.
    #[error("option {key:?} of a store is {value:?}: expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What the value can be.
        expected: &'static str,
    },
}

const SCHEMES: [&str; 4] = ["s3", "gs", "az", "file"];

/// What is written as `%XX` in a path: what would end it, and what no terminal shows.
const PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'?');
/// The same in a value behind the question mark.
const VALUE: &AsciiSet = &PATH.add(b'&');

/// Whether a text of the command line means a store and not a file: whether it has the scheme of one.
pub fn looks_like_store(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
}

impl StoreUrl {
    /// The scheme, as in `s3`.
    pub fn scheme(&self) -> &'static str {
        match self.place {
            Place::S3 { .. } => "s3",
            Place::Gcs { .. } => "gs",
            Place::Azure { .. } => "az",
            Place::Folder(_) => "file",
        }
    }

    /// The folder that the store is, if it is one.
    pub fn folder(&self) -> Option<&std::path::Path> {
        match &self.place {
            Place::Folder(folder) => Some(folder),
            _ => None,
        }
    }

    /// The server that the URL names, if it names one.
    pub fn endpoint(&self) -> Option<&str> {
        self.options.endpoint.as_deref()
    }

    /// The file with the certificate authority of the server, if the URL names one.
    pub fn ca(&self) -> Option<&std::path::Path> {
        self.options.ca.as_deref()
    }

    /// The same store without the last `count` segments of its path, and those segments; nothing where there are fewer.
    pub(crate) fn split_segments(&self, count: usize) -> Option<(StoreUrl, Vec<String>)> {
        let path = match &self.place {
            Place::Folder(folder) => folder.to_str()?.to_owned(),
            _ => format!("/{}", self.prefix),
        };
        let mut rest = path.as_str();
        let mut segments = Vec::new();
        for _ in 0..count {
            let (before, segment) = rest.rsplit_once('/')?;
            segments.insert(0, segment.to_owned());
            rest = before;
        }
        let store = match &self.place {
            Place::Folder(_) if rest.is_empty() => return None,
            Place::Folder(_) => StoreUrl { place: Place::Folder(rest.into()), ..self.clone() },
            _ => StoreUrl { prefix: rest.trim_start_matches('/').to_owned(), ..self.clone() },
        };
        Some((store, segments))
    }
}

impl FromStr for StoreUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let shown = || UrlError::Scheme(without_credential(text).chars().take(200).collect());
        let (scheme, rest) = text.split_once("://").ok_or_else(shown)?;
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let authority = path.split_once('/').map_or(path, |(authority, _)| authority);
        if authority.contains('@') {
            return Err(UrlError::Credential);
        }
        if text.contains('#') {
            return Err(UrlError::Part("write a number sign as %23".to_owned()));
        }
        let path = decoded(path)?;
        let (place, prefix) = match scheme {
            "s3" | "gs" => {
                let (bucket, prefix) = path.split_once('/').unwrap_or((&path, ""));
                let bucket = bucket_name("the bucket", bucket)?;
                (if scheme == "s3" { Place::S3 { bucket } } else { Place::Gcs { bucket } }, prefix_of(prefix)?)
            }
            "az" => {
                let mut parts = path.splitn(3, '/');
                let account = bucket_name("the account", parts.next().unwrap_or_default())?;
                let container = bucket_name("the container", parts.next().unwrap_or_default())?;
                (Place::Azure { account, container }, prefix_of(parts.next().unwrap_or_default())?)
            }
            "file" => (Place::Folder(folder(&path)?), String::new()),
            _ => return Err(shown()),
        };
        let mut url = StoreUrl { place, prefix, options: Options::default() };
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            url.set(key, decoded(value)?)?;
        }
        Ok(url)
    }
}

/// A text without what may be a password in it.
fn without_credential(text: &str) -> String {
    let text = text.split('?').next().unwrap_or_default();
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, after))) => format!("{scheme}://...@{after}"),
        (None, Some((_, after))) => format!("...@{after}"),
        _ => text.to_owned(),
    }
}

fn decoded(text: &str) -> Result<String, UrlError> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| UrlError::Part("a percent-encoded character is not UTF-8".to_owned()))?;
    if text.chars().any(char::is_control) {
        return Err(UrlError::Part("it contains a control character".to_owned()));
    }
    Ok(text.into_owned())
}

fn bucket_name(which: &str, text: &str) -> Result<String, UrlError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.$".contains(&byte);
    match text {
        "" => Err(UrlError::Part(format!("{which} is missing"))),
        _ if text.starts_with('.') || !text.bytes().all(plain) => Err(UrlError::Part(format!("{which} is {text:?}"))),
        _ => Ok(text.to_owned()),
    }
}

/// A prefix without slashes at its ends; every segment has a name.
fn prefix_of(text: &str) -> Result<String, UrlError> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if !text.is_empty() && text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(UrlError::Part(format!("the prefix is {text:?}: no segment may be empty, \".\" or \"..\"")));
    }
    Ok(text.to_owned())
}

fn folder(path: &str) -> Result<PathBuf, UrlError> {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    if !path.starts_with('/') {
        return Err(UrlError::Part(
            "a folder is written with its whole path, and with three slashes, as in file:///var/backups".to_owned(),
        ));
    }
    if path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(UrlError::Part(format!("the folder is {path:?}: no segment may be empty, \".\" or \"..\"")));
    }
    Ok(PathBuf::from(path))
}

impl StoreUrl {
    fn set(&mut self, key: &str, value: String) -> Result<(), UrlError> {
        let scheme = self.scheme();
        let known = match self.place {
            Place::S3 { .. } => "region, endpoint, path-style, ca or sse",
            Place::Gcs { .. } | Place::Azure { .. } => "endpoint or ca",
            Place::Folder(_) => "none",
        };
        let unknown = || UrlError::Option { scheme, key: key.chars().take(60).collect(), known };
        let s3 = matches!(self.place, Place::S3 { .. });
        if matches!(self.place, Place::Folder(_)) {
            return Err(unknown());
        }
        match key {
            "endpoint" => self.options.endpoint = Some(endpoint(value)?),
            "ca" if value.is_empty() => {
                return Err(UrlError::Value { key: "ca", value, expected: "a file with certificates in PEM" });
            }
            "ca" => self.options.ca = Some(value.into()),
            "region" if s3 && !value.is_empty() => self.options.region = Some(value),
            "region" if s3 => {
                return Err(UrlError::Value { key: "region", value, expected: "a region as in eu-central-1" });
            }
            "path-style" if s3 => {
                self.options.path_style = Some(match value.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(UrlError::Value { key: "path-style", value, expected: "true or false" }),
                });
            }
            "sse" if s3 => {
                self.options.sse = Some(match value.as_str() {
                    "AES256" => ServerSideEncryption::Aes256,
                    "aws:kms" => ServerSideEncryption::Kms(None),
                    _ => match value.strip_prefix("aws:kms:") {
                        Some(name) if !name.is_empty() => ServerSideEncryption::Kms(Some(name.to_owned())),
                        _ => {
                            let expected = "AES256, aws:kms or aws:kms:KEY";
                            return Err(UrlError::Value { key: "sse", value, expected });
                        }
                    },
                });
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// The options in one order, as they are written.
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let Options { region, endpoint, path_style, ca, sse } = &self.options;
        let sse = sse.as_ref().map(|sse| match sse {
            ServerSideEncryption::Aes256 => "AES256".to_owned(),
            ServerSideEncryption::Kms(None) => "aws:kms".to_owned(),
            ServerSideEncryption::Kms(Some(key)) => format!("aws:kms:{key}"),
        });
        let pairs = [
            ("region", region.clone()),
            ("endpoint", endpoint.clone()),
            ("path-style", path_style.map(|style| style.to_string())),
            ("ca", ca.as_ref().map(|ca| ca.display().to_string())),
            ("sse", sse),
        ];
        pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// The address of a store's server: with a host, without a user, a password, a query and a fragment.
pub(crate) fn endpoint(value: String) -> Result<String, UrlError> {
    let expected = "an address as in https://minio.example:9000";
    if value.contains('@') {
        return Err(UrlError::Credential);
    }
    match url::Url::parse(&value) {
        Ok(url)
            if matches!(url.scheme(), "https" | "http")
                && url.host().is_some()
                && url.query().is_none()
                && url.fragment().is_none() =>
        {
            Ok(value.trim_end_matches('/').to_owned())
        }
        _ => Err(UrlError::Value { key: "endpoint", value, expected }),
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::S3 { bucket } | Place::Gcs { bucket } => bucket.clone(),
            Place::Azure { account, container } => format!("{account}/{container}"),
            Place::Folder(folder) => folder.display().to_string(),
        };
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let path = format!("{place}{slash}{}", self.prefix);
        write!(f, "{}://{}", self.scheme(), utf8_percent_encode(&path, PATH))?;
        for (index, (key, value)) in self.pairs().into_iter().enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            write!(f, "{mark}{key}={}", utf8_percent_encode(&value, VALUE))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> StoreUrl {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> String {
        text.parse::<StoreUrl>().unwrap_err().to_string()
    }

    #[test]
    fn a_store_is_written_as_it_is_read() {
        for text in [
            "s3://bucket",
            "s3://bucket/a/b",
            "s3://bucket/p?region=eu-central-1&endpoint=https://minio.example:9000&path-style=true&ca=/etc/ca.pem&sse=aws:kms:alias/backups",
            "s3://bucket?sse=AES256",
            "s3://bucket/a%20b%25%3F",
            "gs://bucket/p?ca=/etc/a%26b.pem",
            "az://account/container/p?endpoint=http://127.0.0.1:10000/account",
            "file:///var/backups",
        ] {
            assert_eq!(parsed(text).to_string(), text);
            assert_eq!(parsed(&parsed(text).to_string()), parsed(text));
        }
        assert_eq!(parsed("s3://bucket/p/").to_string(), "s3://bucket/p");
        assert_eq!(parsed("file:///var/backups/").to_string(), "file:///var/backups");
        assert!(matches!(&parsed("s3://b?sse=aws:kms").options.sse, Some(ServerSideEncryption::Kms(None))));
    }

    #[test]
    fn a_credential_is_refused_and_not_repeated() {
        for text in [
            "s3://AKIDX:hunter2@bucket/p",
            "s3://bucket?endpoint=https://AKIDX:hunter2@host",
            "https://AKIDX:hunter2@bucket/p",
            "AKIDX:hunter2@bucket",
            "s3://bucket/p?secret-access-key=hunter2",
            "az://account/container?sig=hunter2",
            "ftp://bucket?secret=hunter2",
        ] {
            let error = refused(text);
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(refused("s3://bucket?access-key=x").contains("has no option \"access-key\""));
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for text in [
            "",
            "bucket",
            "/var/backups",
            "http://bucket",
            "s3://",
            "s3:///p",
            "s3://bucket//p",
            "s3://bucket/../p",
            "s3://bucket/%2e%2e/p",
            "s3://bucket/a/%2E",
            "s3://bucket/%2fa",
            "s3://bucket/a%0ab",
            "s3://bucket/p#x",
            "s3://bucket/%00",
            "s3://bucket/%ff",
            "az://account",
            "file://host/dir",
            "file:///a/../b",
            "file:///a/%2e%2e/b",
            "file:///a?region=x",
            "gs://b?region=x",
            "s3://b?path-style=yes",
            "s3://b?sse=aws:kms:",
            "s3://b?endpoint=minio:9000",
            "s3://b?region=",
            "s3://b?ca=",
        ] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_no_store() {
        assert!(looks_like_store("s3://b/p/latest") && looks_like_store("file:///a") && looks_like_store("az://"));
        assert!(!looks_like_store("backup.db") && !looks_like_store("/s3/x") && !looks_like_store("http://x"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_read_in_two_ways(text in "(s3|gs|az|file)://[ -~]{0,40}") {
            if let Ok(url) = text.parse::<StoreUrl>() {
                proptest::prop_assert_eq!(url.to_string().parse::<StoreUrl>(), Ok(url));
            }
        }
    }
}
