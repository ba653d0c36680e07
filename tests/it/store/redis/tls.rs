//! TLS to a real Redis: who is trusted, who is not, and what is told of it. Files are read again at each connection.

use spillway::algorithm::Mode;
use spillway::model::{Hits, Timestamp};
use spillway::store::{RedisStore, Session, Store, StoreError};
use tokio::time::Instant;

use super::failures::{charge, run};
use crate::support::PATIENCE;
use crate::support::tls::{Authority, Good, TlsRedis};
use crate::support::valkey::Valkey;

fn open(url: &str) -> RedisStore {
    RedisStore::open(&format!("{url}timeout=1000ms")).unwrap()
}

/// Counts one hit; what is wrong is told with its cause.
async fn count(store: &RedisStore) -> Result<u64, String> {
    let session = store.session();
    let charges = [charge(Hits::ONE)];
    let asked = session.apply(Mode::Each, &charges, Timestamp::EPOCH, Instant::now() + PATIENCE);
    match asked.await {
        Ok(outcomes) => Ok(outcomes[0].unwrap().used),
        Err(StoreError::Unreachable { source, .. }) => Err(source.to_string()),
        Err(other) => Err(other.to_string()),
    }
}

#[track_caller]
fn told(answer: Result<u64, String>, expected: &str) {
    let told = answer.unwrap_err();
    assert!(told.contains(expected), "{told}");
}

#[test]
fn a_server_is_trusted_whose_certificate_is_of_the_authority_that_is_named() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Now);
    let server = TlsRedis::start(&authority, &[]);
    let port = server.address.port();
    let ca = format!("tls_ca={}&", authority.path("ca.pem"));
    let stranger = Authority::new();
    run(async {
        assert_eq!(count(&open(&format!("rediss://localhost:{port}?{ca}"))).await, Ok(1));
        assert_eq!(count(&open(&format!("valkeys://localhost:{port}?{ca}"))).await, Ok(2));

        let issuer = "no authority that is trusted here has issued its certificate. Name the one that did, as in `tls_ca=";
        told(count(&open(&format!("rediss://localhost:{port}?"))).await, issuer);
        let other = format!("rediss://localhost:{port}?tls_ca={}&", stranger.path("ca.pem"));
        told(count(&open(&other)).await, issuer);

        let wrong_name = format!("rediss://127.0.0.1:{port}?{ca}");
        told(count(&open(&wrong_name)).await, "its certificate is for `localhost`, not for `127.0.0.1`");
        assert_eq!(count(&open(&format!("{wrong_name}tls_any_name=on&"))).await, Ok(3));
        let any_name = format!("rediss://localhost:{port}?tls_any_name=on&");
        told(count(&open(&any_name)).await, issuer);

        told(count(&open(&format!("redis://localhost:{port}?"))).await, "");
    });
    let plain = Valkey::start(&[]);
    run(async {
        let store = open(&format!("rediss://localhost:{}?{ca}", plain.address.port()));
        let Err(StoreError::Unreachable { source, .. }) = store.ready().await else { panic!("no TLS there") };
        assert_eq!(
            source.to_string(),
            "no connection was made within 1000 ms; there may be no TLS on that port"
        );
    });
}

#[test]
fn a_certificate_that_expired_is_told_and_a_new_one_is_taken_without_a_restart() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Once);
    let mut server = TlsRedis::start(&authority, &[]);
    run(async {
        let address = format!("rediss://localhost:{}", server.address.port());
        let store = open(&format!("{address}?tls_ca={}&", authority.path("ca.pem")));
        told(count(&store).await, "its certificate expired ");
        authority.issue("server", "localhost", Good::Now);
        server.restart(&authority, &[]);
        assert_eq!(count(&store).await, Ok(1));
    });
}

#[test]
fn a_client_certificate_is_shown_and_read_again_at_each_connection() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Now);
    authority.issue("client", "spillway", Good::Once);
    let server = TlsRedis::start(&authority, &["--tls-auth-clients", "yes"]);
    run(async {
        let address = format!("rediss://localhost:{}", server.address.port());
        let ca = format!("tls_ca={}&", authority.path("ca.pem"));
        told(
            count(&open(&format!("{address}?{ca}"))).await,
            "it asks for a client certificate. Name one and its key",
        );

        let files =
            format!("tls_cert={}&tls_key={}&", authority.path("client.pem"), authority.path("client.key"));
        let store = open(&format!("{address}?{ca}{files}"));
        told(count(&store).await, "it does not accept the client certificate");
        authority.issue("client", "spillway", Good::Now);
        assert_eq!(count(&store).await, Ok(1));

        std::fs::remove_file(authority.path("client.key")).unwrap();
        told(count(&store).await, "client.key");
        let missing = RedisStore::open(&format!("{address}?{ca}{files}")).unwrap_err().to_string();
        assert!(missing.contains("cannot read `") && missing.contains("client.key"), "{missing}");
    });
}
