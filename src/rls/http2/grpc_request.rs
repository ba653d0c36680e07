//! Tells gRPC calls from other HTTP requests (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

/// The message for a caller of an unknown method.
pub(super) const NO_SUCH_METHOD: &str = "there is no such method here: this server has \
    envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit (in Envoy, `transport_api_version: V3`), \
    grpc.health.v1.Health and gRPC server reflection";

/// The HTTP response to a request that is not a gRPC call: 405 to a method other than POST, and 415 to a content type that
/// does not begin with `application/grpc`. None for a call.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<Response<String>> {
    let refused = |status| {
        // The response to HEAD has no body.
        let text = if request.method() == Method::HEAD { "" } else { SPEAKS };
        let mut response = Response::new(text.to_owned());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response
    };
    if request.method() != Method::POST {
        let mut response = refused(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(response);
    }
    (!is_grpc(request.headers())).then(|| refused(StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

/// The text for a client that does not speak gRPC.
const SPEAKS: &str = "this port speaks gRPC: POST with `content-type: application/grpc`, as Envoy and grpcurl do; \
                      /healthcheck, /ready and /metrics are on the HTTP port\n";

/// `application/grpc`, `application/grpc+proto`, and either with parameters. `application/grpc-web` is another protocol.
fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    match value.as_bytes().split_at_checked(GRPC.len()) {
        Some((start, rest)) => {
            start.eq_ignore_ascii_case(GRPC) && matches!(rest, [] | [b'+' | b';' | b' ', ..])
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_not_a_call_is_refused_with_the_reason() {
        for (method, content_type, status) in [
            ("POST", "application/grpc", None),
            ("POST", "application/grpc+proto", None),
            ("POST", "Application/gRPC; charset=utf-8", None),
            ("POST", "application/grpc-web", Some(415)),
            ("POST", "application/grpcx", Some(415)),
            ("POST", "application/json", Some(415)),
            ("POST", "", Some(415)),
            ("PUT", "application/grpc", Some(405)),
            ("GET", "application/json", Some(405)),
        ] {
            let request =
                Request::builder().method(method).header("content-type", content_type).body(()).unwrap();
            let refused = refusal(&request);
            let refused =
                refused.as_ref().map(|response| (response.status().as_u16(), response.body().as_str()));
            assert_eq!(refused, status.map(|status| (status, SPEAKS)), "{method} {content_type}");
        }
        let head = Request::builder().method("HEAD").body(()).unwrap();
        assert_eq!(refusal(&head).unwrap().body(), "");
    }
}
