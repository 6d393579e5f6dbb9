//! Requests about objects of any type. Objects come and go as JSON: what passes through a Rust type loses what that does not know.

use kube::Client;
use kube::api::{GetParams, ListParams, Patch, PatchParams};
use kube::core::{Request, Status};
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
pub(crate) struct Applied {
    /// Everything but storing it.
    pub(crate) dry: bool,
    /// Taking over fields that others have set: `--force-conflicts`.
    pub(crate) force: bool,
}

/// A resource version that no object has, as etcd is at revision 1 before its first write. Server-side apply makes an object anew with it,
/// and conflicts where one is there: kubernetes/apiserver pkg/registry/generic/registry/store.go, Update @ v0.36.0.
const NEVER: &str = "1";

/// Has an object applied only to what was seen of it: to that very object as it was, or to none.
pub(crate) fn only_to(seen: Option<&Value>, object: &mut Value) {
    match seen {
        Some(seen) => {
            for field in ["uid", "resourceVersion"] {
                object["metadata"][field] = seen["metadata"][field].clone();
            }
        }
        None => object["metadata"]["resourceVersion"] = Value::from(NEVER),
    }
}

/// Whether an object was not applied because there is not what [`only_to`] says. Conflicts of field managers are none of these.
pub(crate) fn is_stale(status: &Status) -> bool {
    status.code == 409 && conflicts(status).is_empty()
}

/// Fields that others have set, with who has: kubernetes/apimachinery pkg/util/managedfields/internal/conflict.go @ v0.36.0.
pub(crate) fn conflicts(status: &Status) -> Vec<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let of_managers = causes.filter(|cause| status.code == 409 && cause.reason == "FieldManagerConflict");
    of_managers.map(|cause| format!("{}: {}", cause.message, cause.field)).collect()
}

/// Applies an object as kubectl apply --server-side does. Gives what the API server makes of it.
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
    let params = PatchParams { dry_run: how.dry, force: how.force, ..PatchParams::apply(FIELD_MANAGER) };
    let request = Request::new(served.path(text("namespace")));
    let request = request.patch(text("name").unwrap_or_default(), &params, &Patch::Apply(object));
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}
