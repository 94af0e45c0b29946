//! The least of an HTTP client: requests that are written once and sent as they are, answers read to their end. What a
//! client library takes would be counted with the server's time.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that is kept open.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer: its status, and where its body is in the connection's buffer.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

/// A request with a JSON body, as it goes over the wire.
pub fn post(path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Connection {
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("no connection to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    pub async fn send(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (status, body) = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
            if let Some(head) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break head_of(std::str::from_utf8(&self.buffer[..head])?, head + 4)?;
            }
        };
        while self.buffer.len() < body.end {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection within an answer");
            }
        }
        Ok(Answer { status, body: &self.buffer[body] })
    }

    /// Sends and expects success.
    pub async fn call(&mut self, request: &[u8]) -> Result<&[u8]> {
        let answer = self.send(request).await?;
        if !(200..300).contains(&answer.status) {
            bail!("answered {}: {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        Ok(answer.body)
    }
}

fn head_of(head: &str, begin: usize) -> Result<(u16, std::ops::Range<usize>)> {
    let status = head.split(' ').nth(1).context("no status line")?.parse()?;
    let length = head.lines().skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.context("an answer without content-length")??;
    Ok((status, begin..begin + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_the_status_and_where_the_body_is() {
        assert_eq!(head_of("HTTP/1.1 201 Created\r\nContent-Length: 7\r\nx: y", 40).unwrap(), (201, 40..47));
        assert!(head_of("HTTP/1.1 200 OK\r\nx: y", 40).is_err());
    }
}
