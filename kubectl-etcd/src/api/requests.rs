//! Requests about objects of any type. Objects come and go as JSON: what passes through a Rust type loses what that does not know.

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde_json::Value;

use super::Served;

/// Part of a list.
#[derive(Debug)]
pub(crate) struct Page {
    /// With their kind, which the items of a list lack.
    pub(crate) items: Vec<Value>,
    /// Where the next part begins, if there is one.
    pub(crate) next: Option<String>,
}

/// One page of the objects of a type.
///
/// # Errors
/// The request fails.
pub(crate) async fn list(
    client: &Client,
    served: &Served,
    namespace: Option<&str>,
    params: &ListParams,
) -> Result<Page, kube::Error> {
    let request = Request::new(served.path(namespace)).list(params).map_err(kube::Error::BuildRequest)?;
    let mut answer: Value = client.request(request).await?;
    let next = answer["metadata"]["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
    let mut items = match answer["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    let api_version = served.api_version();
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.entry("apiVersion").or_insert_with(|| Value::from(api_version.as_str()));
        item.entry("kind").or_insert_with(|| Value::from(served.kind.as_str()));
    }
    Ok(Page { items, next })
}
