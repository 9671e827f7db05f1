//! The rules that stand in the configuration, out of its settings.

use edgeway_config::HttpProxySettings;

use super::{MatchType, Origin, Rule, RuleFault};

/// A rule of the configuration that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Which of them, from 0.
    pub index: usize,
    /// Which of its settings.
    pub key: &'static str,
    /// Why.
    pub fault: RuleFault,
}

impl Misfit {
    /// The setting, as problems name it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("http.allow_list_rule[{}].{}", self.index, self.key)
    }
}

/// The rules in their normal form.
///
/// # Errors
/// All that are none.
pub fn configured_rules(http: &HttpProxySettings) -> Result<Vec<Rule>, Vec<Misfit>> {
    let (mut rules, mut misfits) = (Vec::with_capacity(http.allow_list_rules.len()), Vec::new());
    for (index, written) in http.allow_list_rules.iter().enumerate() {
        let match_type = if written.exact { MatchType::Exact } else { MatchType::Prefix };
        let methods = written.methods.as_ref().unwrap_or(&http.default_methods).clone();
        match Rule::of_url(&written.url, written.deployment.clone(), match_type, methods, &written.description) {
            Ok(rule) => rules.push(Rule { origin: Origin::Configuration(written.name.clone()), ..rule }),
            Err(fault) => {
                let key = match fault {
                    RuleFault::Url(_) | RuleFault::TooMany => "url",
                    RuleFault::Methods => "methods",
                    RuleFault::Description => "description",
                };
                misfits.push(Misfit { index, key, fault });
            }
        }
    }
    if misfits.is_empty() { Ok(rules) } else { Err(misfits) }
}

#[cfg(test)]
mod tests {
    use edgeway_config::AllowListRuleSettings;
    use edgeway_model::sign_in::Deployment;

    use super::*;
    use crate::allow_list::Denial;

    fn written(name: &str, url: &str) -> AllowListRuleSettings {
        AllowListRuleSettings {
            name: name.to_owned(),
            url: url.to_owned(),
            deployment: Deployment::default_one(),
            exact: false,
            methods: None,
            description: String::new(),
        }
    }

    #[test]
    fn a_rule_of_the_configuration_is_as_one_of_a_file_and_says_where_it_is_from() {
        let http = HttpProxySettings {
            allow_list_rules: vec![written("updates", "https://Files.Example.com:443/a/%62")],
            default_methods: vec!["GET".to_owned()],
            ..HttpProxySettings::default()
        };
        let rules = configured_rules(&http).unwrap();
        let rule = &rules[0];
        assert_eq!((rule.url().as_str(), rule.methods.join(",")), ("https://files.example.com/a/b", "GET".to_owned()));
        assert_eq!(rule.origin, Origin::Configuration("updates".to_owned()));
    }

    #[test]
    fn all_that_is_wrong_is_said_with_its_place() {
        let many = vec!["GET".to_owned(); crate::limits::ALLOW_METHODS_MAX + 1];
        let http = HttpProxySettings {
            allow_list_rules: vec![
                written("dots", "https://a/../b"),
                written("good", "https://a/b"),
                AllowListRuleSettings { methods: Some(many), ..written("many", "https://a/") },
            ],
            default_methods: vec!["GET".to_owned()],
            ..HttpProxySettings::default()
        };
        let found = configured_rules(&http).unwrap_err();
        let said: Vec<_> = found.iter().map(|one| (one.path(), one.fault.clone())).collect();
        assert_eq!(
            said,
            [
                ("http.allow_list_rule[0].url".to_owned(), RuleFault::Url(Denial::Dots)),
                ("http.allow_list_rule[2].methods".to_owned(), RuleFault::Methods),
            ]
        );
    }
}
