//! `--admin-addr` and `--admin-token-file`: where the admin port is, and who may use it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::args::AdminAddress;
use crate::admin::{StorePlace, TokenFile};
use crate::app::{Certificates, Listeners, ServeError};
use crate::store::AnyStore;
use crate::telemetry::AdminAway;

/// Where it is if nothing is said.
pub(super) const PORT: u16 = 6070;

/// The admin port that was asked for.
#[derive(Debug)]
pub(super) struct Admin {
    address: SocketAddr,
    /// Whether somebody said so. The port that nobody asked for is no reason not to start.
    is_asked: bool,
    tls: Option<Arc<Certificates>>,
    token: Option<TokenFile>,
}

impl Admin {
    /// What `flag` says, or else `environment` (`DEBUG_HOST`, `DEBUG_PORT`); `None` where there is to be no port.
    ///
    /// # Errors
    ///
    /// A sentence that says why the server must not start so.
    pub(super) fn of(
        flag: Option<AdminAddress>,
        environment: Option<SocketAddr>,
        token: Option<&Path>,
        tls: Option<Arc<Certificates>>,
    ) -> Result<Option<Self>, String> {
        let (address, is_asked) = match (flag, environment) {
            (Some(AdminAddress::Off), _) => return Ok(None),
            (Some(AdminAddress::At(address)), _) | (None, Some(address)) => (address, true),
            (None, None) => (SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT), false),
        };
        let token = token.map(|path| {
            TokenFile::open(path).map_err(|error| {
                format!("--admin-token-file: cannot read a token from `{}`: {error}", path.display())
            })
        });
        let token = token.transpose()?;
        let knows_operators = token.is_some() || tls.as_ref().is_some_and(|tls| tls.knows_clients());
        if !knows_operators && !address.ip().is_loopback() {
            let said = if flag.is_some() { "--admin-addr" } else { "DEBUG_HOST" };
            return Err(format!(
                "{said}: everybody who reaches `{address}` could change limits there; give `--admin-token-file PATH`, whose \
                 token is asked for then, or `--admin-tls-client-ca PATH`, whose certificates are; or use an address of this machine \
                 alone, as `127.0.0.1:{PORT}`"
            ));
        }
        Ok(Some(Self { address, is_asked, tls, token }))
    }

    /// Opens it beside the other ports.
    ///
    /// # Errors
    ///
    /// When the port that was asked for cannot be opened. Without the other one the server goes on, and says so.
    pub(super) async fn open(self, listeners: &mut Listeners, store: StorePlace) -> Result<(), ServeError> {
        let Self { address, is_asked, tls, token } = self;
        match listeners.bind_admin(address, tls, token, store).await {
            Err(error) if !is_asked => AdminAway { address, error: &error.to_string() }.emit(),
            opened => return opened,
        }
        Ok(())
    }
}

/// What the API says of where counters are.
pub(super) fn store_place(store: &AnyStore, place: &str) -> StorePlace {
    let kind = match store {
        AnyStore::Memory(_) => "memory",
        AnyStore::Disk(_) => "disk",
        _ => "redis",
    };
    StorePlace {
        kind: kind.to_owned(),
        place: place.to_owned(),
        is_shared: !matches!(kind, "memory" | "disk"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn at(flag: Option<&str>, environment: Option<&str>) -> Result<Option<(String, bool)>, String> {
        let flag = flag.map(|flag| AdminAddress::At(address(flag)));
        let admin = Admin::of(flag, environment.map(address), None, None)?;
        Ok(admin.map(|admin| (admin.address.to_string(), admin.is_asked)))
    }

    #[test]
    fn it_is_on_this_machine_alone_unless_there_is_a_token() {
        assert_eq!(at(None, None), Ok(Some(("127.0.0.1:6070".to_owned(), false))));
        assert_eq!(at(Some("[::1]:7000"), Some("127.0.0.1:1")), Ok(Some(("[::1]:7000".to_owned(), true))));
        assert_eq!(Admin::of(Some(AdminAddress::Off), None, None, None).unwrap().map(|_| ()), None);
        let refused = at(Some("0.0.0.0:6070"), None).unwrap_err();
        assert!(refused.starts_with("--admin-addr: everybody who reaches `0.0.0.0:6070`"), "{refused}");
        let refused = at(None, Some("10.0.0.1:6070")).unwrap_err();
        assert!(refused.starts_with("DEBUG_HOST: "), "{refused}");

        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        let anywhere = Some(AdminAddress::At(address("0.0.0.0:6070")));
        let refused = Admin::of(anywhere, None, Some(&token), None).unwrap_err();
        assert!(refused.starts_with("--admin-token-file: cannot read a token from `"), "{refused}");
        std::fs::write(&token, "0123456789abcdef").unwrap();
        assert!(Admin::of(anywhere, None, Some(&token), None).unwrap().is_some());
    }
}
