//! Servers in this process: one request a connection, each on a thread of its own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use anyhow::Result;

/// What a request is read from, and an answer written to.
pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Answers over HTTP.
pub(crate) fn plain(listener: TcpListener, answer: impl Fn(&mut dyn Stream) -> Result<()> + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // A client that goes away is its own business.
            thread::spawn(move || answer(&mut stream));
        }
    });
}

/// Answers over HTTPS.
pub(crate) fn secure(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    answer: impl Fn(&mut dyn Stream) -> Result<()> + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, tls) = (Arc::clone(&answer), Arc::clone(&tls));
            thread::spawn(move || {
                let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(tls)?, stream);
                let answered = answer(&mut stream);
                stream.conn.send_close_notify();
                stream.flush()?;
                answered
            });
        }
    });
}
