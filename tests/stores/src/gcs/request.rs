//! Requests and answers of HTTP, one a connection.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::http::Head;

/// A request, whole.
pub(super) struct Request {
    head: Head,
    pub(super) method: String,
    /// The path with its query, as it was sent.
    pub(super) target: String,
    /// The path, decoded.
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Reads one; nothing where the other side closes before it begins.
    pub(super) fn read(stream: &mut (impl Read + ?Sized)) -> Result<Option<Request>> {
        let Some(head) = Head::read(&mut &mut *stream)? else { return Ok(None) };
        let mut body = vec![0; head.length()];
        stream.read_exact(&mut body)?;
        let mut words = head.first.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path = decoded(path).context("the path is not encoded as one")?;
        let mut pairs = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let of = |text: &str| decoded(&text.replace('+', " ")).context("the query is not encoded as one");
            pairs.insert(of(name)?, of(value)?);
        }
        Ok(Some(Request { method, path, query: pairs, body, target, head }))
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.head.header(name)
    }

    /// The names of all headers, in lower case.
    pub(super) fn headers(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.head.bytes).into_owned();
        text.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_lowercase())).collect()
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = after.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn of(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: Vec::new(), body: body.into() }
    }

    /// An error document.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Answer {
        let message = escaped(message);
        let document = format!(
            "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        Answer::of(status, document)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Answer {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Sends it. The answer to HEAD has no body.
    pub(super) fn write(&self, request: &Request, stream: &mut (impl Write + ?Sized)) -> Result<()> {
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now())?;
        let mut head = format!("HTTP/1.1 {} X\r\nDate: {date}\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        stream.write_all(head.as_bytes())?;
        if request.method != "HEAD" {
            stream.write_all(&self.body)?;
        }
        Ok(stream.flush()?)
    }
}

/// A text in XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
