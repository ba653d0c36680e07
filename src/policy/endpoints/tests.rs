use super::*;
use proptest::prelude::*;

fn endpoints(templates: &[&str]) -> Endpoints {
    declare(Endpoints::default(), templates)
}

/// Endpoints of which the undeclared ones are distinguished by so many segments.
fn apart(segments: u8, templates: &[&str]) -> Endpoints {
    let segments = NonZeroU8::new(segments).unwrap();
    declare(Endpoints::new(Undeclared::Segments(segments), false), templates)
}

fn declare(mut endpoints: Endpoints, templates: &[&str]) -> Endpoints {
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
        ("HEAD /leads", "GET /leads"),
        ("GET /lead-webhooks/a/b", "ANY /lead-webhooks/**"),
        ("GET /", "ANY /**"),
        ("GET /lead", "ANY /**"),
    ] {
        assert_eq!(name(&endpoints, request), expected, "{request}");
    }
}

#[test]
fn a_target_is_read_by_its_segments() {
    let endpoints = apart(16, &["GET /", "GET /leads", "GET /leads/:id", "HEAD //x//y/"]);
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
fn head_counts_as_get_unless_head_is_declared() {
    let endpoints = apart(
        2,
        &[
            "GET /leads",
            "HEAD /leads",
            "GET /leads/:id",
            "ANY /leads/:id",
            "ANY /files/**",
            "HEAD /files/:id",
        ],
    );
    for (request, expected) in [
        ("HEAD /leads", "HEAD /leads"),
        ("HEAD /leads/7", "GET /leads/:id"),
        ("HEAD /files/7/x", "ANY /files/**"),
        ("HEAD /files/7", "HEAD /files/:id"),
        ("GET /files/7", "ANY /files/**"),
        ("POST /leads", "POST /leads"),
        ("HEAD /v1/tags", "GET /v1/tags"),
    ] {
        assert_eq!(name(&endpoints, request), expected, "{request}");
    }
}

#[test]
fn nobody_leaves_a_declared_endpoint_by_decorating_its_path() {
    let endpoints = endpoints(&["POST /v1/leads/bulk", "ANY /v1/leads/:id", "GET /caf\u{e9}:x"]);
    for path in [
        "/v1/leads/bulk;v=1",
        "/v1/leads/bulk;",
        "/v1;a=b;c/leads;/bulk;d",
        "/;x/v1/;y/leads/bulk/;z",
        "/v1/leads/bulk%20",
        "/v1/leads/bulk%20%09%0d%0A%00/",
        "/v1%20/leads/bulk;v=1%20",
        "/v1/leads/bulk%2f",
        "/v1/leads/bulk%5C",
        "/v1/leads/bulk.",
        "/v1/leads/bulk%2E%20",
        "/v1/leads/bulk.json",
        "/v1/leads/bulk.JSON;v=1",
        "/v1/leads/bulk%2ejson%20/",
        "/v1/leads/bulk.xml?x",
        "/v1/leads/%62ulk",
        "/%761/leads/bul%6B",
    ] {
        assert_eq!(name(&endpoints, &format!("POST {path}")), "POST /v1/leads/bulk", "{path}");
    }
    for path in ["/caf%C3%A9%3ax", "/caf%c3%a9:x", "/caf\u{e9}:x"] {
        assert_eq!(name(&endpoints, &format!("GET {path}")), "GET /caf\u{e9}:x", "{path}");
    }
}

#[test]
fn what_is_another_resource_is_not_taken_for_a_decorated_one() {
    let mut endpoints = apart(4, &["POST /leads.xml"]);
    for (name, template) in [
        ("leads", "GET /leads"),
        ("leads as JSON", "GET /leads.json"),
        ("maps", "GET /maps"),
        ("maps in 3D", "GET /maps;3d"),
        ("users", "GET /v1/users"),
        ("file", "GET /files/:name"),
    ] {
        endpoints.add(Some(name), template).unwrap();
    }
    for (request, expected) in [
        // Declared as they are sent.
        ("GET /leads.json", "leads as JSON"),
        ("GET /leads.json%20", "leads as JSON"),
        ("GET /maps;3d", "maps in 3D"),
        ("GET /maps;2d", "maps"),
        // Declared for another method.
        ("GET /leads.xml", "leads"),
        // A format ends a path, and a version, a verb or any other ending is none.
        ("GET /v1.json/users", "GET /v1.json/users"),
        ("GET /v1.2/users", "GET /v1.2/users"),
        ("GET /v1/users.list", "GET /v1/users.list"),
        ("GET /leads:json", "GET /leads:json"),
        // White space alone, dots alone and a hidden file are segments like others.
        ("GET /files/%20", "file"),
        ("GET /files/..", "file"),
        ("GET /leads/../users", "GET /leads/../users"),
        ("GET /.json", "GET /.json"),
        // Nothing is decoded twice, or into something that ends a segment.
        ("GET /%256Ceads", "GET /%256Ceads"),
        ("GET /v1%2Fusers", "GET /v1%2Fusers"),
        ("GET /leads%3Fx/y", "GET /leads%3Fx/y"),
        ("GET /%6", "GET /%6"),
        ("GET /%zz", "GET /%zz"),
    ] {
        assert_eq!(name(&endpoints, request), expected, "{request}");
    }
}

#[test]
fn case_is_ignored_where_the_upstream_ignores_it() {
    let mut endpoints = declare(
        Endpoints::new(Undeclared::Segments(NonZeroU8::new(2).unwrap()), true),
        &["GET /Leads/:Id", "GET /caf%c3%a9"],
    );
    for (request, expected) in [
        ("GET /leads/7", "GET /Leads/:Id"),
        ("GET /LEADS/A", "GET /Leads/:Id"),
        ("GET /%4ceads/A", "GET /Leads/:Id"),
        ("GET /CAF%C3%A9", "GET /caf%c3%a9"),
        ("GET /Tags/B%2Fc", "GET /tags/b%2fc"),
        ("get /leads/7", "? /leads/7"),
    ] {
        assert_eq!(name(&endpoints, request), expected, "{request}");
    }
    let twice = endpoints.add(None, "GET /LEADS/*").unwrap_err();
    assert_eq!(twice.to_string(), "`GET /LEADS/*` fits the same requests as `GET /Leads/:Id`");
    assert_eq!(name(&apart(2, &["GET /leads"]), "GET /Leads"), "GET /Leads");
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
    assert_eq!(name(&endpoints, "OPTIONS *"), "undeclared");
}

#[test]
fn undeclared_endpoints_are_one_unless_they_are_distinguished() {
    let endpoints = endpoints(&["GET /leads"]);
    for request in ["GET /tags", "PUT /leads", "BREW /x", "OPTIONS *", "GET /", " ", "GET /a/b/c;x"] {
        assert_eq!(name(&endpoints, request), "undeclared", "{request}");
    }
    assert_eq!(name(&endpoints, "GET /leads"), "GET /leads");
}

#[test]
fn undeclared_endpoints_are_distinguished_by_method_and_first_segments() {
    let endpoints = apart(2, &["GET /v1/tags/all"]);
    for (request, expected) in [
        ("GET /v1/tags", "GET /v1/tags"),
        ("GET /v1/tags/7", "GET /v1/tags"),
        ("GET /v1/tags/cl9ebqhxk00003b600tymydho/x", "GET /v1/tags"),
        ("GET /v1/tags/01ARZ3NDEKTSV4RRFFQ69G5FAV", "GET /v1/tags"),
        ("GET /v1/tags/all", "GET /v1/tags/all"),
        ("PUT /v1/tags/all", "PUT /v1/tags"),
        ("GET /v1", "GET /v1"),
        ("GET /", "GET /"),
        ("OPTIONS *", "OPTIONS *"),
        // What does not distinguish declared endpoints does not distinguish these.
        ("GET //v1/tags;v=1/", "GET /v1/tags"),
        ("GET /v1/tags%20/7", "GET /v1/tags"),
        ("GET /v1/tags.json", "GET /v1/tags"),
        ("GET /v1/%74ags", "GET /v1/tags"),
        // Methods that nobody knows are one.
        ("BREW /v1/tags", "? /v1/tags"),
        ("G\tT /v1/tags", "? /v1/tags"),
        ("GETGETGETGETGETGETGETGETG /v1/tags/x", "? /v1/tags"),
        (" /v1/tags", "? /v1/tags"),
    ] {
        assert_eq!(name(&endpoints, request), expected, "{request}");
    }
    assert_eq!(*endpoints.name(b"\xff", b"/x/\xff"), *b"? /x/\xff");
    assert_eq!(name(&apart(1, &[]), "GET /v1/tags"), "GET /v1");
}

#[test]
fn a_name_can_be_only_if_some_request_has_it() {
    let mut one = endpoints(&["GET /leads"]);
    one.add(Some("write"), "POST /leads").unwrap();
    let apart = apart(2, &["GET /leads"]);
    for (name, in_one, in_apart) in [
        ("GET /leads", true, true),
        ("write", true, false),
        ("undeclared", true, false),
        ("GET /v1/tags", false, true),
        ("GET /v1/tags/7", false, false),
        ("GET /v1/tags.json", false, false),
        ("HEAD /v1/tags", false, false),
        ("GET /leads/", false, false),
        ("get /leads", false, false),
    ] {
        assert_eq!((one.can_be(name), apart.can_be(name)), (in_one, in_apart), "{name}");
    }
}

#[test]
fn no_number_of_invented_paths_changes_what_another_path_is_called() {
    let endpoints = apart(2, &["GET /v1/leads"]);
    let reported =
        |endpoints: &Endpoints| ["GET /v1/leads", "GET /v1/tags"].map(|request| name(endpoints, request));
    let before = reported(&endpoints);
    for n in 0..20_000 {
        let _ = name(&endpoints, &format!("GET /v1/invented-{n}/x"));
    }
    assert_eq!(reported(&endpoints), before);
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
        ("GET /leads/;v=1", "segment `;v=1` is neither literal text nor `:name`, `*` or `**`"),
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
    let reserved = Endpoints::default().add(Some("undeclared"), "GET /a").unwrap_err();
    assert_eq!(reserved.to_string(), "`undeclared` is what all other endpoints are called");
    let long = format!("GET {}", "/a".repeat(MAX_TEMPLATE_SEGMENTS + 1));
    assert!(matches!(Endpoints::default().add(None, &long), Err(EndpointError::TooLong { .. })));
    let longest = &long[..long.len() - 2];
    let endpoints = endpoints(&[longest, "GET /things:batch"]);
    for declared in [longest, "GET /things:batch"] {
        assert_eq!(name(&endpoints, declared), declared);
    }
    assert_eq!(name(&endpoints, "GET /things:other"), "undeclared");
    assert_eq!(name(&endpoints, &long), "undeclared");
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
        let fits_method = wanted == "ANY" || wanted == method || (wanted, method) == ("GET", "HEAD");
        fits_method && fits(&words(pattern), &words(path))
    });
    fitting.min_by_key(|template| {
        let (wanted, pattern) = template.split_once(' ').unwrap();
        let ranks: Vec<u8> = words(pattern).into_iter().map(rank).collect();
        (ranks, wanted == "ANY", wanted != method)
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
            (prop::sample::select(&["ANY", "GET", "POST", "HEAD"][..]), path_of(&["a", "b", "*", ":x"]), any::<bool>()), 0..14,
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
            let expected = model(&kept, method, &path).unwrap_or("undeclared");
            prop_assert_eq!(&*found, expected.as_bytes(), "{} {}", method, path);
        }
    }
}

/// Templates of all ways to write `depth` segments as `a` or `:x`: `/a/a/0`, `/a/:x/1`, …
fn tangle(depth: u32) -> Endpoints {
    let mut endpoints = Endpoints::default();
    for n in 0..1_u32 << depth {
        let path: String = (0..depth).map(|at| if n >> at & 1 == 0 { "/a" } else { "/:x" }).collect();
        endpoints.add(None, &format!("GET {path}/{n}")).unwrap();
    }
    endpoints
}

#[test]
fn templates_that_make_a_path_go_too_many_ways_are_refused() {
    assert_eq!(tangle(5).check(), Ok(()));
    let refused = tangle(7).check().unwrap_err();
    assert_eq!(refused, EndpointError::Overlap { visits: 383 });
    assert!(refused.hint().is_some());

    // Many templates are no reason, be there `:name` and literals beside each other, or decorated literals.
    let mut many = Endpoints::default();
    for n in 0..5000 {
        many.add(None, &format!("GET /t{n}/:a/x")).unwrap();
        many.add(None, &format!("GET /:a/x/r{n}")).unwrap();
        many.add(None, &format!("GET /t{n}.json/y")).unwrap();
    }
    assert_eq!(many.check(), Ok(()));
}

/// The nanoseconds that this thread has had of a core: waiting for one costs nothing.
fn time_of_this_thread() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// The least nanoseconds of some runs, which is the run that nothing else came in the way of.
fn cost(endpoints: &Endpoints, target: &[u8]) -> i64 {
    let run = || {
        let before = time_of_this_thread();
        for _ in 0..20 {
            std::hint::black_box(endpoints.name(b"GET", std::hint::black_box(target)));
        }
        time_of_this_thread() - before
    };
    (0..9).map(|_| run()).min().unwrap()
}

#[test]
fn a_long_path_costs_no_more_beside_many_templates_than_beside_one() {
    let one = endpoints(&["GET /a/:x/b"]);
    let tangled = tangle(6);
    let mut many = tangle(6);
    for n in 0..5000 {
        many.add(None, &format!("GET /t{n}/:a/x")).unwrap();
        many.add(None, &format!("GET /a/:b/c/r{n}")).unwrap();
    }
    let after = |long: &[u8]| [b"/a/a/a/a/a/".as_slice(), long, b"/b"].concat();
    let long_segment = after(&b"a".repeat(50_000));
    let long_decorated = after(&b"%61;".repeat(12_000));
    for target in [long_segment, b"/a".repeat(25_000), long_decorated] {
        let alone = cost(&one, &target);
        for others in [&tangled, &many] {
            let beside = cost(others, &target);
            assert!(beside < alone * 4, "{alone} ns beside one template, {beside} ns beside many");
        }
        let half = cost(&many, &target[..target.len() / 2]);
        let whole = cost(&many, &target);
        assert!(whole < half * 5, "half of it {half} ns, all of it {whole} ns");
    }
}

proptest! {
    #[test]
    fn any_bytes_get_a_name_of_few_segments_of_which_none_is_empty(
        method in prop::collection::vec(any::<u8>(), 0..30),
        target in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"//?#*:;.a0"[..])], 0..1000),
    ) {
        let endpoints = apart(3, &[]);
        let name = endpoints.name(&method, &target).into_owned();
        let space = name.iter().position(|byte| *byte == b' ').unwrap();
        let (method, path) = (&name[..space], &name[space + 1..]);
        prop_assert!(!method.is_empty() && name.len() <= target.len() + MAX_METHOD + 2);
        prop_assert!(path == b"*" || path.starts_with(b"/"));
        prop_assert!(path == b"/" || path == b"*" || path[1..].split(|byte| *byte == b'/').all(|part| !part.is_empty()));
        prop_assert!(path.split(|byte| *byte == b'/').count() <= 4);
        prop_assert!(!path.contains(&b'?') && !path.contains(&b'#') && !path.contains(&b';'));
        let one = Endpoints::default();
        prop_assert_eq!(one.name(method, path), Cow::Borrowed(b"undeclared".as_slice()));
    }
}
