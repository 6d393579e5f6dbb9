//! What a bucket of S3 is set to: asked by requests that `object_store` does not have, with its credential and by our client.

use std::error::Error as _;

use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpError, HttpRequestBody};

use crate::backend::Failure;
use crate::backend::answer::Answer;
use crate::backend::cloud::{failure_of, of_fault};
use crate::backend::http::{Fault, document};
use crate::trouble::Trouble;

/// A bucket whose settings can be asked for.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(super) credentials: AwsCredentialProvider,
    pub(super) client: HttpClient,
    /// Its address, without a slash at the end.
    pub(super) address: String,
    pub(super) region: String,
}

impl Bucket {
    /// The address of a bucket that has none of its own: that of AWS.
    pub(super) fn address_at_aws(bucket: &str, region: &str, virtual_hosted: bool) -> String {
        match virtual_hosted {
            true => format!("https://{bucket}.s3.{region}.amazonaws.com"),
            false => format!("https://s3.{region}.amazonaws.com/{bucket}"),
        }
    }

    /// The answer about a part of its settings, such as `versioning`. One request, which is not tried again.
    pub(crate) async fn ask(&self, setting: &str) -> Result<Answer, Failure> {
        let settings = |error: http::Error| Failure::new(Trouble::Settings, error.to_string());
        let slash = if self.address.matches('/').count() > 2 { "" } else { "/" };
        let uri = format!("{}{slash}?{setting}=", self.address);
        let mut request = http::Request::get(uri).body(HttpRequestBody::empty()).map_err(settings)?;
        let credential = self.credentials.get_credential().await.map_err(|error| failure_of(&error))?;
        let authorizer = AwsAuthorizer::new(&credential, "s3", &self.region);
        authorizer.try_authorize(&mut request, None).map_err(|error| failure_of(&error))?;
        let response = self.client.execute(request).await.map_err(|error| of_http(&error))?;
        let (parts, body) = response.into_parts();
        Ok(Answer { status: parts.status.as_u16(), region: None, body: document(body).await })
    }
}

fn of_http(error: &HttpError) -> Failure {
    match error.source().and_then(|source| source.downcast_ref::<Fault>()) {
        Some(fault) => of_fault(fault),
        None => Failure::new(Trouble::Other, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_of_aws_is_in_the_host_or_in_the_path() {
        assert_eq!(Bucket::address_at_aws("b", "eu-west-1", true), "https://b.s3.eu-west-1.amazonaws.com");
        assert_eq!(Bucket::address_at_aws("b.c", "eu-west-1", false), "https://s3.eu-west-1.amazonaws.com/b.c");
    }
}
