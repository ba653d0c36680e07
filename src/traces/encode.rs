//! A batch of spans as OTLP has them.

use std::time::Duration;

use super::proto::{
    AnyValue, ExportTraceServiceRequest, HAS_IS_REMOTE, IS_REMOTE, InstrumentationScope, KeyValue, Resource,
    ResourceSpans, ScopeSpans, Span, SpanKind, Status, StatusCode, Value,
};
use super::span::{CallSpan, Outcome};
use crate::model::Peer;
use crate::telemetry::build;

/// What the spans of calls are named after, as OpenTelemetry's conventions for RPC have it (1.45).
const METHOD: &str = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// The batch as one request of a server with these attributes.
pub(super) fn request(resource: &[(String, String)], batch: &[Box<CallSpan>]) -> ExportTraceServiceRequest {
    let attributes = resource.iter().map(|(name, value)| text(name, value)).collect();
    let scope = InstrumentationScope { name: "spillway".to_owned(), version: build::VERSION.to_owned() };
    let spans = batch.iter().flat_map(|span| [Some(call(span)), settle(span)]).flatten().collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
        }],
    }
}

/// How many spans the request has for one call.
pub(super) fn spans(span: &CallSpan) -> u64 {
    1 + u64::from(span.settled.is_some())
}

/// The span of the call.
fn call(span: &CallSpan) -> Span {
    let mut attributes = vec![text("rpc.system.name", "grpc"), text("rpc.method", METHOD)];
    match span.peer {
        Peer::Ip(address) => {
            attributes.push(text("network.peer.address", &address.ip().to_string()));
            attributes.push(number("network.peer.port", address.port().into()));
        }
        Peer::Unix => attributes.push(text("network.transport", "unix")),
    }
    let code = outcome(&span.outcome, &mut attributes);
    attributes.push(text("rpc.response.status_code", code.name));
    let status = code.error.map(|message| {
        attributes.push(text("error.type", code.name));
        Status { message: message.to_owned(), code: StatusCode::Error.into() }
    });
    let is_remote = if span.parent.is_some() { IS_REMOTE } else { 0 };
    Span {
        trace_id: span.trace_id.to_be_bytes().to_vec(),
        span_id: span.span_id.to_be_bytes().to_vec(),
        trace_state: span.state.clone(),
        parent_span_id: span.parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
        name: METHOD.to_owned(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: at(span, Duration::ZERO),
        end_time_unix_nano: at(span, span.took),
        attributes,
        status,
        flags: u32::from(span.flags) | HAS_IS_REMOTE | is_remote,
    }
}

/// The span of waiting for the store, if that was necessary.
fn settle(span: &CallSpan) -> Option<Span> {
    let settled = span.settled?;
    let error = settled.error.map(|kind| text("error.type", kind));
    let status = error.is_some().then(|| Status { message: String::new(), code: StatusCode::Error.into() });
    Some(Span {
        trace_id: span.trace_id.to_be_bytes().to_vec(),
        span_id: span.settle_id.to_be_bytes().to_vec(),
        trace_state: span.state.clone(),
        parent_span_id: span.span_id.to_be_bytes().to_vec(),
        name: "settle".to_owned(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: at(span, settled.until.saturating_sub(settled.took)),
        end_time_unix_nano: at(span, settled.until),
        attributes: error.into_iter().collect(),
        status,
        flags: u32::from(span.flags) | HAS_IS_REMOTE,
    })
}

/// What a call was answered by.
struct Code<'s> {
    name: &'static str,
    /// Of an error, what it says.
    error: Option<&'s str>,
}

/// Adds what is known of the decision.
fn outcome<'s>(outcome: &'s Outcome, attributes: &mut Vec<KeyValue>) -> Code<'s> {
    let overall = |is_over| text("ratelimit.code", if is_over { "OVER_LIMIT" } else { "OK" });
    match outcome {
        Outcome::Decided(decided) => {
            attributes.push(text("ratelimit.domain", &decided.domain));
            attributes.push(number("ratelimit.descriptors", decided.descriptors as u64));
            attributes.push(number("ratelimit.hits", decided.hits));
            attributes.push(overall(decided.is_over_limit));
            attributes.extend(decided.rule.as_deref().map(|rule| text("ratelimit.rule", rule)));
            Code { name: "OK", error: None }
        }
        Outcome::BeyondBounds { is_over_limit } => {
            attributes.push(KeyValue {
                key: "ratelimit.beyond_bounds".to_owned(),
                value: Some(AnyValue { value: Some(Value::Bool(true)) }),
            });
            attributes.push(overall(*is_over_limit));
            Code { name: "OK", error: None }
        }
        Outcome::Failed { code, message } => Code { name: name(*code), error: Some(message) },
        Outcome::Abandoned => {
            Code { name: "CANCELLED", error: Some("the caller did not wait for the answer") }
        }
    }
}

/// The time that long after the call arrived, in nanoseconds since 1970. The wall clock was read once, at the end.
fn at(span: &CallSpan, since: Duration) -> u64 {
    let before = span.took.saturating_sub(since);
    span.ended.as_nanos().saturating_sub(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX))
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(Value::String(value.to_owned()));
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value }) }
}

fn number(key: &str, value: u64) -> KeyValue {
    let value = Some(Value::Int(i64::try_from(value).unwrap_or(i64::MAX)));
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value }) }
}

/// The code as gRPC writes it.
fn name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "CANCELLED",
        tonic::Code::Unknown => "UNKNOWN",
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        tonic::Code::NotFound => "NOT_FOUND",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::PermissionDenied => "PERMISSION_DENIED",
        tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::OutOfRange => "OUT_OF_RANGE",
        tonic::Code::Unimplemented => "UNIMPLEMENTED",
        tonic::Code::Internal => "INTERNAL",
        tonic::Code::Unavailable => "UNAVAILABLE",
        tonic::Code::DataLoss => "DATA_LOSS",
        tonic::Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
