//! Lists: selectors, pages and the revision they are read at.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    resource::Resource,
    respond::{Failure, Reply, json_reply},
    selector::Selector,
    server::Cx,
    store::{Range, Stored},
    table,
};

/// Where the next page begins: what `continue` holds, as in `k8s.io/apiserver/pkg/storage/continue.go`.
#[derive(Serialize, Deserialize)]
struct Continue {
    v: String,
    rv: i64,
    /// Key below the resource's prefix, with a leading slash, and the least character after the last one shown.
    start: String,
}

const CONTINUE_VERSION: &str = "meta.k8s.io/v1";

pub(super) async fn list(cx: &Cx, res: &Resource) -> Result<Reply, Failure> {
    let selector = Selector::read(&cx.query, res)?;
    let limit = usize::try_from(cx.query.number("limit")?.unwrap_or(0)).unwrap_or(0);
    let page = page(cx, res, &selector, limit).await?;
    let mut metadata = json!({ "resourceVersion": page.revision.to_string() });
    if let Some(token) = page.next {
        metadata["continue"] = json!(token);
        if selector.is_everything() {
            metadata["remainingItemCount"] = json!(page.remaining);
        }
    }
    let items = page.items.into_iter().map(|item| item.object).collect();
    Ok(json_reply(StatusCode::OK, &table::render_list(cx.render, res, metadata, items)))
}

struct Page {
    items: Vec<Stored>,
    revision: i64,
    next: Option<String>,
    remaining: i64,
}

async fn page(cx: &Cx, res: &Resource, selector: &Selector, limit: usize) -> Result<Page, Failure> {
    let store = &cx.server.store;
    let prefix = store.prefix(res, cx.info.namespace.as_deref());
    let (mut start, mut revision) = match cx.query.get("continue") {
        Some(token) => {
            let token = decode(token).ok_or_else(|| Failure::bad_request("continue key is not valid"))?;
            (format!("{prefix}{}", token.start.trim_start_matches('/')), token.rv)
        }
        None => (prefix.clone(), exact_revision(cx).await?),
    };
    let mut items: Vec<Stored> = Vec::new();
    loop {
        let wanted = limit.saturating_sub(items.len());
        let Range { items: read, revision: now, total } =
            store.range(&prefix, &start, i64::try_from(wanted).unwrap_or(0), revision).await?;
        if revision == 0 {
            revision = now;
        }
        let (count, last) = (read.len(), read.last().map(|item| item.key.clone()));
        items.extend(read.into_iter().filter(|item| selector.matches(&item.object)));
        let remaining = total - i64::try_from(count).unwrap_or(0);
        let Some(last) = last.filter(|_| remaining > 0) else {
            return Ok(Page { items, revision, next: None, remaining: 0 });
        };
        start = format!("{last}\0");
        if items.len() >= limit {
            let relative = format!("/{}", start.trim_start_matches(&prefix));
            let token = Continue { v: CONTINUE_VERSION.to_owned(), rv: revision, start: relative };
            let token = serde_json::to_string(&token).map_err(Failure::internal)?;
            return Ok(Page { items, revision, next: Some(BASE64_URL_SAFE_NO_PAD.encode(token)), remaining });
        }
    }
}

fn decode(token: &str) -> Option<Continue> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&json).ok().filter(|token: &Continue| token.v == CONTINUE_VERSION)
}

/// Revision to list at, 0 for now: anything not older than what was asked for is newest here, without a cache.
async fn exact_revision(cx: &Cx) -> Result<i64, Failure> {
    let asked = cx.query.number("resourceVersion")?.unwrap_or(0);
    if asked == 0 {
        return Ok(0);
    }
    let current = cx.server.store.revision().await?;
    if asked > current {
        return Err(Failure::too_large_revision(asked, current));
    }
    Ok(if cx.query.get("resourceVersionMatch") == Some("Exact") { asked } else { 0 })
}
