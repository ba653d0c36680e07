//! Spans of calls on their way to a collector.

/// Calls are traced.
#[derive(Debug)]
pub struct Tracing<'a> {
    /// Where spans are sent.
    pub to: &'a str,
    /// How.
    pub protocol: &'a str,
    /// The part of the calls without a caller's trace that are traced.
    pub rate: f64,
}

impl Tracing<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { to, protocol, rate } = self;
        tracing::info!(rate, "calls are traced: spans go to `{to}` by {protocol}");
    }
}

/// Spans could not be sent, or not all of them were taken.
#[derive(Debug)]
pub struct SpansDropped<'a> {
    /// Where they go.
    pub to: &'a str,
    /// Why.
    pub why: &'a str,
    /// Whether the same are sent again.
    pub is_again: bool,
    /// How many were dropped since the last line about them.
    pub dropped: u64,
}

impl SpansDropped<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { to, why, is_again, dropped } = self;
        if *is_again {
            tracing::warn!(dropped, "cannot send spans to `{to}`, and will try again: {why}");
        } else {
            tracing::warn!(dropped, "spans for `{to}` are dropped: {why}");
        }
    }
}

/// Spans can be sent again.
#[derive(Debug)]
pub struct SpansSentAgain<'a> {
    /// Where they go.
    pub to: &'a str,
    /// How many were dropped since the last line about them.
    pub dropped: u64,
}

impl SpansSentAgain<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(dropped = self.dropped, "spans are sent to `{}` again", self.to);
    }
}
