//! Requests about objects of any type. Objects come and go as JSON: what passes through a Rust type loses what that does not know.

use kube::Client;
use kube::api::{GetParams, ListParams, Patch, PatchParams};
use kube::core::Request;
use serde_json::Value;

use super::Served;

/// Who applies, in managedFields.
const FIELD_MANAGER: &str = "kubectl-etcd";

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
    let mut items = match answer.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let api_version = served.api_version();
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.entry("apiVersion").or_insert_with(|| Value::from(api_version.as_str()));
        item.entry("kind").or_insert_with(|| Value::from(served.kind.as_str()));
    }
    Ok(Page { items, next })
}

/// An object, if it is there.
///
/// # Errors
/// The request fails.
pub(crate) async fn get(
    client: &Client,
    served: &Served,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<Value>, kube::Error> {
    let request = Request::new(served.path(namespace)).get(name, &GetParams::default());
    match client.request(request.map_err(kube::Error::BuildRequest)?).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// How an object is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// Everything but storing it.
    Dry,
    /// For good.
    Really,
}

/// Applies an object as kubectl apply --server-side does, taking over what others have set. Gives what the API server makes of it.
///
/// # Errors
/// The request fails.
pub(crate) async fn apply(
    client: &Client,
    served: &Served,
    object: &Value,
    how: Applied,
) -> Result<Value, kube::Error> {
    let text = |field: &str| object["metadata"][field].as_str();
    let params = PatchParams { dry_run: how == Applied::Dry, force: true, ..PatchParams::apply(FIELD_MANAGER) };
    let request = Request::new(served.path(text("namespace")));
    let request = request.patch(text("name").unwrap_or_default(), &params, &Patch::Apply(object));
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}
