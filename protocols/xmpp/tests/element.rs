//! Elements and headers taken apart: what comes out of each way to write something, what is refused, and how it is written
//! again.

use edgeway_xmpp::limits::{ELEMENT_BYTES_MAX, ELEMENT_CHILDREN_MAX, ELEMENT_DEPTH_MAX};
use edgeway_xmpp::{Attribute, Condition, Element, Header, escape};

/// All that an element holds, in a line: `{namespace}name`, its attributes in brackets, its text in quotes, its children
/// in parentheses.
fn shown(element: &Element) -> String {
    let Element { name, namespace, attributes, children, text } = element;
    let attribute = |Attribute { namespace, name, value }: &Attribute| format!("[{{{namespace}}}{name}={value:?}]");
    let attributes = attributes.iter().map(attribute).collect::<String>();
    let children = children.iter().map(|child| format!("({})", shown(child))).collect::<String>();
    format!("{{{namespace}}}{name}{attributes}{:?}{children}", text.as_str())
}

#[track_caller]
fn read(xml: &str) -> String {
    match Element::parse(xml.as_bytes()) {
        Ok(element) => shown(&element),
        Err(fault) => panic!("{xml}: {fault:?}"),
    }
}

#[track_caller]
fn refused(xml: &str) -> Condition {
    match Element::parse(xml.as_bytes()) {
        Ok(element) => panic!("{xml}: {}", shown(&element)),
        Err(fault) => fault.condition,
    }
}

#[test]
fn names_and_their_namespaces() {
    for (xml, expected) in [
        ("<a/>", "{jabber:client}a\"\""),
        (" \r\n<a></a >\t", "{jabber:client}a\"\""),
        ("<a xmlns='urn:a'/>", "{urn:a}a\"\""),
        ("<a xmlns=\"urn:a\"><b/></a>", "{urn:a}a\"\"({urn:a}b\"\")"),
        ("<a xmlns=''><b/></a>", "{}a\"\"({}b\"\")"),
        ("<stream:features/>", "{http://etherx.jabber.org/streams}features\"\""),
        ("<p:a xmlns:p='urn:p'><b/></p:a>", "{urn:p}a\"\"({jabber:client}b\"\")"),
        // A declaration holds for its element and what is in it, and the innermost one counts.
        ("<a xmlns:p='urn:1'><p:b xmlns:p='urn:2'/><p:c/></a>", "{jabber:client}a\"\"({urn:2}b\"\")({urn:1}c\"\")"),
        ("<a xmlns='urn:1'><b xmlns='urn:2'/><c/></a>", "{urn:1}a\"\"({urn:2}b\"\")({urn:1}c\"\")"),
        ("<stream:a xmlns:stream='urn:other'/>", "{urn:other}a\"\""),
        // What is declared stands behind what uses it.
        ("<p:a p:b='' xmlns:p='urn:p'/>", "{urn:p}a[{urn:p}b=\"\"]\"\""),
        ("<a xmlns='urn:&lt;&#x26;'/>", "{urn:<&}a\"\""),
        ("<xml:a/>", "{http://www.w3.org/XML/1998/namespace}a\"\""),
        ("<\u{e9}:\u{e8} xmlns:\u{e9}='urn:\u{e9}'/>", "{urn:\u{e9}}\u{e8}\"\""),
    ] {
        assert_eq!(read(xml), expected, "{xml}");
    }
}

#[test]
fn attributes_and_their_values() {
    for (xml, expected) in [
        ("<a b='c' d=\"e\"/>", r#"[{}b="c"][{}d="e"]"#),
        ("<a\n\tb \r\n= 'c'\n/>", r#"[{}b="c"]"#),
        // Without a prefix there is no namespace, whatever that of the element is.
        ("<a xmlns='urn:a' b='c'/>", r#"[{}b="c"]"#),
        ("<a xml:lang='de'/>", r#"[{http://www.w3.org/XML/1998/namespace}lang="de"]"#),
        ("<a xmlns:p='urn:p' p:b='1' b='2'/>", r#"[{urn:p}b="1"][{}b="2"]"#),
        ("<a b='\"' c=\"'\" d='>' e='/>'/>", r#"[{}b="\""][{}c="'"][{}d=">"][{}e="/>"]"#),
        ("<a b='&lt;&gt;&amp;&apos;&quot;'/>", r#"[{}b="<>&'\""]"#),
        ("<a b='&amp;lt;'/>", r#"[{}b="&lt;"]"#),
        ("<a b='&#65;&#x42;&#x0043;&#x1F600;'/>", "[{}b=\"ABC\u{1f600}\"]"),
        // White space as it stands there is blanks (XML 1.0 §3.3.3), a line end is one; a reference is what it says.
        ("<a b='1\t2\n3\r\n4\r5'/>", r#"[{}b="1 2 3 4 5"]"#),
        ("<a b='&#9;&#10;&#13;'/>", r#"[{}b="\t\n\r"]"#),
        ("<a b='\u{e9}\u{4e2d}\u{1f600}'/>", "[{}b=\"\u{e9}\u{4e2d}\u{1f600}\"]"),
        ("<a b='  x  '/>", r#"[{}b="  x  "]"#),
    ] {
        let shown = read(xml);
        let attributes = shown.split_once('[').zip(shown.rsplit_once(']'));
        let ((before, _), (_, behind)) = attributes.expect("attributes");
        let expected = format!("{before}{expected}{behind}");
        assert_eq!(shown, expected, "{xml}");
    }
}

#[test]
fn texts() {
    for (inside, expected) in [
        ("", ""),
        ("text", "text"),
        (" \n text ", " \n text "),
        ("a > b ] ]] \" '", "a > b ] ]] \" '"),
        ("&lt;b/&gt;&amp;amp;", "<b/>&amp;"),
        ("&#x41;&#66;", "AB"),
        // Line ends are line feeds (XML 1.0 §2.11), one that is referred to is what it is.
        ("1\r\n2\r3\n4\r\r\n5", "1\n2\n3\n4\n\n5"),
        ("&#13;&#10;", "\r\n"),
        ("\r&#10;", "\n\n"),
        ("<![CDATA[<b>&lt;</b>]]>", "<b>&lt;</b>"),
        ("<![CDATA[]]>", ""),
        ("<![CDATA[]]]]><![CDATA[>]]>", "]]>"),
        ("<![CDATA[\r\n]]>\r<![CDATA[\n]]>", "\n\n\n"),
        // The pieces between what is in it are one.
        ("1<b>no</b>2<b/>3<![CDATA[4]]>5", "12345"),
    ] {
        let xml = format!("<a>{inside}</a>");
        let element = Element::parse(xml.as_bytes()).unwrap_or_else(|fault| panic!("{xml}: {fault:?}"));
        assert_eq!(element.text.as_str(), expected, "{xml}");
    }
    let mixed = read("<a>1<b c='2'>3<d/>4</b>5<b>6</b></a>");
    let expected = r#"a"15"({jabber:client}b[{}c="2"]"34"({jabber:client}d""))({jabber:client}b"6")"#;
    assert_eq!(mixed, format!("{{jabber:client}}{expected}"));
}

#[test]
fn what_is_no_element() {
    use Condition::{BadFormat, NotWellFormed, PolicyViolation, RestrictedXml};
    for (xml, expected) in [
        ("", NotWellFormed),
        (" ", NotWellFormed),
        ("text", BadFormat),
        ("<a>", NotWellFormed),
        ("<a", NotWellFormed),
        ("<a/><b/>", NotWellFormed),
        ("<a/>text", BadFormat),
        ("</stream:stream>", NotWellFormed),
        ("<a/></stream:stream>", NotWellFormed),
        ("<a></b>", NotWellFormed),
        ("<p:a/>", NotWellFormed),
        ("<a p:b=''/>", NotWellFormed),
        ("<a b='' b=''/>", NotWellFormed),
        ("<a xmlns:p='urn:p' xmlns:q='urn:p' p:b='' q:b=''/>", NotWellFormed),
        ("<a xmlns:p=''/>", NotWellFormed),
        ("<a b=c/>", NotWellFormed),
        ("<a b/>", NotWellFormed),
        ("<a b='<'/>", NotWellFormed),
        ("<a>]]></a>", NotWellFormed),
        ("<a>\u{1}</a>", NotWellFormed),
        ("<a>&#0;</a>", NotWellFormed),
        ("<a>&#xD800;</a>", NotWellFormed),
        ("<a>& </a>", NotWellFormed),
        ("<a>&nbsp;</a>", RestrictedXml),
        ("<a><!-- x --></a>", RestrictedXml),
        ("<a><?x?></a>", RestrictedXml),
        ("<!DOCTYPE a><a/>", RestrictedXml),
        ("<?xml version='1.0'?><a/>", RestrictedXml),
        ("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", BadFormat),
    ] {
        assert_eq!(refused(xml), expected, "{xml}");
    }
    assert!(Element::parse(b"<a>\xff</a>").is_err());
    assert!(Element::parse(b"<a>\xc3").is_err());
    assert_eq!(refused(&format!("<a>{}</a>", "x".repeat(ELEMENT_BYTES_MAX as usize))), PolicyViolation);
}

#[test]
fn the_bounds_of_an_element() {
    let nested = |levels: u16| format!("{}{}", "<a>".repeat(levels.into()), "</a>".repeat(levels.into()));
    assert!(Element::parse(nested(ELEMENT_DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(refused(&nested(ELEMENT_DEPTH_MAX + 1)), Condition::PolicyViolation);
    // Itself is one of them.
    let many = |children: u16| format!("<a>{}</a>", "<b/>".repeat(children.into()));
    assert!(Element::parse(many(ELEMENT_CHILDREN_MAX - 1).as_bytes()).is_ok());
    assert_eq!(refused(&many(ELEMENT_CHILDREN_MAX)), Condition::PolicyViolation);
    let long = |bytes: u32| format!("<a>{}</a>", "x".repeat(bytes as usize - "<a></a>".len()));
    assert!(Element::parse(long(ELEMENT_BYTES_MAX).as_bytes()).is_ok());
    assert_eq!(refused(&long(ELEMENT_BYTES_MAX + 1)), Condition::PolicyViolation);
}

#[test]
fn an_element_uses_what_the_header_declares() {
    let header = Header::parse(
        b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='urn:p'>",
    );
    let header = header.expect("a header");
    let within = |xml: &str| Element::parse_within(xml.as_bytes(), &header).map(|element| shown(&element));
    assert_eq!(within("<p:a p:b='c'/>"), Ok("{urn:p}a[{urn:p}b=\"c\"]\"\"".to_owned()));
    assert_eq!(within("<p:a xmlns:p='urn:q'/>"), Ok("{urn:q}a\"\"".to_owned()));
    assert_eq!(within("<a/>"), Ok("{jabber:client}a\"\"".to_owned()));
    assert!(within("<q:a/>").is_err());
    // Written, it says all itself.
    let element = Element::parse_within(b"<p:a p:b='c'/>", &header).expect("an element");
    assert_eq!(element.to_xml(), "<a xmlns='urn:p' xmlns:a0='urn:p' a0:b='c'/>");
}

#[test]
fn elements_are_written_so_that_they_say_the_same() {
    for (xml, written) in [
        ("<a></a>", "<a/>"),
        ("<a b=\"c\" >d</a >", "<a b='c'>d</a>"),
        (
            "<a xmlns='urn:a'><b><c xmlns='jabber:client'/></b></a>",
            "<a xmlns='urn:a'><b><c xmlns='jabber:client'/></b></a>",
        ),
        ("<a><b xmlns=''/></a>", "<a><b xmlns=''/></a>"),
        ("<p:a xmlns:p='urn:p'><p:b/><c/></p:a>", "<a xmlns='urn:p'><b/><c xmlns='jabber:client'/></a>"),
        ("<stream:error><x xmlns='urn:x'/></stream:error>", "<stream:error><x xmlns='urn:x'/></stream:error>"),
        ("<error xmlns='http://etherx.jabber.org/streams'/>", "<stream:error/>"),
        ("<a b='\"&#10;\t'>\"&#13;\n</a>", "<a b='&quot;&#10; '>&quot;&#13;&#10;</a>"),
        ("<a><![CDATA[<&]]></a>", "<a>&lt;&amp;</a>"),
        ("<a xml:lang='de' xmlns:p='urn:&amp;' p:b='c'/>", "<a xml:lang='de' xmlns:a1='urn:&amp;' a1:b='c'/>"),
        // What stands between children stands before them.
        ("<a>1<b/>2</a>", "<a>12<b/></a>"),
    ] {
        let element = Element::parse(xml.as_bytes()).unwrap_or_else(|fault| panic!("{xml}: {fault:?}"));
        assert_eq!(element.to_xml(), written, "{xml}");
        assert_eq!(read(written), shown(&element), "{xml}");
    }
    assert_eq!(
        escape("<a b='c' d=\"e\">&\t\r\n\u{0}\u{1b}\u{ffff}"),
        "&lt;a b=&apos;c&apos; d=&quot;e&quot;&gt;&amp;&#9;&#13;&#10;\u{fffd}\u{fffd}\u{fffd}"
    );
}

#[test]
fn what_is_asked_of_an_element() {
    let element = Element::new("a", "urn:a")
        .with("b", "1")
        .with_text("text")
        .with_child(Element::new("c", "urn:other"))
        .with_child(Element::new("c", "urn:c").with_text("first"))
        .with_child(Element::new("c", "urn:c").with_text("second"));
    assert!(element.is("a", "urn:a") && !element.is("a", "urn:c") && !element.is("c", "urn:a"));
    assert_eq!(element.child("c", "urn:c").map(|child| child.text.as_str()), Some("first"));
    assert_eq!(element.child("c", "urn:a"), None);
    assert_eq!(element.attribute("b"), Some("1"));
    assert_eq!(element.attribute("c"), None);
    // One of another namespace is another one.
    let other = Element::parse(b"<a xmlns:p='urn:p' p:b='1'/>").expect("an element");
    assert_eq!(other.attribute("b"), None);
}

#[test]
fn secrets_are_not_shown() {
    let auth =
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN' x='tell'>AGFsaWNl<y>c2VjcmV0</y></auth>";
    let element = Element::parse(auth.as_bytes()).expect("an element");
    let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
    assert_eq!(format!("{element:?}"), format!("<{{{sasl}}}auth>[<{{{sasl}}}y>[]]"));
    assert_eq!(format!("{:?}", element.attributes), "[{}mechanism, {}x]");
}

#[test]
fn headers() {
    let namespaces = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
    let some = |text: &str| Some(text.to_owned());
    for (attributes, expected) in [
        ("", Header::default()),
        (
            "to='example.com' from=\"alice@example.com\" id='1' version='1.0' xml:lang='de'",
            Header {
                to: some("example.com"),
                from: some("alice@example.com"),
                id: some("1"),
                version: some("1.0"),
                lang: some("de"),
                prefixes: Vec::new(),
            },
        ),
        ("to='' lang='de' other='x'", Header { to: some(""), ..Header::default() }),
        ("to='a&amp;&#x62;\n'", Header { to: some("a&b "), ..Header::default() }),
        (
            "xmlns:p='urn:&lt;' xmlns:xml='http://www.w3.org/XML/1998/namespace' p:to='x'",
            Header { prefixes: vec![("p".to_owned(), "urn:<".to_owned())], ..Header::default() },
        ),
    ] {
        for before in ["", "\n", "<?xml version='1.0'?>", "<?xml version=\"1.0\" encoding='utf-8'?>\r\n"] {
            let xml = format!("{before}<stream:stream {attributes} {namespaces}>");
            assert_eq!(Header::parse(xml.as_bytes()).as_ref(), Ok(&expected), "{xml}");
        }
        assert_eq!(Header::parse(expected.to_xml().as_bytes()).as_ref(), Ok(&expected), "{attributes}");
    }
    for (xml, expected) in [
        (String::new(), Condition::NotWellFormed),
        (format!("<stream:stream {namespaces}"), Condition::NotWellFormed),
        (format!("<stream:stream {namespaces}><a/>"), Condition::NotWellFormed),
        (format!("<stream:stream {namespaces}></stream:stream>"), Condition::NotWellFormed),
        (format!("<stream:stream {namespaces}/>"), Condition::BadFormat),
        (format!("<stream:other {namespaces}>"), Condition::BadFormat),
        (format!("<stream:stream to='{}' {namespaces}>", "x".repeat(4096)), Condition::PolicyViolation),
        ("<stream:stream xmlns='jabber:client'>".to_owned(), Condition::NotWellFormed),
        ("<stream xmlns='jabber:client'>".to_owned(), Condition::InvalidNamespace),
    ] {
        let read = Header::parse(xml.as_bytes());
        assert_eq!(read.map_err(|fault| fault.condition), Err(expected), "{xml}");
    }
}
