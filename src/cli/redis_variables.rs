//! The variables of an envoyproxy/ratelimit deployment that say where Redis is, as the URL of a store.

use super::counters::Counters;
use super::variables::{says_something, variable};

const SOCKET: &str = "another way to Redis than TCP, which Spillway does not have; unset it, and have REDIS_URL name a host and a port";
const KIND: &str = "servers that go together in a way that Spillway does not know; set it to `single`, `sentinel` or `cluster`";
const PER_SECOND: &str = "a second Redis for limits of a second, and no two servers decide on one request at once; unset it, and have \
                          REDIS_URL name one server, or a cluster with REDIS_TYPE=cluster";

/// The first variable that asks for what there is not, with what that is and what follows.
pub(super) fn missing() -> Option<(&'static str, &'static str)> {
    let is_set = |name: &'static str| variable(name).is_some().then_some(name);
    let other_than = |name: &'static str, known: &[&str]| {
        let other =
            variable(name).filter(|value| !known.iter().any(|known| value.eq_ignore_ascii_case(known)));
        other.map(|_| name)
    };
    let per_second = variable("REDIS_PERSECOND").map_or_else(
        || is_set("REDIS_PERSECOND_URL"),
        |_| Some("REDIS_PERSECOND").filter(|name| says_something(name)),
    );
    let per_second = per_second.map(|name| (name, PER_SECOND));
    if variable("REDIS_URL").is_none() {
        return per_second;
    }
    let kind = other_than("REDIS_TYPE", &["single", "sentinel", "cluster"]).map(|name| (name, KIND));
    kind.or(other_than("REDIS_SOCKET_TYPE", &["tcp"]).map(|name| (name, SOCKET))).or(per_second)
}

/// Where `REDIS_URL` says that counters are.
pub(super) fn store() -> Option<Counters> {
    let in_memory = variable("BACKEND_TYPE").is_some_and(|value| value.eq_ignore_ascii_case("memory"));
    let servers = variable("REDIS_URL").filter(|_| !in_memory)?;
    let kind = variable("REDIS_TYPE").unwrap_or_default().to_lowercase();
    let (auth, sentinel_auth) = (variable("REDIS_AUTH"), variable("REDIS_SENTINEL_AUTH"));
    let url = url(&kind, &servers, auth.as_deref(), sentinel_auth.as_deref(), &Tls::read());
    Some(Counters::Redis(match variable("CACHE_KEY_PREFIX") {
        Some(prefix) => with(&url, "prefix", &prefix),
        None => url,
    }))
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

/// The URL of servers of that kind: `servers` is a host and a port, with or without `redis://`, several of a cluster with `,` between
/// them, and of sentinels after the master's name. `auth` is a password, or a user and a password with `:` between them, and so is
/// that of sentinels.
fn url(kind: &str, servers: &str, auth: Option<&str>, sentinel_auth: Option<&str>, tls: &Tls) -> String {
    let (scheme, servers) = servers.split_once("://").unwrap_or(("redis", servers));
    let has_tls = tls.is_on || scheme == "rediss";
    let plain = if has_tls && scheme == "redis" { "rediss" } else { scheme };
    let (scheme, master, servers) = match kind {
        "cluster" => (format!("{plain}-cluster"), None, servers),
        "sentinel" => {
            let (master, sentinels) = servers.split_once(',').unwrap_or((servers, ""));
            (format!("{plain}-sentinel"), Some(master), sentinels)
        }
        _ => (plain.to_owned(), None, servers),
    };
    let mut url = match auth {
        None => format!("{scheme}://{servers}"),
        Some(auth) => {
            let (user, password) = auth.split_once(':').unwrap_or(("", auth));
            format!("{scheme}://{}:{}@{servers}", escaped(user), escaped(password))
        }
    };
    let of_sentinels = master.map(|master| ("master", master.to_owned()));
    let their_own = master.and(sentinel_auth).map(|auth| ("sentinel_auth", auth.to_owned()));
    let of_tls = tls.files.iter().cloned().chain(tls.any_name.then(|| ("tls_any_name", "on".to_owned())));
    let parameters = of_sentinels.into_iter().chain(their_own).chain(of_tls.filter(|_| has_tls));
    for (parameter, value) in parameters {
        url = with(&url, parameter, &value);
    }
    url
}

fn with(url: &str, parameter: &str, value: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameter}={}", escaped(value))
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
        let single = |servers, auth, tls| url("single", servers, auth, None, tls);
        assert_eq!(single("redis:6379", None, &none), "redis://redis:6379");
        assert_eq!(single("redis://redis:6379", Some("p@ss"), &none), "redis://:p%40ss@redis:6379");
        let files = vec![("tls_ca", "/etc/ca.pem".to_owned()), ("tls_key", "k".to_owned())];
        let tls = Tls { is_on: true, files: files.clone(), any_name: true };
        assert_eq!(
            single("redis:6379", Some("ann:p"), &tls),
            "rediss://ann:p@redis:6379?tls_ca=%2Fetc%2Fca%2Epem&tls_key=k&tls_any_name=on"
        );
        let off = Tls { is_on: false, files, any_name: false };
        assert_eq!(single("redis:6379", None, &off), "redis://redis:6379");
        assert_eq!(
            single("rediss://redis:6379/0?lease=on", None, &off),
            "rediss://redis:6379/0?lease=on&tls_ca=%2Fetc%2Fca%2Epem&tls_key=k"
        );
    }

    #[test]
    fn servers_that_go_together_are_one_url() {
        let (none, tls) = (Tls::default(), Tls { is_on: true, ..Tls::default() });
        assert_eq!(
            url("sentinel", "mymaster,a:26379,b:26379", Some("p"), Some("ann:q"), &none),
            "redis-sentinel://:p@a:26379,b:26379?master=mymaster&sentinel_auth=ann%3Aq"
        );
        assert_eq!(url("sentinel", "m,a:1", None, None, &tls), "rediss-sentinel://a:1?master=m");
        assert_eq!(url("cluster", "a:1,b:2", None, Some("q"), &tls), "rediss-cluster://a:1,b:2");
    }
}
