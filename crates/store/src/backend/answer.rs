//! What an answer of a store means: its status and the error document in its body. Pure.

use crate::backend::Failure;
use crate::trouble::Trouble;

/// What is known of an answer that is no success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The region in header `x-amz-bucket-region`.
    pub(crate) region: Option<String>,
    pub(crate) body: String,
}

/// Why a request was refused.
pub(crate) fn failure(answer: &Answer) -> Failure {
    let code = element(&answer.body, "Code")
        .or_else(|| member(&answer.body, "error"))
        .or_else(|| member(&answer.body, "code"))
        .unwrap_or_default();
    let said = element(&answer.body, "Message")
        .or_else(|| member(&answer.body, "error_description"))
        .or_else(|| member(&answer.body, "message"));
    let region = answer.region.clone().or_else(|| element(&answer.body, "Region"));
    let trouble = of_code(&code, region.clone()).unwrap_or_else(|| of_status(answer.status, region));
    let detail = match (code.as_str(), said) {
        ("", None) => format!("HTTP status {}", answer.status),
        ("", Some(said)) => said,
        (code, None) => code.to_owned(),
        (code, Some(said)) => format!("{code}: {said}"),
    };
    Failure::new(trouble, detail)
}

/// Codes of S3 and STS (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), of GCS's XML API, of Azure's blob service and of
/// OAuth.
fn of_code(code: &str, region: Option<String>) -> Option<Trouble> {
    if code.starts_with("KMS.") {
        return Some(Trouble::Kms);
    }
    Some(match code {
        "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted" | "InvalidBucketName" => Trouble::NoBucket,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => Trouble::WrongRegion(region),
        "AccessDenied"
        | "AllAccessDisabled"
        | "AuthorizationPermissionMismatch"
        | "AuthorizationFailure"
        | "InsufficientAccountPermissions"
        | "AuthorizationResourceTypeMismatch"
        | "UnauthorizedAccess"
        | "MethodNotAllowed"
        | "ObjectLocked"
        | "BlobImmutableDueToPolicy" => Trouble::AccessDenied,
        "SignatureDoesNotMatch"
        | "InvalidAccessKeyId"
        | "InvalidSecurity"
        | "InvalidToken"
        | "InvalidIdentityToken"
        | "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "invalid_client"
        | "invalid_grant"
        | "unauthorized_client" => Trouble::WrongCredential,
        "ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException" => Trouble::ExpiredCredential,
        "RequestTimeTooSkewed" | "RequestExpired" => Trouble::Clock,
        "SlowDown"
        | "ServiceUnavailable"
        | "ServerBusy"
        | "TooManyRequests"
        | "Throttling"
        | "RequestLimitExceeded" => Trouble::Throttled,
        "InternalError" | "OperationTimedOut" => Trouble::ServerFault,
        "InvalidObjectState" | "BlobArchived" | "BlobBeingRehydrated" => Trouble::Archived,
        "NoSuchKey" | "BlobNotFound" | "NoSuchUpload" => Trouble::NotFound,
        "BlobAlreadyExists" | "PreconditionFailed" => Trouble::Exists,
        "QuotaExceeded" | "InsufficientStorage" | "EntityTooLarge" => Trouble::Full,
        "NotImplemented" => Trouble::Unsupported,
        "BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest" | "Md5Mismatch" => Trouble::Damaged,
        _ => return None,
    })
}

fn of_status(status: u16, region: Option<String>) -> Trouble {
    match status {
        300..=399 => Trouble::WrongRegion(region),
        401 => Trouble::WrongCredential,
        403 => Trouble::AccessDenied,
        404 => Trouble::NotFound,
        409 | 412 => Trouble::Exists,
        429 | 503 => Trouble::Throttled,
        501 => Trouble::Unsupported,
        507 => Trouble::Full,
        500..=599 => Trouble::ServerFault,
        _ => Trouble::Other,
    }
}

/// The first element of this name of an XML document, without markup of its own.
pub(crate) fn element(body: &str, name: &str) -> Option<String> {
    let (_, after) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    let text = text.replace("&#39;", "'").replace("&amp;", "&");
    (!text.is_empty()).then_some(text)
}

/// A text of a JSON document, at its top or in its `error`.
fn member(body: &str, name: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(body).ok()?;
    let inner = document.get("error").and_then(|error| error.get(name));
    let text = document.get(name).filter(|value| value.is_string()).or(inner)?;
    text.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(status: u16, code: &str, more: &str) -> Answer {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>said</Message>{more}</Error>");
        Answer { status, region: None, body }
    }

    #[test]
    fn every_code_has_its_meaning() {
        for (status, code, trouble) in [
            (404, "NoSuchBucket", Trouble::NoBucket),
            (404, "ContainerNotFound", Trouble::NoBucket),
            (404, "NoSuchKey", Trouble::NotFound),
            (403, "AccessDenied", Trouble::AccessDenied),
            (409, "BlobImmutableDueToPolicy", Trouble::AccessDenied),
            (403, "InvalidObjectState", Trouble::Archived),
            (409, "BlobArchived", Trouble::Archived),
            (403, "SignatureDoesNotMatch", Trouble::WrongCredential),
            (403, "InvalidAccessKeyId", Trouble::WrongCredential),
            (400, "ExpiredToken", Trouble::ExpiredCredential),
            (403, "RequestTimeTooSkewed", Trouble::Clock),
            (503, "SlowDown", Trouble::Throttled),
            (500, "InternalError", Trouble::ServerFault),
            (400, "KMS.NotFoundException", Trouble::Kms),
            (418, "Teapot", Trouble::Other),
            (403, "Unknown", Trouble::AccessDenied),
        ] {
            let failure = failure(&xml(status, code, ""));
            assert_eq!(failure.trouble, trouble, "{code}");
            assert_eq!(failure.detail, format!("{code}: said"));
        }
    }

    #[test]
    fn the_right_region_is_found() {
        let region = "<Region>eu-west-1</Region>";
        let wrong = Trouble::WrongRegion(Some("eu-west-1".to_owned()));
        assert_eq!(failure(&xml(400, "AuthorizationHeaderMalformed", region)).trouble, wrong);
        let answer = Answer { status: 301, region: Some("eu-west-1".to_owned()), body: String::new() };
        assert_eq!(failure(&answer).trouble, wrong);
        assert_eq!(failure(&Answer { region: None, ..answer }).trouble, Trouble::WrongRegion(None));
    }

    #[test]
    fn documents_of_google_and_of_logins_are_read_too() {
        let answer = |status, body: &str| Answer { status, region: None, body: body.to_owned() };
        let failure = failure(&answer(400, r#"{"error":"invalid_grant","error_description":"Invalid JWT"}"#));
        assert_eq!(
            (failure.trouble, failure.detail.as_str()),
            (Trouble::WrongCredential, "invalid_grant: Invalid JWT")
        );
        let failure = super::failure(&answer(403, r#"{"error":{"code":403,"message":"no"}}"#));
        assert_eq!((failure.trouble, failure.detail.as_str()), (Trouble::AccessDenied, "no"));
        assert_eq!(super::failure(&answer(403, "<html>")).detail, "HTTP status 403");
    }
}
