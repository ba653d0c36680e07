use super::*;
use proptest::prelude::*;

fn endpoints(templates: &[&str]) -> Endpoints {
    let mut endpoints = Endpoints::default();
    for template in templates {
        endpoints.add(None, template).unwrap();
    }
    endpoints
}

/// `request` is `METHOD target`.
fn name(endpoints: &Endpoints, request: &str) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    String::from_utf8(endpoints.name(method.as_bytes(), target.as_bytes()).into_owned()).unwrap()
}

#[test]
fn the_most_specific_template_names_the_endpoint() {
    let endpoints = endpoints(&[
        "ANY /**",
        "GET /leads",
        "POST /leads/bulk",
        "ANY /leads/:id",
        "GET /leads/:id/notes",
        "ANY /leads/**",
        "GET /a/:x/c",
        "GET /a/b/**",
        "ANY /both",
        "GET /both",
        "GET /*/both",
        "ANY /lead-webhooks/**",
    ]);
    for (request, expected) in [
        ("GET /leads", "GET /leads"),
        ("POST /leads/bulk", "POST /leads/bulk"),
        // A template of another method does not take part.
        ("GET /leads/bulk", "ANY /leads/:id"),
        ("DELETE /leads/7", "ANY /leads/:id"),
        ("GET /leads/7/notes", "GET /leads/:id/notes"),
        ("POST /leads/7/notes", "ANY /leads/**"),
        ("GET /leads/7/notes/1", "ANY /leads/**"),
        // The leftmost difference decides.
        ("GET /a/b/c", "GET /a/b/**"),
        ("GET /a/z/c", "GET /a/:x/c"),
        // The path decides before the method.
        ("POST /leads", "ANY /leads/**"),
        ("GET /both", "GET /both"),
        ("POST /both", "ANY /both"),
        ("GET /leads/both", "ANY /leads/:id"),
        ("GET /x/both", "GET /*/both"),
        // `**` fits no segment at all, and `ANY` fits every method.
        ("POST /lead-webhooks", "ANY /lead-webhooks/**"),
        ("HEAD /leads", "ANY /leads/**"),
        ("GET /lead-webhooks/a/b", "ANY /lead-webhooks/**"),
        ("GET /", "ANY /**"),
        ("GET /lead", "ANY /**"),
    ] {
        assert_eq!(name(&endpoints, request), expected, "{request}");
    }
}

#[test]
fn a_target_is_read_by_its_segments() {
    let endpoints = endpoints(&["GET /", "GET /leads", "GET /leads/:id", "HEAD //x//y/"]);
    for (request, expected) in [
        ("GET /leads/", "GET /leads"),
        ("GET //leads", "GET /leads"),
        ("GET leads", "GET /leads"),
        ("GET /leads?x=/7", "GET /leads"),
        ("GET /leads#/7", "GET /leads"),
        ("GET /leads//7/?", "GET /leads/:id"),
        ("GET /leads/a%2Fb", "GET /leads/:id"),
        ("GET http://example.com/leads/7?x", "GET /leads/:id"),
        ("GET https://example.com", "GET /"),
        ("GET https://example.com?x=/leads", "GET /"),
        ("GET /http://example.com/leads", "GET /http:/example.com/leads"),
        ("GET http:/example.com/leads", "GET /http:/example.com/leads"),
        ("GET ", "GET /"),
        ("GET ///", "GET /"),
        ("HEAD /x/y", "HEAD //x//y/"),
        ("GET /Leads", "GET /Leads"),
        ("GET /leads/../x", "GET /leads/../x"),
        ("OPTIONS *", "OPTIONS *"),
    ] {
        assert_eq!(name(&endpoints, request), expected, "{request}");
    }
}

#[test]
fn a_declared_name_is_used_instead_of_the_template() {
    let mut endpoints = endpoints(&["ANY /**"]);
    endpoints.add(Some("bulk"), "POST /leads/bulk").unwrap();
    endpoints.add(Some("bulk"), "PUT /leads/bulk").unwrap();
    for (request, expected) in
        [("POST /leads/bulk", "bulk"), ("PUT /leads/bulk/", "bulk"), ("GET /leads/bulk", "ANY /**")]
    {
        assert_eq!(name(&endpoints, request), expected);
        assert!(matches!(endpoints.name(b"POST", b"/leads/bulk"), Cow::Borrowed(_)));
    }
    // No path, and so none of the templates that have one.
    assert_eq!(name(&endpoints, "OPTIONS *"), "OPTIONS *");
}

#[test]
fn an_undeclared_endpoint_is_named_by_its_words() {
    let endpoints = Endpoints::default();
    for (request, expected) in [
        ("GET /users/42/posts", "GET /users/:id/posts"),
        ("GET /users/42a", "GET /users/42a"),
        ("GET /v1/users/", "GET /v1/users"),
        ("GET /x/0123456789abcdeF", "GET /x/:id"),
        ("GET /x/0123456789abcde", "GET /x/0123456789abcde"),
        ("GET /x/123e4567-e89b-12d3-A456-426614174000", "GET /x/:id"),
        ("GET /x/123e4567-e89b-12d3-a456-42661417400g", "GET /x/123e4567-e89b-12d3-a456-42661417400g"),
        ("GET /x/123e4567e-89b-12d3-a456-426614174000", "GET /x/123e4567e-89b-12d3-a456-426614174000"),
        ("GET /a%20b/%2e%2e", "GET /a%20b/%2e%2e"),
        ("GET /café", "GET /café"),
        ("GET /a\tb", "GET /:id"),
        (" /x", "? /x"),
        ("G\tT /x", "? /x"),
        ("GETGETGETGETGETGETGETGETG /x", "? /x"),
        ("PROPFIND /x", "? /x"),
    ] {
        assert_eq!(name(&endpoints, request), expected, "{request}");
    }
    let (word, value) = ("w".repeat(40), "w".repeat(41));
    assert_eq!(name(&endpoints, &format!("GET /{word}/{value}")), format!("GET /{word}/:id"));
    assert_eq!(name(&endpoints, &format!("GET {}", "/a".repeat(16))), format!("GET {}", "/a".repeat(16)));
    assert_eq!(name(&endpoints, &format!("GET {}", "/a".repeat(99))), format!("GET {}/**", "/a".repeat(16)));
    assert_eq!(*endpoints.name(b"GET", b"/x/\xff\xfe"), *b"GET /x/:id");
    assert_eq!(*endpoints.name(b"\xff", b"\xff?"), *b"? /:id");
}

#[test]
fn a_template_that_cannot_be_meant_is_refused() {
    for (template, message) in [
        ("", "`` is not a method and a path"),
        ("GET", "`GET` is not a method and a path"),
        ("/leads", "`/leads` is not a method and a path"),
        (" /leads", "` /leads` is not a method and a path"),
        ("GET leads", "`GET leads` is not a method and a path"),
        ("OPTIONS *", "`OPTIONS *` is not a method and a path"),
        ("get /leads", "`get` is not a method"),
        ("Any /leads", "`Any` is not a method"),
        ("GET /leads?", "`?` cannot stand in the path of an endpoint"),
        ("GET,POST /leads", "`GET,POST` is not a method"),
        ("GET|POST /leads", "`GET|POST` is not a method"),
        ("GETGETGETGETGETGETGETGETG /x", "`GETGETGETGETGETGETGETGETG` is not a method"),
        ("GET /leads/{id}", "`{` cannot stand in the path of an endpoint"),
        ("GET /leads bulk", "` ` cannot stand in the path of an endpoint"),
        ("GET /leads/:", "segment `:` is neither literal text nor `:name`, `*` or `**`"),
        ("GET /leads/:a.b", "segment `:a.b` is neither literal text nor `:name`, `*` or `**`"),
        ("GET /leads/a*", "segment `a*` is neither literal text nor `:name`, `*` or `**`"),
        ("GET /***", "segment `***` is neither literal text nor `:name`, `*` or `**`"),
        ("GET /**/leads", "`**` must be the last segment of `GET /**/leads`"),
        ("GET /**/**", "`**` must be the last segment of `GET /**/**`"),
        ("GET /leads/:key", "`GET /leads/:key` fits the same requests as `GET /leads/:id`"),
        ("GET //leads/*/", "`GET //leads/*/` fits the same requests as `GET /leads/:id`"),
        ("ANY /leads/**", "`ANY /leads/**` fits the same requests as `ANY /leads/**`"),
    ] {
        let mut endpoints =
            endpoints(&["GET /leads/:id", "ANY /leads/:id", "POST /leads/:id", "ANY /leads/**"]);
        assert_eq!(endpoints.add(None, template).unwrap_err().to_string(), message);
    }
    let long = format!("GET {}", "/a".repeat(MAX_TEMPLATE_SEGMENTS + 1));
    assert!(matches!(Endpoints::default().add(None, &long), Err(EndpointError::TooLong { .. })));
    let longest = &long[..long.len() - 2];
    let endpoints = endpoints(&[longest, "GET /things:batch"]);
    for declared in [longest, "GET /things:batch"] {
        assert!(matches!(endpoints.name(b"GET", &declared.as_bytes()[4..]), Cow::Borrowed(_)));
    }
    assert!(matches!(endpoints.name(b"GET", b"/things:other"), Cow::Owned(_)));
}

/// How specific a segment of a template is; the lowest wins.
fn rank(segment: &str) -> u8 {
    match segment {
        "**" => 2,
        "*" => 1,
        segment if segment.starts_with(':') => 1,
        _ => 0,
    }
}

fn words(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

fn fits(template: &[&str], path: &[&str]) -> bool {
    match (template, path) {
        ([], []) | (["**"], _) => true,
        ([first, template @ ..], [word, path @ ..]) => {
            (rank(first) == 1 || first == word) && fits(template, path)
        }
        _ => false,
    }
}

/// The slow, obvious way: every template that fits, then the best of them. Where one template ends and the other goes
/// on, the other has `**` there, and that is the less specific of the two.
fn model<'t>(templates: &[&'t str], method: &str, path: &str) -> Option<&'t str> {
    let fitting = templates.iter().copied().filter(|template| {
        let (wanted, pattern) = template.split_once(' ').unwrap();
        (wanted == "ANY" || wanted == method) && fits(&words(pattern), &words(path))
    });
    fitting.min_by_key(|template| {
        let (wanted, pattern) = template.split_once(' ').unwrap();
        let ranks: Vec<u8> = words(pattern).into_iter().map(rank).collect();
        (ranks, wanted == "ANY")
    })
}

fn path_of(segments: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(segments), 0..5)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_tree_finds_what_trying_every_template_finds(
        templates in prop::collection::vec(
            (prop::sample::select(&["ANY", "GET", "POST"][..]), path_of(&["a", "b", "*", ":x"]), any::<bool>()), 0..14,
        ),
        requests in prop::collection::vec(
            (prop::sample::select(&["GET", "POST", "HEAD"][..]), path_of(&["a", "b", "c", "", ":x", "**"])), 1..10,
        ),
    ) {
        let templates: Vec<String> = templates
            .into_iter()
            .map(|(method, path, rest)| format!("{method} {path}{}", if rest { "/**" } else { "" }))
            .collect();
        let mut endpoints = Endpoints::default();
        let kept: Vec<&str> =
            templates.iter().map(String::as_str).filter(|template| endpoints.add(None, template).is_ok()).collect();
        for (method, path) in requests {
            let found = endpoints.name(method.as_bytes(), path.as_bytes());
            match model(&kept, method, &path) {
                Some(expected) => prop_assert_eq!(&*found, expected.as_bytes(), "{} {}", method, path),
                None => prop_assert!(matches!(found, Cow::Owned(_)), "{} {}", method, path),
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_get_a_bounded_name_in_which_nothing_is_empty(
        method in prop::collection::vec(any::<u8>(), 0..30),
        target in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"//?#*:a0"[..])], 0..1000),
    ) {
        let name = Endpoints::default().name(&method, &target).into_owned();
        let text = String::from_utf8(name).unwrap();
        prop_assert!(text.len() <= MAX_METHOD + 1 + MAX_NAMED_SEGMENTS * (MAX_WORD + 1) + "/**".len());
        let (method, path) = text.split_once(' ').unwrap();
        prop_assert!(!method.is_empty() && !path.contains("//") && !text.contains(char::is_control));
        prop_assert!(path == "*" || path == "/" || (path.starts_with('/') && !path.ends_with('/')));
        // A name is its own name: nothing is left to be put aside.
        let endpoints = Endpoints::default();
        let again = endpoints.name(method.as_bytes(), path.as_bytes());
        prop_assert!(method == "?" || *again == *text.as_bytes());
    }
}
