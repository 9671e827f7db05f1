//! Our scanner against expat, which reads for Prosody and for ejabberd: whatever ours lets pass, expat reads too, and ends
//! every element at the same byte.
//!
//! Runs with `EDGEWAY_INTEROP=1`; a missing Python then fails with the Debian package that brings it. Otherwise it says so
//! and runs nothing.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use edgeway_interop::requirement;
use edgeway_xmpp::fuzzing::{Reading, read};
use edgeway_xmpp::{Boundary, Bounds};

/// Edited streams compared in one run.
const EDITED: usize = 20_000;
/// Elements that must have passed both, for the comparison to mean something.
const ELEMENTS_MIN: usize = 15_000;

/// What edits put in.
const PIECES: [&str; 48] = [
    "<",
    ">",
    "/",
    "</",
    "/>",
    "'",
    "\"",
    "=",
    "&",
    ";",
    "]]>",
    "<![CDATA[",
    "]",
    "<!--",
    "-->",
    "<?",
    "?>",
    "&lt;",
    "&#60;",
    "&#x0;",
    "&#xfffe;",
    "&#1114112;",
    "&#x00000000041;",
    " xmlns:a='urn:a'",
    " xmlns:b='urn:&#97;'",
    " xmlns=''",
    " xmlns:a=''",
    " xml:lang='de'",
    " a:b='c'",
    " b:b='c'",
    "a:",
    ":",
    "\u{e9}",
    "\u{fffe}",
    "\u{d7}",
    "\u{300}",
    "\u{10000}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\r\n",
    "\t",
    "\0",
    "<a>",
    "</a>",
    "<a b='>'/>",
    "</stream:stream>",
    "<![CDATA[</a>]]>",
];

/// Enough of a generator for edits that come out the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % bound.max(1)
    }
}

fn main() -> Result<()> {
    if std::env::var_os("EDGEWAY_INTEROP").is_none() {
        println!("not run: set EDGEWAY_INTEROP=1 (cargo xtask test does)");
        return Ok(());
    }
    requirement::check(requirement::SERVER_PARSER)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder.join("../../fuzz/corpus/xmpp_scan"))? {
        // The first byte is for the fuzz target.
        seeds.push(fs::read(entry?.path())?.get(1..).unwrap_or_default().to_vec());
    }
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut streams = seeds.clone();
    streams.extend(every_letter());
    for _ in 0..EDITED {
        let which = dice.below(seeds.len());
        let seed = seeds.get(which).context("a seed")?;
        streams.push(edited(seed, &mut dice));
    }
    let theirs = expat(&folder.join("tests/expat/expat.py"), &streams)?;
    ensure!(theirs.len() == streams.len(), "{} answers for {} streams", theirs.len(), streams.len());
    let mut elements = 0;
    for (stream, theirs) in streams.iter().zip(&theirs) {
        elements += compare(stream, theirs)?;
    }
    ensure!(elements >= ELEMENTS_MIN, "only {elements} elements were compared");
    println!("{} streams, {elements} elements: expat ends them where the scanner does", streams.len());
    Ok(())
}

/// Letters of the basic plane at the beginning of a name, within one and in a value: every seventh, and all of Latin and
/// Greek.
fn every_letter() -> Vec<Vec<u8>> {
    let letters = (0x20..0x400_u32).chain((0x400..=0xffff).step_by(7)).filter_map(char::from_u32);
    let header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    let one = |letter: char| {
        [format!("<{letter}/>"), format!("<a{letter}/>"), format!("<a b{letter}='{letter}'/>")]
            .map(|element| format!("{header}{element}").into_bytes())
    };
    letters.flat_map(one).collect()
}

fn edited(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut stream = seed.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(stream.len());
        match dice.below(6) {
            0 => {
                if let Some(place) = stream.get_mut(at) {
                    *place = u8::try_from(dice.below(256)).unwrap_or(0);
                }
            }
            1 if !stream.is_empty() => drop(stream.remove(at)),
            2 => {
                let copied: Vec<u8> = stream.iter().skip(at).take(dice.below(40)).copied().collect();
                let to = dice.below(stream.len());
                stream.splice(to..to, copied);
            }
            _ => {
                let which = dice.below(PIECES.len());
                let piece = PIECES.get(which).copied().unwrap_or_default();
                stream.splice(at..at, piece.bytes());
            }
        }
    }
    stream
}

/// What expat says of each stream: where depth changed to one or to nothing, and where it failed.
fn expat(script: &Path, streams: &[Vec<u8>]) -> Result<Vec<String>> {
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("python3 does not start")?;
    let mut input = child.stdin.take().context("its input")?;
    let mut lines = Vec::new();
    for stream in streams {
        for byte in stream {
            write!(lines, "{byte:02x}")?;
        }
        lines.push(b'\n');
    }
    // It reads everything before it answers.
    input.write_all(&lines)?;
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "python3: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// How many elements both cut alike.
fn compare(stream: &[u8], theirs: &str) -> Result<usize> {
    let Reading { cuts, fault } = read(stream, stream.len(), Bounds::SIGNED_IN);
    let end = cuts.last().map_or(0, |(end, _)| *end);
    let mut ours = String::new();
    for (at, event) in &cuts {
        let _ = write!(ours, "{at}{} ", if *event == Boundary::Header { "+" } else { "-" });
    }
    let (theirs, their_fault) = theirs.split_once('!').map_or((theirs, None), |(cuts, fault)| (cuts, Some(fault)));
    let their_passed: String = theirs
        .split_inclusive(' ')
        .filter(|cut| cut.trim_end_matches([' ', '+', '-']).parse::<usize>().is_ok_and(|at| at <= end))
        .collect();
    let shown = stream.escape_ascii();
    ensure!(ours == their_passed, "the scanner cuts at {ours}, expat at {theirs}: {shown}");
    ensure!(
        fault.is_some() || their_fault.is_none(),
        "what the scanner lets pass is refused by expat at {}: {shown}",
        their_fault.unwrap_or_default()
    );
    Ok(cuts.iter().filter(|(_, event)| *event == Boundary::Stanza).count())
}
