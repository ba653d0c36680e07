//! Which HTTP requests are gRPC calls (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

/// What answers a request that is no call, by HTTP's own means: 405 to a method other than POST, and 415 to a content type
/// that does not begin with `application/grpc`. `None` of a call.
pub(super) fn unfit<B, A: Default>(request: &Request<B>) -> Option<Response<A>> {
    let refused = |status| {
        let mut response = Response::new(A::default());
        *response.status_mut() = status;
        response
    };
    if request.method() != Method::POST {
        let mut response = refused(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(response);
    }
    (!is_grpc(request.headers())).then(|| refused(StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

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
    fn what_is_no_call_is_told_why() {
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
            let told = unfit::<_, ()>(&request).map(|response| response.status().as_u16());
            assert_eq!(told, status, "{method} {content_type}");
        }
    }
}
