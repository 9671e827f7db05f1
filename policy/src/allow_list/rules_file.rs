//! Rules as a CSV file (RFC 4180) with the vendor's columns:
//! `Url,Deployment,HttpMethods,MatchType,Description`.
//!
//! ```text
//! Url,Deployment,HttpMethods,MatchType,Description
//! https://files.example.com:8443/updates,,GET,,"Updates of the client"
//! http://photos.example.com,default,"GET,HEAD",prefix,
//! ```
//! The first line is mandatory. A missing port is the scheme's own, missing methods are the configured ones,
//! a missing match type is `prefix`. Every mistake of a file is reported at once, with its line.

use std::fmt;

use csv::{ReaderBuilder, StringRecord};
use edgeway_model::sign_in::Deployment;

use super::{MatchType, Rule, RuleFault};
use crate::limits::{ALLOW_FILE_BYTES_MAX, ALLOW_PROBLEMS_MAX, ALLOW_RULES_MAX};

const COLUMNS: [&str; 5] = ["Url", "Deployment", "HttpMethods", "MatchType", "Description"];

/// What a file of rules is read with.
#[derive(Clone, Copy, Debug)]
pub struct RulesContext<'a> {
    /// The deployments there are; empty where nobody knows.
    pub deployments: &'a [Deployment],
    /// Methods of rules that name none.
    pub default_methods: &'a [String],
}

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line it is in, from 1.
    pub line: u64,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Reads rules.
///
/// # Errors
/// Every mistake, in the order of lines, up to [`ALLOW_PROBLEMS_MAX`].
pub fn read_rules(text: &str, context: RulesContext<'_>) -> Result<Vec<Rule>, Vec<Problem>> {
    read_lines(text, COLUMNS, ALLOW_RULES_MAX, |fields| rule(fields, context))
}

/// Writes rules; reading what is written gives the same rules, but for where they are from.
#[must_use]
pub fn write_rules<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> String {
    write_cells(rules.into_iter().map(|rule| {
        [
            rule.url(),
            rule.deployment.as_str().to_owned(),
            rule.methods.join(","),
            rule.match_type.as_str().to_owned(),
            rule.description.clone(),
        ]
    }))
}

/// Writes rules given as the cells of their lines. A cell that a spreadsheet would take for a formula begins with `'`, which
/// reading takes off again.
#[must_use]
pub fn write_cells(lines: impl IntoIterator<Item = [String; 5]>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing into memory cannot fail.
    let _ = writer.write_record(COLUMNS);
    for cells in lines {
        let _ =
            writer.write_record(cells.map(|cell| if looks_like_formula(&cell) { format!("'{cell}") } else { cell }));
    }
    writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Whether a spreadsheet would run a cell, or whether it is one that was kept from that; so each `'` of ours is taken off, and no other.
fn looks_like_formula(cell: &str) -> bool {
    cell.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t'])
}

fn rule(
    [url, deployment, methods, match_type, description]: [&str; 5],
    context: RulesContext<'_>,
) -> Result<Rule, String> {
    let deployment = read_deployment(deployment, context.deployments)?;
    let match_type = match match_type {
        "" => MatchType::Prefix,
        _ if match_type.eq_ignore_ascii_case("prefix") => MatchType::Prefix,
        _ if match_type.eq_ignore_ascii_case("exact") => MatchType::Exact,
        _ => return Err(format!("MatchType {match_type:?}: exact or prefix")),
    };
    let mut methods: Vec<String> = methods.split(',').map(|method| method.trim().to_ascii_uppercase()).collect();
    if methods == [""] {
        methods = context.default_methods.to_vec();
    }
    let description = description.strip_prefix('\'').filter(|rest| looks_like_formula(rest)).unwrap_or(description);
    Rule::of_url(url, deployment, match_type, methods, description).map_err(|fault| match fault {
        RuleFault::Url(denial) => format!("Url {url:?}: {denial}"),
        RuleFault::Methods | RuleFault::Description | RuleFault::TooMany => fault.to_string(),
    })
}

/// The deployment of a line: the only one there is where it names none.
pub(super) fn read_deployment(named: &str, known: &[Deployment]) -> Result<Deployment, String> {
    match (named, known) {
        ("", [] | [_]) => Ok(known.first().cloned().unwrap_or_else(Deployment::default_one)),
        ("", _) => Err("Deployment: there are several, so every line names its own".into()),
        (_, []) => Deployment::new(named).ok_or_else(|| format!("Deployment {named:?}: letters, digits and . _ -")),
        (_, _) => known
            .iter()
            .find(|one| one.as_str() == named)
            .cloned()
            .ok_or_else(|| format!("Deployment {named:?}: there is none of this name")),
    }
}

/// Reads the lines of a file with these columns, the last ones of which may be missing in a line.
pub(super) fn read_lines<T, const N: usize>(
    text: &str,
    columns: [&str; N],
    lines_max: usize,
    read: impl Fn([&str; N]) -> Result<T, String>,
) -> Result<Vec<T>, Vec<Problem>> {
    if text.len() > ALLOW_FILE_BYTES_MAX {
        return Err(vec![Problem { line: 1, text: format!("the file is larger than {ALLOW_FILE_BYTES_MAX} bytes") }]);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut records = reader.records();
    let head = records.next().and_then(Result::ok).unwrap_or_default();
    if !head.iter().map(str::trim).eq(columns) {
        return Err(vec![Problem { line: 1, text: format!("the first line is {}", columns.join(",")) }]);
    }
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for record in records {
        let (line, outcome) = match record {
            Ok(record) => (record.position().map_or(0, csv::Position::line), fields(&record).and_then(&read)),
            Err(error) => (error.position().map_or(0, csv::Position::line), Err("not the form of CSV".into())),
        };
        match outcome {
            Ok(one) if found.len() < lines_max => found.push(one),
            Ok(_) => {
                problems.push(Problem { line, text: format!("more than {lines_max} lines") });
                break;
            }
            Err(text) => problems.push(Problem { line, text }),
        }
        if problems.len() == ALLOW_PROBLEMS_MAX {
            break;
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn fields<const N: usize>(record: &StringRecord) -> Result<[&str; N], String> {
    let mut fields = [""; N];
    if record.len() > N {
        return Err(format!("{} fields where there are {N} columns; quote what holds a comma", record.len()));
    }
    for (field, text) in fields.iter_mut().zip(record) {
        *field = text.trim();
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::allow_list::Origin;

    use super::*;

    fn read_with(text: &str, deployments: &[&str]) -> Result<Vec<Rule>, Vec<Problem>> {
        let deployments: Vec<_> = deployments.iter().filter_map(|name| Deployment::new(name)).collect();
        let default_methods = ["OPTIONS".to_owned(), "GET".to_owned()];
        read_rules(text, RulesContext { deployments: &deployments, default_methods: &default_methods })
    }

    fn problems(text: &str, deployments: &[&str]) -> Vec<(u64, String)> {
        let found = read_with(text, deployments).expect_err("there are mistakes");
        found.into_iter().map(|problem| (problem.line, problem.text)).collect()
    }

    const HEAD: &str = "Url,Deployment,HttpMethods,MatchType,Description";

    #[test]
    fn the_vendors_examples_are_read() {
        let text = format!(
            "\u{feff}{HEAD}\r\nhttps://myServer1:8443/myPath1,myDomain1,GET,,\"First Rule\"\r\n\
             http://myServer2:8000/myPath2,myDomain200,\"GET,PUT\",exact,\r\n\nhttps://[2001:DB8::1],myDomain1\n"
        );
        let rules = read_with(&text, &["myDomain1", "myDomain200"]).unwrap();
        let of = |at: usize| rules.get(at).unwrap();
        assert_eq!(rules.len(), 3);
        let first = of(0);
        assert_eq!((first.host.as_str(), first.port, first.path.as_str()), ("myserver1", 8443, "/myPath1"));
        assert_eq!(
            (first.https, first.match_type, first.description.as_str()),
            (true, MatchType::Prefix, "First Rule")
        );
        assert_eq!(first.methods, ["GET"]);
        assert_eq!(
            (of(1).https, of(1).match_type, of(1).deployment.as_str()),
            (false, MatchType::Exact, "myDomain200")
        );
        assert_eq!(of(1).methods, ["GET", "PUT"]);
        assert_eq!((of(2).host.as_str(), of(2).port, of(2).path.as_str()), ("2001:db8::1", 443, "/"));
        assert_eq!(of(2).methods, ["OPTIONS", "GET"]);
    }

    #[test]
    fn the_only_deployment_need_not_be_named() {
        let text = format!("{HEAD}\nhttp://a\n");
        let deployment = |known: &[&str]| read_with(&text, known).unwrap()[0].deployment.to_string();
        assert_eq!(deployment(&[]), "default");
        assert_eq!(deployment(&["only"]), "only");
        let several = problems(&text, &["one", "two"]);
        assert_eq!(several, [(2, "Deployment: there are several, so every line names its own".to_owned())]);
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let text = format!(
            "{HEAD}\nftp://a/,,,,\nhttps://a:0/,,,,\nhttps://a:65536/,,,,\nhttps://u@a/,,,,\nhttps://a/../b,,,,\n\
             https://a/%2e%2e/,,,,\nhttps://a/?q,,,,\nhttps://0177.1/,,,,\nhttps://a/,other,,,\nhttps://a/,,GE T,,\n\
             https://a/,,\"GET,\",,\nhttps://a/,,,regex,\nhttps://a/,,GET,PUT,exact,\nhttps://a/;x,,,,\n\
             https://a/,,,,\"two\nlines\"\n,,,,\nhttps://a//b,,,,\nhttps://a#b,,,,\nhttps:///x,,,,\nhttps://a\\b,,,,\n"
        );
        let found = problems(&text, &["default"]);
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22], "{found:#?}");
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert!(texts.contains(&"Url \"https://a:0/\": the port is none"), "{texts:#?}");
        assert!(texts.contains(&"Deployment \"other\": there is none of this name"), "{texts:#?}");
        assert!(texts.contains(&"MatchType \"regex\": exact or prefix"), "{texts:#?}");
        assert!(texts.contains(&"6 fields where there are 5 columns; quote what holds a comma"), "{texts:#?}");
    }

    #[test]
    fn the_head_is_mandatory_and_the_file_bounded() {
        for text in [
            "",
            "https://a/,,,,",
            "Url,Deployment,HttpMethods,MatchType",
            "url,deployment,httpmethods,matchtype,description",
        ] {
            assert_eq!(problems(text, &[]), [(1, format!("the first line is {HEAD}"))], "{text:?}");
        }
        let many = format!("{HEAD}\n{}", "ftp://a,,,,\n".repeat(ALLOW_PROBLEMS_MAX + 1));
        assert_eq!(problems(&many, &[]).len(), ALLOW_PROBLEMS_MAX);
        let many = format!("{HEAD}\n{}", "http://a,,,,\n".repeat(ALLOW_RULES_MAX + 1));
        assert_eq!(problems(&many, &[]).len(), 1);
        let large = format!("{HEAD}\n{}", "x".repeat(ALLOW_FILE_BYTES_MAX));
        assert_eq!(problems(&large, &[]).len(), 1);
    }

    fn rules() -> impl Strategy<Value = Rule> {
        let host =
            prop_oneof!["[a-z]{1,9}(\\.[a-z0-9]{1,5}[a-z]){0,2}", Just("2001:db8::7".into()), Just("192.0.2.9".into())];
        let path = "(/[a-zA-Z0-9._~-]{1,8}[a-z]){0,3}/?(\\{user\\})?";
        let description = "([!-~]([ -~]{0,20}[!-~])?)?";
        let methods = proptest::collection::vec("[A-Z]{3,7}", 1..4);
        (host, any::<bool>(), 1..=u16::MAX, path, any::<bool>(), methods, description).prop_map(
            |(host, https, port, path, exact, methods, description)| Rule {
                deployment: Deployment::default_one(),
                https,
                host,
                port,
                path: if path.is_empty() || path.starts_with('{') { "/".into() } else { path },
                match_type: if exact { MatchType::Exact } else { MatchType::Prefix },
                methods,
                description,
                origin: Origin::File,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(rules in proptest::collection::vec(rules(), 0..8)) {
            let normal: Vec<Rule> = rules.into_iter().filter_map(|rule| rule.normal().ok()).collect();
            prop_assert_eq!(read_with(&write_rules(&normal), &["default"]), Ok(normal));
        }
    }
}
