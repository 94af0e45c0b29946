//! TLS with a certificate authority of one's own. The test servers are built without it: here TLS ends in front of one.

use std::path::PathBuf;
use std::sync::Arc;

use memory_core::{MemoryStore, Scope};
use provider_alloydb::{AlloyDbMemoryProvider, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::support::Home;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// Ends TLS in front of a server, with a certificate for `name`. Gives the port.
async fn terminator(authority: &Authority, name: &str, server: (String, u16)) -> u16 {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("the key is the certificate's");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                // A client that wants TLS asks whether it may, in eight bytes, and is told Yes. One that does not is
                // hung up on.
                let mut request = [0; 8];
                client.read_exact(&mut request).await?;
                if request != [0, 0, 0, 8, 4, 210, 22, 47] {
                    return Ok(());
                }
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(server).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_trusts_what_it_says_and_no_more() {
    let Some(home) = Home::new() else { return };
    home.prepare().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.pem()).unwrap();
        path
    };
    let (ours, another) = (authority(), authority());
    let (our_file, other_file) = (write("ours.pem", &ours), write("another.pem", &another));
    let plain: PgConnectOptions = home.url.parse().unwrap();
    let server = (plain.get_host().to_owned(), plain.get_port());
    let local = terminator(&ours, "localhost", server.clone()).await;
    let elsewhere = terminator(&ours, "db.example", server.clone()).await;
    let open = async |port: u16, tls: Tls| {
        let mut config = home.config();
        (config.host, config.port, config.tls) = ("localhost".into(), port, Some(tls));
        AlloyDbMemoryProvider::connect(config).await
    };

    let ca = |file: &PathBuf| Tls::VerifyCa(Some(file.clone()));
    let full = |file: &PathBuf| Tls::VerifyFull(Some(file.clone()));
    for (port, tls) in [
        (local, Tls::Require),
        (elsewhere, Tls::Require),
        (local, ca(&our_file)),
        (elsewhere, ca(&our_file)),
        (local, full(&our_file)),
        (local, Tls::Prefer),
        (server.1, Tls::Prefer),
        (server.1, Tls::Disable),
    ] {
        let store = open(port, tls.clone()).await.unwrap_or_else(|error| panic!("{tls:?}: {error:?}"));
        store.stats(&Scope::tenant("acme").unwrap()).await.unwrap();
        store.close().await;
    }

    let refused = async |port: u16, tls: Tls| {
        let error = open(port, tls.clone()).await.expect_err("refused");
        assert!(!error.is_retryable(), "{tls:?}: {error:?}");
        std::error::Error::source(&error).expect("why").to_string()
    };
    let told = [
        refused(server.1, Tls::Require).await,
        refused(server.1, full(&our_file)).await,
        refused(elsewhere, full(&our_file)).await,
        refused(local, full(&other_file)).await,
        refused(local, ca(&other_file)).await,
        refused(local, Tls::VerifyFull(None)).await,
        refused(local, Tls::VerifyCa(None)).await,
    ];
    insta::assert_snapshot!(told.join("\n"));
}
