//! The variables of an envoyproxy/ratelimit deployment that say where Redis is, as the URL of a store.

use super::counters::Counters;
use super::variables::{says_something, variable};

const ONE_SERVER: &str = "more than one Redis server or another way to it, and Spillway counts in one over TCP; unset it, and have \
                          REDIS_URL name that one";

/// The first variable that asks for what there is not, with what that is and what follows.
pub(super) fn missing() -> Option<(&'static str, &'static str)> {
    let is_set = |name: &'static str| variable(name).is_some().then_some(name);
    let other_than = |name: &'static str, known: &str| {
        variable(name).filter(|value| !value.eq_ignore_ascii_case(known)).map(|_| name)
    };
    if variable("REDIS_URL").is_none() {
        return is_set("REDIS_PERSECOND_URL").map(|name| (name, ONE_SERVER));
    }
    other_than("REDIS_TYPE", "single")
        .or(other_than("REDIS_SOCKET_TYPE", "tcp"))
        .or(Some("REDIS_PERSECOND").filter(|name| says_something(name)))
        .or(is_set("REDIS_PERSECOND_URL"))
        .map(|name| (name, ONE_SERVER))
}

/// Where `REDIS_URL` says that counters are.
pub(super) fn store() -> Option<Counters> {
    let in_memory = variable("BACKEND_TYPE").is_some_and(|value| value.eq_ignore_ascii_case("memory"));
    let server = variable("REDIS_URL").filter(|_| !in_memory)?;
    Some(Counters::Redis(url(&server, variable("REDIS_AUTH").as_deref(), &Tls::read())))
}

/// What the family `REDIS_TLS` says.
#[derive(Debug, Default)]
struct Tls {
    is_on: bool,
    /// Parameters of the URL, and the files that they name.
    files: Vec<(&'static str, String)>,
    any_name: bool,
}

impl Tls {
    fn read() -> Self {
        let files = [
            ("tls_ca", "REDIS_TLS_CACERT"),
            ("tls_cert", "REDIS_TLS_CLIENT_CERT"),
            ("tls_key", "REDIS_TLS_CLIENT_KEY"),
        ];
        Self {
            is_on: says_something("REDIS_TLS"),
            files: files
                .into_iter()
                .filter_map(|(parameter, name)| Some((parameter, variable(name)?)))
                .collect(),
            any_name: says_something("REDIS_TLS_SKIP_HOSTNAME_VERIFICATION"),
        }
    }
}

/// The URL of a server: `server` is a host and a port, with or without `redis://`; `auth` a password, or a user and a password
/// with `:` between them.
fn url(server: &str, auth: Option<&str>, tls: &Tls) -> String {
    let (scheme, server) = server.split_once("://").unwrap_or(("redis", server));
    let scheme = if tls.is_on && scheme == "redis" { "rediss" } else { scheme };
    let mut url = match auth {
        None => format!("{scheme}://{server}"),
        Some(auth) => {
            let (user, password) = auth.split_once(':').unwrap_or(("", auth));
            format!("{scheme}://{}:{}@{server}", escaped(user), escaped(password))
        }
    };
    if scheme == "rediss" {
        let any_name = tls.any_name.then(|| ("tls_any_name", "on".to_owned()));
        for (parameter, value) in tls.files.iter().cloned().chain(any_name) {
            let separator = if url.contains('?') { '&' } else { '?' };
            url.extend([separator.to_string().as_str(), parameter, "=", &escaped(&value)]);
        }
    }
    url
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_its_password_and_its_certificates_are_one_url() {
        let none = Tls::default();
        assert_eq!(url("redis:6379", None, &none), "redis://redis:6379");
        assert_eq!(url("redis://redis:6379", Some("p@ss"), &none), "redis://:p%40ss@redis:6379");
        let files = vec![("tls_ca", "/etc/ca.pem".to_owned()), ("tls_key", "k".to_owned())];
        let tls = Tls { is_on: true, files: files.clone(), any_name: true };
        assert_eq!(
            url("redis:6379", Some("ann:p"), &tls),
            "rediss://ann:p@redis:6379?tls_ca=%2Fetc%2Fca%2Epem&tls_key=k&tls_any_name=on"
        );
        let off = Tls { is_on: false, files, any_name: false };
        assert_eq!(url("redis:6379", None, &off), "redis://redis:6379");
        assert_eq!(
            url("rediss://redis:6379/0?lease=on", None, &off),
            "rediss://redis:6379/0?lease=on&tls_ca=%2Fetc%2Fca%2Epem&tls_key=k"
        );
    }
}
