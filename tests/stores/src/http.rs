//! As much of HTTP/1.1 as a proxy and a look at a server need: one request a connection, bodies by Content-Length.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// The head of a request or an answer, with its last empty line, and the first line of it.
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    pub(crate) first: String,
}

impl Head {
    /// Reads one; nothing where the other side closes before it begins.
    pub(crate) fn read(stream: &mut impl Read) -> Result<Option<Head>> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte)? == 0 {
                ensure!(bytes.is_empty(), "the head ends before its end");
                return Ok(None);
            }
            bytes.extend_from_slice(&byte);
        }
        let text = String::from_utf8_lossy(&bytes);
        let first = text.lines().next().unwrap_or_default().to_owned();
        Ok(Some(Head { first, bytes }))
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    pub(crate) fn length(&self) -> usize {
        self.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

/// One request to this machine; its status and body.
pub(crate) fn request(port: u16, method: &str, target: &str) -> Result<(u16, String)> {
    request_with(port, method, target, "Accept: application/json")
}

/// The same with further headers, a line each.
pub(crate) fn request_with(port: u16, method: &str, target: &str, headers: &str) -> Result<(u16, String)> {
    let headers = headers.replace('\n', "\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    Ok((status, body.to_owned()))
}

/// The status and the body of what a server of this machine gives for a path. By HTTP/1.0, in which bodies come as they are.
pub(crate) fn get(port: u16, target: &str) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {target} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n\r\n")?;
    let head = Head::read(&mut stream)?.context("the server has closed the connection")?;
    let status = head.first.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
    let mut body = Vec::new();
    stream.read_to_end(&mut body)?;
    Ok((status, body))
}

/// A path, or a prefix, as URLs have it.
pub fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(one).collect()
}

/// A connection for many requests.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    port: u16,
}

impl Connection {
    pub(crate) fn to(port: u16) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream), port })
    }

    /// Sends a request with these headers, each with its line end, and reads the answer: status, head and body.
    pub(crate) fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<(u16, String, String)> {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{headers}Content-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let head = Head::read(&mut self.stream)?.context("the server has closed the connection")?;
        let status = head.first.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
        let mut body = vec![0; if method == "HEAD" { 0 } else { head.length() }];
        self.stream.read_exact(&mut body)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((status, text(&head.bytes), text(&body)))
    }
}
