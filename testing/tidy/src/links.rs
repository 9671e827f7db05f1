//! Links of the documents: every one leads to a file, and to a heading where it names one.

use std::collections::BTreeSet;

use crate::TextFile;

/// Links between files of the repository resolve. Links to the web are not followed.
#[must_use]
pub fn check_links(files: &[TextFile], all: &BTreeSet<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is(".md")) {
        for (number, target) in links(&file.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let Some(path) = resolve(&file.path, path) else {
                complaints.push(format!("{}:{number}: {target} leaves the repository", file.path));
                continue;
            };
            let folder = format!("{path}/");
            if !all.contains(&path) && !all.iter().any(|known| known.starts_with(&folder)) {
                complaints.push(format!("{}:{number}: there is no {path}", file.path));
            } else if !heading.is_empty() && !has_heading(files, &path, heading) {
                complaints.push(format!("{}:{number}: {path} has no heading #{heading}", file.path));
            }
        }
    }
    complaints
}

/// The targets of `[words](target)` outside code, with their lines.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for (piece_index, piece) in line.split('`').enumerate() {
            // Odd pieces stand between backticks. A link around code keeps its `](` in an even one.
            if piece_index % 2 == 0 {
                found.extend(targets(piece).map(|target| (index + 1, target)));
            }
        }
    }
    found
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, _)| {
        let rest = &line[at + 2..];
        let target = &rest[..rest.find(')')?];
        target.split_whitespace().next()
    })
}

/// `target` as seen from the file `from`, from the root of the repository; `None` if it leads out.
fn resolve(from: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn has_heading(files: &[TextFile], path: &str, heading: &str) -> bool {
    let Some(file) = files.iter().find(|file| file.path == path) else { return false };
    let headings = file.text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| slug(line.trim_start_matches('#'))).any(|known| known == heading)
}

/// A heading as code hosts spell its anchor.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let files = [
            TextFile::new("docs/a.md", text),
            TextFile::new("README.md", "# The two commands\n## What works, and how"),
        ];
        let all = ["docs/a.md", "README.md", "docs/howto/b.toml"].map(str::to_owned).into();
        check_links(&files, &all)
    }

    #[test]
    fn good_links_resolve() {
        for good in [
            "[a](../README.md)",
            "[a](../README.md#the-two-commands)",
            "[a](../README.md#what-works-and-how)",
            "[a](howto/b.toml) and [b](./howto)",
            "[`code`](howto/b.toml)",
            "# Here\n[a](#here)",
            "[web](https://example.com/none.md)",
            "```\n[a](none.md)\n```",
            "`[a](none.md)`",
        ] {
            assert_eq!(check(good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn broken_links_are_found() {
        for bad in [
            "[a](none.md)",
            "[a](../README.md#none)",
            "[a](../../outside.md)",
            "[a](#nowhere)",
            "[`code`](none.md)",
            "text\n\n[a](howto/b.toml) [b](b.toml)",
        ] {
            assert_eq!(check(bad).len(), 1, "{bad}");
        }
    }
}
