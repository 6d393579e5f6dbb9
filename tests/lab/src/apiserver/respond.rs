//! Answers: bodies, and the `Status` objects every refusal is.

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::resource::Resource;

/// Body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// An answer.
pub(super) type Reply = Response<Body>;

/// A refusal, answered as `v1.Status`.
#[derive(Debug)]
pub(super) struct Failure {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Value,
}

/// One reason an object is invalid, as `Status.details.causes` has it.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) field: String,
}

impl Failure {
    pub(super) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn about(mut self, group: &str, kind: &str, name: Option<&str>) -> Self {
        let mut details = json!({ "kind": kind });
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            details["name"] = json!(name);
        }
        if !group.is_empty() {
            details["group"] = json!(group);
        }
        self.details = details;
        self
    }

    pub(super) fn not_found(res: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", res.qualified());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(res.group, res.plural, Some(name))
    }

    pub(super) fn already_exists(res: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", res.qualified());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(res.group, res.plural, Some(name))
    }

    pub(super) fn conflict(res: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", res.qualified());
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(res.group, res.plural, Some(name))
    }

    /// `resource` may be one that is not served (`users`).
    pub(super) fn forbidden(group: &str, resource: &str, name: Option<&str>, why: &str) -> Self {
        let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let message = match name {
            Some(name) => format!("{qualified} {name:?} is forbidden: {why}"),
            None => format!("{qualified} is forbidden: {why}"),
        };
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(group, resource, name)
    }

    pub(super) fn invalid(res: &Resource, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let why = if let [only] = texts.as_slice() { only.clone() } else { format!("[{}]", texts.join(", ")) };
        let kind = if res.group.is_empty() { res.kind.to_owned() } else { format!("{}.{}", res.kind, res.group) };
        let message = format!("{kind} {name:?} is invalid: {why}");
        let mut failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        failure = failure.about(res.group, res.kind, Some(name));
        failure.details["causes"] = causes
            .iter()
            .map(|c| json!({ "reason": c.reason, "message": c.message, "field": c.field }))
            .collect::<Vec<_>>()
            .into();
        failure
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    pub(super) fn internal(message: impl std::fmt::Display) -> Self {
        let mut failure = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("Internal error occurred: {message}"),
        );
        failure.details = json!({ "causes": [{ "message": message.to_string() }] });
        failure
    }

    /// An error of etcd that the real server does not know what to make of.
    pub(super) fn of_etcd(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// The client knows a revision this store has not reached: it talked to another history, as after a restore.
    pub(super) fn too_large_revision(asked: i64, current: i64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut failure = Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message);
        failure.details = json!({ "retryAfterSeconds": 1,
            "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }] });
        failure
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    pub(super) fn media_type(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    pub(super) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json";
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// The `v1.Status` object.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code.as_u16() });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }

    pub(super) fn reply(&self) -> Reply {
        json_reply(self.code, &self.status())
    }
}

/// The answer to a request that took too long. It is written past everything that knows of versions and media types.
pub(super) fn timed_out() -> Reply {
    let message = "Timeout: request did not complete within the allotted timeout";
    let status = json!({ "metadata": {}, "status": "Failure", "message": message, "reason": "Timeout", "details": {},
        "code": 504 });
    text_reply(StatusCode::GATEWAY_TIMEOUT, format!("{status}\n"))
}

/// A JSON answer, ended by a newline as the real server does.
pub(super) fn json_reply(code: StatusCode, value: &Value) -> Reply {
    let mut reply = json_text_reply(format!("{value}\n"));
    *reply.status_mut() = code;
    reply
}

/// An answer that is JSON already.
pub(super) fn json_text_reply(text: String) -> Reply {
    let mut reply = bytes_reply(StatusCode::OK, "application/json", text);
    reply.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
    reply
}

/// A JSON answer that is written as its client reads it. It breaks off where its text fails.
pub(super) fn json_stream_reply(text: impl Stream<Item = Result<String, Failure>> + Send + 'static) -> Reply {
    let frames = text.map(|text| match text {
        Ok(text) => Ok(Frame::data(Bytes::from(text))),
        Err(failure) => Err(std::io::Error::other(failure.status().to_string())),
    });
    let mut reply = json_text_reply(String::new());
    *reply.body_mut() = StreamBody::new(frames).boxed_unsync();
    reply
}

/// An answer of plain text.
pub(super) fn text_reply(code: StatusCode, text: impl Into<Bytes>) -> Reply {
    bytes_reply(code, "text/plain; charset=utf-8", text)
}

/// An answer of any media type.
pub(super) fn bytes_reply(code: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
    *reply.status_mut() = code;
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    reply
}
