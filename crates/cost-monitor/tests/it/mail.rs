//! A relay that takes one mail.

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Its port, and what it was sent.
pub async fn relay() -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (from, mut to) = stream.into_split();
        let mut lines = BufReader::new(from).lines();
        to.write_all(b"220 relay\r\n").await.unwrap();
        let mut mail = String::new();
        let mut in_mail = false;
        while let Some(line) = lines.next_line().await.unwrap() {
            let answer = match (in_mail, line.as_str()) {
                (true, ".") => {
                    to.write_all(b"250 taken\r\n").await.unwrap();
                    return mail;
                }
                (true, line) => {
                    mail += line;
                    mail.push('\n');
                    continue;
                }
                (false, "DATA") => {
                    in_mail = true;
                    "354 go on\r\n"
                }
                (false, _) => "250 relay\r\n",
            };
            to.write_all(answer.as_bytes()).await.unwrap();
        }
        mail
    });
    (port, serving)
}
