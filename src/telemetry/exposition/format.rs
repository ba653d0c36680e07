//! The formats of `/metrics`, by what scrapers accept.

/// A format of `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text format, 0.0.4.
    #[default]
    Prometheus,
    /// `OpenMetrics` 1.0, which Prometheus asks for by `Accept`.
    OpenMetrics,
}

impl Format {
    /// The one that a request's `Accept` asks for.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// What an answer in it says that it is.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}
