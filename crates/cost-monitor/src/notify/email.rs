//! Notices by mail, through a relay of the operator's.

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use serde::Deserialize;

use super::{Error, text};
use crate::state::Delivery;

/// How the way to the relay is kept private.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// From the second word on (`STARTTLS`), or not at all.
    #[default]
    Starttls,
    /// From the first byte on.
    Implicit,
    /// It is not: for a relay on this machine.
    None,
}

/// A relay, and whom it brings notices to.
#[derive(Debug, Clone)]
pub struct Mail {
    relay: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    /// Prepares the way; nothing is sent yet.
    ///
    /// # Errors
    /// When an address is none, or the relay's name cannot be one.
    pub fn new(
        relay: (&str, Option<u16>, Tls),
        login: Option<(String, String)>,
        from: &str,
        to: &[String],
    ) -> Result<Self, String> {
        crate::auth::choose_tls();
        let address = |text: &str| text.parse::<Mailbox>().map_err(|error| format!("{text}: {error}"));
        let (host, port, tls) = relay;
        let builder = match tls {
            Tls::Starttls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host),
            Tls::Implicit => AsyncSmtpTransport::<Tokio1Executor>::relay(host),
            Tls::None => Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)),
        };
        let mut builder = builder.map_err(|error| format!("{host}: {error}"))?;
        if let Some(port) = port {
            builder = builder.port(port);
        }
        if let Some((user, password)) = login {
            builder = builder.credentials(Credentials::new(user, password));
        }
        let to = to.iter().map(|to| address(to)).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err("there is nobody to send to".to_owned());
        }
        Ok(Self { relay: builder.build(), from: address(from)?, to })
    }

    /// Sends one notice to everybody.
    pub(super) async fn send(&self, delivery: &Delivery) -> Result<(), Error> {
        let alert = &delivery.alert;
        let domain = self.from.email.domain();
        // The same notice has the same id, whenever it is sent.
        let id = blake3::hash(alert.id().as_bytes()).to_hex();
        let mut message = Message::builder()
            .from(self.from.clone())
            .message_id(Some(format!("<{}@{domain}>", &id[..32])))
            .subject(format!("Memory budget: {} {}", alert.kind, alert.threshold))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let message = message.body(text(delivery)).map_err(|error| Error::Never(error.to_string()))?;
        match self.relay.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(Error::Never(error.to_string())),
            Err(error) => Err(Error::Later(error.to_string())),
        }
    }
}
