//! What the tool prints when nobody reads any more.

use std::process::Command;

#[test]
fn a_reader_who_has_gone_ends_the_command_without_a_word() {
    let folder = std::env::temp_dir().join(format!("edgeway-output-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder of our own");
    let file = folder.join("edge.toml");
    let settings = "node = \"edge1\"\n[sip]\npublic_host = \"edge.example.com\"\ncertificate = \"a\"\nkey = \"b\"\n\
                    [media]\naddress = \"192.0.2.1\"\n";
    std::fs::write(&file, settings).expect("a writable folder");
    for reads in [true, false] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let reader = reads.then_some(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
        command.args(["config", "check"]).arg(&file).stdout(writer);
        let output = command.output().expect("the tool runs");
        drop(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "read: {reads}");
        if let Some(mut reader) = reader {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut reader, &mut text).expect("text");
            assert!(text.ends_with(": a good edge (edge1)\n"), "{text}");
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
}
