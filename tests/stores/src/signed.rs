//! Requests to an S3 that are signed, for what backups never ask of it (docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html).

use anyhow::Result;
use jiff::Timestamp;
use ring::{digest, hmac};

use crate::http::Connection;
use crate::{ACCESS_KEY, SECRET_KEY};

const REGION: &str = "us-east-1";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Sends a request to an S3 on this machine: its status, the head of its answer and its body. The path is one that needs no encoding; a query is
/// one name, with a value or without, or nothing.
pub(crate) fn send(
    port: u16,
    method: &str,
    path: &str,
    query: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<(u16, String, String)> {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = time.get(..8).unwrap_or_default();
    let content = sha256(body);
    let host = format!("127.0.0.1:{port}");
    let mut all = vec![("host", host.as_str()), ("x-amz-content-sha256", &content), ("x-amz-date", &time)];
    all.extend_from_slice(headers);
    all.sort_unstable();
    let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = all.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let pair = if query.is_empty() || query.contains('=') { query.to_owned() } else { format!("{query}=") };
    let request = sha256(format!("{method}\n{path}\n{pair}\n{lines}\n{names}\n{content}").as_bytes());
    let scope = format!("{date}/{REGION}/s3/aws4_request");
    let key = [date, REGION, "s3", "aws4_request"]
        .into_iter()
        .fold(format!("AWS4{SECRET_KEY}").into_bytes(), |key, text| mac(&key, text));
    let signature = hex(&mac(&key, &format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{request}")));
    let mut sent: String =
        all.iter().filter(|(name, _)| *name != "host").map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    sent.push_str(&format!(
        "authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}\r\n"
    ));
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{pair}") };
    Connection::to(port)?.send(method, &target, &sent, body)
}
