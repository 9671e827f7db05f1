//! Manual pages out of what the programs say of themselves: `--help` of each command, in one page per program.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The page of a program.
pub(super) fn page(program: &Path, name: &str, section: u8) -> Result<String> {
    let help = ask(program, &[])?;
    let mut page = head(name, section, &help);
    let mut open: Vec<Vec<String>> = commands(&help).into_iter().map(|command| vec![command]).rev().collect();
    if !open.is_empty() {
        page.push_str(".SH COMMANDS\n");
    }
    while let Some(words) = open.pop() {
        let help = ask(program, &words)?;
        let below = commands(&help).into_iter().map(|command| [words.as_slice(), &[command]].concat());
        open.extend(below.rev());
        // Writing into a String cannot fail.
        let _ = write!(page, ".SS {name} {}\n{}", escaped(&words.join(" ")), verbatim(&help));
    }
    page.push_str(".SH SEE ALSO\nThe manual: the folder docs/manual of the sources.\n");
    Ok(page)
}

fn ask(program: &Path, words: &[String]) -> Result<String> {
    let output = Command::new(program).args(words).arg("--help").output();
    let output = output.with_context(|| format!("{} cannot be run", program.display()))?;
    ensure!(output.status.success(), "{} {} --help: {}", program.display(), words.join(" "), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn head(name: &str, section: u8, help: &str) -> String {
    let purpose = help.lines().next().unwrap_or_default().trim_end_matches('.');
    let usage = help.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or(name);
    let rest = help.split_once("\n\n").map_or("", |(_, rest)| rest);
    format!(
        ".TH {} {section}\n.SH NAME\n{name} \\- {}\n.SH SYNOPSIS\n.B {}\n.SH DESCRIPTION\n{}",
        name.to_uppercase(),
        escaped(purpose),
        escaped(usage),
        verbatim(rest)
    )
}

/// The names in the list of commands that a help text has, but for `help`.
fn commands(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    // A line that is indented further goes on with the one before.
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Lines as they are.
fn verbatim(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().map(escaped).collect();
    format!(".nf\n{}\n.fi\n", lines.join("\n"))
}

/// Text that troff takes for no command of its own.
fn escaped(text: &str) -> String {
    let plain = text.replace('\\', "\\e").replace('-', "\\-");
    if plain.starts_with(['.', '\'']) { format!("\\&{plain}") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Operates an Edgeway.\n\nUsage: edgeway <COMMAND>\n\nCommands:\n  lab     An edge, a core\n          and \
                        phones\n  config  Checks\n  help    Print this\n\nOptions:\n  -h, --help  Print help\n";

    #[test]
    fn commands_are_found_without_the_lines_that_go_on() {
        assert_eq!(commands(HELP), ["lab", "config"]);
        assert!(commands("Says it.\n\nUsage: x\n").is_empty());
    }

    #[test]
    fn a_page_says_what_a_program_is_and_how_it_is_called() {
        let head = head("edgeway", 1, HELP);
        assert!(head.starts_with(
            ".TH EDGEWAY 1\n.SH NAME\nedgeway \\- Operates an Edgeway\n.SH SYNOPSIS\n.B edgeway <COMMAND>\n.SH DESCRIPTION\n.nf\n"
        ));
        assert!(head.contains("\n  \\-h, \\-\\-help  Print help\n"), "{head}");
    }

    #[test]
    fn no_line_is_a_command_of_troff() {
        assert_eq!(verbatim(".so /x\n'a\nb\\c"), ".nf\n\\&.so /x\n\\&'a\nb\\ec\n.fi\n");
    }
}
