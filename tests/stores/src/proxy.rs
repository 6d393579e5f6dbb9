//! A proxy in front of a server that brings bad luck, request by request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};

use crate::http::Head;
use crate::{BUCKET, Variables, s3_variables};

/// What the proxy has seen of a request, when it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which request it is, from 0.
    pub index: usize,
    /// GET, PUT and so on.
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// The session token of its credential, if that has one.
    pub token: Option<String>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It is answered by the server.
    Pass,
    /// It is answered by the proxy, with this status and error code, and further headers, each with its line end.
    Refuse(u16, &'static str, &'static str),
    /// The connection is closed before anything is read of the body, and the server hears nothing.
    Drop,
    /// The connection is closed after so many bytes of the request. The server hears them.
    CutRequest(usize),
    /// The server's answer is cut after so many bytes: 0 is an answer that gets lost.
    CutAnswer(usize),
    /// It is answered by the server, whose clock says that it is so much later, by the header of the answer.
    Later(SignedDuration),
    /// It waits until so many requests are on their way at the same time, which may be over by then, and passes. If they never are, the
    /// connection is closed after a minute.
    Gather(usize),
}

/// A proxy of an S3 over HTTP.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddrV4,
    state: Arc<Shared>,
}

type Decide = Box<dyn FnMut(&Seen) -> Act + Send>;

struct State {
    seen: Vec<Seen>,
    decide: Decide,
    /// Requests whose answers have not been sent yet, now and at most.
    under_way: usize,
    most: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// More requests are on their way.
    more: Condvar,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is on its way. Dropped before the last byte of its answer is sent: whoever waits for that may ask the next thing then.
struct UnderWay<'a>(&'a Shared);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way -= 1;
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.seen.fmt(f)
    }
}

impl Proxy {
    /// Starts one in front of a port of this machine. Everything passes, until [`Proxy::decide`].
    pub fn start(upstream: u16) -> Result<Proxy> {
        Proxy::start_at(Ipv4Addr::LOCALHOST, upstream)
    }

    /// The same, at another address of this machine: one at which others reach it.
    pub fn start_at(address: Ipv4Addr, upstream: u16) -> Result<Proxy> {
        let listener = TcpListener::bind((address, 0))?;
        let address = SocketAddrV4::new(address, listener.local_addr()?.port());
        let state = State { seen: Vec::new(), decide: Box::new(|_| Act::Pass), under_way: 0, most: 0 };
        let state = Arc::new(Shared { state: Mutex::new(state), more: Condvar::new() });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that goes away is what this is for.
                thread::spawn(move || serve(client, upstream, &shared));
            }
        });
        Ok(Proxy { address, state })
    }

    /// From now on this decides, and requests are counted anew.
    pub fn decide(&self, decide: impl FnMut(&Seen) -> Act + Send + 'static) {
        let mut state = self.state.lock();
        state.seen.clear();
        state.most = state.under_way;
        state.decide = Box::new(decide);
    }

    /// The requests since [`Proxy::decide`].
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }

    /// How many requests were on their way at the same time, at most, since [`Proxy::decide`].
    pub fn most_at_once(&self) -> usize {
        self.state.lock().most
    }

    /// The store below a prefix, through the proxy.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint=http://{}", self.address)
    }

    /// The credential.
    pub fn variables(&self) -> Variables {
        s3_variables()
    }
}

/// One request of one connection.
fn serve(mut client: TcpStream, upstream: u16, shared: &Shared) -> Result<()> {
    let Some(head) = Head::read(&mut client)? else { return Ok(()) };
    let mut words = head.first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (act, under_way) = {
        let mut state = shared.lock();
        let token = head.header("x-amz-security-token");
        let seen = Seen { index: state.seen.len(), method, target, token };
        state.seen.push(seen.clone());
        state.under_way += 1;
        state.most = state.most.max(state.under_way);
        shared.more.notify_all();
        let act = (state.decide)(&seen);
        drop(state);
        (act, UnderWay(shared))
    };
    if let Act::Gather(count) = act {
        let few = |state: &mut State| state.most < count;
        let waited = shared.more.wait_timeout_while(shared.lock(), Duration::from_secs(60), few);
        if waited.is_ok_and(|(_, waited)| waited.timed_out()) {
            return Ok(client.shutdown(Shutdown::Both)?);
        }
    }
    if act == Act::Drop {
        return Ok(client.shutdown(Shutdown::Both)?);
    }
    let cut = if let Act::CutRequest(bytes) = act { bytes } else { usize::MAX };
    let mut body = vec![0; head.length().min(cut.saturating_sub(head.bytes.len()))];
    client.read_exact(&mut body)?;
    if let Act::Refuse(status, code, headers) = act {
        let document = format!("<Error><Code>{code}</Code><Message>bad luck</Message></Error>");
        let body = if head.first.starts_with("HEAD ") { "" } else { document.as_str() };
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        drop(under_way);
        client.write_all(answer.as_bytes())?;
        return Ok(client.shutdown(Shutdown::Write)?);
    }
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).context("the server is gone")?;
    let (first, rest) = head.bytes.split_at(head.bytes.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1));
    let whole = [first, b"Connection: close\r\n", rest, &body].concat();
    let added = b"Connection: close\r\n".len();
    if matches!(act, Act::CutRequest(_)) && cut < head.bytes.len() + head.length() {
        server.write_all(whole.get(..cut.saturating_add(added)).unwrap_or(&whole))?;
        server.shutdown(Shutdown::Both)?;
        return Ok(client.shutdown(Shutdown::Both)?);
    }
    server.write_all(&whole)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    match act {
        Act::CutAnswer(bytes) => answer.truncate(bytes),
        Act::Later(time) => answer = dated(&answer, time)?,
        _ => {}
    }
    drop(under_way);
    client.write_all(&answer)?;
    Ok(client.shutdown(Shutdown::Both)?)
}

/// An answer with another date in its head.
fn dated(answer: &[u8], later: SignedDuration) -> Result<Vec<u8>> {
    let head = Head::read(&mut &*answer)?.context("the server has not answered")?;
    let body = answer.get(head.bytes.len()..).unwrap_or_default();
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now().saturating_add(later)?)?;
    let text = String::from_utf8_lossy(&head.bytes);
    let kept = text.split_inclusive("\r\n").filter(|line| !line.to_lowercase().starts_with("date:"));
    let mut lines: Vec<&str> = kept.collect();
    let date = format!("Date: {date}\r\n");
    lines.insert(1, &date);
    Ok([lines.concat().as_bytes(), body].concat())
}
