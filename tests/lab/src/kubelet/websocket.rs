//! WebSocket handshakes, as a real kubelet answers them.

use anyhow::Result;
use base64::Engine;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::server::{Answer, text};

/// The largest frame taken, as the real server's.
const LIMIT: usize = 32 << 20;

pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A handshake that is in order.
#[derive(Debug)]
pub(super) struct Handshake {
    key: String,
    pub(super) protocol: &'static str,
}

impl Handshake {
    /// Reads a handshake and takes the first of the client's protocols that is one of these. `what` is the name of the
    /// stream, for the refusal.
    pub(super) fn read(
        request: &Request<Incoming>,
        protocols: &[&'static str],
        what: &str,
    ) -> std::result::Result<Self, Box<Answer>> {
        let field = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let key = field(header::SEC_WEBSOCKET_KEY).to_owned();
        if !field(header::UPGRADE).eq_ignore_ascii_case("websocket") || key.is_empty() {
            return Err(text(StatusCode::BAD_REQUEST, format!("the lab has {what} over WebSocket only")).into());
        }
        let mut offered = field(header::SEC_WEBSOCKET_PROTOCOL).split(',').map(str::trim);
        let protocol = offered.find_map(|one| protocols.iter().find(|known| **known == one).copied());
        let Some(protocol) = protocol else {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::FORBIDDEN;
            answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
            return Err(answer.into());
        };
        Ok(Self { key, protocol })
    }

    /// The answer that agrees.
    pub(super) fn answer(&self) -> Answer {
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::UPGRADE, "websocket")
            .header(header::CONNECTION, "Upgrade")
            .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(self.key.as_bytes()))
            .header(header::SEC_WEBSOCKET_PROTOCOL, self.protocol)
            .body(Full::default());
        response.unwrap_or_else(|error| text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }
}

/// RFC 6455, 4.2.2.
fn derive_accept_key(key: &[u8]) -> String {
    let seed = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &seed);
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// The socket of a request that was [agreed to](Handshake::answer).
pub(super) async fn accepted(upgrade: hyper::upgrade::OnUpgrade) -> Result<Socket> {
    let config = WebSocketConfig::default().max_frame_size(Some(LIMIT)).max_message_size(Some(LIMIT));
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgrade.await?), Role::Server, Some(config)).await)
}

/// The frame that ends a stream in order.
pub(super) fn end() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}
