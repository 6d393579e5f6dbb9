//! Watches: etcd's events as the API's, each on a line.

use std::time::Duration;

use bytes::Bytes;
use etcd_client::{EventType, WatchStream};
use futures::{SinkExt as _, StreamExt as _, channel::mpsc};
use http::{Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::{
    pieces::{Piece, Pieces},
    request::Render,
    resource::Resource,
    respond::{Failure, Reply},
    selector::Selector,
    server::Cx,
    store::{self, Stored},
    table,
};

/// The least a real server lets a watch last when the client names no timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// How often a client that asked for bookmarks gets one.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

struct Watch {
    res: &'static Resource,
    render: Render,
    selector: Selector,
    bookmarks: bool,
    /// Revision up to which everything has been sent.
    revision: i64,
    /// Revision of the newest event. There may be more of it to come: what etcd tells is in fragments.
    newest: i64,
    out: mpsc::Sender<Bytes>,
}

/// The client is gone.
struct Gone;

pub(super) async fn watch(cx: Cx, res: &'static Resource) -> Result<Reply, Failure> {
    let selector = Selector::read(&cx.query, res)?;
    let store = cx.server.store.clone();
    let prefix = store.prefix(res, cx.info.namespace.as_deref());
    let asked = cx.query.number("resourceVersion")?.unwrap_or(0);
    let initial = cx.query.flag("sendInitialEvents");
    let mut existing = None;
    let mut revision = asked;
    if asked == 0 || initial {
        let mut pieces = store.all(res, cx.info.namespace.as_deref());
        let first = pieces.next(None).await?;
        revision = pieces.revision();
        existing = Some((first, pieces));
    }
    let events = store.watch(&prefix, revision + 1).await?;
    let timeout = cx.query.number("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
    let timeout = timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let (out, lines) = mpsc::channel(16);
    let bookmarks = cx.query.flag("allowWatchBookmarks");
    let mut watch = Watch { res, render: cx.render, selector, bookmarks, revision, newest: revision, out };
    let stopped = cx.server.stopped.clone();
    tokio::spawn(async move {
        let feed = async {
            watch.begin(existing, initial).await?;
            watch.follow(events).await
        };
        // However it ends, the channel closes and with it the answer.
        tokio::select! {
            _ = feed => {}
            () = stopped.cancelled() => {}
            () = tokio::time::sleep(timeout) => {}
        }
    });
    let body = StreamBody::new(lines.map(|line| Ok(Frame::data(line))));
    let mut reply = Response::new(body.boxed_unsync());
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
    Ok(reply)
}

impl Watch {
    /// Sends what is there already, when the client does not know it.
    async fn begin(&mut self, existing: Option<(Option<Piece>, Pieces)>, initial: bool) -> Result<(), Gone> {
        if let Some((mut piece, mut pieces)) = existing {
            while let Some(Piece { rows, .. }) = piece {
                for row in &rows {
                    if !self.selector.may_match(row.value()) {
                        continue;
                    }
                    match store::decode(row) {
                        Ok(item) if self.selector.matches(&item.object) => self.send("ADDED", &item.object).await?,
                        Ok(_) => {}
                        Err(failure) => return self.fail(&failure).await,
                    }
                }
                piece = match pieces.next(None).await {
                    Ok(piece) => piece,
                    Err(failure) => return self.fail(&failure).await,
                };
            }
        }
        if initial {
            self.bookmark(true).await?;
        }
        Ok(())
    }

    async fn follow(&mut self, mut events: WatchStream) -> Result<(), Gone> {
        let mut tick = tokio::time::interval(BOOKMARK_PERIOD);
        tick.reset();
        let mut silent = true;
        loop {
            let message = tokio::select! {
                message = events.message() => message,
                _ = tick.tick() => {
                    // Fragments follow upon each other: after a minute's silence there are no more.
                    if std::mem::replace(&mut silent, true) {
                        self.revision = self.newest;
                    }
                    if self.bookmarks {
                        self.bookmark(false).await?;
                    }
                    continue;
                }
            };
            silent = false;
            match message {
                Ok(Some(message)) if message.compact_revision() != 0 => {
                    let (asked, oldest) = (self.revision, message.compact_revision());
                    return self.fail(&Failure::expired(format!("too old resource version: {asked} ({oldest})"))).await;
                }
                Ok(Some(message)) if message.canceled() => {
                    return self.fail(&Failure::internal(message.cancel_reason())).await;
                }
                Ok(Some(message)) => {
                    for event in message.events() {
                        self.event(event).await?;
                    }
                    if let Some(row) = message.events().last().and_then(etcd_client::Event::kv) {
                        self.newest = row.mod_revision();
                        self.revision = self.revision.max(self.newest - 1);
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => return self.fail(&store::failure(error)).await,
            }
        }
    }

    /// An object entering the selection is added, one leaving it is deleted.
    async fn event(&mut self, event: &etcd_client::Event) -> Result<(), Gone> {
        let Some(row) = event.kv() else { return Ok(()) };
        let may_match = |row: &etcd_client::KeyValue| self.selector.may_match(row.value());
        if !may_match(row) && !event.prev_kv().is_some_and(may_match) {
            return Ok(());
        }
        let revision = row.mod_revision();
        let new = match event.event_type() {
            EventType::Put => Some(store::decode_as_of(row, revision)),
            EventType::Delete => None,
        };
        let old = event.prev_kv().map(|row| store::decode_as_of(row, revision));
        let (new, old) = match (new.transpose(), old.transpose()) {
            (Ok(new), Ok(old)) => (new, old),
            (Err(failure), _) | (_, Err(failure)) => return self.fail(&failure).await,
        };
        let chosen = |item: Option<Stored>| item.filter(|item| self.selector.matches(&item.object));
        match (chosen(old), chosen(new)) {
            (None, Some(new)) => self.send("ADDED", &new.object).await,
            (Some(_), Some(new)) => self.send("MODIFIED", &new.object).await,
            (Some(old), None) => self.send("DELETED", &old.object).await,
            (None, None) => Ok(()),
        }
    }

    async fn bookmark(&mut self, initial: bool) -> Result<(), Gone> {
        let mut metadata = json!({ "resourceVersion": self.revision.to_string(), "creationTimestamp": null });
        if initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = json!({ "kind": self.res.kind, "apiVersion": self.res.api_version(), "metadata": metadata });
        self.line(json!({ "type": "BOOKMARK", "object": object })).await
    }

    async fn send(&mut self, kind: &str, object: &Value) -> Result<(), Gone> {
        let object = table::render_one(self.render, self.res, object);
        self.line(json!({ "type": kind, "object": object })).await
    }

    async fn fail(&mut self, failure: &Failure) -> Result<(), Gone> {
        self.line(json!({ "type": "ERROR", "object": failure.status() })).await
    }

    async fn line(&mut self, event: Value) -> Result<(), Gone> {
        self.out.send(format!("{event}\n").into()).await.map_err(|_| Gone)
    }
}
