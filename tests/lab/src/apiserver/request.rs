//! What a request asks for: path and query, read as `k8s.io/apiserver/pkg/endpoints/request` reads them.

use http::{HeaderMap, Method, header};

use super::respond::Failure;

/// Decoded query parameters in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.iter().any(|(key, value)| key == name && !matches!(value.as_str(), "false" | "0"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let wrong = || Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax ({name})"));
        text.parse().map(Some).map_err(|_| wrong())
    }

    /// Whether nothing is to be stored.
    pub(super) fn dry_run(&self) -> Result<bool, Failure> {
        match self.get("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => {
                Err(Failure::bad_request(format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"")))
            }
        }
    }
}

/// What is asked, as the authorizer sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Info {
    pub(super) verb: &'static str,
    pub(super) path: String,
    /// Whether this is about a resource; otherwise only `verb` and `path` count.
    pub(super) resource_request: bool,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) resource: String,
    pub(super) subresource: String,
    /// What follows the subresource: the path that a proxy passes on, without its first slash.
    pub(super) rest: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

impl Info {
    pub(super) fn read(method: &Method, path: &str, query: &Query) -> Self {
        let mut info = Self { verb: plain_verb(method), path: path.to_owned(), ..Self::default() };
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let rest = match segments.as_slice() {
            ["api", version, rest @ ..] => {
                info.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] => {
                (info.group, info.version) = ((*group).to_owned(), (*version).to_owned());
                rest
            }
            _ => return info,
        };
        let text = |segment: &&str| Some((*segment).to_owned());
        let parts = match rest {
            [] => return info,
            ["namespaces", namespace] => {
                info.namespace = text(namespace);
                rest
            }
            ["namespaces", namespace, "status" | "finalize"] => {
                info.namespace = text(namespace);
                rest
            }
            ["namespaces", namespace, parts @ ..] => {
                info.namespace = text(namespace);
                parts
            }
            _ => rest,
        };
        info.resource_request = true;
        info.resource = parts.first().map(|part| (*part).to_owned()).unwrap_or_default();
        info.name = parts.get(1).and_then(text);
        info.subresource = parts.get(2).map(|part| (*part).to_owned()).unwrap_or_default();
        info.rest = parts.get(3..).unwrap_or_default().join("/");
        info.verb = info.resource_verb(method, query);
        if matches!(info.verb, "list" | "watch" | "deletecollection") && info.name.is_none() {
            // A collection narrowed to one name is authorised as that name.
            info.name = query
                .get("fieldSelector")
                .and_then(|s| s.strip_prefix("metadata.name="))
                .filter(|s| !s.contains(','))
                .map(str::to_owned);
        }
        info
    }

    fn resource_verb(&self, method: &Method, query: &Query) -> &'static str {
        match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if self.name.is_some() => "delete",
            Method::DELETE => "deletecollection",
            _ if self.name.is_some() => "get",
            _ if query.flag("watch") => "watch",
            _ => "list",
        }
    }

    /// Whether this may take any time: a watch, or a stream.
    pub(super) fn is_long_running(&self) -> bool {
        self.verb == "watch" || matches!(self.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
    }

    /// `pods/exec`.
    pub(super) fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

fn plain_verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        _ => "get",
    }
}

/// How objects are to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Render {
    /// As they are.
    Json,
    /// As a `meta.k8s.io/v1` Table.
    Table,
    /// As `PartialObjectMetadata`.
    Partial,
}

/// Picks the first acceptable form the client names.
pub(super) fn render(headers: &HeaderMap) -> Result<Render, Failure> {
    let accepts: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    if accepts.is_empty() {
        return Ok(Render::Json);
    }
    for clause in accepts.iter().flat_map(|accept| accept.split(',')) {
        let mut parts = clause.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        if !matches!(media_type, "application/json" | "application/*" | "*/*") {
            continue;
        }
        let parameters: Vec<&str> = parts.collect();
        let kind = parameters.iter().find_map(|p| p.strip_prefix("as="));
        let version = parameters.iter().find_map(|p| p.strip_prefix("v="));
        match (kind, version) {
            (None, _) => return Ok(Render::Json),
            (Some("Table"), Some("v1")) => return Ok(Render::Table),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1")) => return Ok(Render::Partial),
            _ => {}
        }
    }
    Err(Failure::not_acceptable())
}
