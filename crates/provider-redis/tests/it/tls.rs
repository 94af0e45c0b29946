//! TLS with a certificate authority of one's own. The test servers have none: here TLS ends in front of one.

use std::path::PathBuf;
use std::sync::Arc;

use memory_core::SemanticCache;
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_redis::RedisSemanticCacheProvider;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::support::{Home, answer, entry, request};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// Ends TLS in front of a port, with a certificate for `name`. Gives the port.
async fn terminator(authority: &Authority, name: &str, target: u16) -> u16 {
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
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that refuses the certificate hangs up.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_the_given_authority_and_name_is_trusted_and_no_other() {
    let Some(server) = services::private(Service::Redis) else { return };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.pem()).unwrap();
        path
    };
    let (ours, another) = (authority(), authority());
    let (our_file, other_file) = (write("ours.pem", &ours), write("another.pem", &another));
    let local = terminator(&ours, "localhost", server.port()).await;
    let by_number = terminator(&ours, "127.0.0.1", server.port()).await;
    let elsewhere = terminator(&ours, "redis.example", server.port()).await;
    let home = Home::at(String::new());
    let open = async |url: String, ca_file: Option<&PathBuf>| {
        let mut config = Home::at(url).config();
        config.index_schema = Some(home.schema());
        config.ca_file = ca_file.cloned();
        RedisSemanticCacheProvider::connect(config).await
    };

    let cache = open(format!("rediss://localhost:{local}"), Some(&our_file)).await.unwrap();
    let scope = make::user("acme", "ann");
    // More than a record of TLS holds.
    let response = "x".repeat(100_000);
    cache.store(entry(&scope, "one", &response, Some(1))).await.unwrap();
    assert_eq!(answer(&cache, &request(&scope, "two", Some(1))).await.unwrap(), Some(response));
    open(format!("rediss://127.0.0.1:{by_number}"), Some(&our_file)).await.unwrap();

    let refused = async |url: String, ca_file: Option<&PathBuf>| {
        let error = open(url, ca_file).await.unwrap_err();
        std::error::Error::source(&error).expect("why").to_string()
    };
    let told = [
        refused(format!("rediss://localhost:{local}"), None).await,
        refused(format!("rediss://localhost:{local}"), Some(&other_file)).await,
        refused(format!("rediss://localhost:{elsewhere}"), Some(&our_file)).await,
    ];
    insta::assert_snapshot!(told.join("\n"), @r#"
    invalid peer certificate: UnknownIssuer
    invalid peer certificate: BadSignature
    invalid peer certificate: certificate not valid for name "localhost"; certificate is only valid for DnsName("redis.example")
    "#);
}
