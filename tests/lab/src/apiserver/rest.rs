//! Create, get, update, patch and delete, the same for every resource; what pods do differently is in `pods`.

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use rand::Rng as _;
use serde_json::{Value, json};

use super::{
    admission,
    patch::{self, Merge},
    pods, rbac,
    resource::{self, Resource},
    respond::{Failure, Reply, json_reply},
    selector::Selector,
    server::Cx,
    store::{self, Store, Stored},
    table, validate,
};

/// The real server's limit on request bodies, bytes.
const BODY_LIMIT: usize = 3 << 20;
/// How often a change is tried again when somebody else was faster.
const ATTEMPTS: usize = 10;

const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

/// Reads a body of any media type.
pub(super) async fn bytes(request: Request<Incoming>) -> Result<Vec<u8>, Failure> {
    match Limited::new(request.into_body(), BODY_LIMIT).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {BODY_LIMIT}");
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message))
        }
        Err(error) => Err(Failure::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// Reads a body that must be a JSON object; `None` when it is empty.
async fn json_body(request: Request<Incoming>) -> Result<Option<Value>, Failure> {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_json = matches!(media_type.split(';').next().unwrap_or_default().trim(), "" | "application/json");
    let bytes = bytes(request).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json {
        return Err(Failure::media_type("application/json"));
    }
    match serde_json::from_slice(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(Some(value)),
        Ok(_) => Err(Failure::bad_request("the body of the request is not a JSON object")),
        Err(error) => Err(Failure::bad_request(format!("the body of the request is not JSON: {error}"))),
    }
}

/// Reads the object of a create or an update.
pub(super) async fn body(request: Request<Incoming>) -> Result<Value, Failure> {
    json_body(request).await?.ok_or_else(|| Failure::bad_request("the body of the request is empty"))
}

/// Reads the DeleteOptions of a delete.
pub(super) async fn options(request: Request<Incoming>) -> Result<Value, Failure> {
    Ok(json_body(request).await?.unwrap_or_else(|| json!({})))
}

/// Now, as the API writes it.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A random (version 4) UUID.
fn uuid() -> String {
    let mut bits = rand::rng().random::<u128>();
    bits = bits & !(0xf << 76) & !(0xc << 60) | (0x4 << 76) | (0x8 << 60);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

pub(super) async fn read(cx: &Cx, res: &Resource) -> Result<Stored, Failure> {
    let name = cx.info.name.as_deref().unwrap_or_default();
    let key = cx.server.store.key(res, cx.info.namespace.as_deref(), name);
    cx.server.store.get(&key).await?.ok_or_else(|| Failure::not_found(res, name))
}

pub(super) async fn get(cx: &Cx, res: &Resource) -> Result<Reply, Failure> {
    Ok(show(cx, res, StatusCode::OK, &read(cx, res).await?.object))
}

fn show(cx: &Cx, res: &Resource, code: StatusCode, object: &Value) -> Reply {
    json_reply(code, &table::render_one(cx.render, res, object))
}

/// What a client sent must be of the resource's kind and of the namespace of the URL.
fn check_kind(cx: &Cx, res: &Resource, object: &mut Value) -> Result<(), Failure> {
    let api_version = res.api_version();
    for (field, want) in [("apiVersion", api_version.as_str()), ("kind", res.kind)] {
        match object.get(field) {
            None => object[field] = json!(want),
            Some(Value::String(given)) if given == want => {}
            Some(given) => {
                let message = format!(
                    "{} in version {:?} cannot be handled as a {}: {field} {given} does not match",
                    res.kind, res.version, res.kind
                );
                return Err(Failure::bad_request(message));
            }
        }
    }
    if object.get("metadata").is_none_or(Value::is_null) {
        object["metadata"] = json!({});
    }
    if !object["metadata"].is_object() {
        return Err(Failure::bad_request("metadata is not an object"));
    }
    if res.namespaced {
        let namespace = json!(cx.info.namespace);
        match object["metadata"].get("namespace") {
            Some(given) if *given != namespace && *given != json!("") => {
                let message = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(Failure::bad_request(message));
            }
            _ => object["metadata"]["namespace"] = namespace,
        }
    }
    Ok(())
}

pub(super) async fn create(cx: &Cx, res: &Resource, object: Value) -> Result<Reply, Failure> {
    match cx.info.subresource.as_str() {
        "" if cx.info.name.is_none() => create_named(cx, res, object).await,
        "binding" => pods::bind(cx, &object).await,
        _ => Err(Failure::method_not_allowed()),
    }
}

async fn create_named(cx: &Cx, res: &Resource, mut object: Value) -> Result<Reply, Failure> {
    check_kind(cx, res, &mut object)?;
    let warnings = validate::fields(res, &object, cx.query.get("fieldValidation"))?;
    if res.namespaced {
        admission::namespace_open(cx, cx.info.namespace.as_deref().unwrap_or_default()).await?;
    }
    if !object["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty() {
        return Err(Failure::internal("resourceVersion should not be set on objects to be created"));
    }
    let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default();
    if object["metadata"]["name"].as_str().unwrap_or_default().is_empty() && !prefix.is_empty() {
        object["metadata"]["name"] = json!(format!("{prefix}{}", suffix()));
    }
    stamp(res, &mut object);
    if res.is_pods() {
        pods::default(&mut object)?;
    }
    validate::object(res, &object)?;
    if res.is_pods() {
        admission::pod(cx, &object).await?;
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let store = &cx.server.store;
    let key = store.key(res, cx.info.namespace.as_deref(), &name);
    if cx.query.dry_run()? {
        if store.get(&key).await?.is_some() {
            return Err(Failure::already_exists(res, &name));
        }
    } else {
        let revision = store.create(&key, &object).await?.ok_or_else(|| Failure::already_exists(res, &name))?;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
    }
    let mut reply = show(cx, res, StatusCode::CREATED, &object);
    for warning in warnings {
        if let Ok(value) = header::HeaderValue::from_str(&format!("299 - {:?}", warning)) {
            reply.headers_mut().append(header::WARNING, value);
        }
    }
    Ok(reply)
}

/// Five characters as the real server appends to `generateName`.
fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    (0..5).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}

/// Fills in what only the server may say.
fn stamp(res: &Resource, object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["resourceVersion", "selfLink", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds"]
        {
            metadata.remove(field);
        }
        if !res.namespaced {
            metadata.remove("namespace");
        }
        metadata.insert("uid".into(), json!(uuid()));
        metadata.insert("creationTimestamp".into(), json!(now()));
        if res.status && !matches!(res.kind, "Namespace" | "Node" | "Service") {
            metadata.insert("generation".into(), json!(1));
        }
    }
    match res.kind {
        // A kubelet registers its node with the status in it.
        "Node" => {}
        "Namespace" => {
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            object["status"] = json!({ "phase": "Active" });
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object["metadata"]["name"].clone();
        }
        "PersistentVolume" | "PersistentVolumeClaim" => object["status"] = json!({ "phase": "Pending" }),
        _ if res.status => object["status"] = json!({}),
        _ => {}
    }
}

/// Makes the namespaces, roles and bindings of a new cluster that are not there yet.
pub(super) async fn bootstrap(store: &Store) -> Result<(), Failure> {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        first(store, resource::namespaces(), object).await?;
    }
    for (plural, object) in rbac::bootstrap() {
        if let Some(res) = resource::find("rbac.authorization.k8s.io", "v1", plural) {
            first(store, res, object).await?;
        }
    }
    Ok(())
}

async fn first(store: &Store, res: &Resource, mut object: Value) -> Result<(), Failure> {
    let key = store.key(res, None, object["metadata"]["name"].as_str().unwrap_or_default());
    stamp(res, &mut object);
    // Being there already, made by this or another server, is as good.
    store.create(&key, &object).await.map(drop)
}

pub(super) async fn update(cx: &Cx, res: &Resource, mut object: Value) -> Result<Reply, Failure> {
    check_kind(cx, res, &mut object)?;
    let name = cx.info.name.clone().ok_or_else(Failure::method_not_allowed)?;
    match object["metadata"]["name"].as_str().unwrap_or_default() {
        "" => object["metadata"]["name"] = json!(name),
        given if given == name => {}
        given => {
            let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            return Err(Failure::bad_request(message));
        }
    }
    validate::fields(res, &object, cx.query.get("fieldValidation"))?;
    let object = change(cx, res, |_| Ok(object.clone())).await?;
    Ok(show(cx, res, StatusCode::OK, &object))
}

pub(super) async fn patch(cx: &Cx, res: &Resource, media_type: &str, body: &[u8]) -> Result<Reply, Failure> {
    let merge = Merge::read(media_type, body)?;
    if let Merge::Apply(wanted) = &merge {
        if cx.query.get("fieldManager").is_none() {
            let message =
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
            return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message));
        }
        // k8s.io/apimachinery/pkg/util/managedfields/internal/fieldmanager.go, Apply.
        if wanted["metadata"]["managedFields"].as_array().is_some_and(|fields| !fields.is_empty()) {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        let name = cx.info.name.as_deref().unwrap_or_default();
        let key = cx.server.store.key(res, cx.info.namespace.as_deref(), name);
        if cx.info.subresource.is_empty() && cx.server.store.get(&key).await?.is_none() {
            // k8s.io/apiserver/pkg/endpoints/handlers/patch.go, applyPatcher.createNewObject and patcher.patchResource.
            if let Some(uid) = wanted["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Failure::conflict(res, name, &why));
            }
            let mut wanted = wanted.clone();
            wanted["metadata"]["name"] = json!(name);
            // Unlike a create, an apply may have one: k8s.io/apiserver/pkg/storage/etcd3/store.go, updateState.
            put(&mut wanted["metadata"], "resourceVersion", None);
            return create_named(cx, res, wanted).await;
        }
    }
    let object = change(cx, res, |old| {
        let mut new = old.clone();
        patch::apply(&merge, &mut new)?;
        validate::fields(res, &new, cx.query.get("fieldValidation"))?;
        Ok(new)
    })
    .await?;
    Ok(show(cx, res, StatusCode::OK, &object))
}

/// Stores what `make` makes of the object, unless it changed since the client read it.
pub(super) async fn change(
    cx: &Cx,
    res: &Resource,
    make: impl Fn(&Value) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let name = cx.info.name.clone().unwrap_or_default();
    for _ in 0..ATTEMPTS {
        let old = read(cx, res).await?;
        let new = make(&old.object)?;
        let given = &new["metadata"]["resourceVersion"];
        let conditional = given.as_str().is_some_and(|given| !given.is_empty());
        if conditional && *given != old.object["metadata"]["resourceVersion"] {
            return Err(Failure::conflict(res, &name, MODIFIED));
        }
        let uid = &new["metadata"]["uid"];
        if uid.as_str().is_some_and(|uid| !uid.is_empty()) && *uid != old.object["metadata"]["uid"] {
            let (new, old) = (text(uid), text(&old.object["metadata"]["uid"]));
            return Err(Failure::conflict(
                res,
                &name,
                &format!("Precondition failed: UID in precondition: {new}, UID in object meta: {old}"),
            ));
        }
        let mut new = merged(cx, res, &old.object, new)?;
        if new == old.object || cx.query.dry_run()? {
            return Ok(new);
        }
        let finalized = new["metadata"]["deletionTimestamp"].is_string() && !res.is_pods() && finalizers(&new) == 0;
        let stored = match finalized {
            true => cx.server.store.delete(&old.key, old.revision).await?,
            false => cx.server.store.update(&old.key, old.revision, &new).await?,
        };
        if let Some(revision) = stored {
            new["metadata"]["resourceVersion"] = json!(revision.to_string());
            return Ok(new);
        }
    }
    Err(Failure::conflict(res, &name, MODIFIED))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn finalizers(object: &Value) -> usize {
    object["metadata"]["finalizers"].as_array().map_or(0, Vec::len)
}

/// The old object with what this request may change of it.
fn merged(cx: &Cx, res: &Resource, old: &Value, mut new: Value) -> Result<Value, Failure> {
    if cx.info.subresource == "status" {
        let mut object = old.clone();
        object["status"] = new["status"].take();
        return Ok(object);
    }
    if res.status {
        put(&mut new, "status", old.get("status"));
    }
    for field in
        ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"]
    {
        put(&mut new["metadata"], field, old["metadata"].get(field));
    }
    if res.is_pods() {
        pods::check_update(res, old, &mut new)?;
    }
    validate::object(res, &new)?;
    if new["metadata"]["generation"].is_number() && new.get("spec") != old.get("spec") {
        new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
    }
    Ok(new)
}

fn put(object: &mut Value, field: &str, value: Option<&Value>) {
    if let Some(map) = object.as_object_mut() {
        match value {
            Some(value) => map.insert(field.to_owned(), value.clone()),
            None => map.remove(field),
        };
    }
}

pub(super) async fn delete(cx: &Cx, res: &Resource, options: &Value) -> Result<Reply, Failure> {
    if !cx.info.subresource.is_empty() {
        return Err(Failure::method_not_allowed());
    }
    let name = cx.info.name.as_deref().unwrap_or_default();
    for _ in 0..ATTEMPTS {
        let old = read(cx, res).await?;
        preconditions(res, name, &old.object, &options["preconditions"])?;
        if let Some(object) = delete_once(cx, res, &old, options).await? {
            let whole = res.is_pods() || object["metadata"]["deletionTimestamp"].is_string();
            let reply = if whole { object } else { deleted(res, &object) };
            return Ok(json_reply(StatusCode::OK, &reply));
        }
    }
    Err(Failure::conflict(res, name, MODIFIED))
}

fn deleted(res: &Resource, object: &Value) -> Value {
    let mut details =
        json!({ "name": object["metadata"]["name"], "kind": res.plural, "uid": object["metadata"]["uid"] });
    if !res.group.is_empty() {
        details["group"] = json!(res.group);
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

fn preconditions(res: &Resource, name: &str, object: &Value, wanted: &Value) -> Result<(), Failure> {
    for (field, label) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let (want, have) = (text(&wanted[field]), text(&object["metadata"][field]));
        if wanted[field].is_string() && want != have {
            let why = format!("Precondition failed: {label} in precondition: {want}, {label} in object meta: {have}");
            return Err(Failure::conflict(res, name, &why));
        }
    }
    Ok(())
}

/// Deletes, or marks for deletion, the object as read; `None` when it has changed meanwhile.
async fn delete_once(cx: &Cx, res: &Resource, old: &Stored, options: &Value) -> Result<Option<Value>, Failure> {
    let store = &cx.server.store;
    let grace = if res.is_pods() { pods::grace(&old.object, options, &cx.query)? } else { 0 };
    if grace > 0 || finalizers(&old.object) > 0 {
        let Some(marked) = pods::mark_deleted(&old.object, grace) else { return Ok(Some(old.object.clone())) };
        if cx.query.dry_run()? {
            return Ok(Some(marked));
        }
        let revision = store.update(&old.key, old.revision, &marked).await?;
        return Ok(revision.map(|revision| {
            let mut marked = marked;
            marked["metadata"]["resourceVersion"] = json!(revision.to_string());
            marked
        }));
    }
    if cx.query.dry_run()? {
        return Ok(Some(old.object.clone()));
    }
    if res.kind == "Namespace" {
        // No controller empties namespaces here, so the server does.
        let namespace = old.object["metadata"]["name"].as_str();
        for res in resource::RESOURCES.iter().filter(|r| r.namespaced && !r.is_review()) {
            let mut pieces = store.all(res, namespace);
            while let Some(piece) = pieces.next(None).await? {
                for row in &piece.rows {
                    store.delete(&String::from_utf8_lossy(row.key()), row.mod_revision()).await?;
                }
            }
        }
    }
    Ok(store.delete(&old.key, old.revision).await?.map(|revision| {
        let mut gone = old.object.clone();
        gone["metadata"]["resourceVersion"] = json!(revision.to_string());
        gone
    }))
}

pub(super) async fn delete_collection(cx: &Cx, res: &Resource, options: &Value) -> Result<Reply, Failure> {
    let selector = Selector::read(&cx.query, res)?;
    let mut pieces = cx.server.store.all(res, cx.info.namespace.as_deref());
    // The answer has all that were deleted, as the real server's.
    let mut items = Vec::new();
    while let Some(piece) = pieces.next(None).await? {
        for row in &piece.rows {
            let item = store::decode(row)?;
            if selector.matches(&item.object) {
                // One that somebody else changed or deleted meanwhile is left to them.
                items.extend(delete_once(cx, res, &item, options).await?);
            }
        }
    }
    let list = json!({ "kind": format!("{}List", res.kind), "apiVersion": res.api_version(),
        "metadata": { "resourceVersion": pieces.revision().to_string() }, "items": items });
    Ok(json_reply(StatusCode::OK, &list))
}
