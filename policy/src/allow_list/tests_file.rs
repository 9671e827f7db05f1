//! What is expected of rules, as a CSV file with the vendor's columns:
//! `Url,ExpectedResult,Deployment,Description,HttpMethod`.
//!
//! ```text
//! Url,ExpectedResult,Deployment,Description,HttpMethod
//! https://files.example.com:8443/updates/x,allow,,,GET
//! https://files.example.com:8443/admin,block,,"Never",
//! ```
//! URLs are taken as a client would write them, however odd. A missing result is `allow`, a missing method GET.

use edgeway_model::sign_in::Deployment;

use super::rules_file::{Problem, read_deployment, read_lines};
use super::{AllowList, Denial, Holder};
use crate::limits::ALLOW_CASES_MAX;

const COLUMNS: [&str; 5] = ["Url", "ExpectedResult", "Deployment", "Description", "HttpMethod"];

/// One line of a tests file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The URL asked for.
    pub url: String,
    /// Whether it is to be allowed.
    pub allow: bool,
    /// Whose users ask.
    pub deployment: Deployment,
    /// What it is about.
    pub description: String,
    /// How it is asked.
    pub method: String,
}

/// What came out of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The line.
    pub case: &'a Case,
    /// Description of the rule that allows it, or why it is blocked.
    pub verdict: Result<&'a str, Denial>,
}

impl Outcome<'_> {
    /// Whether it is what was expected.
    #[must_use]
    pub const fn is_expected(&self) -> bool {
        self.case.allow == self.verdict.is_ok()
    }
}

/// Reads the tests. `deployments` as for rules.
///
/// # Errors
/// Every mistake, in the order of lines.
pub fn read_cases(text: &str, deployments: &[Deployment]) -> Result<Vec<Case>, Vec<Problem>> {
    read_lines(text, COLUMNS, ALLOW_CASES_MAX, |[url, expected, deployment, description, method]| {
        let allow = match expected {
            "" => true,
            _ if expected.eq_ignore_ascii_case("allow") => true,
            _ if expected.eq_ignore_ascii_case("block") => false,
            _ => return Err(format!("ExpectedResult {expected:?}: allow or block")),
        };
        if url.is_empty() {
            return Err("Url: there is none".into());
        }
        let method = if method.is_empty() { "GET".into() } else { method.to_ascii_uppercase() };
        let deployment = read_deployment(deployment, deployments)?;
        Ok(Case { url: url.into(), allow, deployment, description: description.into(), method })
    })
}

/// Runs the tests, as this user with these devices.
#[must_use]
pub fn run_cases<'a>(list: &'a AllowList, cases: &'a [Case], holder: Holder<'a>) -> Vec<Outcome<'a>> {
    let run = |case: &'a Case| {
        let decision = list.decide_url(&case.deployment, holder, &case.method, &case.url);
        Outcome { case, verdict: decision.map(|allowed| allowed.rule.description.as_str()) }
    };
    cases.iter().map(run).collect()
}

#[cfg(test)]
mod tests {
    use edgeway_model::sign_in::UserName;

    use super::*;
    use crate::allow_list::{RulesContext, read_rules};

    const HEAD: &str = "Url,ExpectedResult,Deployment,Description,HttpMethod";

    #[test]
    fn tests_say_what_is_not_as_expected() {
        let rules = "Url,Deployment,HttpMethods,MatchType,Description\nhttps://h/a,,GET,,The rule\nhttps://h/u/{user},,GET,,Own\n";
        let context = RulesContext { deployments: &[], default_methods: &[] };
        let list = AllowList::new(read_rules(rules, context).unwrap()).unwrap();
        let text = format!(
            "{HEAD}\nhttps://h/a/b,allow,,,\nhttps://h/a/b,block,,odd,get\nhttps://h/a/../b,Block,,,GET\nhttps://h/a,,,,PUT\n\
             https://h/u/alice,allow\nhttps://h/u/bob,block\nhttps://h/a,block,other,,\n"
        );
        let cases = read_cases(&text, &[]).unwrap();
        let alice = UserName::new("alice");
        let outcomes = run_cases(&list, &cases, Holder { user: alice.as_ref(), devices: &[] });
        let verdicts: Vec<_> = outcomes.iter().map(|outcome| (outcome.is_expected(), outcome.verdict)).collect();
        let wanted = [
            (true, Ok("The rule")),
            (false, Ok("The rule")),
            (true, Err(Denial::Dots)),
            (false, Err(Denial::Method)),
            (true, Ok("Own")),
            (true, Err(Denial::NoRule)),
            (true, Err(Denial::Server)),
        ];
        assert_eq!(verdicts, wanted);
    }

    #[test]
    fn mistakes_have_lines() {
        let text = format!("{HEAD}\nhttps://h,maybe,,,\n,allow,,,\nhttps://h,allow,none,,\n");
        let found = read_cases(&text, &[Deployment::default_one()]).expect_err("there are three");
        assert_eq!(found.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 3, 4], "{found:?}");
        assert!(read_cases("", &[]).is_err());
    }
}
