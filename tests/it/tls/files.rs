//! Files that cannot be used end the start, and say why.

use std::process::Output;

use crate::support::tls::{Authority, Good};
use crate::support::{command, directory};

use super::POLICY;

fn start(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let config = directory(&[("policy.yaml", POLICY)]);
    let mut serve = command(&["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]);
    serve.args(arguments).envs(variables.iter().copied()).arg("--config").arg(config.path());
    let Output { status, stderr, .. } = serve.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_certificate_and_a_key_that_are_no_pair_end_the_start() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Now);
    authority.issue("other", "localhost", Good::Now);
    let path = |name: &str| authority.path(name);
    let (certificate, other) = (path("server.pem"), path("other.key"));
    let (code, told) = start(&["--grpc-tls-cert", &certificate, "--grpc-tls-key", &other], &[]);
    let expected = format!(
        "--grpc-tls-cert: the key in `{other}` does not belong to the certificate in `{certificate}`"
    );
    assert!(code == Some(1) && told.contains(&expected), "{code:?} {told}");

    let (code, told) = start(&["--admin-tls-cert", &certificate], &[]);
    assert!(code == Some(2) && told.contains("give `--admin-tls-key PATH` too"), "{code:?} {told}");

    let pair = ["--grpc-tls-cert", &certificate, "--grpc-tls-key", &path("server.key")];
    let (code, told) = start(&[&pair[..], &["--grpc-tls-client-san", "envoy"]].concat(), &[]);
    assert!(code == Some(2) && told.contains("give `--grpc-tls-client-ca PATH` too"), "{code:?} {told}");
    let (code, told) = start(&[&pair[..], &["--grpc-tls-client-san", "a b"]].concat(), &[]);
    assert!(code == Some(2) && told.contains("neither a DNS name, an address nor a URI"), "{code:?} {told}");

    let missing = path("missing.pem");
    let variables = [
        ("GRPC_SERVER_USE_TLS", "true"),
        ("GRPC_SERVER_TLS_CERT", &*missing),
        ("GRPC_SERVER_TLS_KEY", &*other),
    ];
    let (code, told) = start(&[], &variables[..2]);
    assert!(code == Some(2) && told.contains("set GRPC_SERVER_TLS_CERT and GRPC_SERVER_TLS_KEY"), "{told}");
    let without_authority = [&variables[..], &[("GRPC_CLIENT_TLS_SAN", "envoy.default")]].concat();
    let (code, told) = start(&[], &without_authority);
    assert!(code == Some(2) && told.contains("set GRPC_CLIENT_TLS_CACERT to"), "{told}");
    let (code, told) = start(&[], &variables);
    assert!(
        code == Some(1) && told.contains(&format!("cannot read `{missing}`: there is no such file")),
        "{told}"
    );
}
