//! An HTTP proxy that knows CONNECT, and leads every connection to one place.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy that ends with its process.
pub(crate) struct Proxy {
    /// As `HTTPS_PROXY` and `proxy-url` take it.
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts a proxy on loopback; whatever is asked for, it connects to `to` (HOST:PORT).
    pub(crate) fn start(to: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (to, list) = (to.to_owned(), Arc::clone(&asked));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (to, list) = (to.clone(), Arc::clone(&list));
                // A connection that breaks is the business of the one who made it.
                thread::spawn(move || drop(serve(client, &to, &list)));
            }
        });
        Proxy { url, asked }
    }

    /// What has been asked for since the last look, HOST:PORT each.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("no panic while the lock is held"))
    }
}

fn serve(mut client: TcpStream, to: &str, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let target = line.strip_prefix("CONNECT ").and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    asked.lock().expect("no panic while the lock is held").push(target.to_owned());
    // To the empty line that ends the head. The client is silent until it is answered: nothing more is buffered.
    while head.read_line(&mut String::new())? > 2 {}
    let server = TcpStream::connect(to)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (up, down) = ((client.try_clone()?, server.try_clone()?), (server, client));
    let upward = thread::spawn(move || pump(up));
    pump(down);
    let _ended = upward.join();
    Ok(())
}

fn pump((mut from, mut to): (TcpStream, TcpStream)) {
    let _broken = std::io::copy(&mut from, &mut to);
    let _gone = to.shutdown(Shutdown::Write);
}
