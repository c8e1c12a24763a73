//! Requests of which two readers may disagree where they end (RFC 9112, sections 2 to 7). Each holds
//! another request, for `/smuggled`, where one of the readings would find it.

pub const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
pub const TARGET: &str = "/api/v1/auth/login";

pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
}

fn case(name: &str, bytes: impl Into<Vec<u8>>) -> Case {
    Case { name: name.to_owned(), bytes: bytes.into() }
}

fn post(fields: &str, body: &str) -> String {
    format!(
        "POST {TARGET} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{fields}\r\n\r\n{body}"
    )
}

/// All that must be refused, or answered once with the connection closed.
pub fn cases() -> Vec<Case> {
    [lengths(), encodings(), chunks(), fields(), lines(), hosts()].into_iter().flatten().collect()
}

/// The body is as long as one reading of its length says; the rest would be a request.
fn lengths() -> Vec<Case> {
    let values = [
        "2, 2",
        "2,3",
        "+2",
        "-2",
        "0x2",
        "2 2",
        "2;",
        "2.0",
        "2e0",
        "\"2\"",
        "",
        "\u{b}2",
        "2\u{0}",
        "18446744073709551616",
        "99999999999999999999999",
        "٢",
        "2\u{a0}",
    ];
    let mut cases: Vec<_> = values
        .iter()
        .map(|value| {
            let bytes = post(&format!("Content-Length: {value}"), &format!("{{}}{SMUGGLED}"));
            case(&format!("length {value:?}"), bytes)
        })
        .collect();
    for (name, second) in [("other", "40"), ("none", "0"), ("cut short", "1")] {
        let fields = format!("Content-Length: 2\r\nContent-Length: {second}");
        cases
            .push(case(&format!("two lengths, {name}"), post(&fields, &format!("{{}}{SMUGGLED}"))));
    }
    cases
}

/// As long as the length says when the coding is not understood, and shorter when it is.
fn encodings() -> Vec<Case> {
    let fields = [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: chunked\u{0}",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: ",
        "Transfer-Encoding: identity",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\n",
        "Connection: Content-Length\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: ch\u{212a}nked",
    ];
    let body = format!("0\r\n\r\n{SMUGGLED}");
    let of = |field: &&str| {
        let fields = format!("Content-Length: {}\r\n{field}", body.len());
        case(&format!("length and {field:?}"), post(&fields, &body))
    };
    let mut cases: Vec<_> = fields.iter().map(of).collect();
    // The other way round: what looks like the rest is inside of a chunk.
    let inside = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    cases.push(case(
        "chunked with a short length",
        post("Content-Length: 4\r\nTransfer-Encoding: chunked", &inside),
    ));
    let old = post("Content-Length: 2\r\nTransfer-Encoding: chunked", &body);
    cases.push(case(
        "chunked in HTTP/1.0",
        old.replace("HTTP/1.1\r\nHost: a\r\nContent-Type", "HTTP/1.0\r\nHost: a\r\nContent-Type"),
    ));
    cases
}

/// A body in chunks with something odd, then the end of it, then the rest.
fn chunks() -> Vec<Case> {
    let bodies = [
        ("signed", "+2\r\n{}\r\n"),
        ("negative", "-2\r\n{}\r\n"),
        ("hexadecimal mark", "0x2\r\n{}\r\n"),
        ("space before", " 2\r\n{}\r\n"),
        ("underscore", "0_2\r\n{}\r\n"),
        ("no size", "\r\n{}\r\n"),
        ("no digits", "zz\r\n{}\r\n"),
        ("overflow", "10000000000000002\r\n{}\r\n"),
        ("largest", "ffffffffffffffff\r\n{}\r\n"),
        ("line feed after the size", "2\n{}\r\n"),
        ("carriage return after the size", "2\r{}\r\n"),
        ("no line end after the chunk", "2\r\n{}"),
        ("more than announced", "2\r\n{}xx\r\n"),
        ("line feed after the chunk", "2\r\n{}\n"),
        ("line feed in an extension", "2;a=\"\n\"\r\n{}\r\n"),
        ("size after an extension", "2;\n2\r\n{}\r\n"),
        ("carriage return in an extension", "2;a\rb\r\n{}\r\n"),
        ("NUL", "2\u{0}\r\n{}\r\n"),
        ("comma", "2,2\r\n{}\r\n"),
        ("vertical tab", "2\u{b}\r\n{}\r\n"),
    ];
    let of = |(name, chunk): &(&str, &str)| {
        let body = format!("{chunk}0\r\n\r\n{SMUGGLED}");
        case(&format!("chunk: {name}"), post("Transfer-Encoding: chunked", &body))
    };
    let mut cases: Vec<_> = bodies.iter().map(of).collect();
    let trailers = [
        "Content-Length: 2",
        "Transfer-Encoding: chunked",
        "Host: b",
        "no colon",
        "a b: c",
        "X: y\n",
    ];
    cases.extend(trailers.iter().map(|trailer| {
        let body = format!("2\r\n{{}}\r\n0\r\n{trailer}\r\n\r\n{SMUGGLED}");
        case(&format!("trailer {trailer:?}"), post("Transfer-Encoding: chunked", &body))
    }));
    let long = format!("2;{}\r\n{{}}\r\n0\r\n\r\n{SMUGGLED}", "x".repeat(100_000));
    cases.push(case("chunk: a long extension", post("Transfer-Encoding: chunked", &long)));
    cases
}

fn fields() -> Vec<Case> {
    let lines = [
        "X : y",
        "X\t: y",
        " X: y",
        "\tX: y",
        ": y",
        "X",
        "X Y: z",
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X: a\u{0}b",
        "X\u{0}: y",
        "X: a\rb",
        "(X): y",
        "X,Y: z",
        "é: y",
        "X: a\u{1}b",
        "X: a\u{7f}b",
        "X@: y",
    ];
    let of = |line: &&str| {
        let fields = format!("{line}\r\nContent-Length: 2");
        case(&format!("field {line:?}"), post(&fields, &format!("{{}}{SMUGGLED}")))
    };
    lines.iter().map(of).collect()
}

fn lines() -> Vec<Case> {
    let lines = [
        "GET  /api/v1/ping HTTP/1.1",
        "GET\t/api/v1/ping HTTP/1.1",
        " GET /api/v1/ping HTTP/1.1",
        "GET /api/v1/ping  HTTP/1.1",
        "GET /api/v1/ping HTTP/1.1 ",
        "GET /api/v1/ping HTTP/1.2",
        "GET /api/v1/ping HTTP/1",
        "GET /api/v1/ping HTTP/11.1",
        "GET /api/v1/ping http/1.1",
        "GET /api/v1/ping HTTP/2.0",
        "GET /api/v1/ping",
        "GET /api/v1/ping HTTP/1.1 x",
        "GET HTTP/1.1",
        "GET /api/v1/\u{0}ping HTTP/1.1",
        "GET /api/v1/ping\rX HTTP/1.1",
        "G(T /api/v1/ping HTTP/1.1",
        "GET /api/v1/ping#x HTTP/1.1",
        "GET api/v1/ping HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
        "GET /api/v1/pi ng HTTP/1.1",
        "G\u{e9}T /api/v1/ping HTTP/1.1",
        "GET \\api HTTP/1.1",
        "",
    ];
    let of = |line: &&str| {
        let bytes = format!("{line}\r\nHost: a\r\nContent-Length: 0\r\n\r\n{SMUGGLED}");
        case(&format!("line {line:?}"), bytes)
    };
    lines.iter().map(of).collect()
}

fn hosts() -> Vec<Case> {
    let hosts = [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
        "Host: a@b\r\n",
        "Host: a/b\r\n",
        "Host: a?b\r\n",
        "Host: a\u{0}\r\n",
        "Host: a:x\r\n",
        "Host : a\r\n",
        "Host: a\r\n b\r\n",
        "Host: é\r\n",
        "Host: a\\b\r\n",
        "Host: [::1\r\n",
        "Host:\r\n",
    ];
    let of = |hosts: &&str| {
        let bytes = format!("GET /api/v1/ping HTTP/1.1\r\n{hosts}\r\n{SMUGGLED}");
        case(&format!("hosts {hosts:?}"), bytes)
    };
    hosts.iter().map(of).collect()
}
