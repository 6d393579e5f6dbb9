//! Lists: selectors, pages and the revision they are read at.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    pieces::{Piece, Pieces},
    request::Render,
    resource::Resource,
    respond::{Failure, Reply, json_stream_reply, json_text_reply},
    selector::Selector,
    server::Cx,
    store, table,
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

pub(super) async fn list(cx: &Cx, res: &'static Resource) -> Result<Reply, Failure> {
    let mut listing = Listing::open(cx, res).await?;
    // What can be refused is refused before anything is answered.
    let mut first = listing.head();
    first.push_str(&listing.more().await?);
    if listing.whole {
        first.push_str(&listing.tail()?);
        return Ok(json_text_reply(first));
    }
    let rest = stream::try_unfold(listing, |mut listing| async {
        if listing.ended {
            return Ok(None);
        }
        let mut text = listing.more().await?;
        if listing.whole {
            text.push_str(&listing.tail()?);
            listing.ended = true;
        }
        Ok(Some((text, listing)))
    });
    let text = stream::once(async { Ok::<_, Failure>(first) }).chain(rest);
    Ok(json_stream_reply(text))
}

/// A list that is being written: its text, a piece at a time.
struct Listing {
    res: &'static Resource,
    render: Render,
    selector: Selector,
    /// 0 for none.
    limit: usize,
    prefix: String,
    pieces: Pieces,
    /// How many items have been written.
    count: usize,
    /// Where the next page begins, and how many rows it and those after it have.
    next: Option<(String, i64)>,
    /// All items have been written.
    whole: bool,
    ended: bool,
}

impl Listing {
    async fn open(cx: &Cx, res: &'static Resource) -> Result<Self, Failure> {
        let selector = Selector::read(&cx.query, res)?;
        let limit = usize::try_from(cx.query.number("limit")?.unwrap_or(0)).unwrap_or(0);
        let store = &cx.server.store;
        let prefix = store.prefix(res, cx.info.namespace.as_deref());
        let (start, revision) = match cx.query.get("continue") {
            Some(token) => {
                let token = decode(token).ok_or_else(|| Failure::bad_request("continue key is not valid"))?;
                (format!("{prefix}{}", token.start.trim_start_matches('/')), token.rv)
            }
            None => (prefix.clone(), exact_revision(cx).await?),
        };
        let pieces = Pieces::new(store.clone(), &prefix, &start, revision);
        let (render, count, next) = (cx.render, 0, None);
        Ok(Self { res, render, selector, limit, prefix, pieces, count, next, whole: false, ended: false })
    }

    /// The items come first: what the list's metadata says is known at its end.
    fn head(&self) -> String {
        format!("{{\"{}\":[", table::render_list(self.render, self.res, &Value::Null).0)
    }

    /// The text of some more items. It has a blank where there was none among those that were read, so that whoever waits
    /// for it sees that it goes on.
    async fn more(&mut self) -> Result<String, Failure> {
        let mut text = String::from("\n");
        let wanted = (self.limit > 0).then(|| self.limit - self.count);
        let Some(Piece { rows, remaining }) = self.pieces.next(wanted).await? else {
            self.whole = true;
            return Ok(text);
        };
        for row in &rows {
            if !self.selector.may_match(row.value()) {
                continue;
            }
            let object = store::decode(row)?.object;
            if self.selector.matches(&object) {
                if self.count > 0 {
                    text.push(',');
                }
                self.count += 1;
                text.push_str(&table::render_item(self.render, self.res, object).to_string());
            }
        }
        let last = rows.last().filter(|_| remaining > 0).map(|row| String::from_utf8_lossy(row.key()).into_owned());
        match last {
            Some(last) if self.limit > 0 && self.count >= self.limit => {
                self.next = Some((format!("{last}\0"), remaining))
            }
            Some(_) => return Ok(text),
            None => {}
        }
        self.whole = true;
        Ok(text)
    }

    fn tail(&self) -> Result<String, Failure> {
        let revision = self.pieces.revision();
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if let Some((start, remaining)) = &self.next {
            let start = format!("/{}", start.trim_start_matches(&self.prefix));
            let token = Continue { v: CONTINUE_VERSION.to_owned(), rv: revision, start };
            let token = serde_json::to_string(&token).map_err(Failure::internal)?;
            metadata["continue"] = json!(BASE64_URL_SAFE_NO_PAD.encode(token));
            if self.selector.is_everything() {
                metadata["remainingItemCount"] = json!(remaining);
            }
        }
        let rest = table::render_list(self.render, self.res, &metadata).1.to_string();
        Ok(format!("],{}\n", rest.trim_start_matches('{')))
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
