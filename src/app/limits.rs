//! The number of connections that the process has file descriptors for.

/// The number of file descriptors that is assumed when there are fewer.
const FEWEST: usize = 64;
/// File descriptors for files and listeners.
const FILES: usize = 32;
/// File descriptors of each core's runtime: to wait for sockets, for its waker, and for signals.
const OF_A_CORE: usize = 4;
/// The default for the most connections of Envoy's port. Each takes tens of kilobytes, and an Envoy opens one for each of its
/// threads.
const MOST_BY_DEFAULT: usize = 16_384;
/// The most connections of each of the operators' ports.
const HTTP: usize = 256;

/// The most connections of each port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For Envoy.
    pub grpc: usize,
    /// For operators: of the HTTP port, and as many of the admin port.
    pub http: usize,
}

/// The requested number of connections needs more file descriptors than there are.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{wanted} connections need {needed} file descriptors, and the limit is {limit}: raise it (`ulimit -n`, \
     `LimitNOFILE=`), or ask for fewer connections"
)]
pub struct TooFewDescriptors {
    wanted: usize,
    needed: usize,
    limit: usize,
}

impl Limits {
    /// What `descriptors` allow, less an eighth for each of the operators' ports and some for files and for what runs on `cores`; or as many
    /// for Envoy as are `wanted`.
    pub fn within(
        descriptors: usize,
        cores: usize,
        wanted: Option<usize>,
    ) -> Result<Self, TooFewDescriptors> {
        let http = (descriptors / 8).clamp(8, HTTP);
        let kept = FILES + OF_A_CORE * cores + 2 * http;
        let rest = descriptors.max(FEWEST).saturating_sub(kept);
        match wanted {
            Some(wanted) if wanted > rest => {
                Err(TooFewDescriptors { wanted, needed: wanted.saturating_add(kept), limit: descriptors })
            }
            _ => Ok(Self { grpc: wanted.unwrap_or(rest.clamp(1, MOST_BY_DEFAULT)), http }),
        }
    }
}

impl Default for Limits {
    /// The limits for 1,024 file descriptors, which systems allow by default.
    fn default() -> Self {
        Self { grpc: 1_024 - FILES - 2 * 128, http: 128 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_its_part_of_the_descriptors() {
        let within = |descriptors, wanted| Limits::within(descriptors, 2, wanted);
        assert_eq!(within(1_024, None), Ok(Limits { grpc: 728, http: 128 }));
        assert_eq!(within(256, None), Ok(Limits { grpc: 152, http: 32 }));
        assert_eq!(Limits::within(256, 16, None), Ok(Limits { grpc: 96, http: 32 }));
        assert_eq!(within(1_048_576, None), Ok(Limits { grpc: 16_384, http: 256 }));
        assert_eq!(within(1_048_576, Some(1_000_000)), Ok(Limits { grpc: 1_000_000, http: 256 }));
        assert_eq!(within(0, None), Ok(Limits { grpc: 8, http: 8 }));
        assert_eq!(within(256, Some(100)), Ok(Limits { grpc: 100, http: 32 }));
        let error = within(256, Some(1_000)).unwrap_err().to_string();
        assert!(
            error.starts_with("1000 connections need 1104 file descriptors, and the limit is 256:"),
            "{error}"
        );
    }
}
