//! What operators ask of the allow list in force: its rules, and whether a URL would be let through, and by which.

use edgeway_model::sign_in::{Deployment, UserName};
use edgeway_policy::allow_list::{AllowList, Holder, Origin, Rule};
use edgeway_policy::limits::{ALLOW_TEST_DEVICES_MAX, ALLOW_TESTS_AT_ONCE_MAX};
use serde_json::{Value, json};

/// All rules, as they are shown.
pub(crate) fn listed(list: &AllowList) -> Value {
    json!({ "rules": list.rules().iter().map(shown).collect::<Vec<_>>() })
}

fn shown(rule: &Rule) -> Value {
    let (name, server) = match &rule.origin {
        Origin::Automatic(server) => (None, Some(server)),
        Origin::File => (None, None),
        Origin::Configuration(name) => (Some(name), None),
    };
    json!({
        "url": rule.url(),
        "deployment": rule.deployment.as_str(),
        "methods": rule.methods,
        "match_type": rule.match_type.as_str(),
        "description": rule.description,
        "origin": rule.origin.as_str(),
        "name": name,
        "automatic": server,
    })
}

/// Decides about URLs as it would be decided for a client, and says by which rule or why not. Nothing is dialled.
pub(crate) fn tested(list: &AllowList, deployments: &[Deployment], question: &Value) -> Result<Value, String> {
    let user = match question.get("user").and_then(Value::as_str) {
        Some(name) => Some(UserName::new(name).ok_or("user: a name without a colon or a slash")?),
        None => None,
    };
    let devices = question.get("devices").and_then(Value::as_array).into_iter().flatten();
    let devices: Vec<String> = devices.filter_map(|one| one.as_str().map(str::to_owned)).collect();
    if devices.len() > ALLOW_TEST_DEVICES_MAX {
        return Err(format!("devices: at most {ALLOW_TEST_DEVICES_MAX}"));
    }
    let holder = Holder { user: user.as_ref(), devices: &devices };
    let tests = question.get("tests").and_then(Value::as_array).ok_or("tests: a list of URLs")?;
    if tests.is_empty() || tests.len() > ALLOW_TESTS_AT_ONCE_MAX {
        return Err(format!("tests: 1 to {ALLOW_TESTS_AT_ONCE_MAX} at once"));
    }
    let results = tests.iter().map(|test| one(list, deployments, holder, test)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "results": results }))
}

fn one(list: &AllowList, deployments: &[Deployment], holder: Holder<'_>, test: &Value) -> Result<Value, String> {
    let text = |name: &str| test.get(name).and_then(Value::as_str);
    let url = text("url").ok_or("url: there is none")?;
    let method = text("method").unwrap_or("GET").to_ascii_uppercase();
    let named = text("deployment").unwrap_or(Deployment::DEFAULT);
    let deployment = deployments.iter().find(|one| one.as_str() == named);
    let deployment = deployment.ok_or("deployment: there is none of this name")?;
    let mut result = json!({
        "url": url, "method": method, "deployment": named,
        "allowed": false, "rule": null, "sent": null, "reason": null, "why": null,
    });
    match list.decide_url(deployment, holder, &method, url) {
        Ok(allowed) => {
            result["allowed"] = true.into();
            result["rule"] = shown(allowed.rule);
            result["sent"] = format!("{}{}", allowed.rule.origin_url(), allowed.path).into();
        }
        Err(denial) => {
            result["reason"] = denial.label().into();
            result["why"] = denial.to_string().into();
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use edgeway_policy::allow_list::MatchType;

    use super::*;

    fn list() -> AllowList {
        let rule = |url: &str, origin: Origin| {
            let methods = vec!["GET".to_owned()];
            let rule = Rule::of_url(url, Deployment::default_one(), MatchType::Prefix, methods, "").unwrap();
            Rule { origin, ..rule }
        };
        AllowList::new([
            rule("https://files.example.com/updates", Origin::Configuration("updates".to_owned())),
            rule("https://files.example.com/own/{user}", Origin::File),
        ])
        .unwrap()
    }

    fn ask(question: &Value) -> Result<Value, String> {
        tested(&list(), &[Deployment::default_one()], question)
    }

    #[test]
    fn a_test_names_the_rule_and_where_that_is_from() {
        let tests = json!([
            { "url": "https://Files.example.com:443/updates/%61" },
            { "url": "https://files.example.com/updates", "method": "put" },
            { "url": "https://files.example.com/own/alice" },
            { "url": "https://files.example.com/updates/../own" },
        ]);
        let answer = ask(&json!({ "user": "Alice", "tests": tests })).unwrap();
        let of = |at: usize, pointer: &str| answer["results"][at].pointer(pointer).cloned().unwrap_or_default();
        assert_eq!((of(0, "/rule/name"), of(0, "/rule/origin")), (json!("updates"), json!("configuration")));
        assert_eq!(of(0, "/sent"), json!("https://files.example.com/updates/a"));
        assert_eq!((of(1, "/allowed"), of(1, "/reason")), (json!(false), json!("no-rule-for-method")));
        assert_eq!((of(2, "/allowed"), of(2, "/rule/origin")), (json!(true), json!("file")));
        assert_eq!(of(3, "/reason"), json!("dot-segments"));
        // Nobody owns it.
        let nobody = ask(&json!({ "tests": [{ "url": "https://files.example.com/own/alice" }] })).unwrap();
        assert_eq!(nobody["results"][0]["allowed"], json!(false));
    }

    #[test]
    fn a_question_that_is_none_is_refused_in_words() {
        let url = json!({ "url": "https://a/" });
        for (question, word) in [
            (json!({}), "tests"),
            (json!({ "tests": [] }), "tests"),
            (json!({ "tests": vec![url.clone(); ALLOW_TESTS_AT_ONCE_MAX + 1] }), "tests"),
            (json!({ "tests": [{}] }), "url"),
            (json!({ "tests": [{ "url": "https://a/", "deployment": "none" }] }), "deployment"),
            (json!({ "user": "a:b", "tests": [url] }), "user"),
            (json!({ "devices": vec!["d"; ALLOW_TEST_DEVICES_MAX + 1], "tests": [url] }), "devices"),
        ] {
            assert!(ask(&question).unwrap_err().starts_with(word), "{question}");
        }
    }
}
