//! Certificates that change while the server runs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;

use super::{ask, client, files, number, serving, serving_with};
use crate::support::tls::{Authority, Good};

const LOADS: &str = "spillway_tls_certificate_loads_total{port=\"grpc\"}";
const FAILURES: &str = "spillway_tls_certificate_load_failures_total{port=\"grpc\"}";
const STALE: &str = "spillway_tls_certificate_stale{port=\"grpc\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_rotate_under_load_and_no_call_fails() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Now);
    authority.issue("client", "envoy.default", Good::Now);
    let mut spillway = serving(&authority, &[]);
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|n| {
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            let (server, files) = (spillway.grpc, files(&authority, Some("client")));
            tokio::spawn(async move {
                let mut channel = client(server, &files);
                while !stop.load(Ordering::Relaxed) {
                    // Half of them with a handshake each time.
                    if n % 2 == 0 {
                        channel = client(server, &files);
                    }
                    assert_eq!(ask(&channel).await, Ok(Code::Ok));
                    calls.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 1..=3 {
        authority.issue("server", "localhost", Good::Now);
        spillway.log_line("TLS for gRPC with a certificate for");
        assert_eq!(number(&spillway, LOADS), 1 + round);
        let before = calls.load(Ordering::Relaxed);
        while calls.load(Ordering::Relaxed) < before + 50 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(number(&spillway, FAILURES), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_cannot_be_used_changes_nothing_and_is_told_of() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Now);
    authority.issue("other", "localhost", Good::Now);
    let mut spillway = serving_with(&authority, &[]);
    let nobody = files(&authority, None);
    fs::copy(authority.path("other.pem"), authority.path("server.pem")).unwrap();
    let line = spillway.log_line("the new files for TLS of gRPC cannot be used, the old ones stay in force");
    assert!(line.contains("does not belong to the certificate in"), "{line}");
    assert_eq!((number(&spillway, STALE), number(&spillway, FAILURES), number(&spillway, LOADS)), (1, 1, 1));
    assert_eq!(ask(&client(spillway.grpc, &nobody)).await, Ok(Code::Ok));

    fs::copy(authority.path("other.key"), authority.path("server.key")).unwrap();
    spillway.log_line("TLS for gRPC with a certificate for `localhost`");
    assert_eq!((number(&spillway, STALE), number(&spillway, LOADS)), (0, 2));
    assert_eq!(ask(&client(spillway.grpc, &nobody)).await, Ok(Code::Ok));

    authority.issue("server", "localhost", Good::Once);
    spillway.log_line("the certificate for TLS of gRPC expired ");
    assert!(number(&spillway, "spillway_tls_certificate_expiry_days{port=\"grpc\"}") < 0);
}

/// A session that was resumed would be verified by nobody, and one that is open was verified by who is trusted no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_survives_an_authority_that_is_removed_and_those_of_others_do() {
    removes_an_authority(&[]).await;
}

/// Its client is not merely asked to open another connection: it could stay on this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_connections_close_at_a_rotation_a_client_of_a_removed_authority_is_still_shut_out() {
    removes_an_authority(&["--tls-close-at-rotation"]).await;
}

async fn removes_an_authority(flags: &[&str]) {
    let (first, second) = (Authority::new(), Authority::new());
    first.issue("server", "localhost", Good::Now);
    first.issue("client", "envoy.default", Good::Now);
    second.issue("client", "envoy.default", Good::Now);
    let trusted = first.path("clients.pem");
    let of = |authority: &Authority| fs::read_to_string(authority.path("ca.pem")).unwrap();
    fs::write(&trusted, of(&first) + &of(&second)).unwrap();
    let mut spillway = serving_with(&first, &[&["--grpc-tls-client-ca", &trusted], flags].concat());
    // It keeps sessions, as Envoy does.
    let mut config = files(&first, Some("client")).config(&[b"h2"]).unwrap();
    config.resumption = rustls::client::Resumption::default();
    let server = spillway.grpc;
    let again = || super::client_with(server, config.clone());
    let shut_out = again();
    let of_second = spillway::tls::ClientFiles {
        authorities: Some(first.path("ca.pem").into()),
        ..files(&second, Some("client"))
    };
    let stays = client(spillway.grpc, &of_second);
    for channel in [&shut_out, &again(), &stays] {
        assert_eq!(ask(channel).await, Ok(Code::Ok));
    }
    if flags.is_empty() {
        // A new certificate of the server's alone leaves them all.
        first.issue("server", "localhost", Good::Now);
        spillway.log_line("TLS for gRPC with a certificate for");
    }

    fs::write(&trusted, of(&second)).unwrap();
    spillway.log_line("TLS for gRPC with a certificate for");
    assert!(ask(&again()).await.is_err());
    spillway.log_line("no authority that is trusted for clients has issued");
    // The connection that was open is closed within ten seconds, after which its client is not let in either.
    let closed = async {
        while ask(&shut_out).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, closed).await.unwrap();
    assert!(spillway.seen.iter().all(|line| !line.contains("let in no more")), "it is told of once");
    let line = spillway.log_line("a connection for gRPC ends, as its client is let in no more: no authority");
    assert!(line.contains("peer=127.0.0.1:"), "{line}");
    assert_eq!(ask(&stays).await, Ok(Code::Ok));
}

/// To Envoy a refused handshake is a limiter that is away, and then it lets every request pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_out_of_date_still_counts_and_is_told_of_until_there_is_a_new_one() {
    let authority = Authority::new();
    for name in ["server", "client", "revoked"] {
        authority.issue(name, "localhost", Good::Now);
    }
    authority.revoke("crl", &[]);
    let mut spillway = serving(&authority, &["--grpc-tls-crl", &authority.path("crl.pem")]);
    authority.revoke_until("crl", &["revoked"], 2025);
    let line = spillway.log_line("has been out of date for ");
    assert!(line.contains("ERROR") && line.contains("crl.pem` for TLS of gRPC has been"), "{line}");
    let days = "spillway_tls_crl_expiry_days{port=\"grpc\"}";
    assert!(number(&spillway, days) < 0);
    assert_eq!(ask(&client(spillway.grpc, &files(&authority, Some("client")))).await, Ok(Code::Ok));
    assert!(ask(&client(spillway.grpc, &files(&authority, Some("revoked")))).await.is_err());

    authority.revoke("crl", &["revoked"]);
    spillway.log_line("TLS for gRPC with a certificate for");
    assert!(number(&spillway, days) > 365);
}
