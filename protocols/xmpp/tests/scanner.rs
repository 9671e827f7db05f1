//! Every rule of the scanner: what passes and where it is cut, what is refused and with which condition; and that neither
//! depends on how the bytes came.

use edgeway_xmpp::{Boundary, Bounds, Condition, Scanner, StreamFault};

const HEADER: &str = "<stream:stream to='example.com' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// What the scanner says of a whole stream: what it cut, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    cuts: Vec<(Boundary, String)>,
    fault: Option<StreamFault>,
}

/// Reads `bytes` in pieces of `piece` bytes.
fn read(bytes: &[u8], piece: usize, bounds: Bounds) -> Reading {
    let mut scanner = Scanner::new(bounds);
    let (mut cuts, mut begun) = (Vec::<(Boundary, String)>::new(), 0);
    let mut at = 0;
    for piece in bytes.chunks(piece.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            let step = match scanner.step(rest) {
                Ok(step) => step,
                Err(fault) => {
                    assert_eq!(scanner.step(b" "), Err(fault), "what is broken stays so");
                    return Reading { cuts, fault: Some(fault) };
                }
            };
            assert!(step.consumed > 0 && (step.event.is_some() || step.consumed == rest.len()), "{step:?}");
            at += step.consumed;
            rest = &rest[step.consumed..];
            if let Some(event) = step.event {
                let text = String::from_utf8(bytes[begun..at].to_vec()).expect("what passes is UTF-8");
                match cuts.last_mut() {
                    // White space comes as it is at hand.
                    Some((Boundary::Whitespace, last)) if event == Boundary::Whitespace => last.push_str(&text),
                    _ => cuts.push((event, text)),
                }
                begun = at;
            }
        }
    }
    Reading { cuts, fault: None }
}

/// The reading of `bytes`, which is the same in any pieces.
fn reading(bytes: &[u8]) -> Reading {
    let whole = read(bytes, bytes.len(), Bounds::SIGNED_IN);
    for piece in [1, 2, 3, 5, 7] {
        assert_eq!(read(bytes, piece, Bounds::SIGNED_IN), whole, "in pieces of {piece}: {}", bytes.escape_ascii());
    }
    whole
}

/// What is cut out of a stream behind its header.
fn cut(inside: &str) -> Vec<(Boundary, String)> {
    let reading = reading(format!("{HEADER}{inside}").as_bytes());
    assert_eq!(reading.fault, None, "{inside:?}");
    reading.cuts.into_iter().skip(1).collect()
}

/// How a stream fails behind its header.
fn condition(inside: &[u8]) -> Option<Condition> {
    reading(&[HEADER.as_bytes(), inside].concat()).fault.map(|fault| fault.condition)
}

#[test]
fn elements_are_cut_where_they_end() {
    let elements = [
        "<message/>",
        "<message to='a@b'><body>text</body></message>",
        "<message ><body\n>a > b ]] ]&gt; &lt;/message&gt;</body ></message\t>",
        "<message id='>'>/></message>",
        "<message id='&lt;/message>'/>",
        "<message><body><![CDATA[</message>]]></body></message>",
        "<message><![CDATA[]]]]><![CDATA[>]]]></message>",
        "<a><a><a/></a></a>",
        "<iq\r\n/>",
        "<a b = \"'\"\r\nc\t='\"'/>",
        "<a:b xmlns:a='urn:a' a:c='1' c='1'><a:b/></a:b>",
        "<a xmlns='urn:a'><b xmlns=''/></a>",
        "<a xml:lang='de' xmlns:xml='http://www.w3.org/XML/1998/namespace'><xml:b/></a>",
        "<ü ä='ö'>Grüße 😀 \u{ffff0}</ü>",
        "<a>&#65;&#x41;&#x10FFFF;&#0000000000065;&amp;&apos;&quot;</a>",
        "<stream:error><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>x</text></stream:error>",
        "<stream/>",
        "<a><stream:stream/></a>",
        "<a-b._c/>",
    ];
    for element in elements {
        assert_eq!(cut(element), [(Boundary::Stanza, element.to_owned())], "{element}");
    }
    let all = elements.concat();
    let cuts: Vec<String> = cut(&all).into_iter().map(|(_, text)| text).collect();
    assert_eq!(cuts, elements);
}

#[test]
fn white_space_is_cut_apart() {
    let expected = [
        (Boundary::Whitespace, " \r\n".to_owned()),
        (Boundary::Stanza, "<a/>".to_owned()),
        (Boundary::Whitespace, "\t".to_owned()),
        (Boundary::Stanza, "<b> </b>".to_owned()),
        (Boundary::Close, "</stream:stream >".to_owned()),
        (Boundary::Whitespace, "\n".to_owned()),
    ];
    assert_eq!(cut(" \r\n<a/>\t<b> </b></stream:stream >\n"), expected);
}

#[test]
fn malformed_text_is_refused() {
    let bad = [
        "<a></b>",
        "<a></aa>",
        "<aa></a>",
        "<a></a b='c'>",
        "</a>",
        "</stream>",
        "< a/>",
        "<1/>",
        "<-/>",
        "<a/ >",
        "<a/b>",
        "<a b/>",
        "<a b=c/>",
        "<a b'c'/>",
        "<a 'c'/>",
        "<a b='c'd='e'/>",
        "<a b='c' b='d'/>",
        "<a b='<'/>",
        "<a b='&'/>",
        "<a b='&lt'/>",
        "<a>& </a>",
        "<a>&;</a>",
        "<a>&#;</a>",
        "<a>&#x;</a>",
        "<a>&#X41;</a>",
        "<a>&#a;</a>",
        "<a>&#0;</a>",
        "<a>&#x1;</a>",
        "<a>&#xD800;</a>",
        "<a>&#xFFFE;</a>",
        "<a>&#x110000;</a>",
        "<a>&#99999999999999999999;</a>",
        "<a>&lt </a>",
        "<a>]]></a>",
        "<a>]]]></a>",
        "<a>\u{1}</a>",
        "<a>\0</a>",
        "<a b='\u{c}'/>",
        "<a><![CDATA[\u{1}]]></a>",
        "<a><![CDATX[]]></a>",
        "<a><![cdata[]]></a>",
        "<a><!></a>",
        "<>",
        "<a\u{c}b='c'/>",
        "<a:b/>",
        "<a b:c=''/>",
        "<xmlns:a/>",
        "<a:b:c xmlns:a='urn:a'/>",
        "<:a/>",
        "<a:/>",
        "<a:1 xmlns:a='urn:a'/>",
        "<a :b=''/>",
        "<a b:='' xmlns:b='urn:b'/>",
        "<a xmlns:='urn:b'/>",
        "<a xmlns:b=''/>",
        "<a xmlns:xmlns='urn:a'/>",
        "<a xmlns:xml='urn:a'/>",
        "<a xmlns:b='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:b='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns:b='urn:a' xmlns:b='urn:a'/>",
        "<a xmlns:b='urn:a' xmlns:c='urn:a' b:d='' c:d=''/>",
        "<a xmlns:b='urn:a' xmlns:c='urn&#58;&#x61;' b:d='' c:d=''/>",
        "<a xmlns:b='urn:a'><e xmlns:c='urn:a' c:d='' b:d=''/></a>",
        "<a xmlns:b='urn:\n'/>",
        "<a xmlns='urn:&#10;'/>",
        "<a><b:c xmlns:b='urn:b'/><b:c/></a>",
        "<a>\u{fffe}</a>",
        "<a>\u{ffff}</a>",
        "<\u{d7}/>",
        "<a\u{2003}/>",
        "<\u{10000}/>",
    ];
    for text in bad {
        assert_eq!(condition(text.as_bytes()), Some(Condition::NotWellFormed), "{text:?}");
    }
}

#[test]
fn what_xmpp_forbids_is_refused() {
    let forbidden = [
        "<!-- a -->",
        "<a><!-- a --></a>",
        "<?a b?>",
        "<a><?a b?></a>",
        "<?xml version='1.0'?>",
        "<!DOCTYPE a>",
        "<a><!DOCTYPE a></a>",
        "<!ENTITY a 'b'>",
        "<a>&nbsp;</a>",
        "<a>&a;</a>",
        "<a>&LT;</a>",
        "<a>&lts;</a>",
        "<a>&quota;</a>",
        "<a>&\u{fc};</a>",
        "<a b='&c;'/>",
    ];
    for text in forbidden {
        assert_eq!(condition(text.as_bytes()), Some(Condition::RestrictedXml), "{text:?}");
    }
}

#[test]
fn text_between_elements_is_refused() {
    for text in [
        "a",
        "&#32;",
        "<a/>a",
        "\u{feff}",
        "<![CDATA[ ]]>",
        "]",
        "<stream:stream>",
        "<stream xmlns='http://etherx.jabber.org/streams'/>",
        "<s:stream xmlns:s='http://etherx.jabber.org/streams'>",
    ] {
        assert_eq!(condition(text.as_bytes()), Some(Condition::BadFormat), "{text:?}");
    }
    let second = format!("<a/>{HEADER}");
    assert_eq!(condition(second.as_bytes()), Some(Condition::BadFormat));
    assert_eq!(condition(b"</stream:stream><a/>"), Some(Condition::BadFormat));
}

#[test]
fn what_is_no_utf_8_is_refused() {
    let bad: [&[u8]; 14] = [
        b"\x80",
        b"\xbf",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xc3(",
        b"\xe0\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xe2\x82<",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xff",
    ];
    for bytes in bad {
        for (before, behind) in
            [("<a>", "</a>"), ("<a b='", "'/>"), ("<a><![CDATA[", "]]></a>"), ("<a", "/>"), ("<a b", "=''/>")]
        {
            let text = [before.as_bytes(), bytes, behind.as_bytes()].concat();
            assert_eq!(condition(&text), Some(Condition::UnsupportedEncoding), "{}", text.escape_ascii());
        }
    }
    assert_eq!(condition(b"\xff"), Some(Condition::UnsupportedEncoding));
}

#[test]
fn headers_are_those_of_xmpp() {
    let streams = "xmlns:stream='http://etherx.jabber.org/streams'";
    let good = [
        HEADER.to_owned(),
        format!("<?xml version='1.0'?>{HEADER}"),
        format!("<?xml version=\"1.0\" encoding='utf-8' standalone = 'yes' ?>\r\n {HEADER}"),
        format!("<stream:stream {streams} xmlns='&#106;abber:client' >"),
    ];
    for text in good {
        let reading = reading(text.as_bytes());
        assert_eq!((reading.fault, reading.cuts), (None, vec![(Boundary::Header, text.clone())]), "{text}");
    }
    let bad = [
        (Condition::InvalidNamespace, format!("<stream:stream {streams}>")),
        (Condition::InvalidNamespace, format!("<stream:stream {streams} xmlns='jabber:server'>")),
        (Condition::InvalidNamespace, "<stream:stream xmlns:stream='urn:s' xmlns='jabber:client'>".to_owned()),
        (Condition::InvalidNamespace, "<a>".to_owned()),
        (Condition::InvalidNamespace, "<iq xmlns='jabber:client'/>".to_owned()),
        (Condition::BadNamespacePrefix, HEADER.replace("stream:", "s:").replace(":stream=", ":s=")),
        (Condition::BadNamespacePrefix, "<stream xmlns='http://etherx.jabber.org/streams'>".to_owned()),
        (Condition::BadFormat, HEADER.replace("<stream:stream", "<stream:streams")),
        (Condition::BadFormat, HEADER.replace('>', "/>")),
        (Condition::NotWellFormed, "<stream:stream xmlns='jabber:client'>".to_owned()),
        (Condition::NotWellFormed, format!(" a{HEADER}")),
        (Condition::NotWellFormed, format!("\u{feff}{HEADER}")),
        (Condition::NotWellFormed, "</stream:stream>".to_owned()),
        (Condition::NotWellFormed, "<![CDATA[]]>".to_owned()),
        (Condition::NotWellFormed, "GET / HTTP/1.1\r\n".to_owned()),
        (Condition::NotWellFormed, "<?xml version='1.1'?>".to_owned()),
        (Condition::NotWellFormed, "<?xml  encoding='UTF-8'?>".to_owned()),
        (Condition::NotWellFormed, "<?xml version='1.0' standalone='yes' encoding='UTF-8'?>".to_owned()),
        (Condition::NotWellFormed, "<?xml version='1.0'encoding='UTF-8'?>".to_owned()),
        (Condition::NotWellFormed, "<?xml version='1.0>".to_owned()),
        (Condition::NotWellFormed, "<?xml version='1.0' standalone='maybe'?>".to_owned()),
        (Condition::NotWellFormed, "<?xml version='1.0' a?>".to_owned()),
        (Condition::RestrictedXml, format!(" <?xml version='1.0'?>{HEADER}")),
        (Condition::RestrictedXml, format!("<?xml version='1.0'?><?xml version='1.0'?>{HEADER}")),
        (Condition::RestrictedXml, format!("<?xml-stylesheet a?>{HEADER}")),
        (Condition::RestrictedXml, format!("<?a?>{HEADER}")),
        (Condition::RestrictedXml, format!("<!-- a -->{HEADER}")),
        (Condition::RestrictedXml, "<!DOCTYPE a [ <!ENTITY b 'c'> ]>".to_owned()),
        (Condition::UnsupportedEncoding, "<?xml version='1.0' encoding='ISO-8859-1'?>".to_owned()),
        (Condition::UnsupportedEncoding, "<\0s\0".to_owned()),
        (Condition::UnsupportedEncoding, "\0<\0s".to_owned()),
        (Condition::PolicyViolation, format!("<?xml{}", " ".repeat(200))),
        (Condition::PolicyViolation, format!("{}{}", HEADER.replace('>', ""), " ".repeat(4096))),
    ];
    for (expected, text) in bad {
        assert_eq!(reading(text.as_bytes()).fault.map(|fault| fault.condition), Some(expected), "{text}");
    }
    assert_eq!(reading(b"\xff\xfe<\0").fault.map(|fault| fault.condition), Some(Condition::UnsupportedEncoding));
}

/// A server reads the end of a line behind `</auth>` with the parser of the stream that ends; so does a keepalive on its way.
#[test]
fn white_space_between_two_streams_leaves_room_for_a_declaration_and_none_does_before_the_first() {
    let said = format!("\n <?xml version='1.0'?>{}", HEADER.split_once("?>").map_or(HEADER, |(_, header)| header));
    let events = |scanner: &mut Scanner| {
        let (mut rest, mut events) = (said.as_bytes(), Vec::new());
        while !rest.is_empty() {
            let step = scanner.step(rest)?;
            events.extend(step.event);
            rest = &rest[step.consumed..];
        }
        Ok(events)
    };
    let mut scanner = Scanner::new(Bounds::STRANGER);
    let refused: Result<Vec<Boundary>, StreamFault> = events(&mut scanner);
    assert_eq!(refused.map_err(|fault| fault.condition), Err(Condition::RestrictedXml));
    let mut scanner = Scanner::new(Bounds::STRANGER);
    assert!(scanner.step(HEADER.as_bytes()).is_ok());
    scanner.restart();
    assert_eq!(events(&mut scanner), Ok(vec![Boundary::Whitespace, Boundary::Header]));
}
