//! Control planes that configurations come from: `--xds`, and the environment.

use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::reading::{Reading, Wrong};
use super::variables::{truth, variable};
use crate::config::duration;
use crate::xds::{XdsServer, XdsTls};

/// Headers of each stream.
const HEADERS: &str = "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS";
/// The port of a control plane where none is said.
const PORT: u16 = 18000;
/// Within which time a control plane is asked again after it failed, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The most bytes of a response. 100,000 rules of Envoy Gateway are some 15 MB.
const LONGEST_RESPONSE: usize = 64 << 20;

/// A control plane, as it is given by `--xds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct XdsUrl {
    host: String,
    port: u16,
    node_id: Option<String>,
    is_tls: bool,
    files: Files,
}

/// What TLS is to be begun with. What is not said is as the environment has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Files {
    authorities: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    server_name: Option<String>,
}

impl Files {
    fn or(&self, others: &Self) -> Self {
        let or = |own: &Option<String>, other: &Option<String>| own.as_ref().or(other.as_ref()).cloned();
        Self {
            authorities: or(&self.authorities, &others.authorities),
            certificate: or(&self.certificate, &others.certificate),
            key: or(&self.key, &others.key),
            server_name: or(&self.server_name, &others.server_name),
        }
    }

    /// The same, once the files were found to be right.
    fn checked(self) -> Result<XdsTls, String> {
        let identity = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            (Some(_), None) => return Err("a certificate is named without its key".to_owned()),
            (None, Some(_)) => return Err("a key is named without its certificate".to_owned()),
        };
        XdsTls::of_files(self.authorities.map(Into::into), identity, self.server_name)
    }
}

impl XdsUrl {
    /// `HOST:PORT`
    fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// `envoy-gateway:18001`, also as gRPC names a server that is found by DNS.
    fn of_grpc(text: &str) -> Option<Self> {
        text.trim_start_matches("dns:").trim_start_matches("///").parse().ok()
    }
}

impl FromStr for XdsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected the URL of an xDS server, as in `http://envoy-gateway:18001?node_id=envoy-ratelimit`";
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = url.parse().map_err(|_| EXPECTED.to_owned())?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let after_host = uri.authority().map_or("", |authority| authority.as_str());
        let after_host = after_host.rsplit_once(']').map_or(after_host, |(_, rest)| rest);
        let is_wrong_port = after_host.contains(':') && uri.port_u16().is_none();
        let is_tls = uri.scheme_str() == Some("https");
        let is_known = is_tls || uri.scheme_str() == Some("http");
        if !is_known || is_wrong_port || host.is_empty() || !matches!(uri.path(), "" | "/") {
            return Err(EXPECTED.to_owned());
        }
        let (mut node_id, mut files) = (None, Files::default());
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) =
                pair.split_once('=').filter(|(_, value)| !value.is_empty()).unwrap_or_default();
            let field = match name {
                "node_id" => &mut node_id,
                "ca" if is_tls => &mut files.authorities,
                "cert" if is_tls => &mut files.certificate,
                "key" if is_tls => &mut files.key,
                "server_name" if is_tls => &mut files.server_name,
                _ => {
                    return Err(format!(
                        "`{pair}` is not known; it may have `node_id=NAME` and, with `https`, `ca=FILE`, \
                         `cert=FILE`, `key=FILE` and `server_name=NAME`"
                    ));
                }
            };
            *field = Some(value.to_owned());
        }
        Ok(Self { host, port: uri.port_u16().unwrap_or(PORT), node_id, is_tls, files })
    }
}

/// What the environment says of control planes.
#[derive(Clone, Debug)]
pub(super) struct XdsVariables {
    /// `CONFIG_GRPC_XDS_SERVER_URL`, if `CONFIG_TYPE` asks for it.
    server: Option<XdsUrl>,
    files: Files,
    node_id: String,
    node_metadata: Vec<(String, String)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    pauses: (Duration, Duration),
    longest_response: usize,
    /// `FORCE_START_WITHOUT_INITIAL_CONFIG`
    pub(super) starts_without: bool,
    /// `HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED`
    pub(super) needs_a_domain: bool,
}

impl XdsVariables {
    /// Reads them. What is not understood goes to `wrong`.
    pub(super) fn read(wrong: &mut Vec<Wrong>) -> Self {
        let mut read = Reading { wrong };
        let is_asked = variable("CONFIG_TYPE").is_some_and(|kind| kind.eq_ignore_ascii_case("GRPC_XDS_SOTW"));
        let expected = "an address, as in `envoy-gateway:18001`";
        let url = read.parsed("CONFIG_GRPC_XDS_SERVER_URL", expected, XdsUrl::of_grpc);
        let uses_tls = read.switch("CONFIG_GRPC_XDS_SERVER_USE_TLS");
        let url = url.or_else(|| XdsUrl::of_grpc("localhost")).filter(|_| is_asked);
        let expected = "names and values, as in `region=eu,stage=prod`";
        let node_metadata = read.parsed("CONFIG_GRPC_XDS_NODE_METADATA", expected, |text| {
            let pair = |pair: &str| {
                let (name, value) = pair.split_once('=').or_else(|| pair.split_once(':'))?;
                Some((name.trim().to_owned(), value.trim().to_owned()))
            };
            pairs(text).map(pair).collect()
        });
        let headers = read.parsed(HEADERS, "headers, as in `x-token:secret,x-team:a`", |text| {
            let pair = |pair: &str| {
                let (name, value) = pair.split_once(':')?;
                let mut value = HeaderValue::from_str(value.trim()).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
            };
            pairs(text).map(pair).collect()
        });
        let first = read.time("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL").unwrap_or(PAUSES.0);
        let most = read.time("XDS_CLIENT_BACKOFF_MAX_INTERVAL").unwrap_or(PAUSES.1);
        let expected = "a number of bytes, as `67108864`";
        let longest_response = read.parsed("XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES", expected, |text| {
            text.parse().ok().filter(|bytes| *bytes > 0)
        });
        Self {
            server: url.map(|url| XdsUrl { is_tls: url.is_tls || uses_tls, ..url }),
            files: Files {
                authorities: variable("CONFIG_GRPC_XDS_SERVER_TLS_CACERT"),
                certificate: variable("CONFIG_GRPC_XDS_CLIENT_TLS_CERT"),
                key: variable("CONFIG_GRPC_XDS_CLIENT_TLS_KEY"),
                server_name: variable("CONFIG_GRPC_XDS_SERVER_TLS_SAN"),
            },
            node_id: variable("CONFIG_GRPC_XDS_NODE_ID").unwrap_or_else(|| "default".to_owned()),
            node_metadata: node_metadata.unwrap_or_default(),
            headers: headers.unwrap_or_default(),
            pauses: (first, most.max(first)),
            longest_response: longest_response.unwrap_or(LONGEST_RESPONSE),
            starts_without: read.switch("FORCE_START_WITHOUT_INITIAL_CONFIG"),
            needs_a_domain: read.switch("HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED"),
        }
    }

    /// The control planes that are asked: that of the environment, and those of `--xds`.
    ///
    /// # Errors
    ///
    /// What is wrong with the files that TLS is to be begun with.
    pub(super) fn servers(&self, flags: &[XdsUrl]) -> Result<Vec<XdsServer>, String> {
        let mut servers: Vec<XdsServer> = Vec::new();
        for url in self.server.iter().chain(flags) {
            let mut server = self.server(url)?;
            let is_same = |known: &&XdsServer| (&known.host, known.port) == (&server.host, server.port);
            let same: Vec<&XdsServer> = servers.iter().filter(is_same).collect();
            // Nobody wants to be told everything twice; but a server may have sets for several nodes.
            if same.iter().all(|known| known.node_id != server.node_id) {
                if !same.is_empty() {
                    server.name = format!("{}/{}", server.name, server.node_id);
                }
                servers.push(server);
            }
        }
        Ok(servers)
    }

    fn server(&self, url: &XdsUrl) -> Result<XdsServer, String> {
        let tls = url.is_tls.then(|| url.files.or(&self.files).checked()).transpose();
        Ok(XdsServer {
            name: url.address(),
            host: url.host.clone(),
            port: url.port,
            tls: tls.map_err(|wrong| format!("TLS to the xDS server `{}`: {wrong}", url.address()))?,
            node_id: url.node_id.clone().unwrap_or_else(|| self.node_id.clone()),
            node_metadata: self.node_metadata.clone(),
            headers: self.headers.clone(),
            pauses: self.pauses,
            longest_response: self.longest_response,
        })
    }
}

fn pairs(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|pair| !pair.trim().is_empty())
}

impl Reading<'_> {
    fn time(&mut self, name: &'static str) -> Option<Duration> {
        self.parsed(name, "a time, as in `10s`", |text| duration(text).ok().filter(|time| !time.is_zero()))
    }

    fn switch(&mut self, name: &'static str) -> bool {
        self.parsed(name, "`true` or `false`", truth).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_is_a_url_or_an_address() {
        for (text, host, port, node_id) in [
            (
                "http://envoy-gateway:18001?node_id=envoy-ratelimit",
                "envoy-gateway",
                18001,
                Some("envoy-ratelimit"),
            ),
            ("http://envoy-gateway/", "envoy-gateway", 18000, None),
            ("envoy-gateway:18001", "envoy-gateway", 18001, None),
            ("http://[::1]:7", "::1", 7, None),
        ] {
            let url: XdsUrl = text.parse().unwrap();
            assert_eq!(
                (url.host.as_str(), url.port, url.node_id.as_deref()),
                (host, port, node_id),
                "{text}"
            );
        }
        assert_eq!(XdsUrl::of_grpc("dns:///a:1"), XdsUrl::of_grpc("a:1"));
        for wrong in
            ["", "http://", "ftp://a:1", "http://a:1/path", "http://a:1?node=b", "a b", "http://a:99999"]
        {
            assert!(wrong.parse::<XdsUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_may_say_what_tls_is_begun_with() {
        let url = "https://a:1?ca=/ca.pem&cert=/a.pem&key=/a.key&server_name=b&node_id=c";
        let url: XdsUrl = url.parse().unwrap();
        let environment = Files { server_name: Some("other".to_owned()), ..Files::default() };
        let files = url.files.or(&environment);
        assert!(url.is_tls);
        assert_eq!((files.authorities.as_deref(), files.key.as_deref()), (Some("/ca.pem"), Some("/a.key")));
        assert_eq!(files.server_name.as_deref(), Some("b"));
        let half = Files { key: None, ..files };
        assert_eq!(half.checked().unwrap_err(), "a certificate is named without its key");
        assert!("http://a:1?ca=/ca.pem".parse::<XdsUrl>().is_err(), "without TLS it means nothing");
    }
}
