//! A running server, as a side of a move.

use std::net::SocketAddr;

use orchestra_api::config::Settings;
use orchestra_api::serve::serve_until;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::home::Home;

/// A server in this process that has the file of a side open.
pub struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Server {
    pub async fn of(home: &Home, side: &str) -> Self {
        let mut settings = Settings::for_data(home.path().join(side));
        settings.listen = "127.0.0.1:0".parse().expect("an address");
        let ((stop, stopped), (ready, is_ready)) = (oneshot::channel::<()>(), oneshot::channel());
        let ended = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            let served = serve_until(settings, |address| ready.send(address).expect("somebody waits"), stopped).await;
            served.expect("it serves");
        });
        Self { address: is_ready.await.expect("it is ready"), stop, ended }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn end(self) {
        drop(self.stop);
        self.ended.await.expect("it ends");
    }
}
