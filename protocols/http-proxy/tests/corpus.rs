//! The committed fuzz corpora, replayed by a stable compiler; and the same bodies with random input.

use std::path::Path;

use edgeway_http_proxy::fuzzing;
use proptest::prelude::*;

#[expect(clippy::disallowed_methods, reason = "the corpora are files beside the source")]
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).expect("the folder is committed");
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        run(&std::fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count > 3, "{} holds a corpus", folder.display());
}

#[test]
fn paths() {
    replay("http_lane", fuzzing::http_lane);
}

#[test]
fn heads() {
    replay("http_head", fuzzing::http_head);
}

#[test]
fn connections() {
    replay("http_stream", fuzzing::http_stream);
}

fn line() -> impl Strategy<Value = String> {
    let names = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "cookie",
        "authorization",
        "expect",
        "te",
        "x-forwarded-for",
        "edgeway-client",
        "x-hop",
        "upgrade",
    ];
    let values = [
        "a.example:8443",
        "chunked",
        "5",
        "close",
        "x-hop",
        "X-Auth=abc; a=b",
        "Basic YTpi",
        "100-continue",
        "trailers",
        "",
        "a, b",
        "keep-alive, x-hop",
    ];
    let value = prop_oneof![3 => proptest::sample::select(values.to_vec()).prop_map(str::to_owned), 1 => "[ -~]{0,12}"];
    (proptest::sample::select(names.to_vec()), value).prop_map(|(name, value)| format!("{name}: {value}"))
}

/// Pieces of requests: good ones, so that several go on, and what has confused parsers elsewhere.
fn of_a_connection() -> impl Strategy<Value = String> {
    let good = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "0\r\nX-Sum: 1\r\n\r\n",
    ];
    let odd = [
        "\r\n",
        "\n",
        "\r",
        " ",
        "0",
        "5",
        ";a=b",
        "Content-Length: 5\r\n",
        "Connection: close\r\n",
        "GET / HTTP/1.0\r\n",
        "\0",
        ":",
    ];
    let of = |words: &[&str]| proptest::sample::select(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    prop_oneof![3 => of(&good), 1 => of(&odd)]
}

proptest! {
    #[test]
    fn any_path(text in "\\PC{0,60}", descriptor in "[a-z.]{1,9}/(https?|ftp)/[a-z0-9.:-]{1,12}/[0-9]{0,6} /?[ -~]{0,20}") {
        fuzzing::http_lane(text.as_bytes());
        fuzzing::http_lane(descriptor.as_bytes());
    }

    #[test]
    fn any_head(first in "(GET|POST|TRACE|B A) /[!-~]{0,9} (1\\.1|1\\.0|2)", lines in proptest::collection::vec(line(), 0..6)) {
        fuzzing::http_head(format!("{first}\n{}", lines.join("\n")).as_bytes());
    }

    #[test]
    fn any_connection(piece in 1_u8..40, pieces in proptest::collection::vec(of_a_connection(), 0..12)) {
        let bytes = [vec![piece], pieces.concat().into_bytes()].concat();
        fuzzing::http_stream(&bytes);
    }
}
