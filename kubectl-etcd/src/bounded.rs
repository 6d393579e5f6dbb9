//! Answers whose length somebody else decides: they are read up to a limit.

use futures::AsyncReadExt as _;
use http::Request;
use kube::Client;

/// Sends a request and gives the text of its answer.
///
/// # Errors
/// Those of the request; the answer is longer than `limit` bytes, or no text.
pub(crate) async fn text(client: &Client, request: Request<Vec<u8>>, limit: u64) -> kube::Result<String> {
    let stream = std::pin::pin!(client.request_stream(request).await?);
    read(stream, limit).await.map_err(|error| kube::Error::Service(Box::new(error)))
}

async fn read(stream: impl futures::AsyncRead + Unpin, limit: u64) -> std::io::Result<String> {
    let mut text = String::new();
    stream.take(limit + 1).read_to_string(&mut text).await?;
    match u64::try_from(text.len()) {
        Ok(length) if length <= limit => Ok(text),
        _ => Err(std::io::Error::other(format!("the answer is longer than {limit} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_ends_at_its_limit() {
        assert_eq!(read(&b"four"[..], 4).await.expect("within the limit"), "four");
        let failed = read(&b"five!"[..], 4).await.expect_err("longer");
        assert!(failed.to_string().contains("longer than 4 bytes"), "{failed}");
        assert!(read(&b"\xff"[..], 4).await.is_err());
    }
}
