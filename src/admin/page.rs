//! The page at `/`. It is part of the program, loads nothing from elsewhere, and has all that it shows from the API.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// Path, type, and content.
const FILES: [(&str, &str, &[u8]); 6] = [
    ("/", "text/html; charset=utf-8", include_bytes!("page/index.html")),
    ("/page/style.css", "text/css; charset=utf-8", include_bytes!("page/style.css")),
    ("/page/app.js", "text/javascript; charset=utf-8", include_bytes!("page/app.js")),
    ("/page/views.js", "text/javascript; charset=utf-8", include_bytes!("page/views.js")),
    // uPlot 1.6.32, as it is published (MIT; the licence is beside it).
    ("/page/uplot.js", "text/javascript; charset=utf-8", include_bytes!("page/uplot.js")),
    ("/page/uplot.css", "text/css; charset=utf-8", include_bytes!("page/uplot.css")),
];

/// What a browser may do with it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Its files.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)];
        router.route(path, get(async move || (headers, content).into_response()))
    })
}
